"""The writer thread: books in groups the records that any thread puts in, and does chores."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from orchestify.errors import LedgerError
from orchestify.ledger.record import Record
from orchestify.ledger.sql.inbox import Inbox

GROUP = 1000
"""How many records are taken at once at most."""

LINGER_S = 0.005
"""How long completed records wait at most, to share a transaction with openings and each other."""

RETRY_S = 1.0
"""How long a chore that raised is not run again."""

DAY_S = 86_400.0
THREAD_NAME = "orchestify-ledger"

_log = logging.getLogger("orchestify.ledger")

Item: TypeAlias = tuple[Record | None, asyncio.Future[None] | None] | None
"""An opened record and the future of its caller; a completed record and None; None and the
future of a caller who waits for all before it; two Nones, to stop; or None, to run the chores."""


class Books(Protocol):
    """What the thread writes with, and no other at the same time; see `Journal`.

    `upkeep_at` is when `upkeep` is next due, on the monotonic clock.
    """

    upkeep_at: float

    def book(self, opens: Sequence[Record], done: Sequence[Record]) -> None:
        """Book opened and completed records, or raise LedgerError and book none."""

    def upkeep(self) -> None:
        """Do one piece of upkeep and set `upkeep_at`."""

    def close(self) -> None:
        """Close the connections."""


class Chore(Protocol):
    """Something else that the thread does when it is due, between two groups."""

    @property
    def due_at(self) -> float:
        """When it is due next, on the monotonic clock."""

    def run(self) -> None:
        """Do it; a failure of the database is the chore's own to deal with."""

    def close(self) -> None:
        """End the waits of others: from here on the caller of `wake` does the work itself."""


class Writer:
    """Books from one thread; what is put in while a transaction runs is the next one's.

    A completed record waits up to `linger_s` seconds, where nobody waits for it. It is booked with
    the next opening, so that of two transactions a call one is saved; where calls follow one
    another faster than that, with all that are completed meanwhile. `complete` takes no lock: it
    may be called from `__del__`. While the thread does not run, before its start or after
    `close`, the caller books for itself.

    Whatever a record, a chore or the upkeep raises is logged, and the thread goes on: of a group
    that cannot be booked, each record is tried alone. A thread that has ended all the same is
    begun anew with the next record. `dropped` counts records that nothing could book.
    """

    def __init__(self, books: Books, linger_s: float = LINGER_S) -> None:
        self.chores: list[Chore] = []
        self.dropped = 0
        self._books = books
        self._linger_s = linger_s
        self._inbox: Inbox[Item] = Inbox()
        self._done: list[Record] = []  # what is completed and not booked yet
        self._done_due_at = -math.inf
        self._done_booked_at = -math.inf
        self._failed_at: dict[object, float] = {}  # when a chore or the upkeep last raised
        self._booking = threading.Lock()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.is_running = False

    def start(self) -> None:
        """Start the thread, also in place of one that has ended without being closed."""
        with self._starting:
            if self.is_running and not self.has_died:
                return
            if self.is_running:
                _log.error("the ledger's writer thread has died; another one takes its place")
            self.is_running = True
            thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            thread.start()
            self._thread = thread

    @property
    def has_died(self) -> bool:
        """Whether the thread has ended and nobody closed it."""
        return self.is_running and self._thread is not None and not self._thread.is_alive()

    async def open(self, record: Record) -> None:
        """Return when the opened record is booked.

        Raises:
            LedgerError: it could not be.
        """
        await self._wait(record)

    async def flush(self) -> None:
        """Return when all that was put in before is booked.

        Raises:
            LedgerError: it could not be.
        """
        await self._wait(None)

    def complete(self, record: Record) -> None:
        """Put in a completed record; returns at once."""
        self._put((record, None), is_urgent=False)

    def wake(self) -> None:
        """Have the chores done that are due; returns at once."""
        self._put(None)

    def close(self, timeout_s: float | None = 10.0) -> int:
        """Book what was put in, and end the thread; return how many could not be booked."""
        if self.has_died:
            self.start()
        if self.is_running:
            self._inbox.put((None, None), is_urgent=True)
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(timeout_s)
            if self.has_died:  # it was ending when it was asked to
                self.start()
                self._thread.join(timeout_s)
        return len(self._done) + len(self._inbox)

    async def _wait(self, record: Record | None) -> None:
        booked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.has_died:
            self.start()
        self._put((record, booked))
        await booked

    def _put(self, item: Item, *, is_urgent: bool = True) -> None:
        self._inbox.put(item, is_urgent=is_urgent)
        if not self.is_running:
            self._book_here()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            try:
                is_last = self._go_round()
            except BaseException as error:  # nothing may end the thread but `close`
                _log.error("the ledger's writer met %s and goes on", type(error).__name__)
                time.sleep(RETRY_S)
        self.is_running = False
        with self._booking:
            self._close()
        self._book_here()

    def _go_round(self) -> bool:
        """Book one group and do what is due; return whether the thread is to end."""
        due_at = min(
            self._due_at(self._books, self._books.upkeep_at),
            *(self._due_at(chore, chore.due_at) for chore in self.chores),
            math.inf,
        )
        # a day at most: a wait for ever overflows, and nothing is lost by waking
        group = self._take(min(max(0.0, due_at - time.monotonic()), DAY_S))
        self._book(group)
        self._do_chores()
        if not group.is_last and time.monotonic() >= self._due_at(
            self._books, self._books.upkeep_at
        ):
            self._guard(self._books, self._books.upkeep)
        return group.is_last

    def _book_here(self) -> None:
        # whoever finds the lock taken leaves its record to the one who has it
        while self._inbox and self._booking.acquire(blocking=False):
            try:
                self._book(self._take(0.0), is_all=True)
                self._do_chores()
                self._guard(self._books, self._books.close)
            finally:
                self._booking.release()

    def _do_chores(self) -> None:
        for chore in self.chores:
            if time.monotonic() >= self._due_at(chore, chore.due_at):
                self._guard(chore, chore.run)

    def _due_at(self, chore: object, due_at: float) -> float:
        """Return when something is due, later where it has just failed."""
        failed_at = self._failed_at.get(chore)
        return due_at if failed_at is None else max(due_at, failed_at + RETRY_S)

    def _guard(self, chore: object, work: Callable[[], None]) -> None:
        """Do a piece of work; log its failure and go on."""
        try:
            work()
        except BaseException as error:  # a listener of the host may raise whatever it likes
            self._failed_at[chore] = time.monotonic()
            _log.error("the ledger's %s failed with %s", type(chore).__name__, type(error).__name__)
        else:
            self._failed_at.pop(chore, None)

    def _close(self) -> None:
        for chore in self.chores:
            self._guard(chore, chore.close)
        self._guard(self._books, self._books.close)

    def _take(self, wait_s: float) -> _Group:
        """Wait for something to do, and return what was put in; keep what is completed."""
        inbox, began = self._inbox, time.monotonic()
        if self._done:
            inbox.wait(min(wait_s, max(0.0, self._done_due_at - began)), "urgent")
        else:
            inbox.wait(wait_s, "anything")
            self._done_due_at = time.monotonic() + self._linger_s
        group = _Group()
        for _ in range(min(GROUP, len(inbox))):
            group.add(inbox.pop(), self._done)
            if group.is_last:
                break
        return group

    def _book(self, group: _Group, *, is_all: bool = False) -> None:
        done = self._done if is_all or self._books_done(group) else []
        if not group.opens and not done:
            _wake(group.waiting)
            return
        if done:
            self._done = []
            self._done_booked_at = time.monotonic()
        try:
            self._books.book([record for record, _ in group.opens], done)
        except LedgerError as error:
            self._keep(done)
            _wake(group.futures(), str(error))
        except Exception:
            self._book_one_by_one(group, done)
        else:
            _wake(group.futures())

    def _books_done(self, group: _Group) -> bool:
        """Whether what is completed goes with this group."""
        if group.is_flush or len(self._done) >= GROUP:
            return True
        now = time.monotonic()
        with_opening = group.opens and now >= self._done_booked_at + self._linger_s
        return bool(with_opening) or now >= self._done_due_at

    def _keep(self, done: Sequence[Record]) -> None:
        """Keep what could not be booked until later."""
        self._done += done
        self._done_due_at = time.monotonic() + RETRY_S

    def _book_one_by_one(self, group: _Group, done: Sequence[Record]) -> None:
        """Book each record of a group for itself, since one of them cannot be."""
        for record, booked in group.opens:
            _wake([booked], self._try([record], []))
        problems = [self._try([], [record]) for record in done]
        _wake(group.waiting, next(filter(None, problems), ""))

    def _try(self, opens: Sequence[Record], done: Sequence[Record]) -> str:
        """Book one record; return why it could not be, "" where it was."""
        try:
            self._books.book(opens, done)
        except LedgerError as error:
            self._keep(done)
            return str(error)
        except Exception as error:
            self.dropped += len(done)
            _log.error("a record cannot be booked: %s", type(error).__name__)
            return "the ledger's writer has failed"
        return ""


@dataclass(slots=True)
class _Group:
    """What is booked at once: openings, callers who wait for all before, and whether that is all.

    A `flush` books all that is completed, too.
    """

    opens: list[tuple[Record, asyncio.Future[None]]] = field(default_factory=list)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    is_flush: bool = False
    is_last: bool = False

    def add(self, item: Item, done: list[Record]) -> None:
        """Add what was put in; what is completed goes to `done`."""
        record, waits = item or (None, None)
        if record is None:
            self.is_flush = True
            self.is_last = item is not None and waits is None
            self.waiting += [waits] if waits is not None else []
        elif waits is None:
            done.append(record)
        else:
            self.opens.append((record, waits))

    def futures(self) -> list[asyncio.Future[None]]:
        """Return those of all callers who wait."""
        return [*(each for _, each in self.opens), *self.waiting]


def _wake(waiting: Sequence[asyncio.Future[None]], problem: str = "") -> None:
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for each in waiting:
        loops.setdefault(each.get_loop(), []).append(each)
    for loop, futures in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop has closed, nobody waits any more
            loop.call_soon_threadsafe(_settle, futures, problem)


def _settle(futures: Sequence[asyncio.Future[None]], problem: str) -> None:
    for future in futures:
        if future.done():
            continue
        if problem:
            future.set_exception(LedgerError(problem))
        else:
            future.set_result(None)
