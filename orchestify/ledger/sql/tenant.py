"""A tenant's own ledger: a part of one SQL database that others use as well."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from orchestify.errors import InvalidParameterError, LedgerError
from orchestify.ledger.base import UsageReport
from orchestify.ledger.budgets.queue import Desk
from orchestify.ledger.budgets.sql_book import SqlBudgetBook
from orchestify.ledger.budgets.store import OnThreshold
from orchestify.ledger.record import Record, unsent, utc_now
from orchestify.ledger.sql.backend import Backend
from orchestify.ledger.sql.health_history import HealthHistory, Snapshot, Take
from orchestify.ledger.sql.rows import TEXT_KEPT
from orchestify.ledger.totals import Totals
from orchestify.policy.budget import BudgetState


class Tenants:
    """What the tenants of one ledger share: the desk of their budgets, their health's history.

    One desk for all lets in many tenants' calls in one transaction.
    """

    def __init__(self, backend: Backend) -> None:
        self.desk = Desk(backend.journal, utc_now, self._tell)
        self.health = HealthHistory(backend.journal)
        self._tells: dict[str, OnThreshold | None] = {}
        self._changing = threading.Lock()
        backend.writer.chores += [self.desk, self.health]

    def listen(self, tenant: str, tell: OnThreshold | None) -> None:
        """Tell of the tenant's thresholds here from now on."""
        with self._changing:
            self._tells[tenant] = tell

    def leave(self, tenant: str, tell: OnThreshold | None) -> None:
        """Tell here no longer; who listens since then stays."""
        with self._changing:
            if self._tells.get(tenant) is tell:
                self._tells.pop(tenant, None)

    def _tell(self, state: BudgetState, share: float) -> None:
        tell = self._tells.get(state.budget.tenant)
        if tell is not None:
            tell(state, share)


class TenantLedger:
    """One tenant's records, sums, budgets and health; see `orchestify.ledger.base.Ledger`.

    It stamps its `tenant` on what is put in, and answers with nothing of another's. Several
    registries may use it one after the other: `budget_book` and `keep_health` then take the
    place of what was before, and calls under way on an older book are settled all the same.
    """

    def __init__(self, tenant: str, backend: Backend, tenants: Tenants) -> None:
        if not tenant or len(tenant) > TEXT_KEPT or not tenant.isprintable() or " " in tenant:
            raise InvalidParameterError(
                f"a tenant is a text of 1 to {TEXT_KEPT} characters without spaces"
            )
        self.tenant = tenant
        self.totals = Totals()
        self._backend = backend
        self._tenants = tenants
        self._tell: OnThreshold | None = None
        self._take: Take | None = None
        self._books: weakref.WeakSet[SqlBudgetBook] = weakref.WeakSet()
        self._is_closed = False

    @property
    def is_behind(self) -> bool:
        """Whether the database is away, or records have yet to reach it: sums may be too low."""
        return self._backend.is_behind

    async def open(self, record: Record) -> None:
        """Record an attempt; returns when it survives the end of this process.

        Raises:
            LedgerError: it could not be recorded anywhere, or the ledger is closed.
        """
        if self._is_closed:
            raise LedgerError("the tenant's ledger is closed")
        record.tenant = self.tenant
        try:
            await self._backend.open(record)
        except asyncio.CancelledError:
            self.complete(unsent(record))
            raise

    def complete(self, record: Record) -> None:
        """Complete an opened attempt; the thread writes it, also after `aclose`."""
        record.tenant = self.tenant
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
        """Return this tenant's usage; see `SqlLedger.usage`.

        Raises:
            InvalidParameterError: an axis that does not exist, another tenant, or records that
                were pruned.
            LedgerError: the database could not be read.
        """
        if where and where.get("tenant", self.tenant) != self.tenant:
            raise InvalidParameterError(
                f"the ledger of the tenant {self.tenant} reports no other tenant"
            )
        return await self._backend.usage(by, since, until, where or {}, self.tenant)

    def budget_book(self, on_threshold: OnThreshold | None = None) -> SqlBudgetBook:
        """Return the tenant's budgets, which hold in all processes with this database."""
        self._tell = on_threshold
        self._tenants.listen(self.tenant, on_threshold)
        book = SqlBudgetBook(self._tenants.desk, self._backend, tenant=self.tenant)
        self._books.add(book)
        return book

    def keep_health(self, take: Callable[[], Sequence[Snapshot]]) -> None:
        """Write what `take` returns, the providers' present health, from time to time."""
        self._take = take
        self._tenants.health.keep(take, self.tenant)

    async def health_history(
        self, provider: str | None = None, since: datetime | None = None
    ) -> list[Snapshot]:
        """Return the tenant's health that was written since then, oldest first.

        Raises:
            LedgerError: the database could not be read.
        """
        return await self._backend.health_history(self.tenant, provider, since)

    async def aclose(self) -> None:
        """Write what is pending of this tenant; the others' ledgers go on.

        Calls still under way are written when they end.

        Raises:
            LedgerError: completed records could not be written; the thread goes on trying.
        """
        self._is_closed = True
        for book in list(self._books):
            book.close()
        if self._take is not None:
            self._tenants.health.leave(self._take, self.tenant)
        self._backend.wake()
        try:
            await self._backend.drain()
        finally:
            self._tenants.leave(self.tenant, self._tell)
