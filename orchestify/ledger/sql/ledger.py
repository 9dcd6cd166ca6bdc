"""The ledger in a SQL database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from orchestify.database.sql import Database
from orchestify.errors import LedgerError
from orchestify.ledger.base import UsageReport
from orchestify.ledger.budgets.queue import Desk
from orchestify.ledger.budgets.sql_book import SqlBudgetBook
from orchestify.ledger.budgets.store import OnThreshold
from orchestify.ledger.record import Record, unsent, utc_now
from orchestify.ledger.sql.backend import Backend
from orchestify.ledger.sql.health_history import HealthHistory, Snapshot
from orchestify.ledger.sql.pruning import PRUNE_CHUNK, prune
from orchestify.ledger.sql.spool import Spool
from orchestify.ledger.sql.tenant import TenantLedger, Tenants
from orchestify.ledger.totals import Totals
from orchestify.policy.wait_queue import CallLater, call_later


class SqlLedger:
    """Records every attempt in SQLite or PostgreSQL; see `orchestify.ledger.base.Ledger`.

    It may be used from several threads and event loops. Its thread starts with the first
    record, so that a process may fork before that, and not after. What is put in here is of no
    tenant (""), but `usage` covers the whole database; a tenant's part of it is `for_tenant`.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool | None = None,
        *,
        keep_days: int | None = None,
        lease_s: float = 30.0,
    ) -> None:
        self.totals = Totals()
        self._backend = Backend(database, spool, keep_days=keep_days, lease_s=lease_s)
        self._tenants: Tenants | None = None

    def for_tenant(self, tenant: str) -> TenantLedger:
        """Return a tenant's own ledger in this database; all share one thread and connections.

        Raises:
            InvalidParameterError: no name of a tenant.
        """
        with self._backend.starting:
            self._tenants = self._tenants or Tenants(self._backend)
        return TenantLedger(tenant, self._backend, self._tenants)

    @property
    def is_behind(self) -> bool:
        """Whether the database is away, or records have yet to reach it: sums may be too low."""
        return self._backend.is_behind

    async def open(self, record: Record) -> None:
        """Record an attempt; returns when it survives the end of this process.

        Raises:
            LedgerError: it could not be recorded anywhere, or the ledger is closed.
        """
        try:
            await self._backend.open(record)
        except asyncio.CancelledError:
            self.complete(unsent(record))
            raise

    def complete(self, record: Record) -> None:
        """Complete an opened attempt; the thread writes it."""
        self._backend.complete(record)
        self.totals.add(record)

    async def usage(
        self,
        by: str | Sequence[str] = "provider",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, str] | None = None,
    ) -> UsageReport:
        """Return what the database says, with all that was completed here before.

        Two labels at once, and days that `since` and `until` break, are read from the records.

        Raises:
            InvalidParameterError: an axis that does not exist, or records that were pruned.
            LedgerError: the database could not be read.
        """
        return await self._backend.usage(by, since, until, where or {})

    async def prune(self, keep_days: int) -> int:
        """Delete completed records from before the last `keep_days` days; return how many.

        The daily sums stay.

        Raises:
            LedgerError: the database could not be written.
        """
        deleted = 0
        while True:
            chunk = await asyncio.to_thread(
                self._backend.database.run, lambda connection: prune(connection, keep_days)
            )
            deleted += chunk
            if chunk < PRUNE_CHUNK:
                return deleted

    async def aclose(self) -> None:
        """Write what is pending and close; calls still under way are written when they end.

        Raises:
            LedgerError: completed records could not be written; the database has them as open.
        """
        left = await asyncio.to_thread(self._backend.close)
        if left:
            raise LedgerError(f"{left} completed records could not be written; they stay open")

    def budget_book(
        self,
        on_threshold: OnThreshold | None = None,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
        call_later: CallLater = call_later,
    ) -> SqlBudgetBook:
        """Return the budgets that hold in all processes with this database; see `BudgetBook`."""
        desk = Desk(self._backend.journal, now, on_threshold)
        self._backend.writer.chores.append(desk)
        return SqlBudgetBook(desk, self._backend, now=now, clock=clock, call_later=call_later)

    def keep_health(self, take: Callable[[], Sequence[Snapshot]]) -> None:
        """Write what `take` returns, the providers' present health, from time to time."""
        history = HealthHistory(self._backend.journal)
        history.keep(take)
        self._backend.writer.chores.append(history)

    async def health_history(
        self, provider: str | None = None, since: datetime | None = None
    ) -> list[Snapshot]:
        """Return the health that was written since then, of one provider or of all, oldest first.

        Raises:
            LedgerError: the database could not be read.
        """
        return await self._backend.health_history("", provider, since)
