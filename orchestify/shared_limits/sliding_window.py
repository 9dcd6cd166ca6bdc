"""One sliding window that several processes share over Redis."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from orchestify.policy.limit_algorithms import SlidingWindow
from orchestify.shared_limits.redis_connection import RedisConnection

STEPS = 1000  # a window holds at most so many entries in Redis, each for a few requests or tokens
POLL_S = 0.1  # Redis is asked again no earlier than this, or a step of the window if shorter
SHORT_S = 60  # windows up to this are over soon after Redis is back
_NO_LIMIT = 1_000_000_000


class SharedSlidingWindow:
    """At most `limit` within any `window_s` seconds, of all processes that use the same key.

    Redis is paid in units of up to a thousandth of the limit, and what was paid and not used
    (the rest of a unit, an estimate that was too high, a request that was never sent) stays
    here for the next calls, since `limits` has no negative cost: it belongs to this process for
    as long as the window. So over any window, use passes the limit by at most what this
    process had reserved for calls in flight. What was used and not paid is a second hit, which
    no limit refuses.

    While Redis is away, `share` is this process's own limit, in which what it took before
    counts; it also bounds the first window after Redis is back, for Redis does not know of
    that time (a window above a minute pays it afterwards). Redis keeps time by the machines'
    clocks, which have to agree about as well as NTP makes them.
    """

    def __init__(
        self,
        connection: RedisConnection,
        key: str,
        limit: int,
        window_s: int,
        *,
        share: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection
        self._unit = _unit(limit)
        self._units = limit // self._unit
        self._key = f"{key}/{window_s}/{self._unit}"
        self._window_s = window_s
        self._clock = clock
        self._chance = chance
        self._local_window = SlidingWindow(share or limit, window_s)  # what was taken here
        self._credit = 0  # paid and not used; below zero: used and not paid
        self._credit_at = clock()
        self._local_until = clock()

    @property
    def owes(self) -> bool:
        """Whether more was used than paid."""
        return self._credit < 0

    async def take(self, amount: int, now: float) -> float:
        """Take `amount`, and return 0; or take nothing, and return how long to wait at least.

        More than fits the limit goes when the window is empty and leaves a debt.
        """
        local_s = self._local_window.wait_s(amount, 0, now)
        if local_s > 0 and now < self._local_until:
            return local_s
        wait_s = await self._take_shared(amount)
        if wait_s is None:
            if local_s > 0:
                return local_s
            self._take_locally(amount, now)
        elif wait_s > 0:
            return wait_s
        self._local_window.take(amount, now)
        return 0.0

    def correct(self, delta: int, taken_at: float) -> None:
        """Change what was taken at `taken_at`: more is owed, less is left for the next calls."""
        self._local_window.correct(delta, taken_at, self._clock())
        if taken_at + self._window_s > self._local_until:  # else it was never paid
            self._change_credit(-delta)

    async def pay(self) -> None:
        """Pay what is owed, whether there is room or not; more than the limit is not counted."""
        owed = -(self._credit // self._unit) if self._credit < 0 else 0
        if owed == 0:
            return
        self._change_credit(owed * self._unit)
        units = min(owed, self._units)
        if await self._connection.take(self._key, _NO_LIMIT, self._window_s, units) is None:
            self._change_credit(-owed * self._unit)

    async def _take_shared(self, amount: int) -> float | None:
        """Take from Redis; return how long to wait, 0 where it is taken, None without Redis."""
        if self._credit and self._clock() - self._credit_at > self._window_s:
            self._credit = 0
        await self.pay()
        units = min(-((self._credit - amount) // self._unit), self._units)
        if units <= 0:
            self._change_credit(-amount)
            return 0.0
        has_room = await self._connection.take(self._key, self._units, self._window_s, units)
        if has_room is None:
            return None
        if has_room:
            self._change_credit(units * self._unit - amount)
            return 0.0
        opens_s = await self._connection.opens_in_s(self._key, self._units, self._window_s)
        if opens_s is None:
            return None
        step_s = min(self._window_s / STEPS, POLL_S)
        return opens_s + step_s * (0.5 + self._chance())  # apart from the other processes

    def _take_locally(self, amount: int, now: float) -> None:
        """Remember what Redis does not know of."""
        if self._window_s <= SHORT_S:
            self._local_until = now + self._window_s
        else:
            self._change_credit(-amount)

    def _change_credit(self, delta: int) -> None:
        self._credit += delta
        self._credit_at = self._clock()


def _unit(limit: int) -> int:
    """A power of two, so that most changes of a limit go on with the same window."""
    unit = 1
    while limit > STEPS * unit:
        unit *= 2
    return unit
