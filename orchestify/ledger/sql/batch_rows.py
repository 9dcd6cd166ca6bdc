"""The rows of batches, and what is held for them; each function is part of a transaction.

A batch's reservation has the batch's id, and its lease in `ledger_leases` is the batch's own: it
stands until the batch is fetched, or that lease runs out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, update

from orchestify.ledger.batches import (
    HELD_AFTER,
    OVER,
    WINDOW,
    BatchGroup,
    BatchItem,
    BatchRow,
    BatchState,
    Booking,
)
from orchestify.ledger.budgets.reservation import check_unpriced, refusal
from orchestify.ledger.budgets.sql_store import (
    KEPT,
    PeriodRow,
    kept,
    lock,
    period_id,
    save,
)
from orchestify.ledger.sql.booking import book
from orchestify.ledger.sql.rows import storable
from orchestify.ledger.sql.schema import (
    batch_items,
    batches,
    budget_holds,
    budget_periods,
    database_now,
    leases,
)
from orchestify.policy.budget import NO_AMOUNT, ZERO, Amount, Budget, BudgetState, state_bounds


def hold(
    connection: Connection, batch: BatchRow, wanted: Mapping[str, tuple[BudgetState, Amount]]
) -> None:
    """Reserve a batch's worst case in these periods, all or nothing; nobody is waited for.

    Raises:
        BudgetExceededError: a hard budget has no room for it.
    """
    periods = lock(connection, {key: state for key, (state, _) in wanted.items()})
    for key, period in periods.items():
        amount = wanted[key][1]
        if period.state.decide(amount) != "fits":
            raise refusal(period.state, amount, what="batch")
        period.state.reserve(amount)
    rows = [
        {
            "id": batch.id,
            "period_id": key,
            "owner": batch.id,
            "held_at": batch.submitted_at,
            "amount_picousd": amount.usd,
            "amount_tokens": amount.tokens,
            "amount_calls": amount.calls,
        }
        for key, (_, amount) in wanted.items()
    ]
    if rows:
        connection.execute(insert(budget_holds), rows)
        save(connection, periods.values())
    keep_held(connection, batch.id, batch.submitted_at + WINDOW + HELD_AFTER)


def held_amounts(
    groups: Sequence[Sequence[Budget]], items: Sequence[BatchItem], now: datetime
) -> tuple[list[tuple[str, ...]], dict[str, tuple[BudgetState, Amount]]]:
    """Return the periods of each group, and what is to be held in each of them.

    Raises:
        BudgetExceededError: a request has no known price, and a hard budget blocks such.
    """
    states: dict[str, BudgetState] = {}
    periods: list[tuple[str, ...]] = []
    for budgets in groups:
        own = [BudgetState(budget, *state_bounds(budget, now)) for budget in budgets]
        keys = tuple(period_id(state) for state in own)
        states |= dict(zip(keys, own, strict=True))
        periods.append(keys)
    sums = dict.fromkeys(states, NO_AMOUNT)
    for item in items:
        if item.at_most_usd is None:
            check_unpriced([states[key] for key in periods[item.group]], {})
        for key in periods[item.group]:
            sums[key] = sums[key].plus(amount_of(item))
    return periods, {key: (state, kept(sums[key])) for key, state in states.items()}


def amount_of(item: BatchItem) -> Amount:
    """Return what one request may take of a budget at most."""
    return Amount(item.at_most_usd or ZERO, item.most_tokens, 1)


def insert_batch(
    connection: Connection, batch: BatchRow, owner: str, tenant: str, items: Sequence[BatchItem]
) -> None:
    """Write a batch that is about to be sent by `owner`, and its requests."""
    given = asdict(batch)
    del given["is_submitting"]
    del given["groups"]
    given["parts"] = [[each.model, dict(each.labels), list(each.periods)] for each in batch.groups]
    given["at_most_picousd"] = given.pop("at_most_usd")
    connection.execute(insert(batches).values(**given, owner=owner, tenant=tenant))
    rows = [
        {
            "batch_id": batch.id,
            "number": item.number,
            "custom_id": item.custom_id,
            "part": item.group,
            "input_tokens": item.input_tokens,
            "output_tokens": item.output_tokens,
            "most_tokens": item.most_tokens,
            "at_most_picousd": item.at_most_usd,
        }
        for item in items
    ]
    connection.execute(insert(batch_items), rows)


def read_batch(connection: Connection, tenant: str, batch_id: str) -> BatchRow | None:
    """Return a batch, None where the tenant has none of this id."""
    found = select(batches).where(batches.c.id == batch_id, batches.c.tenant == tenant)
    row = connection.execute(found).mappings().first()
    return None if row is None else _batch_of(row, _alive(connection))


def read_batches(
    connection: Connection, tenant: str, states: Sequence[BatchState]
) -> list[BatchRow]:
    """Return a tenant's batches in these states, or all, the latest first."""
    found = select(batches).where(batches.c.tenant == tenant)
    if states:
        found = found.where(batches.c.state.in_(states))
    rows = connection.execute(found.order_by(batches.c.id.desc())).mappings().all()
    alive = _alive(connection)
    return [_batch_of(row, alive) for row in rows]


def read_items(
    connection: Connection, batch_id: str, numbers: Sequence[int] | None = None
) -> list[BatchItem]:
    """Return the requests of a batch, these or all, in order."""
    found = select(batch_items).where(batch_items.c.batch_id == batch_id)
    if numbers is not None:
        found = found.where(batch_items.c.number.in_(numbers))
    return [
        BatchItem(
            number=row["number"],
            custom_id=row["custom_id"],
            group=row["part"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            most_tokens=row["most_tokens"],
            at_most_usd=row["at_most_picousd"],
            outcome=row["outcome"],
        )
        for row in connection.execute(found.order_by(batch_items.c.number)).mappings()
    ]


def change_batch(
    connection: Connection,
    batch_id: str,
    changes: Mapping[str, Any],
    *,
    only_in: BatchState | None = None,
) -> bool:
    """Change columns of a batch that is not over, or only in one state; return whether it was.

    It comes before the rows of budgets in every transaction, as in `book_results`.
    """
    is_open = batches.c.state.not_in(OVER) if only_in is None else batches.c.state == only_in
    there = (batches.c.id == batch_id) & is_open
    return connection.execute(update(batches).where(there).values(**changes)).rowcount > 0


def keep_held(connection: Connection, batch_id: str, until: datetime) -> None:
    """Let what is held for a batch stand until a moment."""
    changed = connection.execute(
        update(leases).where(leases.c.owner == batch_id).values(expires_at=until)
    )
    if not changed.rowcount:
        connection.execute(insert(leases).values(owner=batch_id, expires_at=until))


def let_go(connection: Connection, batch_id: str) -> None:
    """Drop what is held for a batch, and what it counts as possible where that has lapsed.

    Of one that is fetched nothing of either is left.
    """
    keys = select(budget_holds.c.period_id).where(budget_holds.c.id == batch_id)
    periods = _locked(connection, connection.scalars(keys).all(), {}, database_now(connection))
    for row in _holds(connection, batch_id):
        if row["booked_picousd"] is not None:
            _take_back(periods[row["period_id"]].state, _amount(row, "possible"))
    save(connection, periods.values())
    connection.execute(delete(budget_holds).where(budget_holds.c.id == batch_id))
    connection.execute(delete(leases).where(leases.c.owner == batch_id))


def book_results(
    connection: Connection,
    batch: BatchRow,
    bookings: Sequence[Booking],
    budgets: Sequence[Budget],
) -> tuple[list[Booking], list[tuple[BudgetState, float]]]:
    """Book what was not booked before; return it, and the thresholds that it crossed.

    Records go first, as everywhere: budgets' rows are locked after the daily sums.
    """
    connection.execute(select(batches.c.id).where(batches.c.id == batch.id).with_for_update()).all()
    numbers = [each.number for each in bookings]
    items = {item.number: item for item in read_items(connection, batch.id, numbers)}
    new = [
        each
        for each in bookings
        if (item := items.get(each.number)) is not None and item.outcome is None
    ]
    if not new:
        return [], []
    book(connection, batch.id, [], [storable(each.record) for each in new])
    outcomes = [{"at": each.number, "became": each.record.outcome} for each in new]
    connection.execute(_BOOKED.where(batch_items.c.batch_id == batch.id), outcomes)
    return new, _settle(connection, batch, [(items[each.number], each) for each in new], budgets)


def is_booked(connection: Connection, batch_id: str) -> bool:
    """Whether every request of a batch is booked."""
    left = select(batch_items.c.number).where(
        batch_items.c.batch_id == batch_id, batch_items.c.outcome.is_(None)
    )
    return connection.execute(left.limit(1)).first() is None


def prune_batches(connection: Connection) -> None:
    """Delete batches that were submitted 40 days ago: their providers have no results any more."""
    before = database_now(connection) - KEPT
    old = select(batches.c.id).where(batches.c.submitted_at < before)
    connection.execute(delete(batch_items).where(batch_items.c.batch_id.in_(old)))
    connection.execute(delete(batches).where(batches.c.submitted_at < before))


def _settle(
    connection: Connection,
    batch: BatchRow,
    new: Sequence[tuple[BatchItem, Booking]],
    budgets: Sequence[Budget],
) -> list[tuple[BudgetState, float]]:
    """Replace what is held for requests by what they took, in the periods where it is held."""
    sums: dict[str, list[Amount]] = {}
    for item, booking in new:
        for key in batch.groups[item.group].periods:
            held, taken, possible = sums.setdefault(key, [NO_AMOUNT] * 3)
            sums[key] = [
                held.plus(amount_of(item)),
                taken.plus(kept(booking.taken)),
                possible.plus(kept(booking.possible)),
            ]
    if not sums:
        return []
    own = {
        period_id(state): budget
        for budget in budgets
        for state in [BudgetState(budget, *state_bounds(budget, batch.submitted_at))]
    }
    periods = _locked(connection, list(sums), own, database_now(connection))
    for row in _holds(connection, batch.id):
        key = row["period_id"]
        if key not in sums or key not in periods:
            continue
        state, (held, taken, possible) = periods[key].state, sums[key]
        if row["booked_picousd"] is None:
            column, before = "amount", _amount(row, "amount")
            state.settle(held, taken, possible)
        else:  # it has lapsed, and counts as possible
            column, before = "possible", _amount(row, "possible")
            _take_back(state, held)
            state.reserve(taken)
            state.settle(taken, taken, possible)
        left = before.minus(held)
        connection.execute(
            update(budget_holds)
            .where(budget_holds.c.id == batch.id, budget_holds.c.period_id == key)
            .values(
                {
                    f"{column}_picousd": max(ZERO, left.usd),
                    f"{column}_tokens": max(0, left.tokens),
                    f"{column}_calls": max(0, left.calls),
                }
            )
        )
    crossed = [
        (replace(period.state), share)
        for period in periods.values()
        for share in period.state.crossed_thresholds()
    ]
    save(connection, periods.values())
    return crossed


def _locked(
    connection: Connection, keys: Sequence[str], known: Mapping[str, Budget], now: datetime
) -> dict[str, PeriodRow]:
    """Lock the rows of periods; those whose budget is no more are without a limit."""
    rows = connection.execute(
        select(budget_periods).where(budget_periods.c.id.in_(keys))
    ).mappings()
    return lock(connection, {row["id"]: _state_of(row, known.get(row["id"]), now) for row in rows})


def _state_of(row: RowMapping, budget: Budget | None, now: datetime) -> BudgetState:
    """Return an empty state in the period of a row."""
    if budget is None:
        budget = Budget(
            row["budget"], period=row["period"], tenant=row["tenant"], value=row["value"]
        )
    if budget.period == "rolling_24h":
        return BudgetState(budget, *state_bounds(budget, now))
    return BudgetState(budget, row["starts_at"], row["ends_at"])


def _take_back(state: BudgetState, amount: Amount) -> None:
    state.possible_usd -= amount.usd
    state.possible_tokens -= amount.tokens
    state.possible_calls -= amount.calls


def _holds(connection: Connection, batch_id: str) -> Sequence[RowMapping]:
    found = select(budget_holds).where(budget_holds.c.id == batch_id)
    return connection.execute(found).mappings().all()


def _amount(row: RowMapping, name: str) -> Amount:
    return Amount(
        row[f"{name}_picousd"] or ZERO, row[f"{name}_tokens"] or 0, row[f"{name}_calls"] or 0
    )


def _alive(connection: Connection) -> set[str]:
    """Return the processes that have a valid lease."""
    now = database_now(connection)
    return set(connection.scalars(select(leases.c.owner).where(leases.c.expires_at > now)))


def _batch_of(row: RowMapping, alive: set[str]) -> BatchRow:
    return BatchRow(
        id=row["id"],
        provider=row["provider"],
        agent=row["agent"],
        model=row["model"],
        key=row["key"],
        digest=row["digest"],
        total=row["total"],
        at_most_usd=row["at_most_picousd"],
        submitted_at=row["submitted_at"],
        groups=tuple(
            BatchGroup(model, labels, tuple(periods)) for model, labels, periods in row["parts"]
        ),
        state=row["state"],
        is_submitting=row["owner"] in alive,
        sent_at=row["sent_at"],
        file_id=row["file_id"],
        remote_id=row["remote_id"],
        remote_status=row["remote_status"],
        succeeded=row["succeeded"],
        failed=row["failed"],
        expires_at=row["expires_at"],
    )


_BOOKED = (
    update(batch_items)
    .where(batch_items.c.number == bindparam("at"))
    .values(outcome=bindparam("became"))
)
