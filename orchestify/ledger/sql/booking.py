"""Booking: records and their daily sums in one transaction, each record exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import UpdateBase

from orchestify.database.sqlite import driver_of
from orchestify.ledger.memory import Total
from orchestify.ledger.record import Record
from orchestify.ledger.sql.rows import Row, completion_of, opening_of
from orchestify.ledger.sql.schema import IS_OPEN, SUM_COLUMNS, plus, usage_days, usage_records
from orchestify.policy.budget import ZERO

NOTHING_CORRECTED: Mapping[str, Decimal] = {}
OPEN, CLOSED, SETTLED = "open", "closed", "settled"


def book(connection: Connection, owner: str, opens: Sequence[Row], done: Sequence[Record]) -> None:
    """Insert opened rows, complete others, and add the completed to the daily sums.

    Ids are the key: a row that is there is not inserted, a record that is completed not booked
    again, so that the same call may be repeated. A record in `done` that was never opened here
    is booked whole; one that was closed for its owner as interrupted is corrected.
    """
    statements = _statements(connection.dialect)
    if opens:
        statements.insert.run(connection, opens)
    records = {record.id: record for record in done}
    if len(records) == 1 or connection.dialect.name == "sqlite":
        records = _close_open(connection, records)
    if not records:
        return
    states = _states(connection, records)
    unknown = [records[each] for each in sorted(records.keys() - states.keys())]
    if unknown:
        rows = [opening_of(record, owner) for record in unknown]
        statements.insert.run(connection, rows)
        states |= _states(connection, [record.id for record in unknown])
    settle(
        connection,
        [record for record in records.values() if states[record.id].name != SETTLED],
        corrected={
            record.id: states[record.id].possible_usd
            for record in records.values()
            if states[record.id].name == CLOSED
        },
    )


def settle(
    connection: Connection,
    records: Sequence[Record],
    *,
    corrected: Mapping[str, Decimal] = NOTHING_CORRECTED,
    owner: str | None = None,
) -> None:
    """Complete rows that the transaction has locked, and add them to the daily sums.

    `corrected` has the ids of those that stand in the sums as interrupted, and what these say they
    may have cost. With an `owner` the
    rows are not settled: a later completion corrects them.
    """
    if not records:
        return
    statements = _statements(connection.dialect)
    statements.complete.run(connection, [_completion(record, owner) for record in records])
    statements.add.run(connection, _sum_rows(records, corrected))


def _close_open(connection: Connection, records: Mapping[str, Record]) -> dict[str, Record]:
    """Settle those that are open here, as nearly all are, and return the others.

    Each is a statement of its own, which costs little where there is no server to wait for.
    """
    statements = _statements(connection.dialect)
    others = {
        record.id: record
        for record in records.values()
        if not statements.complete_open.run(connection, [_completion(record)])
    }
    closed = [record for record in records.values() if record.id not in others]
    if closed:
        statements.add.run(connection, _sum_rows(closed, NOTHING_CORRECTED))
    return others


def _completion(record: Record, owner: str | None = None) -> Row:
    return {"record_id": record.id, **completion_of(record, owner)}


class _State(NamedTuple):
    name: str
    possible_usd: Decimal


def _states(connection: Connection, ids: Iterable[str]) -> dict[str, _State]:
    return {
        row.id: _State(
            SETTLED if row.owner is None else OPEN if row.outcome == "open" else CLOSED,
            row.cost_at_most_picousd or ZERO,
        )
        for row in connection.execute(_LOCK, {"ids": list(ids)})
    }


def _sum_rows(records: Iterable[Record], corrected: Mapping[str, Decimal]) -> list[Row]:
    sums: dict[tuple[str, ...], Total] = {}
    for record in records:
        axes = _axes_of(record)
        for label, value in (("", ""), *record.labels.items()):
            if value and not label:
                continue
            total = sums.setdefault((label, *axes, value), Total())
            total.add(record)
            if record.id in corrected:
                closed = replace(_CLOSED_BEFORE, possible_usd=-corrected[record.id])
                total.merge(closed)
    # in one order everywhere, so that two processes never wait for each other in a circle
    return [dict(zip(_SUMMED, (*key, *_sums_of(sums[key])), strict=True)) for key in sorted(sums)]


_KEYS = tuple(usage_days.primary_key.columns.keys())
"""A label, the axes that are summed, the label's value; label and value are "" for all records."""
_axes_of = attrgetter(*_KEYS[1:-1])
_SUMMED = (*_KEYS, *(column.name for column in SUM_COLUMNS.values()))
_sums_of = attrgetter(*SUM_COLUMNS)
_CLOSED_BEFORE = Total(attempts=-1, interrupted=-1)


_LOCK = (
    select(
        usage_records.c.id,
        usage_records.c.outcome,
        usage_records.c.owner,
        usage_records.c.cost_at_most_picousd,
    )
    .where(usage_records.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(usage_records.c.id)
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class _Statements:
    insert: _Prepared
    complete: _Prepared
    complete_open: _Prepared
    add: _Prepared


@lru_cache(maxsize=16)
def _statements(dialect: Dialect) -> _Statements:
    insert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
    complete = update(usage_records).where(usage_records.c.id == bindparam("record_id"))
    add = insert(usage_days)
    return _Statements(
        insert=_Prepared(insert(usage_records).on_conflict_do_nothing()),
        complete=_Prepared(complete),
        complete_open=_Prepared(complete.where(IS_OPEN)),
        add=_Prepared(
            add.on_conflict_do_update(
                index_elements=list(usage_days.primary_key),
                set_={
                    column.name: plus(column, add.excluded[column.name], dialect.name)
                    for column in SUM_COLUMNS.values()
                },
            )
        ),
    )


class _Prepared:
    """An INSERT or UPDATE compiled once for one dialect; the first row names its parameters.

    Where calls are rare, so that the processor's caches are cold, SQLAlchemy's compilation of a
    statement takes several times as long as the database.
    """

    def __init__(self, statement: UpdateBase) -> None:
        self._statement = statement
        self._text = ""

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute it for each row of parameters; return how many of the table's rows changed."""
        if not self._text:
            self._compile(connection, rows[0])
        given = [self._parameters(row) for row in rows]
        is_one = len(given) == 1
        if connection.dialect.name != "sqlite":
            return connection.exec_driver_sql(self._text, given[0] if is_one else given).rowcount
        driver = driver_of(connection)
        if is_one:
            return driver.execute(self._text, given[0]).rowcount
        return driver.executemany(self._text, given).rowcount

    def _compile(self, connection: Connection, row: Mapping[str, Any]) -> None:
        dialect = connection.dialect
        compiled = self._statement.compile(dialect=dialect, column_keys=list(row))
        names = (compiled.positiontup if dialect.positional else None) or [*row]
        self._values = itemgetter(*names) if dialect.positional else None
        processors = (
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in names
        )
        self._fits = [
            (place if dialect.positional else name, fit)
            for place, (name, fit) in enumerate(processors)
            if fit is not None
        ]
        self._text = str(compiled)

    def _parameters(self, row: Mapping[str, Any]) -> Any:
        given: Any = dict(row) if self._values is None else [*self._values(row)]
        for place, fit in self._fits:
            given[place] = fit(given[place])
        return given
