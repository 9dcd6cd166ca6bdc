"""Records and their sums, booked in one transaction, each exactly once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from sqlalchemy import Connection, Dialect, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from orchestify.ledger.record import Record
from orchestify.ledger.sql.prepared import Prepared
from orchestify.ledger.sql.rows import Row, completion_of, opening_of
from orchestify.ledger.sql.schema import IS_OPEN, SUM_COLUMNS, plus, usage_days, usage_records
from orchestify.ledger.totals import Total

DayKey: TypeAlias = tuple[str, str, str, str, str, str, str]
"""(label, tenant, day, provider, agent, model, value); label and value are "" for all records."""

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
    if not records or (len(records) == 1 and _close_open(connection, done[-1])):
        return
    states = _states(connection, records)
    unknown = [records[each] for each in sorted(records.keys() - states.keys())]
    if unknown:
        rows = [opening_of(record, owner) for record in unknown]
        statements.insert.run(connection, rows)
        states |= _states(connection, [record.id for record in unknown])
    settle(
        connection,
        [record for record in records.values() if states[record.id] != SETTLED],
        corrected={record.id for record in done if states[record.id] == CLOSED},
    )


def settle(
    connection: Connection,
    records: Sequence[Record],
    *,
    corrected: Collection[str] = (),
    owner: str | None = None,
) -> None:
    """Complete rows that the transaction has locked, and add them to the daily sums.

    `corrected` are the ids of those that stand in the sums as interrupted. With an `owner` the
    rows are not settled: a later completion corrects them.
    """
    if not records:
        return
    statements = _statements(connection.dialect)
    statements.complete.run(connection, [_completion(record, owner) for record in records])
    statements.add.run(connection, _sum_rows(records, corrected))


def _close_open(connection: Connection, record: Record) -> bool:
    """Settle a record that is open, as one that comes alone mostly is; return whether it was."""
    statements = _statements(connection.dialect)
    if not statements.complete_open.run(connection, [_completion(record)]):
        return False
    statements.add.run(connection, _sum_rows([record], ()))
    return True


def _completion(record: Record, owner: str | None = None) -> Row:
    return {"key": record.id, **completion_of(record, owner)}


def _states(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    return {
        row.id: SETTLED if row.owner is None else OPEN if row.outcome == "open" else CLOSED
        for row in connection.execute(_LOCK, {"ids": list(ids)})
    }


def _sum_rows(records: Iterable[Record], corrected: Collection[str]) -> list[Row]:
    sums: dict[DayKey, Total] = {}
    for record in records:
        cell = (record.tenant, record.day, record.provider, record.agent, record.model)
        for label, value in (("", ""), *record.labels.items()):
            if value and not label:
                continue
            total = sums.setdefault((label, *cell, value), Total())
            total.add(record)
            if record.id in corrected:
                total.merge(_CLOSED_BEFORE)
    # in one order everywhere, so that two processes never wait for each other in a circle
    return [
        {
            **dict(zip(_KEYS, key, strict=True)),
            **{column.name: getattr(sums[key], name) for name, column in SUM_COLUMNS.items()},
        }
        for key in sorted(sums)
    ]


_KEYS = ("label", "tenant", "day", "provider", "agent", "model", "value")
_CLOSED_BEFORE = Total(attempts=-1, interrupted=-1)


_LOCK = (
    select(usage_records.c.id, usage_records.c.outcome, usage_records.c.owner)
    .where(usage_records.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(usage_records.c.id)
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class _Statements:
    insert: Prepared
    complete: Prepared
    complete_open: Prepared
    add: Prepared


@lru_cache(maxsize=16)
def _statements(dialect: Dialect) -> _Statements:
    insert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
    complete = update(usage_records).where(usage_records.c.id == bindparam("key"))
    add = insert(usage_days)
    return _Statements(
        insert=Prepared(insert(usage_records).on_conflict_do_nothing()),
        complete=Prepared(complete),
        complete_open=Prepared(complete.where(IS_OPEN)),
        add=Prepared(
            add.on_conflict_do_update(
                index_elements=list(usage_days.primary_key),
                set_={
                    column.name: plus(column, add.excluded[column.name], dialect.name)
                    for column in SUM_COLUMNS.values()
                },
            )
        ),
    )
