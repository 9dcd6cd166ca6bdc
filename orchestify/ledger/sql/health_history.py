"""Snapshots of the providers' health, written every five minutes and read by time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection, delete, insert, select

from orchestify.errors import LedgerError
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.rows import cut_text
from orchestify.ledger.sql.schema import database_now, health_history

Snapshot: TypeAlias = Mapping[str, Any]
"""One provider's health at a moment, ready for JSON; `provider` and `status` are in it."""

Take: TypeAlias = Callable[[], Sequence[Snapshot]]
"""Returns the present health of each provider."""

EVERY_S = 300.0
KEPT = timedelta(days=30)


class HealthHistory:
    """Writes snapshots every five minutes and at the end; a chore of the ledger's writer.

    There is one `Take` a tenant; `keep` and `leave` may be called from any thread. A provider of
    which nothing is known is left out, so that idle hours cost no rows. After 30 days a
    snapshot is deleted.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._takes: dict[str, Take] = {}
        self._last: list[tuple[str, Take]] = []  # of those who left: to be written once more
        self._next_at = time.monotonic() + EVERY_S
        self._changing = threading.Lock()

    def keep(self, take: Take, tenant: str = "") -> None:
        """Write what `take` returns from now on, in place of the tenant's previous one."""
        with self._changing:
            if tenant in self._takes:
                self._last.append((tenant, self._takes[tenant]))
            self._takes[tenant] = take

    def leave(self, take: Take, tenant: str = "") -> None:
        """Write it once more, and then no longer; another one of the tenant's stays."""
        with self._changing:
            if self._takes.get(tenant) is take:
                self._last.append((tenant, self._takes.pop(tenant)))

    @property
    def due_at(self) -> float:
        """When the present is to be written, on the monotonic clock."""
        return 0.0 if self._last else self._next_at

    def run(self) -> None:
        """Write the snapshots that are due."""
        with self._changing:
            takes, self._last = self._last, []
            if time.monotonic() >= self._next_at:
                takes += self._takes.items()
                self._next_at = time.monotonic() + EVERY_S
        self._keep(takes)

    def close(self) -> None:
        """Write the present once more."""
        with self._changing:
            takes, self._last = [*self._last, *self._takes.items()], []
        self._keep(takes)

    def _keep(self, takes: Sequence[tuple[str, Take]]) -> None:
        """Write the present; where the database is away, the next one will be written."""
        known = {
            (tenant, cut_text(each["provider"])): each
            for tenant, take in takes
            for each in take()
            if each["status"] != "unknown"
        }
        if known and not self._journal.is_away:
            try:
                self._journal.transact(lambda connection: self._write(connection, known))
            except LedgerError:
                return

    def _write(self, connection: Connection, known: Mapping[tuple[str, str], Snapshot]) -> None:
        now, owner = database_now(connection), self._journal.owner
        rows = [
            {
                "tenant": tenant,
                "provider": provider,
                "at": now,
                "owner": owner,
                "status": each["status"],
                "snapshot": dict(each),
            }
            for (tenant, provider), each in known.items()
        ]
        connection.execute(insert(health_history), rows)
        connection.execute(delete(health_history).where(health_history.c.at < now - KEPT))


def read_history(
    connection: Connection, tenant: str, provider: str | None, since: datetime | None
) -> list[Snapshot]:
    """Return what was written, oldest first; all the tenant's providers' where none is named."""
    columns = health_history.c
    query = select(columns.snapshot).where(columns.tenant == tenant)
    query = query.order_by(columns.at, columns.provider)
    if provider is not None:
        query = query.where(columns.provider == cut_text(provider))
    if since is not None:
        query = query.where(columns.at >= since)
    return list(connection.scalars(query))
