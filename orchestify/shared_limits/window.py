"""One limit that several processes keep together."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from orchestify.policy.limit_algorithms import SlidingWindow
from orchestify.shared_limits.link import RedisLink

STEPS = 1000  # a window holds at most so many entries in Redis, each for a few requests or tokens
POLL_S = 0.1  # Redis is asked again no earlier than this, or a step of the window if shorter
SHORT_S = 60  # windows up to this are over soon after Redis is back
_NO_LIMIT = 1_000_000_000


class SharedWindow:
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
        link: RedisLink,
        key: str,
        limit: int,
        window_s: int,
        *,
        share: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._link = link
        self._unit = _unit(limit)
        self._units = limit // self._unit
        self._key = f"{key}/{window_s}/{self._unit}"
        self._window_s = window_s
        self._clock = clock
        self._chance = chance
        self._meter = SlidingWindow(share or limit, window_s)  # what was taken here
        self._left = 0  # paid and not used; below zero: used and not paid
        self._left_at = clock()
        self._alone_until = clock()

    @property
    def owes(self) -> bool:
        """Whether more was used than paid."""
        return self._left < 0

    async def take(self, amount: int, now: float) -> float:
        """Take `amount`, and return 0; or take nothing, and return how long to wait at least.

        More than fits the limit goes when the window is empty and leaves a debt.
        """
        alone_s = self._meter.wait_s(amount, 0, now)
        if alone_s > 0 and now < self._alone_until:
            return alone_s
        wait_s = await self._take_shared(amount)
        if wait_s is None:
            if alone_s > 0:
                return alone_s
            self._take_alone(amount, now)
        elif wait_s > 0:
            return wait_s
        self._meter.take(amount, now)
        return 0.0

    def correct(self, delta: int, taken_at: float) -> None:
        """Change what was taken at `taken_at`: more is owed, less is left for the next calls."""
        self._meter.correct(delta, taken_at, self._clock())
        if taken_at + self._window_s > self._alone_until:  # else it was never paid
            self._change_left(-delta)

    async def pay(self) -> None:
        """Pay what is owed, whether there is room or not; more than the limit is not counted."""
        owed = -(self._left // self._unit) if self._left < 0 else 0
        if owed == 0:
            return
        self._change_left(owed * self._unit)
        units = min(owed, self._units)
        if await self._link.take(self._key, _NO_LIMIT, self._window_s, units) is None:
            self._change_left(-owed * self._unit)

    async def _take_shared(self, amount: int) -> float | None:
        """Take from Redis; return how long to wait, 0 where it is taken, None without Redis."""
        if self._left and self._clock() - self._left_at > self._window_s:
            self._left = 0
        await self.pay()
        units = min(-((self._left - amount) // self._unit), self._units)
        if units <= 0:
            self._change_left(-amount)
            return 0.0
        has_room = await self._link.take(self._key, self._units, self._window_s, units)
        if has_room is None:
            return None
        if has_room:
            self._change_left(units * self._unit - amount)
            return 0.0
        opens_s = await self._link.opens_in_s(self._key, self._units, self._window_s)
        if opens_s is None:
            return None
        step_s = min(self._window_s / STEPS, POLL_S)
        return opens_s + step_s * (0.5 + self._chance())  # apart from the other processes

    def _take_alone(self, amount: int, now: float) -> None:
        """Remember what Redis does not know of."""
        if self._window_s <= SHORT_S:
            self._alone_until = now + self._window_s
        else:
            self._change_left(-amount)

    def _change_left(self, delta: int) -> None:
        self._left += delta
        self._left_at = self._clock()


def _unit(limit: int) -> int:
    """A power of two, so that most changes of a limit go on with the same window."""
    unit = 1
    while limit > STEPS * unit:
        unit *= 2
    return unit
