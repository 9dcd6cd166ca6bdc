"""Records and their sums, booked in one transaction, each exactly once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from sqlalchemy import Connection, Insert, Select, Update, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from orchestify.ledger.record import Record
from orchestify.ledger.rows import Row, completion_of, opening_of
from orchestify.ledger.schema import SUM_COLUMNS, plus, usage_days, usage_records
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
    statements = _statements(connection.dialect.name)
    if opens:
        connection.execute(statements.insert, opens)
    if not done:
        return
    records = {record.id: record for record in done}
    states = _states(connection, records)
    unknown = [records[each] for each in sorted(records.keys() - states.keys())]
    if unknown:
        rows = [opening_of(record, owner) for record in unknown]
        connection.execute(statements.insert, rows)
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
    statements = _statements(connection.dialect.name)
    rows = [{"key": record.id, **completion_of(record, owner)} for record in records]
    connection.execute(statements.complete, rows)
    connection.execute(statements.add, _sum_rows(records, corrected))


def _states(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    statement = _statements(connection.dialect.name).lock
    return {
        row.id: SETTLED if row.owner is None else OPEN if row.outcome == "open" else CLOSED
        for row in connection.execute(statement, {"ids": list(ids)})
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


@dataclass(frozen=True, slots=True)
class _Statements:
    insert: Insert
    lock: Select[tuple[str, str, str | None]]
    complete: Update
    add: Insert


@cache
def _statements(dialect: str) -> _Statements:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    records = usage_records
    add = insert(usage_days)
    return _Statements(
        insert=insert(records).on_conflict_do_nothing(),
        lock=select(records.c.id, records.c.outcome, records.c.owner)
        .where(records.c.id.in_(bindparam("ids", expanding=True)))
        .order_by(records.c.id)
        .with_for_update(),
        complete=update(records).where(records.c.id == bindparam("key")),
        add=add.on_conflict_do_update(
            index_elements=list(usage_days.primary_key),
            set_={
                column.name: plus(column, add.excluded[column.name], dialect)
                for column in SUM_COLUMNS.values()
            },
        ),
    )
