"""The rows of budgets: what is spent in a period, and what running calls hold in it.

What a process holds when it dies is lapsed once its lease has run out. Where the attempt's
record was opened, something may have been sent: its cost is booked as spent, or the hold's whole
amount where the record does not say. A hold without a record is dropped. The row stays for
a while, so that an owner that comes back still settles it at what the attempt cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache

from sqlalchemy import (
    BindParameter,
    Connection,
    Insert,
    RowMapping,
    Update,
    bindparam,
    delete,
    exists,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from orchestify.ledger.budgets.store import Hold
from orchestify.ledger.sql.lease import database_now
from orchestify.ledger.sql.rows import Row, cut_text
from orchestify.ledger.sql.schema import (
    PICO,
    STANDS,
    PicoUsd,
    budget_holds,
    budget_periods,
    leases,
    plus,
    sum_usd,
    usage_records,
)
from orchestify.policy.budget import ZERO, BudgetState
from orchestify.values import MOST_USD

KEPT = timedelta(days=40)
"""How long a period's row, and a lapsed hold's, is kept after its end."""

_UNIT = Decimal(1).scaleb(-PICO)


@dataclass(slots=True)
class Period:
    """A budget's row in one period, locked until the transaction ends.

    Until `turn_until` only the process `turn_owner` may hold more in it.
    """

    id: str
    state: BudgetState
    turn_owner: str | None
    turn_until: datetime | None
    _stored: Row = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._stored = self.row

    @property
    def row(self) -> Row:
        """What changes, as it stands now."""
        return {
            "key": self.id,
            "spent_picousd": self.state.spent_usd,
            "overrun_picousd": self.state.overrun_usd,
            "alerted": self.state.alerted,
            "turn_owner": self.turn_owner,
            "turn_until": self.turn_until,
        }

    @property
    def is_changed(self) -> bool:
        """Whether the database has it otherwise."""
        return self.row != self._stored

    def is_closed_to(self, owner: str, at: datetime) -> bool:
        """Whether it is another process's turn."""
        return (
            self.turn_owner not in (None, owner)
            and self.turn_until is not None
            and self.turn_until > at
        )


def period_id(state: BudgetState) -> str:
    """Return the key of the state's row; the same in every process."""
    budget = state.budget
    whose = f"@{budget.tenant}" if budget.tenant else ""
    return f"{state.start:%Y-%m-%dT%H:%MZ} {budget.period}{whose} {cut_text(budget.name)}"


def kept_usd(amount_usd: Decimal) -> Decimal:
    """Return the amount as it is kept: whole units, rounded up, at most 1e6 USD."""
    return min(amount_usd, MOST_USD).quantize(_UNIT, "ROUND_CEILING")


def lock(connection: Connection, wanted: Mapping[str, BudgetState]) -> dict[str, Period]:
    """Lock the rows with these keys, made where they are missing, and return them as they stand.

    Rows are locked in the order of their keys, so that processes never wait in a circle.
    """
    rows = _locked(connection, wanted)
    missing = sorted(wanted.keys() - rows.keys())
    if missing:
        statement = _insert(connection, "budget_periods")
        connection.execute(statement, [_new_row(key, wanted[key]) for key in missing])
        rows = _locked(connection, wanted)
    held = _held(connection, wanted)
    return {
        key: Period(
            key,
            _state(wanted[key], row, held.get(key, ZERO)),
            row["turn_owner"],
            row["turn_until"],
        )
        for key, row in rows.items()
    }


def read(connection: Connection, wanted: BudgetState) -> BudgetState:
    """Return a state as it stands in the database, without a lock."""
    key = period_id(wanted)
    row = connection.execute(_PERIODS, {"ids": [key]}).mappings().first()
    if row is None:
        return wanted
    return _state(wanted, row, _held(connection, [key]).get(key, ZERO))


def settle(
    connection: Connection, periods: Mapping[str, Period], costs_usd: Mapping[str, Decimal]
) -> None:
    """Turn the holds with these ids into what the attempts cost; what is not there has ended."""
    for row in connection.execute(_HOLDS, {"ids": list(costs_usd)}).mappings():
        state = periods[row["period_id"]].state
        if row["booked_picousd"] is not None:
            state.held_usd += row["amount_picousd"]
            state.spent_usd -= row["booked_picousd"]
        state.settle(row["amount_picousd"], costs_usd[row["id"]])
    drop(connection, costs_usd)


def drop(connection: Connection, ids: Collection[str]) -> None:
    """Delete the holds with these ids."""
    connection.execute(_DROP, {"ids": list(ids)})


def store(connection: Connection, owner: str, holds: Iterable[Hold], now: datetime) -> None:
    """Write new holds; one that is there already is left alone."""
    rows: list[Row] = [
        {
            "id": hold.id,
            "period_id": period_id(state),
            "owner": owner,
            "held_at": now,
            "amount_picousd": hold.amount_usd,
        }
        for hold in holds
        for state in hold.states
    ]
    if rows:
        connection.execute(_insert(connection, "budget_holds"), rows)


def save(connection: Connection, periods: Iterable[Period]) -> None:
    """Write back what has changed in locked rows."""
    rows = [each.row for each in periods if each.is_changed]
    if rows:
        connection.execute(_SAVE, rows)


def lapse(connection: Connection, limit: int) -> int:
    """Lapse at most `limit` holds whose owner has no valid lease; return how many."""
    now = database_now(connection)
    alive = select(leases.c.owner).where(leases.c.expires_at > now)
    left = STANDS & budget_holds.c.owner.not_in(alive)
    keys = connection.scalars(select(budget_holds.c.period_id).where(left).distinct()).all()
    if not keys:
        return 0
    connection.execute(_LOCK, {"ids": list(keys)}).all()
    rows = connection.execute(
        select(*_HOLD_COLUMNS, usage_records.c.id.label("record"), usage_records.c.cost_picousd)
        .outerjoin_from(budget_holds, usage_records, usage_records.c.id == budget_holds.c.id)
        .where(left, budget_holds.c.period_id.in_(keys))
        .limit(limit)
    ).mappings()
    lapsed = [
        {"hold": row["id"], "key": row["period_id"], "booked_picousd": _may_have_cost(row)}
        for row in rows
    ]
    if lapsed:
        connection.execute(_LAPSE, lapsed)
        more = [{"key": each["key"], "more": each["booked_picousd"]} for each in lapsed]
        connection.execute(_spend(connection.dialect.name), more)
    return len(lapsed)


def prune(connection: Connection) -> None:
    """Delete periods that ended 40 days ago, and holds that lapsed as long ago."""
    before = database_now(connection) - KEPT
    holds, periods = budget_holds.c, budget_periods.c
    connection.execute(delete(budget_holds).where(~STANDS, holds.held_at < before))
    connection.execute(
        delete(budget_periods).where(
            periods.ends_at < before, ~exists().where(holds.period_id == periods.id)
        )
    )


def _locked(connection: Connection, ids: Iterable[str]) -> dict[str, RowMapping]:
    found = connection.execute(_LOCK, {"ids": list(ids)}).mappings()
    return {row["id"]: row for row in found}


def _held(connection: Connection, ids: Iterable[str]) -> dict[str, Decimal]:
    return {row[0]: row[1] for row in connection.execute(_HELD, {"ids": list(ids)})}


def _state(empty: BudgetState, row: RowMapping, held_usd: Decimal) -> BudgetState:
    return BudgetState(
        empty.budget,
        empty.start,
        empty.end,
        spent_usd=row["spent_picousd"],
        held_usd=held_usd,
        overrun_usd=row["overrun_picousd"],
        alerted=row["alerted"],
    )


def _new_row(key: str, state: BudgetState) -> Row:
    return {
        "id": key,
        "tenant": state.budget.tenant,
        "budget": cut_text(state.budget.name),
        "period": state.budget.period,
        "starts_at": state.start,
        "ends_at": state.end,
        "spent_picousd": ZERO,
        "overrun_picousd": ZERO,
        "alerted": 0,
    }


def _may_have_cost(row: RowMapping) -> Decimal:
    if row["record"] is None:
        return ZERO
    cost_usd: Decimal | None = row["cost_picousd"]
    amount_usd: Decimal = row["amount_picousd"]
    return amount_usd if cost_usd is None else cost_usd


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
    spent, more = budget_periods.c.spent_picousd, bindparam("more", type_=PicoUsd)
    rows = update(budget_periods).where(budget_periods.c.id == bindparam("key"))
    return rows.values(spent_picousd=plus(spent, more, dialect))


_IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)
_HOLD_COLUMNS = (
    budget_holds.c.id,
    budget_holds.c.period_id,
    budget_holds.c.amount_picousd,
    budget_holds.c.booked_picousd,
)
_PERIODS = select(budget_periods).where(budget_periods.c.id.in_(_IDS))
_LOCK = _PERIODS.order_by(budget_periods.c.id).with_for_update()
_HELD = (
    select(budget_holds.c.period_id, sum_usd(budget_holds.c.amount_picousd))
    .where(STANDS, budget_holds.c.period_id.in_(_IDS))
    .group_by(budget_holds.c.period_id)
)
_HOLDS = select(*_HOLD_COLUMNS).where(budget_holds.c.id.in_(_IDS))
_DROP = delete(budget_holds).where(budget_holds.c.id.in_(_IDS))
_SAVE = update(budget_periods).where(budget_periods.c.id == bindparam("key"))
_LAPSE = update(budget_holds).where(
    budget_holds.c.id == bindparam("hold"), budget_holds.c.period_id == bindparam("key")
)
