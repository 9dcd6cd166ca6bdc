"""Token bucket, sliding window, fixed window: how much of one limit may be used, and when.

Three ways to count the same limit (`limit` units per `window_s`), behind one small interface.
Units are requests or tokens, always whole. An amount above the limit goes once the counter is at
rest and leaves a debt. Times are in seconds of a clock that the caller reads; it never goes
back. No locks: the owner has one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Literal, NamedTuple, Protocol, TypeAlias

Algorithm: TypeAlias = Literal["token_bucket", "sliding_window", "fixed_window"]

DEFAULT_ALGORITHM: Algorithm = "token_bucket"

_STEPS = 60  # a sliding window moves in steps of one sixtieth, so it holds 61 entries at most


class LimitUsage(NamedTuple):
    """What of a limit is used now: more than `limit` is a debt."""

    used: int
    limit: int


class LimitCounter(Protocol):
    """One limit's account."""

    def wait_s(self, amount: int, ahead: int, now: float) -> float:
        """Seconds until `amount` may be taken, once `ahead` has been; 0 means now.

        `ahead` below zero is what is given back before.
        """

    def take(self, amount: int, now: float) -> None:
        """Use `amount`, whether there is room or not."""

    def correct(self, delta: int, taken_at: float, now: float) -> None:
        """Change what was taken at `taken_at`: more is a debt from now on, less is given back.

        A window that is over keeps what it counted: nothing is given back from it.
        """

    def drain(self, now: float) -> None:
        """Leave room for one at most, where the algorithm allows bursts."""

    def usage(self, now: float) -> LimitUsage:
        """Return what may not be taken now, and what could at rest."""


def new_counter(
    algorithm: Algorithm, limit: int, window_s: float, burst: int | None = None
) -> LimitCounter:
    """Return the counter of a limit; `burst` is the bucket's capacity (default: the limit)."""
    if algorithm == "sliding_window":
        return SlidingWindow(limit, window_s)
    if algorithm == "fixed_window":
        return FixedWindow(limit, window_s)
    return TokenBucket(limit if burst is None else burst, limit / window_s)


class TokenBucket:
    """Fills at `rate` a second up to `capacity`; full in the beginning.

    Within any time t it grants at most `capacity + rate * t`. Source: J. Turner, "New
    directions in communications", IEEE Communications Magazine 24(10), 1986.
    """

    __slots__ = ("_at", "_capacity", "_level", "_rate")

    def __init__(self, capacity: int, rate: float) -> None:
        self._capacity = float(capacity)
        self._rate = rate
        self._level = self._capacity
        self._at: float | None = None

    def wait_s(self, amount: int, ahead: int, now: float) -> float:
        """Seconds until the bucket holds `amount` (or is full), `ahead` taken before."""
        self._fill(now)
        level = self._level if ahead >= 0 else min(self._capacity, self._level - ahead)
        missing = min(amount, self._capacity) + max(ahead, 0) - level
        return missing / self._rate if missing > 1e-6 else 0.0  # less is rounding

    def take(self, amount: int, now: float) -> None:
        """Take `amount` out; below zero is a debt."""
        self._fill(now)
        self._level -= amount

    def correct(self, delta: int, taken_at: float, now: float) -> None:
        """Take out what was missing, or put back what was too much, up to the capacity."""
        self._fill(now)
        self._level = min(self._capacity, self._level - delta)

    def drain(self, now: float) -> None:
        """Leave one at most."""
        self._fill(now)
        self._level = min(self._level, 1.0)

    def usage(self, now: float) -> LimitUsage:
        """Return what is missing in the bucket, in whole units, and what it holds."""
        self._fill(now)
        missing = self._capacity - self._level
        return LimitUsage(ceil(missing - 1e-6), int(self._capacity))

    def _fill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now


@dataclass(slots=True)
class _Entry:
    """What was taken from `begin` on; it leaves the window `window_s` after `end`."""

    begin: float
    end: float
    amount: int


class SlidingWindow:
    """At most `limit` within any `window_s`, to a sixtieth of the window on the safe side."""

    __slots__ = ("_entries", "_limit", "_used", "_window_s")

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._entries: deque[_Entry] = deque()  # oldest first
        self._used = 0

    def wait_s(self, amount: int, ahead: int, now: float) -> float:
        """Seconds until enough entries have left the window."""
        self._forget(now)
        need = min(amount, self._limit) + ahead
        laps = max(0, -(-need // self._limit) - 1)  # whole windows that those ahead fill
        excess = self._used + need - laps * self._limit - self._limit
        wait_s = laps * self._window_s
        for entry in self._entries:
            if excess <= 0:
                break
            excess -= entry.amount
            wait_s = laps * self._window_s + entry.end + self._window_s - now
        return wait_s

    def take(self, amount: int, now: float) -> None:
        """Enter `amount`; what is above the limit stays for as many windows as it fills."""
        self._forget(now)
        self._used += amount
        end = now + max(0.0, amount / self._limit - 1) * self._window_s
        last = self._entries[-1] if self._entries else None
        if last is not None and now - last.begin < self._window_s / _STEPS:
            last.amount += amount
            last.end = max(last.end, end)
        else:
            self._entries.append(_Entry(now, max(end, last.end if last else end), amount))

    def correct(self, delta: int, taken_at: float, now: float) -> None:
        """Enter a debt now; give back where it was taken, if that is still in the window."""
        if delta > 0:
            self.take(delta, now)
            return
        entry = next((entry for entry in reversed(self._entries) if entry.begin <= taken_at), None)
        if entry is not None:
            entry.amount += delta
            self._used += delta
            if entry.amount <= self._limit:  # no debt is left, so it need not stay longer
                entry.end = min(entry.end, entry.begin + self._window_s / _STEPS)

    def drain(self, now: float) -> None:
        """Do nothing: the window has no stock."""

    def usage(self, now: float) -> LimitUsage:
        """Return what the window holds, and the limit."""
        self._forget(now)
        return LimitUsage(self._used, self._limit)

    def _forget(self, now: float) -> None:
        while self._entries and self._entries[0].end + self._window_s <= now:
            self._used -= self._entries.popleft().amount


class FixedWindow:
    """At most `limit` in each window of `window_s`; windows begin at the clock's multiples."""

    __slots__ = ("_index", "_limit", "_used", "_window_s")

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._index = 0
        self._used = 0

    def wait_s(self, amount: int, ahead: int, now: float) -> float:
        """Seconds until the window begins that has room."""
        self._turn(now)
        missing = self._used + min(amount, self._limit) + ahead - self._limit
        if missing <= 0:
            return 0.0
        return (self._index - missing // -self._limit) * self._window_s - now

    def take(self, amount: int, now: float) -> None:
        """Use `amount` of this window; what is above the limit is used of the next ones."""
        self._turn(now)
        self._used += amount

    def correct(self, delta: int, taken_at: float, now: float) -> None:
        """Use a debt now; give back only what was taken in this window."""
        self._turn(now)
        if delta > 0 or int(taken_at // self._window_s) == self._index:
            self._used += delta

    def drain(self, now: float) -> None:
        """Do nothing: the window has no stock."""

    def usage(self, now: float) -> LimitUsage:
        """Return what is used of this window, and the limit."""
        self._turn(now)
        return LimitUsage(self._used, self._limit)

    def _turn(self, now: float) -> None:
        index = int(now // self._window_s)
        if index > self._index:
            self._used = max(0, self._used - self._limit * (index - self._index))
            self._index = index
