"""The ledger in a SQL database."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from sqlalchemy import Connection

from orchestify.errors import LedgerError
from orchestify.ledger.base import UsageReport, as_utc, axes_of
from orchestify.ledger.budget_book import SqlBudgetBook
from orchestify.ledger.budget_desk import Desk
from orchestify.ledger.health_history import HealthHistory, Snapshot, read_history
from orchestify.ledger.journal import Journal
from orchestify.ledger.pruning import PRUNE_CHUNK, prune
from orchestify.ledger.reading import Reading, Span, read_usage
from orchestify.ledger.record import Record, new_id, utc_now
from orchestify.ledger.spool import Spool
from orchestify.ledger.totals import Totals
from orchestify.ledger.writer import Writer
from orchestify.policy.budget_store import OnThreshold
from orchestify.policy.waiting import CallLater, call_later
from orchestify.sql import Database
from orchestify.values import Usage

T = TypeVar("T")


class SqlLedger:
    """Records every attempt in SQLite or PostgreSQL; see `orchestify.ledger.base.Ledger`.

    It may be used from several threads and event loops. Its thread starts with the first
    record, so that a process may fork before that, and not after.
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
        self._database = database
        self._spool = spool
        self._journal = Journal(database, spool, lease_s=lease_s, keep_days=keep_days)
        self._writer = Writer(self._journal)
        self._pid = 0
        self._starting = threading.Lock()
        self._is_closed = False
        # at the interpreter's end, or where the ledger is dropped without `aclose`
        self._end = weakref.finalize(self, self._writer.close)

    @property
    def is_behind(self) -> bool:
        """Whether the database is away, or records have yet to reach it: sums may be too low."""
        return self._journal.is_away or self._journal.behind > 0

    async def open(self, record: Record) -> None:
        """Record an attempt; returns when it survives the end of this process.

        Raises:
            LedgerError: it could not be recorded anywhere, or the ledger is closed.
        """
        self.start()
        try:
            await self._writer.open(record)
        except asyncio.CancelledError:
            self.complete(_unsent(record))
            raise

    def complete(self, record: Record) -> None:
        """Complete an opened attempt; the thread writes it."""
        self.totals.add(record)
        if self._pid == os.getpid():  # a fork's copy of a call is the parent's to complete
            self._writer.complete(record)

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
        axes = axes_of(by, where)
        span = (since and as_utc(since), until and as_utc(until))
        if self._writer.is_running:
            self._require_own_process()
            await self._writer.flush()

        reading, behind = await asyncio.to_thread(self._read, axes, span, where or {})
        return UsageReport(
            by=axes,
            rows=reading.rows,
            total=reading.total,
            since=since,
            until=until,
            where=dict(where or {}),
            unpriced=reading.unpriced,
            behind=behind,
            open=reading.open,
        )

    async def prune(self, keep_days: int) -> int:
        """Delete completed records from before the last `keep_days` days; return how many.

        The daily sums stay.

        Raises:
            LedgerError: the database could not be written.
        """
        deleted = 0
        while True:
            chunk = await asyncio.to_thread(
                self._database.run, lambda connection: prune(connection, keep_days)
            )
            deleted += chunk
            if chunk < PRUNE_CHUNK:
                return deleted

    async def aclose(self) -> None:
        """Write what is pending and close; calls still under way are written when they end.

        Raises:
            LedgerError: completed records could not be written; the database has them as open.
        """
        self._is_closed = True
        left = await asyncio.to_thread(self._writer.close)
        self._end.detach()
        self._dispose()
        if left:
            raise LedgerError(f"{left} completed records could not be written; they stay open")

    def wake(self) -> None:
        """Have the thread look whether there is something to do beside the records."""
        if self._pid == os.getpid():
            self._writer.wake()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Do `work`, which only reads, in a transaction.

        Raises:
            LedgerError: the database could not be read.
        """
        try:
            return self._database.run(work, read_only=True)
        finally:
            if not self._writer.is_running:  # the process may still fork
                self._dispose()

    def _read(
        self, axes: Sequence[str], span: Span, where: Mapping[str, str]
    ) -> tuple[Reading, int]:
        try:
            reading = self._database.run(
                lambda connection: read_usage(connection, axes, span, where), read_only=True
            )
            return reading, self._spool.count() if self._spool else 0
        finally:
            if not self._writer.is_running:  # the process may still fork
                self._dispose()

    def _dispose(self) -> None:
        self._database.dispose()
        if self._spool is not None:
            self._spool.dispose()

    def budget_book(
        self,
        on_threshold: OnThreshold | None = None,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
        call_later: CallLater = call_later,
    ) -> SqlBudgetBook:
        """Return the budgets that hold in all processes with this database; see `BudgetBook`."""
        desk = Desk(self._journal, now, on_threshold)
        self._writer.chores.append(desk)
        return SqlBudgetBook(desk, self, now=now, clock=clock, call_later=call_later)

    def keep_health(self, take: Callable[[], Sequence[Snapshot]]) -> None:
        """Write what `take` returns, the providers' present health, from time to time."""
        self._writer.chores.append(HealthHistory(self._journal, take))

    async def health_history(
        self, provider: str | None = None, since: datetime | None = None
    ) -> list[Snapshot]:
        """Return the health that was written since then, of one provider or of all, oldest first.

        Raises:
            LedgerError: the database could not be read.
        """
        start = None if since is None else as_utc(since)
        return await asyncio.to_thread(
            self.read, lambda connection: read_history(connection, provider, start)
        )

    def start(self) -> None:
        """Begin to write, once; the process may not fork any more.

        Raises:
            LedgerError: the ledger is closed, or was begun before this process forked.
        """
        if self._is_closed:
            raise LedgerError("the ledger is closed")
        with self._starting:
            if not self._pid:
                self._pid = os.getpid()
                self._journal.owner = new_id()  # not the one of a fork of this process
                self._writer.start()
        self._require_own_process()

    def _require_own_process(self) -> None:
        if self._pid != os.getpid():
            raise LedgerError(
                "this ledger was in use when its process forked; open one in each process"
            )


def _unsent(record: Record) -> Record:
    return replace(
        record,
        outcome="cancelled",
        usage=Usage(),
        cost_usd=Decimal(0),
        cost_at_most_usd=Decimal(0),
        latency_s=0.0,
    )
