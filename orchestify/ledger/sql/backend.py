"""The part of a SQL ledger that all its tenants share: database, spool, writer thread, budgets."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from orchestify.database.sql import Database
from orchestify.errors import LedgerError
from orchestify.ledger.axes import axes_of
from orchestify.ledger.base import UsageReport, as_utc
from orchestify.ledger.budgets.worker import ReservationWorker
from orchestify.ledger.record import Record, new_id
from orchestify.ledger.sql.file_watch import FileCheck
from orchestify.ledger.sql.health_history import HealthHistory, Snapshot, read_history
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.reading import read_usage
from orchestify.ledger.sql.spool import Spool
from orchestify.ledger.sql.writer import Writer

T = TypeVar("T")


class Backend:
    """One database's connections, spool and writer thread.

    It may be used from several threads and event loops. The thread starts with the first
    record, so that a process may fork before that, and not after.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool | None,
        *,
        keep_days: int | None,
        lease_s: float,
        now: Callable[[], datetime],
    ) -> None:
        self.database = database
        self.now = now
        self.journal = Journal(database, spool, lease_s=lease_s, keep_days=keep_days)
        self.writer = Writer(self.journal)
        self.reservations = ReservationWorker(self.journal, now)
        self.health = HealthHistory(self.journal)
        self.writer.chores += [self.reservations, self.health]
        if database.path is not None:
            self.writer.chores.append(FileCheck(self.journal.check_file))
        self._starting = threading.Lock()
        self._spool = spool
        self._pid = 0
        self._is_closed = False
        # at the interpreter's end, or where the ledger is dropped without `aclose`
        self._end = weakref.finalize(self, self.writer.close)

    @property
    def is_behind(self) -> bool:
        """Whether the database is away, or records have yet to reach it: sums may be too low."""
        return self.journal.is_away or self.journal.behind > 0 or self.writer.has_died

    @property
    def is_failing(self) -> bool:
        """Whether nothing can be booked: no thread writes, or the file is gone without another."""
        return self.writer.has_died or self.journal.is_lost

    @property
    def problem(self) -> str:
        """The ledger's present problem in words, "" without one."""
        if self.writer.has_died:
            return "the ledger's writer thread has died: records wait for another one"
        if self.journal.is_lost:
            return "the ledger's file is gone, and no new one could be written yet"
        if self.writer.dropped:
            return f"the ledger could not book {self.writer.dropped} records: sums are too low"
        if self.is_behind:
            return "the ledger is behind: sums may be too low"
        return self.journal.loss

    def start(self) -> None:
        """Begin to write, once; the process may not fork any more.

        Raises:
            LedgerError: the ledger is closed, or was begun before this process forked.
        """
        if self._is_closed:
            raise LedgerError("the ledger is closed")
        with self._starting:
            if not self._pid:
                self.journal.owner = new_id()  # not the one of a fork of this process
                self.writer.start()
                self._pid = os.getpid()  # last: who sees it begins to write
        self._require_own_process()
        if self.writer.has_died:
            self.writer.start()

    async def open(self, record: Record) -> None:
        """Return when the opened record survives the end of this process.

        Raises:
            LedgerError: it could not be recorded anywhere, or the ledger is closed.
        """
        if self._is_closed or self._pid != os.getpid():
            self.start()
        await self.writer.open(record)

    def complete(self, record: Record) -> None:
        """Have a completed record written; returns at once."""
        if self._pid == os.getpid():  # a fork's copy of a call is the parent's to complete
            self.writer.complete(record)

    def wake(self) -> None:
        """Have the thread look whether there is something to do beside the records."""
        if self._pid == os.getpid():
            self.writer.wake()

    async def drain(self) -> None:
        """Return when everything put in before is booked, and the chores have run.

        Raises:
            LedgerError: it could not be booked, or this process is a fork.
        """
        if self.writer.is_running:
            self._require_own_process()
            # chores come after each group; a cost that nothing was reserved for takes two batches
            for _ in range(3):
                await self.writer.flush()

    async def usage(
        self,
        by: str | Sequence[str],
        since: datetime | None,
        until: datetime | None,
        where: Mapping[str, str],
        tenant: str | None = None,
    ) -> UsageReport:
        """Read the usage of one tenant or of all; see `Ledger.usage`."""
        axes = axes_of(by, where)
        span = (
            None if since is None else as_utc(since),
            None if until is None else as_utc(until),
        )
        if self.writer.is_running:
            self._require_own_process()
            await self.writer.flush()
        wanted = where if tenant is None else {**where, "tenant": tenant}
        reading, behind = await asyncio.to_thread(
            self._looking,
            lambda: (
                self.database.run(
                    lambda connection: read_usage(connection, axes, span, wanted), read_only=True
                ),
                self._spool.count(tenant) if self._spool else 0,
            ),
        )
        return UsageReport(
            by=axes,
            rows=reading.rows,
            total=reading.total,
            since=since,
            until=until,
            where=dict(where),
            unpriced=reading.unpriced,
            behind=behind,
            open=reading.open,
        )

    async def health_history(
        self, tenant: str, provider: str | None, since: datetime | None
    ) -> list[Snapshot]:
        """Return the health that was written of a tenant's providers, oldest first.

        Raises:
            LedgerError: the database could not be read.
        """
        start = None if since is None else as_utc(since)
        return await asyncio.to_thread(
            self.read, lambda connection: read_history(connection, tenant, provider, start)
        )

    def read(self, work: Callable[[Connection], T]) -> T:
        """Do `work`, which only reads, in a transaction.

        Raises:
            LedgerError: the database could not be read.
        """
        return self._looking(lambda: self.database.run(work, read_only=True))

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction of its own, beside the thread's; it may run twice.

        Raises:
            LedgerError: the database could not be written.
        """
        return self._looking(lambda: self.database.run(work))

    def close(self) -> int:
        """Write all pending records, end the thread, and return how many were not written."""
        self._is_closed = True
        try:
            return self.writer.close()
        finally:
            self._end.detach()
            self._dispose()

    def _looking(self, look: Callable[[], T]) -> T:
        try:
            return look()
        finally:
            if not self.writer.is_running:  # the process may still fork
                self._dispose()

    def _dispose(self) -> None:
        try:
            self.database.dispose()
        finally:
            if self._spool is not None:
                self._spool.dispose()

    def _require_own_process(self) -> None:
        if self._pid != os.getpid():
            raise LedgerError(
                "this ledger was in use when its process forked; open one in each process"
            )
