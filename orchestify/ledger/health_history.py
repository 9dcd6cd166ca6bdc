"""How the providers did, kept beside their usage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection, delete, insert, select

from orchestify.errors import LedgerError
from orchestify.ledger.journal import Journal
from orchestify.ledger.lease import database_now
from orchestify.ledger.rows import cut_text
from orchestify.ledger.schema import health_history

Snapshot: TypeAlias = Mapping[str, Any]
"""One provider's health at a moment, ready for JSON; `provider` and `status` are in it."""

EVERY_S = 300.0
KEPT = timedelta(days=30)


class HealthHistory:
    """Writes snapshots every five minutes and at the end; a chore of the ledger's writer.

    `take` returns the present health of each provider. One of which nothing is known is left
    out, so that idle hours cost no rows. After 30 days a snapshot is deleted.
    """

    def __init__(self, journal: Journal, take: Callable[[], Sequence[Snapshot]]) -> None:
        self.due_at = time.monotonic() + EVERY_S
        self._journal = journal
        self._take = take

    def run(self) -> None:
        """Write the present; where the database is away, the next one will be written."""
        self.due_at = time.monotonic() + EVERY_S
        known = [each for each in self._take() if each["status"] != "unknown"]
        if known and not self._journal.is_away:
            try:
                self._journal.transact(lambda connection: self._write(connection, known))
            except LedgerError:
                return

    def close(self) -> None:
        """Write the present once more."""
        self.run()

    def _write(self, connection: Connection, known: Sequence[Snapshot]) -> None:
        now, owner = database_now(connection), self._journal.owner
        rows = [
            {
                "provider": cut_text(each["provider"]),
                "at": now,
                "owner": owner,
                "status": each["status"],
                "snapshot": dict(each),
            }
            for each in known
        ]
        connection.execute(insert(health_history), rows)
        connection.execute(delete(health_history).where(health_history.c.at < now - KEPT))


def read_history(
    connection: Connection, provider: str | None, since: datetime | None
) -> list[Snapshot]:
    """Return what was written, oldest first; all providers' where none is named."""
    columns = health_history.c
    query = select(columns.snapshot).order_by(columns.at, columns.provider)
    if provider is not None:
        query = query.where(columns.provider == cut_text(provider))
    if since is not None:
        query = query.where(columns.at >= since)
    return list(connection.scalars(query))
