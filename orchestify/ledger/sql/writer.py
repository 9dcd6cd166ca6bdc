"""One thread that books in groups what any thread puts in."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from orchestify.errors import LedgerError
from orchestify.ledger.record import Record

GROUP = 1000
"""How many records one transaction holds at most."""

LINGER_S = 0.005
"""How long completed records wait for the next opening, whose transaction they then share."""

Item: TypeAlias = tuple[Record | None, asyncio.Future[None] | None] | None
"""An opened record and who waits for it; a completed one and nobody; nothing and who waits
for all before it; nothing at all, to stop; or None, to look at the chores."""


class Books(Protocol):
    """What the thread uses, and no other at the same time; see `Journal`.

    `upkeep_at` is when `upkeep` is next due, on the monotonic clock.
    """

    upkeep_at: float

    def book(self, opens: Sequence[Record], done: Sequence[Record]) -> None:
        """Book opened and completed records, or raise LedgerError and book none."""

    def upkeep(self) -> None:
        """Do what is due, and move `upkeep_at` on."""

    def close(self) -> None:
        """Let go of the connections."""


class Chore(Protocol):
    """Something else that the thread does when it is due, between two groups."""

    @property
    def due_at(self) -> float:
        """When it is due next, on the monotonic clock."""

    def run(self) -> None:
        """Do it; a failure of the database is the chore's own to deal with."""

    def close(self) -> None:
        """Let go of who waits: from here on the caller of `wake` works for itself."""


class Writer:
    """Books from one thread; what is put in while a transaction runs is the next one's.

    A completed record waits up to `linger_s` seconds for an opening that shares its transaction,
    where nobody waits for it: of two transactions a call, one is saved while calls come often.
    `complete` takes no lock (`SimpleQueue.put` may be called from `__del__`, a lock might be
    held by the very thread that the garbage collector interrupts). While the thread does not
    run, before its start or after `close`, the caller books for itself.
    """

    def __init__(self, books: Books, linger_s: float = LINGER_S) -> None:
        self.chores: list[Chore] = []
        self._books = books
        self._linger_s = linger_s
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._kept: list[Record] = []
        self._booking = threading.Lock()
        self._thread: threading.Thread | None = None
        self.is_running = False

    def start(self) -> None:
        """Start the thread."""
        self.is_running = True
        self._thread = threading.Thread(target=self._run, name="orchestify-ledger", daemon=True)
        self._thread.start()

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
        self._queue.put((record, None))
        if not self.is_running:
            self._book_here()

    def wake(self) -> None:
        """Have the chores done that are due; returns at once."""
        self._queue.put(None)
        if not self.is_running:
            self._book_here()

    def close(self, timeout_s: float | None = 10.0) -> int:
        """Book what was put in, and end the thread; return how many could not be booked."""
        if self.is_running:
            self._queue.put((None, None))
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(timeout_s)
        return len(self._kept) + self._queue.qsize()

    async def _wait(self, record: Record | None) -> None:
        booked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((record, booked))
        if not self.is_running:
            self._book_here()
        await booked

    def _run(self) -> None:
        try:
            while True:
                due_at = min([self._books.upkeep_at, *(each.due_at for each in self.chores)])
                group = self._take(max(0.0, due_at - time.monotonic()), self._linger_s)
                self._book(group)
                self._do_chores()
                if group.is_last:
                    break
                if time.monotonic() >= self._books.upkeep_at:
                    self._books.upkeep()
        finally:
            self.is_running = False
            with self._booking:
                self._close()
            self._book_here()

    def _book_here(self) -> None:
        # whoever finds the lock taken leaves its record to the one who has it
        while not self._queue.empty() and self._booking.acquire(blocking=False):
            try:
                self._book(self._take(0.0))
                self._do_chores()
                self._close()
            finally:
                self._booking.release()

    def _do_chores(self) -> None:
        for chore in self.chores:
            if time.monotonic() >= chore.due_at:
                chore.run()

    def _close(self) -> None:
        for chore in self.chores:
            chore.close()
        self._books.close()

    def _take(self, wait_s: float, linger_s: float = 0.0) -> _Group:
        group = _Group()
        with contextlib.suppress(queue.Empty):
            group.add(self._queue.get(timeout=wait_s))
            until = time.monotonic() + linger_s
            while len(group.opens) + len(group.done) < GROUP and not group.is_last:
                left_s = 0.0 if group.is_awaited else until - time.monotonic()
                group.add(self._queue.get(timeout=max(0.0, left_s)))
        return group

    def _book(self, group: _Group) -> None:
        done = [*self._kept, *group.done]
        problem = "the ledger's writer has failed"
        try:
            if group.opens or done:
                self._books.book(group.opens, done)
            self._kept = []
            problem = ""
        except LedgerError as error:
            self._kept = done
            problem = str(error)
        finally:
            _wake(group.waiting, problem)


@dataclass(slots=True)
class _Group:
    opens: list[Record] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    is_awaited: bool = False
    is_last: bool = False

    def add(self, item: Item) -> None:
        if item is None:
            self.is_awaited = True
            return
        record, waits = item
        self.is_awaited |= record is None or waits is not None
        if waits is not None:
            self.waiting.append(waits)
        if record is None:
            self.is_last = waits is None
        elif waits is None:
            self.done.append(record)
        else:
            self.opens.append(record)


def _wake(waiting: Sequence[asyncio.Future[None]], problem: str) -> None:
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
