"""The spool: a local file in which records wait while PostgreSQL is away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL, Connection, bindparam, delete, func, select
from sqlalchemy.dialects import sqlite

from orchestify.database.sqlite import Durability
from orchestify.errors import LedgerError
from orchestify.ledger.record import Record
from orchestify.ledger.sql.rows import Row, completion_of, opening_of, record_of
from orchestify.ledger.sql.schema import RECORD_COLUMNS, ledger_database, usage_records
from orchestify.resources.file_permissions import make_private

CHUNK = 500


class Spool:
    """Records on their way to the database; only `usage_records` is used, no sums.

    Several processes may share the file: an id may be moved twice, since it is booked once.
    Only its owner may read it.
    """

    def __init__(self, path: Path, durability: Durability = "process") -> None:
        self._path = path
        self._file = ledger_database(URL.create("sqlite", database=str(path)), durability)

    def add(self, owner: str, opens: Sequence[Record], done: Sequence[Record]) -> None:
        """Keep opened and completed records.

        Raises:
            LedgerError: the file cannot be written.
        """

        def write(connection: Connection) -> None:
            if opens:
                connection.execute(_OPEN, [opening_of(record, owner) for record in opens])
            if done:
                rows = [opening_of(record, owner) | completion_of(record) for record in done]
                connection.execute(_COMPLETE, rows)

        self._make()
        self._file.run(write)

    def count(self, tenant: str | None = None) -> int:
        """Return how many records wait, of one tenant or of all.

        Raises:
            LedgerError: the file cannot be read.
        """
        if not self._path.exists():
            return 0
        count = _COUNT if tenant is None else _COUNT.where(usage_records.c.tenant == tenant)
        return self._file.run(lambda c: c.scalar(count) or 0, read_only=True)

    def first(self) -> tuple[list[Row], list[Record]]:
        """Return the next to be moved, at most 500: open ones as rows, completed as records.

        Raises:
            LedgerError: the file cannot be read.
        """

        def read(connection: Connection) -> tuple[list[Row], list[Record]]:
            rows = connection.execute(_FIRST).mappings().all()
            return (
                [
                    opening_of(record_of(row), row["owner"])
                    for row in rows
                    if row["outcome"] == "open"
                ],
                [record_of(row) for row in rows if row["outcome"] != "open"],
            )

        return self._file.run(read, read_only=True)

    def remove(self, opens: Sequence[Row], done: Sequence[Record]) -> None:
        """Delete moved records; an open one that was completed meanwhile is kept.

        Raises:
            LedgerError: the file cannot be written.
        """
        keys = [{"key": row["id"], "was": "open"} for row in opens]
        keys += [{"key": record.id, "was": record.outcome} for record in done]
        self._file.run(lambda connection: connection.execute(_REMOVE, keys))

    def dispose(self) -> None:
        """Close the file."""
        self._file.dispose()

    def _make(self) -> None:
        if self._path.exists():
            return
        try:
            make_private(self._path)
        except OSError as error:
            reason = (error.strerror or "no reason given").lower()
            raise LedgerError(f"{self._path} cannot be made: {reason}") from None


_OPEN = sqlite.insert(usage_records).on_conflict_do_nothing()
_COMPLETE = sqlite.insert(usage_records)
_COMPLETE = _COMPLETE.on_conflict_do_update(
    index_elements=["id"],
    set_={column.name: _COMPLETE.excluded[column.name] for column in RECORD_COLUMNS},
)
_COUNT = select(func.count()).select_from(usage_records)
_FIRST = select(*RECORD_COLUMNS).order_by(usage_records.c.started_at).limit(CHUNK)
_REMOVE = delete(usage_records).where(
    usage_records.c.id == bindparam("key"), usage_records.c.outcome == bindparam("was")
)
