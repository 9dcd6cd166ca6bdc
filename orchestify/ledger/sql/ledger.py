"""The ledger in a SQL database: of all its tenants, or of one."""

from __future__ import annotations

import asyncio
import copy
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from orchestify.database.sql import Database
from orchestify.errors import InvalidParameterError, LedgerError
from orchestify.ledger.base import UsageReport
from orchestify.ledger.budgets.reservation import OnThreshold
from orchestify.ledger.budgets.sql_store import SqlStore
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.memory import Totals
from orchestify.ledger.record import Record, unsent, utc_now
from orchestify.ledger.sql.backend import Backend
from orchestify.ledger.sql.batches import SqlBatches
from orchestify.ledger.sql.health_history import Snapshot, Take
from orchestify.ledger.sql.reading import read_failures
from orchestify.ledger.sql.rows import TEXT_KEPT
from orchestify.ledger.sql.schema import claim_setting
from orchestify.ledger.sql.spool import Spool
from orchestify.ledger.sql.upkeep import PRUNE_CHUNK, prune
from orchestify.policy.wait_queue import CallLater, call_later


class SqlLedger:
    """Records every attempt in SQLite or PostgreSQL; see `orchestify.ledger.base.Ledger`.

    It may be used from several threads and event loops. Its thread starts with the first
    record, so that a process may fork before that, and not after. What is put in belongs to no
    tenant (""), and `usage` covers the whole database.

    `for_tenant` returns a tenant's part of it: that ledger stamps its `tenant` on what is put
    in, and answers with nothing of another's. Several registries may use one ledger, one after
    the other: a later `budget_book` or `keep_health` takes the place of the one before, and
    calls under way on an older book are settled all the same. `now` is the time of day, for
    the budgets' periods.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool | None = None,
        *,
        keep_days: int | None = None,
        lease_s: float = 30.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._backend = Backend(database, spool, keep_days=keep_days, lease_s=lease_s, now=now)
        self._begin(tenant=None)

    def _begin(self, tenant: str | None) -> None:
        """Set the part of the state that no other ledger shares."""
        self.totals = Totals()
        self._tenant = tenant
        self._listener: OnThreshold | None = None
        self._taker: Take | None = None
        self._books: weakref.WeakSet[BudgetBook] = weakref.WeakSet()
        self._is_closed = False

    def for_tenant(self, tenant: str) -> SqlLedger:
        """Return a tenant's own ledger in this database; all share one thread and connections.

        Raises:
            InvalidParameterError: no name of a tenant, or this is a tenant's ledger.
        """
        self._require_whole()
        if not tenant or len(tenant) > TEXT_KEPT or not tenant.isprintable() or " " in tenant:
            raise InvalidParameterError(
                f"a tenant is a text of 1 to {TEXT_KEPT} characters without spaces"
            )
        part = copy.copy(self)
        part._begin(tenant)
        return part

    @property
    def tenant(self) -> str:
        """The tenant of this ledger, "" for the whole database."""
        return self._tenant or ""

    @property
    def database(self) -> Database:
        """The database, of all tenants."""
        return self._backend.database

    @property
    def is_behind(self) -> bool:
        """Whether the database is away, or records have yet to reach it: sums may be too low."""
        return self._backend.is_behind

    @property
    def is_failing(self) -> bool:
        """Whether nothing can be booked at present; `problem` says why."""
        return self._backend.is_failing

    @property
    def problem(self) -> str:
        """The ledger's present problem in words, "" without one."""
        return self._backend.problem

    def start(self) -> None:
        """Begin to write now, not with the first record; the process may not fork any more.

        From then on the records of dead processes are closed as their leases run out.

        Raises:
            LedgerError: the ledger is closed, or was begun before this process forked.
        """
        self._backend.start()

    async def open(self, record: Record) -> None:
        """Record an attempt; returns when it survives the end of this process.

        Raises:
            LedgerError: it could not be recorded anywhere, or the ledger is closed.
        """
        if self._is_closed:
            raise LedgerError("the tenant's ledger is closed")
        self._stamp(record)
        try:
            await self._backend.open(record)
        except asyncio.CancelledError:
            self.complete(unsent(record))
            raise

    def complete(self, record: Record) -> None:
        """Complete an opened attempt; the thread writes it, also after `aclose`."""
        self._stamp(record)
        self._backend.complete(record)
        self.totals.add(record)

    def book(self, record: Record) -> None:
        """Book what was answered without an attempt; the thread writes it.

        Raises:
            LedgerError: the ledger is closed.
        """
        if self._is_closed:
            raise LedgerError("the tenant's ledger is closed")
        self._backend.start()
        self.complete(record)

    async def usage(
        self,
        by: str | Sequence[str] = "provider",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, str] | None = None,
    ) -> UsageReport:
        """Read usage from the database, with all that was completed here before.

        Two labels at once, and days that `since` and `until` break, are read from the records.

        Raises:
            InvalidParameterError: an axis that does not exist, another tenant than this
                ledger's, or records that were pruned.
            LedgerError: the database could not be read.
        """
        asked = where.get("tenant", self.tenant) if isinstance(where, Mapping) else self.tenant
        if self._tenant is not None and asked != self.tenant:
            raise InvalidParameterError(
                f"the ledger of the tenant {self.tenant} reports no other tenant"
            )
        return await self._backend.usage(by, since, until, where or {}, self._tenant)

    async def recent_failures(self, most: int) -> list[tuple[datetime, str, str, str, str]]:
        """Return the latest attempts that were not ok, at most so many, the latest first.

        Each is when it began, provider, model, agent and the error's class. They are looked for
        among the latest 2,000 attempts.

        Raises:
            LedgerError: the database could not be read.
        """
        return await asyncio.to_thread(
            self._backend.read,
            lambda connection: read_failures(connection, self._tenant, most),
        )

    async def prune(self, keep_days: int) -> int:
        """Delete completed records from before the last `keep_days` days; return how many.

        The daily sums stay. It concerns all tenants.

        Raises:
            InvalidParameterError: this is a tenant's ledger.
            LedgerError: the database could not be written.
        """
        self._require_whole()
        deleted = 0
        while True:
            chunk = await asyncio.to_thread(
                self._backend.database.run, lambda connection: prune(connection, keep_days)
            )
            deleted += chunk
            if chunk < PRUNE_CHUNK:
                return deleted

    def budget_book(
        self,
        on_threshold: OnThreshold | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        call_later: CallLater = call_later,
    ) -> BudgetBook:
        """Return the budgets that hold in all processes with this database; see `BudgetBook`."""
        backend = self._backend
        self._listener = on_threshold
        backend.reservations.listen(self.tenant, on_threshold)
        store = SqlStore(backend.reservations.put, backend, backend.now)
        book = BudgetBook(store, tenant=self.tenant, clock=clock, call_later=call_later)
        self._books.add(book)
        return book

    def batch_store(self) -> SqlBatches:
        """Return what keeps the batches that are left to providers."""
        return SqlBatches(self._backend, self.tenant, self.totals)

    def keep_health(self, take: Callable[[], Sequence[Snapshot]]) -> None:
        """Write the providers' present health, as `take` returns it, from time to time."""
        self._taker = take
        self._backend.health.keep(take, self.tenant)

    async def health_history(
        self, provider: str | None = None, since: datetime | None = None
    ) -> list[Snapshot]:
        """Return the health that was written since then, of one provider or of all, oldest first.

        Raises:
            LedgerError: the database could not be read.
        """
        return await self._backend.health_history(self.tenant, provider, since)

    async def claim(self, name: str, period: str) -> bool:
        """Return whether no process claimed this period of a name before, and claim it.

        Raises:
            LedgerError: the database could not be written.
        """
        own = f"{name}:{self.tenant}" if self.tenant else name
        return await asyncio.to_thread(
            self._backend.database.run, lambda connection: claim_setting(connection, own, period)
        )

    async def aclose(self) -> None:
        """Write all pending records and close; a tenant's ledger leaves the others open.

        Calls still under way are written when they end.

        Raises:
            LedgerError: completed records could not be written; the database has them as open,
                and where this is a tenant's ledger, the thread goes on trying.
        """
        if self._tenant is None:
            left = await asyncio.to_thread(self._backend.close)
            if left:
                raise LedgerError(f"{left} completed records could not be written; they stay open")
            return
        self._is_closed = True
        for book in list(self._books):
            book.close()
        if self._taker is not None:
            self._backend.health.leave(self._taker, self.tenant)
        self._backend.wake()
        try:
            await self._backend.drain()
        finally:
            self._backend.reservations.stop_listening(self.tenant, self._listener)

    def _stamp(self, record: Record) -> None:
        if self._tenant is not None:
            record.tenant = self._tenant

    def _require_whole(self) -> None:
        if self._tenant is not None:
            raise InvalidParameterError(f"the ledger of the tenant {self.tenant} has no tenants")
