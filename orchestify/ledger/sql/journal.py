"""The journal: what the writer thread writes, and where while the database is away or lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from sqlalchemy import Connection

from orchestify.database.sql import Database, OwnConnection
from orchestify.errors import LedgerError
from orchestify.ledger.budgets.sql_store import lapse, prune as prune_budgets
from orchestify.ledger.record import Record, new_id, utc_now
from orchestify.ledger.sql.batch_rows import prune_batches
from orchestify.ledger.sql.booking import book
from orchestify.ledger.sql.file_watch import FileWatch, Loss
from orchestify.ledger.sql.rows import opening_of, storable
from orchestify.ledger.sql.spool import Spool
from orchestify.ledger.sql.upkeep import (
    PRUNE_CHUNK,
    ClockWatch,
    close_expired,
    drop_answers,
    prune,
    release,
    renew,
)

T = TypeVar("T")

CHUNK = 500
FIRST_RETRY_S = 0.5
MAX_RETRY_S = 30.0

log = logging.getLogger("orchestify.ledger")


class Journal:
    """Books into the database, and into the spool while the database is away.

    One thread at a time may use it; `behind` and `is_away` can be read from any. `owner` is
    who opens the records here; its lease is renewed with what is booked, and by `upkeep`,
    which is due at `upkeep_at` on the monotonic clock.

    Where a SQLite file is deleted, replaced or cut while in use, what is known here is written
    to the new one before anything else: the records of open calls, and what each of `restorers`
    writes in the same transaction. `loss` then says what is gone.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool | None = None,
        *,
        lease_s: float = 30.0,
        keep_days: int | None = None,
    ) -> None:
        self.owner = new_id()
        self.behind = 0
        self.is_away = False
        self.loss = ""
        self.restorers: list[Callable[[Connection], None]] = []
        self._file = None if database.path is None else FileWatch(database.path)
        self._lost: Loss | None = None
        self._open: dict[str, Record] = {}
        self.upkeep_at = 0.0
        self._database = database
        self._connection = OwnConnection(database)
        self._spool = spool
        self._lease_s = lease_s
        self._keep_days = keep_days
        self._clock = ClockWatch()
        self._renew_at = 0.0
        self._close_at = 0.0
        self._retry_s = FIRST_RETRY_S

    def book(self, opens: Sequence[Record], done: Sequence[Record]) -> None:
        """Book opened and completed records; when it returns, they survive a crash.

        Raises:
            LedgerError: neither the database nor a spool could be written; nothing was.
        """
        opens = [storable(record) for record in opens]
        done = [storable(record) for record in done]
        spool = self._spool
        if spool is None or not self.is_away:
            try:
                self._book(opens, done)
                return
            except LedgerError as error:
                self._leave(error)
                if spool is None:
                    raise
        spool.add(self.owner, opens, done)
        self.behind = spool.count()

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction under the owner's lease; on PostgreSQL it may run twice.

        Raises:
            LedgerError: the database is away. What was done may have come through all the same.
        """
        if self.is_away:
            raise LedgerError("the ledger's database is away")
        try:
            return self._run(work)
        except LedgerError as error:
            self._leave(error)
            raise

    def renew(self, connection: Connection) -> None:
        """Renew the owner's lease in another thread's transaction."""
        renew(connection, self.owner, self._lease_s)

    def check_file(self) -> None:
        """Check that the SQLite file is unchanged; write what is known to a new one."""
        if self._file is not None and not self.is_away:
            try:
                self._follow_file()
            except LedgerError as error:
                self._leave(error)

    def upkeep(self) -> None:
        """Do one piece of upkeep, and set `upkeep_at` to the time of the next.

        The lease is renewed; records of owners that are gone are closed, their reservations lapse;
        what waits in the spool is moved; what is too old is deleted, unless the clock has jumped.
        """
        try:
            more = self._transact(self._keep_up)
            self._return()
            more |= self._move()
        except LedgerError as error:
            self._leave(error)
        else:
            self.upkeep_at = time.monotonic() + (0.0 if more else self._lease_s / 3)

    def close(self) -> None:
        """End the lease and close the connections; `book` can still be called."""
        with ExitStack() as closing:  # each is done, also where one before it raises
            if self._spool is not None:
                closing.callback(self._spool.dispose)
            closing.callback(self._database.dispose)
            closing.callback(self._connection.close)
            self._renew_at = 0.0
            if not self.is_away:
                self._end_lease()

    def _end_lease(self) -> None:
        try:
            self._connection.run(lambda connection: release(connection, self.owner))
        except LedgerError as error:
            self._leave(error)
        self._renew_at = 0.0

    def _book(self, opens: Sequence[Record], done: Sequence[Record]) -> None:
        rows = [opening_of(record, self.owner) for record in opens]
        self._run(lambda connection: book(connection, self.owner, rows, done))
        if self._file is not None:
            self._open |= {record.id: record for record in opens}
            for record in done:
                self._open.pop(record.id, None)
        if self.is_away:
            self._return()

    def _run(self, work: Callable[[Connection], T]) -> T:
        renews = time.monotonic() >= self._renew_at

        def under_lease(connection: Connection) -> T:
            if renews:
                renew(connection, self.owner, self._lease_s)
            return work(connection)

        result = self._transact(under_lease)
        if renews:
            self._renew_at = time.monotonic() + self._lease_s / 3
        return result

    def _transact(self, work: Callable[[Connection], T]) -> T:
        self._follow_file()
        result = self._connection.run(work)
        if self._file is not None:
            self._file.note()
        return result

    @property
    def is_lost(self) -> bool:
        """Whether the file is gone, and what is known here is in no new one yet."""
        return self._lost is not None

    def _follow_file(self) -> None:
        """Continue with a new file where the one in use was lost."""
        if self._file is None:
            return
        found = self._file.loss(self._is_sound)
        if found is not None:
            log.error("the ledger's file was %s while in use", found)
            self._connection.close()
            self._database.reopen()
            self._file.make_way(found)
            self._lost = found
        if self._lost is not None:
            self._connection.run(self._restore)
            self._file.note()
            self.loss = (
                f"the ledger's file was {self._lost} at {utc_now():%Y-%m-%d %H:%M:%S} UTC: what "
                "was booked before is gone, but for open calls and the budgets' present periods"
            )
            self._lost = None
            log.error("%s; %d calls were open", self.loss, len(self._open))

    def _restore(self, connection: Connection) -> None:
        renew(connection, self.owner, self._lease_s)
        book(
            connection,
            self.owner,
            [opening_of(record, self.owner) for record in self._open.values()],
            [],
        )
        for restore in self.restorers:
            restore(connection)

    def _is_sound(self) -> bool:
        """Whether SQLite can read the whole file, on a connection of its own."""
        try:
            found = self._database.run(
                lambda connection: connection.exec_driver_sql("PRAGMA quick_check(1)").scalar(),
                read_only=True,
            )
        except LedgerError:
            return False
        return found == "ok"

    def _keep_up(self, connection: Connection) -> bool:
        renew(connection, self.owner, self._lease_s)
        more = False
        if time.monotonic() >= self._close_at:
            more = close_expired(connection, CHUNK) == CHUNK
            more |= lapse(connection, CHUNK) == CHUNK
        if self._clock.is_steady(connection):
            prune_budgets(connection)
            prune_batches(connection)
            more |= drop_answers(connection) == PRUNE_CHUNK
            if self._keep_days is not None:
                more |= prune(connection, self._keep_days) == PRUNE_CHUNK
        return more

    def _move(self) -> bool:
        if self._spool is None:
            return False
        self.behind = self._spool.count()
        if self.behind:
            opens, done = self._spool.first()
            self._transact(lambda connection: book(connection, self.owner, opens, done))
            self._spool.remove(opens, done)
            self.behind = self._spool.count()
        return self.behind > 0

    def _leave(self, error: LedgerError) -> None:
        if not self.is_away:
            log.warning("%s; %s", error, _MEANWHILE[self._spool is not None])
        self.is_away = True
        self._renew_at = 0.0
        self.upkeep_at = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)

    def _return(self) -> None:
        self._retry_s = FIRST_RETRY_S
        self._renew_at = time.monotonic() + self._lease_s / 3
        if self.is_away:
            log.info("the ledger's database is back")
            # leases ran out meanwhile: their owners, too, are given the time to come back
            self._close_at = time.monotonic() + self._lease_s
        self.is_away = False


_MEANWHILE = {
    True: "calls go on, their records wait in a local file",
    False: "no call can be recorded",
}
