"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

MIDNIGHT = datetime(2025, 3, 31, tzinfo=UTC)
TURNS = 12  # of the event loop: enough for a woken task to go on and wake the next ones


class Timer:
    """A callback that is due at a time of the clock."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        if self._callback is not None:
            self._callback()


class ManualClock:
    """Seconds of a monotonic clock, its time of day, its timers and its sleep.

    `advance` moves it and fires what is due, in order. `run` also lets tasks go on at each
    timer, so that what they start in between is in time.
    """

    def __init__(self, now: float = 0.0, midnight: datetime = MIDNIGHT) -> None:
        self._now = now
        self._midnight = midnight
        self._timers: list[tuple[float, int, Timer]] = []
        self._created = 0

    def __call__(self) -> float:
        return self._now

    def utc(self) -> datetime:
        return self._midnight + timedelta(seconds=self._now)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        self._created += 1
        timer = Timer(callback)
        heapq.heappush(self._timers, (self._now + max(0.0, delay_s), self._created, timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        timer = self.call_later(seconds, woken.set)
        try:
            await woken.wait()
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._fire_next()
        self._now = end

    async def run(self, seconds: float) -> None:
        end = self._now + seconds
        await idle()
        while self._timers and self._timers[0][0] <= end:
            self._fire_next()
            await idle()
        self._now = end

    def _fire_next(self) -> None:
        due, _, timer = heapq.heappop(self._timers)
        self._now = max(self._now, due)
        timer.fire()


async def idle() -> None:
    """Let tasks go on until they wait."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
