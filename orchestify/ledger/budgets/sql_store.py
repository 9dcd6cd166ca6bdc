"""Budgets in the ledger's database: the store, and the rows of periods and reservations.

The reservations of a process that dies lapse once its lease is over. Where the attempt's record
was opened, something may have been sent: its cost is booked as spent, or the whole amount as
possibly spent where the record does not say. A reservation without a record is dropped. That of a
batch has the batch's own lease, and then counts as possibly spent, if the batch was sent. The row
stays for a while, so that an owner that comes back still settles it at what the attempt cost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Protocol, TypeAlias, TypeVar

from sqlalchemy import (
    BindParameter,
    Connection,
    Insert,
    RowMapping,
    Update,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from orchestify.ledger.budgets.reservation import Reservation, ReservationRequest, Settlement
from orchestify.ledger.record import new_id, utc_now
from orchestify.ledger.sql.rows import COUNT_KEPT, Row, cut_text
from orchestify.ledger.sql.schema import (
    PICO,
    STANDS,
    batches,
    budget_holds,
    budget_periods,
    database_now,
    leases,
    plus,
    sum_usd,
    usage_records,
)
from orchestify.policy.budget import (
    EPOCH,
    NO_AMOUNT,
    WINDOW,
    ZERO,
    Amount,
    Budget,
    BudgetState,
    period_bounds,
    state_bounds,
    value_digest,
)
from orchestify.values import MOST_USD

T = TypeVar("T")

Put: TypeAlias = Callable[[ReservationRequest | Settlement | None], None]
"""Takes a request or a settlement for the worker; None to have it look at its queue again."""

KEPT = timedelta(days=40)
"""How long a period's row, and a lapsed reservation's, is kept after its end."""

VALUE_KEPT = timedelta(days=1)
"""The same of the row of a label's value: processes whose clock is late may still use it."""

_UNIT = Decimal(1).scaleb(-PICO)
_MOST_IDS = 1_000  # in one statement
_USE_NOTED_AFTER = timedelta(hours=1)  # a later use of a value's budget writes its row anew


class LedgerAccess(Protocol):
    """The part of a ledger that the store uses."""

    def start(self) -> None:
        """Begin the thread that serves requests, once.

        Raises:
            LedgerError: the ledger is closed, or another process began it.
        """

    def wake(self) -> None:
        """Have the thread run the worker."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """Do `work`, which only reads, in a transaction."""


class SqlStore:
    """The budgets' states in the ledger's database; see `BudgetStore`.

    Requests and settlements are served in the ledger's thread, and the processes that share the
    database take turns. Thresholds are reported once a period, by the process whose settlement
    crossed them. While the database is away, hard budgets refuse and those that warn let pass;
    what is settled meanwhile is written afterwards.
    """

    def __init__(
        self, put: Put, ledger: LedgerAccess, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.now = now
        self._put_in = put
        self._ledger = ledger

    def start(self) -> None:
        """Begin the ledger's thread; see `LedgerAccess.start`."""
        self._ledger.start()

    def reserve_now(
        self,
        reservation_id: str,
        budgets: tuple[Budget, ...],
        amount: Amount,
    ) -> None:
        """Return None: only the worker's transaction can reserve."""

    def submit(self, request: ReservationRequest) -> None:
        """Have the worker answer the request."""
        request.amount = kept(request.amount)
        self._put(request)

    def look(self, request: ReservationRequest) -> None:
        """Have the worker look at its queue again."""
        self._put(None)

    def settle(self, reservation: Reservation, taken: Amount, possible: Amount = NO_AMOUNT) -> None:
        """Have the worker book it; an unstored reservation that cost nothing needs no booking."""
        is_stored = reservation.id != ""
        if reservation.states and (is_stored or taken.usd):
            reservation.id = reservation.id or new_id()
            self._put(Settlement(reservation, kept(taken), is_stored, kept(possible)))

    def present(self, budget: Budget) -> BudgetState:
        """Return an empty state that names the budget's present period."""
        return BudgetState(budget, *state_bounds(budget, self.now()))

    def state(self, budget: Budget) -> BudgetState:
        """Return the budget's state as the database has it, where all processes write.

        Raises:
            LedgerError: the database could not be read.
        """
        empty = self.present(budget)
        return self._ledger.read(lambda connection: read(connection, empty))

    def _put(self, item: ReservationRequest | Settlement | None) -> None:
        self._put_in(item)
        self._ledger.wake()


@dataclass(slots=True)
class PeriodRow:
    """A budget's row in one period, locked until the transaction ends.

    Until `lease_until` only the process `lease_owner` may reserve more in it (the columns
    `turn_owner` and `turn_until`).
    """

    id: str
    state: BudgetState
    lease_owner: str | None
    lease_until: datetime | None
    stored: Row = field(repr=False)

    @property
    def row(self) -> Row:
        """The columns that change, with their present values."""
        state = self.state
        return {
            "key": self.id,
            "starts_at": state.start,
            "ends_at": stored_end(state),
            "hours": hours_json(state),
            "spent_picousd": state.spent_usd,
            "spent_tokens": state.spent_tokens,
            "spent_calls": state.spent_calls,
            "overrun_picousd": state.overrun_usd,
            "possible_picousd": state.possible_usd,
            "possible_tokens": state.possible_tokens,
            "possible_calls": state.possible_calls,
            "alerted": state.alerted,
            "turn_owner": self.lease_owner,
            "turn_until": self.lease_until,
        }

    @property
    def is_changed(self) -> bool:
        """Whether the database has it otherwise."""
        return any(value != self.stored[name] for name, value in self.row.items() if name != "key")

    def is_leased_away_from(self, owner: str, at: datetime) -> bool:
        """Whether another process has the lease."""
        return (
            self.lease_owner not in (None, owner)
            and self.lease_until is not None
            and self.lease_until > at
        )


def period_id(state: BudgetState) -> str:
    """Return the key of the state's row; the same in every process."""
    budget = state.budget
    start = EPOCH if budget.period == "rolling_24h" else state.start
    whose = f"@{budget.tenant}" if budget.tenant else ""
    of = "" if budget.value is None else f" {value_digest(budget.value)}"
    minute = start.replace(tzinfo=None).isoformat(timespec="minutes")  # strftime would import
    return f"{minute}Z {budget.period}{whose} {cut_text(budget.name)}{of}"


def kept_usd(amount_usd: Decimal) -> Decimal:
    """Return the amount as it is kept: whole units, rounded up, at most 1e6 USD."""
    return min(amount_usd, MOST_USD).quantize(_UNIT, "ROUND_CEILING")


def kept(amount: Amount) -> Amount:
    """Return an amount as it is kept; see `kept_usd`. Tokens end at 1e12."""
    return Amount(kept_usd(amount.usd), min(amount.tokens, COUNT_KEPT), amount.calls)


def stored_end(state: BudgetState) -> datetime | None:
    """Return from when on nothing of the state counts any more."""
    if state.end is None or state.budget.period != "rolling_24h":
        return state.end
    return state.end + WINDOW


def hours_json(state: BudgetState) -> dict[str, list[int]] | None:
    """Return the hours of a `rolling_24h` budget: spent, then possible, money in 1e-12 USD."""
    if state.hours is None:
        return None
    return {
        hour.isoformat(): [
            number
            for amount in each
            for number in (int(amount.usd.scaleb(PICO)), amount.tokens, amount.calls)
        ]
        for hour, each in state.hours.items()
    }


def lock(connection: Connection, wanted: Mapping[str, BudgetState]) -> dict[str, PeriodRow]:
    """Lock the rows with these keys, made where they are missing, and return them as they stand.

    Rows are locked in the order of their keys, so that processes never wait in a circle.
    """
    rows = _locked(connection, wanted)
    missing = sorted(wanted.keys() - rows.keys())
    if missing:
        statement = _insert(connection, "budget_periods")
        connection.execute(statement, [_new_row(key, wanted[key]) for key in missing])
        rows |= _locked(connection, missing)
    held = _held(connection, wanted)
    return {
        key: PeriodRow(
            key,
            _state(wanted[key], row, held.get(key, NO_AMOUNT)),
            row["turn_owner"],
            row["turn_until"],
            dict(row),
        )
        for key, row in rows.items()
    }


def read(connection: Connection, wanted: BudgetState) -> BudgetState:
    """Return a state from the database, without a lock."""
    key = period_id(wanted)
    row = connection.execute(_PERIODS, {"ids": [key]}).mappings().first()
    if row is None:
        return wanted
    return _state(wanted, row, _held(connection, [key]).get(key, NO_AMOUNT))


def settle(
    connection: Connection, periods: Mapping[str, PeriodRow], settled: Mapping[str, Settlement]
) -> None:
    """Replace the reservations with these ids by their costs; what is not there has ended."""
    for row in connection.execute(_RESERVATIONS, {"ids": list(settled)}).mappings():
        state, held = periods[row["period_id"]].state, _amount(row, "amount")
        if row["booked_picousd"] is not None:  # it has lapsed, and its owner is back
            state.reserve(held)
            booked, possible = _amount(row, "booked"), _amount(row, "possible")
            state.settle(NO_AMOUNT, NO_AMOUNT.minus(booked), NO_AMOUNT.minus(possible))
        settlement = settled[row["id"]]
        state.settle(held, settlement.taken, settlement.possible)
    drop(connection, settled)


def drop(connection: Connection, ids: Collection[str]) -> None:
    """Delete the reservations with these ids."""
    connection.execute(_DROP, {"ids": list(ids)})


def store(
    connection: Connection, owner: str, reservations: Iterable[Reservation], now: datetime
) -> None:
    """Write new reservations; one that is there already is left alone."""
    rows: list[Row] = [
        {
            "id": each.id,
            "period_id": period_id(state),
            "owner": owner,
            "held_at": now,
            "amount_picousd": each.amount.usd,
            "amount_tokens": each.amount.tokens,
            "amount_calls": each.amount.calls,
        }
        for each in reservations
        for state in each.states
    ]
    if rows:
        connection.execute(_insert(connection, "budget_holds"), rows)


def save(connection: Connection, periods: Iterable[PeriodRow]) -> None:
    """Write the changes of locked rows."""
    rows = [each.row for each in periods if each.is_changed]
    if rows:
        connection.execute(_SAVE, rows)


def lapse(connection: Connection, limit: int) -> int:
    """Lapse at most `limit` reservations whose owner has no valid lease; return how many."""
    now = database_now(connection)
    alive = select(leases.c.owner).where(leases.c.expires_at > now)
    abandoned = STANDS & budget_holds.c.owner.not_in(alive)
    keys = connection.scalars(select(budget_holds.c.period_id).where(abandoned).distinct()).all()
    if not keys:
        return 0
    connection.execute(_LOCK, {"ids": list(keys)}).all()
    rows = connection.execute(
        select(
            *_RESERVATION_COLUMNS,
            usage_records.c.id.label("record"),
            usage_records.c.cost_picousd,
            usage_records.c.cost_at_most_picousd,
            usage_records.c.outcome,
            (usage_records.c.input_tokens + usage_records.c.output_tokens).label("used_tokens"),
            batches.c.sent_at.label("batch_sent_at"),
        )
        .outerjoin_from(budget_holds, usage_records, usage_records.c.id == budget_holds.c.id)
        .outerjoin(batches, batches.c.id == budget_holds.c.id)
        .where(abandoned, budget_holds.c.period_id.in_(keys))
        .limit(limit)
    ).mappings()
    lapsed = [{"reservation": row["id"], "key": row["period_id"], **_lapsed(row)} for row in rows]
    if lapsed:
        connection.execute(_LAPSE, lapsed)
        more = [
            {name if name == "key" else f"more_{name}": value for name, value in each.items()}
            for each in lapsed
        ]
        connection.execute(_spend(connection.dialect.name), more)
    return len(lapsed)


def prune(connection: Connection) -> None:
    """Delete periods that ended 40 days ago, and reservations that lapsed as long ago.

    Those of a label's value, of which there may be many, go a day after they have ended.
    """
    now = database_now(connection)
    reservations, periods = budget_holds.c, budget_periods.c
    connection.execute(delete(budget_holds).where(~STANDS, reservations.held_at < now - KEPT))
    connection.execute(
        delete(budget_periods).where(
            periods.ends_at < now - VALUE_KEPT,
            periods.value.is_not(None) | (periods.ends_at < now - KEPT),
            ~exists().where(reservations.period_id == periods.id),
        )
    )


def _locked(connection: Connection, ids: Iterable[str]) -> dict[str, RowMapping]:
    found: dict[str, RowMapping] = {}
    for some in _chunks(ids):
        rows = connection.execute(_LOCK, {"ids": some}).mappings()
        found |= {row["id"]: row for row in rows}
    return found


def _held(connection: Connection, ids: Iterable[str]) -> dict[str, Amount]:
    found: dict[str, Amount] = {}
    for some in _chunks(ids):
        rows = connection.execute(_HELD, {"ids": some})
        found |= {row[0]: Amount(row[1], int(row[2]), int(row[3])) for row in rows}
    return found


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    """Iterate over the ids in their order, as many at once as a statement takes."""
    rest = sorted(ids)
    while rest:
        yield rest[:_MOST_IDS]
        del rest[:_MOST_IDS]


def _amount(row: RowMapping, name: str) -> Amount:
    return Amount(
        row[f"{name}_picousd"] or ZERO, row[f"{name}_tokens"] or 0, row[f"{name}_calls"] or 0
    )


def _state(empty: BudgetState, row: RowMapping, held: Amount) -> BudgetState:
    """Return the row's state at the time for which `empty` was made."""
    budget = empty.budget
    start, end = empty.start, empty.end
    is_over = False
    if budget.period == "rolling_24h":
        start, end = row["starts_at"], period_bounds(budget.period, row["starts_at"])[1]
    elif budget.period == "ever" and end is not None:  # it lasts on from its last use
        is_over = row["ends_at"] <= end - timedelta(days=budget.keep_days)
        end = end if end - row["ends_at"] >= _USE_NOTED_AFTER else row["ends_at"]
    state = BudgetState(
        budget,
        start,
        end,
        held_usd=held.usd,
        held_tokens=held.tokens,
        held_calls=held.calls,
        alerted=0 if is_over else row["alerted"],
        overrun_usd=ZERO if is_over else row["overrun_picousd"],
    )
    if not is_over:
        state.spent_usd, state.spent_tokens, state.spent_calls = _amount(row, "spent")
        state.possible_usd, state.possible_tokens, state.possible_calls = _amount(row, "possible")
    if budget.period == "rolling_24h":
        state.hours = _hours(row["hours"])
        state.roll(empty.start)
    return state


def _hours(stored: Mapping[str, list[int]] | None) -> dict[datetime, tuple[Amount, Amount]]:
    """Return what the hours of a `rolling_24h` budget booked; see `hours_json`."""
    return {
        datetime.fromisoformat(hour): (
            Amount(Decimal(each[0]).scaleb(-PICO), each[1], each[2]),
            Amount(Decimal(each[3]).scaleb(-PICO), each[4], each[5]),
        )
        for hour, each in (stored or {}).items()
    }


def _new_row(key: str, state: BudgetState) -> Row:
    return {
        "id": key,
        "tenant": state.budget.tenant,
        "budget": cut_text(state.budget.name),
        "value": None if state.budget.value is None else cut_text(state.budget.value),
        "period": state.budget.period,
        "starts_at": state.start,
        "ends_at": stored_end(state),
        "spent_picousd": ZERO,
        "overrun_picousd": ZERO,
        "possible_picousd": ZERO,
        "alerted": 0,
    }


def _lapsed(row: RowMapping) -> Row:
    """What is booked of a lapsed reservation, and what is possible where its record says nothing.

    One whose record says that it was refused took nothing; one without a record was never sent.
    """
    booked = possible = NO_AMOUNT
    cost_usd: Decimal | None = row["cost_picousd"]
    if cost_usd is not None:
        tokens: int = row["used_tokens"]
        booked = Amount(cost_usd, tokens, int(row["outcome"] == "ok" or tokens > 0))
    elif row["record"] is not None:
        held, at_most_usd = _amount(row, "amount"), row["cost_at_most_picousd"]
        if at_most_usd != 0 or not held.usd:
            least_usd = held.usd if at_most_usd is None else min(at_most_usd, held.usd)
            possible = held._replace(usd=least_usd)
    elif row["batch_sent_at"] is not None:
        possible = _amount(row, "amount")
    return {
        f"{name}_{unit}": value
        for name, amount in (("booked", booked), ("possible", possible))
        for unit, value in zip(("picousd", "tokens", "calls"), amount, strict=True)
    }


def _insert(connection: Connection, table: str) -> Insert:
    return _inserts(connection.dialect.name)[table]


@cache
def _inserts(dialect: str) -> dict[str, Insert]:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return {
        table.name: insert(table).on_conflict_do_nothing()
        for table in (budget_periods, budget_holds)
    }


@cache
def _spend(dialect: str) -> Update:
    columns = budget_periods.c
    added = {
        columns[f"{to}_{unit}"]: bindparam(
            f"more_{name}_{unit}", type_=columns[f"{to}_{unit}"].type
        )
        for name, to in (("booked", "spent"), ("possible", "possible"))
        for unit in ("picousd", "tokens", "calls")
    }
    rows = update(budget_periods).where(columns.id == bindparam("key"))
    return rows.values({column: plus(column, more, dialect) for column, more in added.items()})


_IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)
_RESERVATION_COLUMNS = (
    budget_holds.c.id,
    budget_holds.c.period_id,
    *(
        budget_holds.c[f"{name}_{unit}"]
        for name in ("amount", "booked", "possible")
        for unit in ("picousd", "tokens", "calls")
    ),
)
_PERIODS = select(budget_periods).where(budget_periods.c.id.in_(_IDS))
_LOCK = _PERIODS.order_by(budget_periods.c.id).with_for_update()
_HELD = (
    select(
        budget_holds.c.period_id,
        sum_usd(budget_holds.c.amount_picousd),
        func.sum(budget_holds.c.amount_tokens),
        func.sum(budget_holds.c.amount_calls),
    )
    .where(STANDS, budget_holds.c.period_id.in_(_IDS))
    .group_by(budget_holds.c.period_id)
)
_RESERVATIONS = select(*_RESERVATION_COLUMNS).where(budget_holds.c.id.in_(_IDS))
_DROP = delete(budget_holds).where(budget_holds.c.id.in_(_IDS))
_SAVE = update(budget_periods).where(budget_periods.c.id == bindparam("key"))
_LAPSE = update(budget_holds).where(
    budget_holds.c.id == bindparam("reservation"), budget_holds.c.period_id == bindparam("key")
)
