"""A queue of parked coroutines that may belong to different event loops and threads.

Only the head of a queue tries to go on, in its own coroutine; all others sleep until they are
the head. Nothing is handed over, so a waiter that is cancelled at any moment loses nothing.
The owner guards its state and its queues with one lock; `park` is awaited without it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeAlias

QueuePosition: TypeAlias = tuple[int, int]  # rank, then ticket: the smallest goes first


class Cancellable(Protocol):
    """A timer that can be stopped."""

    def cancel(self) -> object:
        """Stop it; harmless when it has run."""


CallLater: TypeAlias = Callable[[float, Callable[[], object]], Cancellable]


def call_later(delay_s: float, callback: Callable[[], object]) -> Cancellable:
    """Call `callback` on the running loop in `delay_s` seconds."""
    return asyncio.get_running_loop().call_later(delay_s, callback)


class Waiter:
    """One parked coroutine and its place; made by the coroutine itself."""

    __slots__ = ("_loop", "_woken", "key")

    def __init__(self, key: QueuePosition) -> None:
        self.key = key
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    @property
    def is_stranded(self) -> bool:
        """Whether its loop was closed under it, so that it never goes on."""
        return self._loop.is_closed()

    def wake(self) -> None:
        """End its `park`, the present one or else the next; from any thread."""
        if running_loop() is self._loop:
            self._woken.set()
            return
        with suppress(RuntimeError):  # its loop was closed
            self._loop.call_soon_threadsafe(self._woken.set)

    async def park(self, seconds: float | None, call_later: CallLater) -> None:
        """Sleep until woken, or for `seconds`; also for no reason, so look again afterwards."""
        timer = None if seconds is None else call_later(seconds, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            self._woken.clear()
            if timer is not None:
                timer.cancel()


class WaitQueue:
    """Waiters in the order of their keys; joining and leaving cost O(log n) on average.

    `waiting` are those that have a place, by their keys.
    """

    __slots__ = ("_heap", "waiting")

    def __init__(self) -> None:
        self._heap: list[QueuePosition] = []  # may hold keys of waiters that have left
        self.waiting: dict[QueuePosition, Waiter] = {}

    def __len__(self) -> int:
        return len(self.waiting)

    def head(self) -> Waiter | None:
        """Return the first waiter, None where there is none."""
        while self._heap:
            waiter = self.waiting.get(self._heap[0])
            if waiter is not None and not waiter.is_stranded:
                return waiter
            self.waiting.pop(heapq.heappop(self._heap), None)
        return None

    def join(self, waiter: Waiter) -> None:
        """Take a place."""
        self.waiting[waiter.key] = waiter
        heapq.heappush(self._heap, waiter.key)

    def leave(self, waiter: Waiter) -> None:
        """Give the place back and let the next one try."""
        if self.waiting.pop(waiter.key, None) is None:
            return
        if len(self._heap) > 2 * len(self.waiting) + 64:
            self._heap = sorted(self.waiting)
        self.wake_head()

    def wake_head(self) -> None:
        """Let the head look whether it can go on."""
        if self.waiting:
            head = self.head()
            if head is not None:
                head.wake()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs here, None where there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
