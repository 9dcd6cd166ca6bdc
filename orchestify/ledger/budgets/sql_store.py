"""Budgets in the ledger's database: the store, and the rows of periods and reservations.

The reservations of a process that dies lapse once its lease is over. Where the attempt's record
was opened, something may have been sent: its cost is booked as spent, or the whole amount as
possibly spent where the record does not say. A reservation without a record is dropped. The row
stays for a while, so that an owner that comes back still settles it at what the attempt cost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
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
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from orchestify.ledger.budgets.reservation import Reservation, ReservationRequest, Settlement
from orchestify.ledger.record import new_id, utc_now
from orchestify.ledger.sql.rows import Row, cut_text
from orchestify.ledger.sql.schema import (
    PICO,
    STANDS,
    PicoUsd,
    budget_holds,
    budget_periods,
    database_now,
    leases,
    plus,
    sum_usd,
    usage_records,
)
from orchestify.policy.budget import ZERO, Budget, BudgetState, period_bounds
from orchestify.values import MOST_USD

T = TypeVar("T")

Put: TypeAlias = Callable[[ReservationRequest | Settlement | None], None]
"""Takes a request or a settlement for the worker; None to have it look at its queue again."""

KEPT = timedelta(days=40)
"""How long a period's row, and a lapsed reservation's, is kept after its end."""

_UNIT = Decimal(1).scaleb(-PICO)


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
        amount_usd: Decimal,
    ) -> None:
        """Return None: only the worker's transaction can reserve."""

    def submit(self, request: ReservationRequest) -> None:
        """Have the worker answer the request."""
        request.amount_usd = kept_usd(request.amount_usd)
        self._put(request)

    def look(self, request: ReservationRequest) -> None:
        """Have the worker look at its queue again."""
        self._put(None)

    def settle(
        self, reservation: Reservation, cost_usd: Decimal, possible_usd: Decimal = ZERO
    ) -> None:
        """Have the worker book a cost; an unstored reservation without a cost needs no booking."""
        is_stored = reservation.id != ""
        if reservation.states and (is_stored or cost_usd):
            reservation.id = reservation.id or new_id()
            possible_usd = kept_usd(possible_usd)
            self._put(Settlement(reservation, kept_usd(cost_usd), is_stored, possible_usd))

    def present(self, budget: Budget) -> BudgetState:
        """Return an empty state that names the budget's present period."""
        return BudgetState(budget, *period_bounds(budget.period, self.now()))

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
    _stored: Row = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._stored = self.row

    @property
    def row(self) -> Row:
        """The columns that change, with their present values."""
        return {
            "key": self.id,
            "spent_picousd": self.state.spent_usd,
            "overrun_picousd": self.state.overrun_usd,
            "possible_picousd": self.state.possible_usd,
            "alerted": self.state.alerted,
            "turn_owner": self.lease_owner,
            "turn_until": self.lease_until,
        }

    @property
    def is_changed(self) -> bool:
        """Whether the database has it otherwise."""
        return self.row != self._stored

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
    whose = f"@{budget.tenant}" if budget.tenant else ""
    return f"{state.start:%Y-%m-%dT%H:%MZ} {budget.period}{whose} {cut_text(budget.name)}"


def kept_usd(amount_usd: Decimal) -> Decimal:
    """Return the amount as it is kept: whole units, rounded up, at most 1e6 USD."""
    return min(amount_usd, MOST_USD).quantize(_UNIT, "ROUND_CEILING")


def lock(connection: Connection, wanted: Mapping[str, BudgetState]) -> dict[str, PeriodRow]:
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
        key: PeriodRow(
            key,
            _state(wanted[key], row, held.get(key, ZERO)),
            row["turn_owner"],
            row["turn_until"],
        )
        for key, row in rows.items()
    }


def read(connection: Connection, wanted: BudgetState) -> BudgetState:
    """Return a state from the database, without a lock."""
    key = period_id(wanted)
    row = connection.execute(_PERIODS, {"ids": [key]}).mappings().first()
    if row is None:
        return wanted
    return _state(wanted, row, _held(connection, [key]).get(key, ZERO))


def settle(
    connection: Connection, periods: Mapping[str, PeriodRow], settled: Mapping[str, Settlement]
) -> None:
    """Replace the reservations with these ids by their costs; what is not there has ended."""
    for row in connection.execute(_RESERVATIONS, {"ids": list(settled)}).mappings():
        state = periods[row["period_id"]].state
        if row["booked_picousd"] is not None:
            state.held_usd += row["amount_picousd"]
            state.spent_usd -= row["booked_picousd"]
            state.possible_usd -= row["possible_picousd"] or ZERO
        cost = settled[row["id"]]
        state.settle(row["amount_picousd"], cost.cost_usd, cost.possible_usd)
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
            "amount_picousd": each.amount_usd,
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
        )
        .outerjoin_from(budget_holds, usage_records, usage_records.c.id == budget_holds.c.id)
        .where(abandoned, budget_holds.c.period_id.in_(keys))
        .limit(limit)
    ).mappings()
    lapsed = [
        {"reservation": row["id"], "key": row["period_id"], **_may_have_cost(row)} for row in rows
    ]
    if lapsed:
        connection.execute(_LAPSE, lapsed)
        more = [
            {
                "key": each["key"],
                "more": each["booked_picousd"],
                "possible": each["possible_picousd"],
            }
            for each in lapsed
        ]
        connection.execute(_spend(connection.dialect.name), more)
    return len(lapsed)


def prune(connection: Connection) -> None:
    """Delete periods that ended 40 days ago, and reservations that lapsed as long ago."""
    before = database_now(connection) - KEPT
    reservations, periods = budget_holds.c, budget_periods.c
    connection.execute(delete(budget_holds).where(~STANDS, reservations.held_at < before))
    connection.execute(
        delete(budget_periods).where(
            periods.ends_at < before, ~exists().where(reservations.period_id == periods.id)
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
        possible_usd=row["possible_picousd"],
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
        "possible_picousd": ZERO,
        "alerted": 0,
    }


def _may_have_cost(row: RowMapping) -> dict[str, Decimal]:
    """What is booked of a lapsed reservation, and what is possible where its record says nothing.

    One whose record says that it was refused cost nothing; one without a record was never sent.
    """
    spent_usd: Decimal | None = row["cost_picousd"]
    if row["record"] is None or spent_usd is not None:
        return {"booked_picousd": spent_usd or ZERO, "possible_picousd": ZERO}
    at_most_usd: Decimal | None = row["cost_at_most_picousd"]
    amount_usd: Decimal = row["amount_picousd"]
    possible_usd = amount_usd if at_most_usd is None else min(at_most_usd, amount_usd)
    return {"booked_picousd": ZERO, "possible_picousd": possible_usd}


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
    maybe = bindparam("possible", type_=PicoUsd)
    rows = update(budget_periods).where(budget_periods.c.id == bindparam("key"))
    return rows.values(
        spent_picousd=plus(spent, more, dialect),
        possible_picousd=plus(budget_periods.c.possible_picousd, maybe, dialect),
    )


_IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)
_RESERVATION_COLUMNS = (
    budget_holds.c.id,
    budget_holds.c.period_id,
    budget_holds.c.amount_picousd,
    budget_holds.c.booked_picousd,
    budget_holds.c.possible_picousd,
)
_PERIODS = select(budget_periods).where(budget_periods.c.id.in_(_IDS))
_LOCK = _PERIODS.order_by(budget_periods.c.id).with_for_update()
_HELD = (
    select(budget_holds.c.period_id, sum_usd(budget_holds.c.amount_picousd))
    .where(STANDS, budget_holds.c.period_id.in_(_IDS))
    .group_by(budget_holds.c.period_id)
)
_RESERVATIONS = select(*_RESERVATION_COLUMNS).where(budget_holds.c.id.in_(_IDS))
_DROP = delete(budget_holds).where(budget_holds.c.id.in_(_IDS))
_SAVE = update(budget_periods).where(budget_periods.c.id == bindparam("key"))
_LAPSE = update(budget_holds).where(
    budget_holds.c.id == bindparam("reservation"), budget_holds.c.period_id == bindparam("key")
)
