"""The rate limit that is kept before a request is sent, and its throttle after a 429.

Nothing here sends or retries. One lock guards the state, so callers may come from several
event loops and threads; whoever waits, waits on its own loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Any, Protocol

from orchestify.errors import RateLimitError
from orchestify.policy.limit_algorithms import (
    DEFAULT_ALGORITHM,
    Algorithm,
    LimitCounter,
    LimitUsage,
    TokenBucket,
    new_counter,
)
from orchestify.policy.rate_limit_headers import RateHint
from orchestify.policy.wait_queue import CallLater, Waiter, WaitQueue, call_later
from orchestify.values import Priority

MINUTE_S = 60.0
DAY_S = 86_400.0
RECOVERY_S = 60.0  # from a slowed rate back to the full one, in a straight line
SLOWEST = 1 / 64
RANKS: dict[Priority, int] = {"critical": 0, "high": 1, "medium": 2, "normal": 2, "low": 3}


class Grant(Protocol):
    """The right to send one request."""

    def settle(self, actual_tokens: int) -> None:
        """Correct the estimate it was taken with. Once."""

    def give_back(self) -> None:
        """Give back the request and its tokens: nothing was sent. Instead of `settle`."""

    def release(self) -> None:
        """Free the slot of a call that has ended. Once."""


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """How far a rate limit is used now.

    `usage` holds by the limit's key (`requests_per_minute`, `tokens_per_day`, `concurrency`...)
    what is used and what may be: of a token bucket what has not flowed back, of `burst` where that
    is given. `wait_s` is how long the next request of normal priority waits at least, without its
    tokens; `waiting` counts those that wait.
    """

    usage: Mapping[str, LimitUsage]
    wait_s: float
    waiting: int

    def as_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        usage = {name: each._asdict() for name, each in self.usage.items()}
        return {"usage": usage, "wait_s": self.wait_s, "waiting": self.waiting}


class Limiter(Protocol):
    """A rate limit's account; see `RateLimiter`, which is the one of a single process."""

    async def acquire(
        self, tokens: int, *, priority: Priority = "normal", deadline: float | None = None
    ) -> Grant:
        """Wait for a turn, `priority` first and then in order, and take a request and `tokens`.

        Raises:
            RateLimitError: the turn does not come before the deadline.
        """

    def wait_s(self, tokens: int, *, priority: Priority = "normal") -> float:
        """Seconds that `acquire` would wait now, as far as is known here."""

    def state(self) -> RateLimitState:
        """Return how far the limit is used, as far as is known here."""

    def penalise(self, retry_after_s: float | None, grant: Any = None) -> None:
        """Take a 429 that came to the call of `grant`, one of this limiter's own."""

    def learn(self, hint: RateHint) -> None:
        """Take a provider's own word on what is left."""


@dataclass(slots=True, kw_only=True)
class RateLimiter:
    """Requests and tokens per minute and per day, and calls at the same time; None is no limit.

    `burst` is how many requests may go at once: the capacity of the bucket of the shortest
    request limit, by default that limit. The window algorithms have such a bucket only where
    `burst` is given. Times are in seconds of `clock`; `call_later` works on the running loop.
    """

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    burst: int | None = None
    concurrency: int | None = None
    algorithm: Algorithm = DEFAULT_ALGORITHM
    clock: Callable[[], float] = time.monotonic
    call_later: CallLater = call_later
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)
    _queue: WaitQueue = field(default_factory=WaitQueue, init=False, repr=False)
    _queued_requests: list[int] = field(
        default_factory=lambda: [0] * (max(RANKS.values()) + 1), init=False, repr=False
    )
    _bursts: list[LimitCounter] = field(init=False, repr=False)  # of requests, those of the minute
    _requests: list[LimitCounter] = field(init=False, repr=False)
    _tokens: list[LimitCounter] = field(init=False, repr=False)
    _named: dict[str, LimitCounter] = field(init=False, repr=False)
    _throttle: Throttle = field(init=False, repr=False)
    _tickets: int = field(default=0, init=False, repr=False)
    _running: int = field(default=0, init=False, repr=False)
    _lent: int = field(default=0, init=False, repr=False)  # tokens that may yet be given back
    _penalties: int = field(default=0, init=False, repr=False)
    _penalised_at: float = field(default=-inf, init=False, repr=False)

    def __post_init__(self) -> None:
        self._throttle = Throttle(self.clock())
        per_minute, per_day = self.requests_per_minute, self.requests_per_day
        day_burst = self.burst if per_minute is None else None
        self._bursts = _request_counters(self.algorithm, per_minute, MINUTE_S, self.burst)
        per_day_counters = _request_counters(self.algorithm, per_day, DAY_S, day_burst)
        self._requests = [*self._bursts, *per_day_counters]
        tokens = {
            name: new_counter(self.algorithm, limit, window_s)
            for name, limit, window_s in (
                ("tokens_per_minute", self.tokens_per_minute, MINUTE_S),
                ("tokens_per_day", self.tokens_per_day, DAY_S),
            )
            if limit is not None
        }
        self._tokens = list(tokens.values())
        self._named = {
            **dict(zip(("requests_per_minute", "burst"), self._bursts, strict=False)),
            **dict(zip(("requests_per_day", "burst"), per_day_counters, strict=False)),
            **tokens,
        }

    async def acquire(
        self, tokens: int, *, priority: Priority = "normal", deadline: float | None = None
    ) -> LocalGrant:
        """Wait for a turn, `priority` first and then in order, and take a request and `tokens`.

        `tokens` is an estimate that the grant's `settle` corrects; more than fit the limit go
        when it is whole and leave a debt. `deadline` is a time of `clock`. A cancelled wait
        takes nothing and lets the next one try.

        Raises:
            RateLimitError: the turn does not come before the deadline: at once where it could not
                even if the calls ahead gave all their tokens back, or when it has passed.
                `retry_after_s` says when, None where only another call's end can tell. Nothing was
                taken.
        """
        rank = RANKS[priority]
        with self._lock:
            now = self.clock()
            is_next = not self._queue.waiting or self._is_first(rank)
            has_slot = self.concurrency is None or self._running < self.concurrency
            if is_next and has_slot and self._wait_s(tokens, 0, 0, now) <= 0:
                return self._take(tokens, now)
            check_deadline(self._turn_in_s(rank, tokens, now), deadline, now)
            self._tickets += 1
            waiter = Waiter((rank, self._tickets))
            self._join(waiter)
        return await self._wait_turn(waiter, tokens, deadline)

    @property
    def resumes_in_s(self) -> float:
        """Seconds for which nothing at all is granted: the rest of a pause."""
        return max(0.0, self._throttle.resume_at - self.clock())

    def wait_s(self, tokens: int, *, priority: Priority = "normal") -> float:
        """Seconds that `acquire` would wait now, at least.

        Slots may be taken for longer, and the calls ahead may keep their tokens.
        """
        with self._lock:
            return self._turn_in_s(RANKS[priority], tokens, self.clock())

    def state(self) -> RateLimitState:
        """Return how far the limit is used now."""
        with self._lock:
            now = self.clock()
            at = self._throttle.time(now)
            usage = {name: each.usage(at) for name, each in self._named.items()}
            if self.concurrency is not None:
                usage["concurrency"] = LimitUsage(self._running, self.concurrency)
            wait_s = self._turn_in_s(RANKS["normal"], 0, now)
            return RateLimitState(usage, wait_s, sum(self._queued_requests))

    def penalise(
        self,
        retry_after_s: float | None,
        grant: LocalGrant | None = None,
        *,
        sent_at: float | None = None,
    ) -> None:
        """Take a 429: grant nothing for `retry_after_s`, then go on at half the rate.

        The rate grows back to the full one within 60 s, evenly, and a full bucket of requests
        per minute is left with one. Of the calls that were under way together (`grant` or
        `sent_at` tells), and within one pause, only the first 429 halves; the others can lengthen
        the pause.
        """
        with self._lock:
            now = self.clock()
            is_new = (
                now >= self._throttle.resume_at if grant is None else grant._is_after_penalties()
            )
            if sent_at is not None and sent_at <= self._penalised_at:
                is_new = False
            self._throttle.pause(now + (retry_after_s or 0.0), now)
            if is_new:
                self._penalties += 1
                self._penalised_at = now
                self._throttle.halve(now)
                for each in self._bursts:
                    each.drain(self._throttle.time(now))
            self._queue.wake_head()

    def learn(self, hint: RateHint) -> None:
        """Take a provider's own word: where nothing is left, grant nothing until the reset."""
        if hint.exhausted_s > 0:
            with self._lock:
                now = self.clock()
                self._throttle.pause(now + hint.exhausted_s, now)

    async def _wait_turn(self, waiter: Waiter, tokens: int, deadline: float | None) -> LocalGrant:
        try:
            while True:
                with self._lock:
                    now = self.clock()
                    is_next = self._queue.head() is waiter and self._has_slot()
                    wait_s = self._wait_s(tokens, 0, 0, now) if is_next else None
                    if wait_s == 0:
                        return self._take(tokens, now)
                    least_s = self._wait_s(tokens, 0, -self._lent, now) if is_next else None
                    check_deadline(least_s, deadline, now)
                if deadline is not None:
                    wait_s = deadline - now if wait_s is None else min(wait_s, deadline - now)
                await waiter.park(wait_s, self.call_later)
        finally:
            with self._lock:
                self._leave(waiter)

    def _is_first(self, rank: int) -> bool:
        head = self._queue.head()
        return head is None or head.key[0] > rank

    def _has_slot(self) -> bool:
        return self.concurrency is None or self._running < self.concurrency

    def _turn_in_s(self, rank: int, tokens: int, now: float) -> float:
        """Seconds until the limits, not the slots, can let a newcomer of this rank through.

        The requests of those ahead are used up; their tokens, and those that running calls hold,
        may all be given back.
        """
        requests = sum(self._queued_requests[: rank + 1])
        return self._wait_s(tokens, requests, -self._lent, now)

    def _wait_s(self, tokens: int, requests_ahead: int, tokens_ahead: int, now: float) -> float:
        throttle = self._throttle
        at = throttle.time(now)
        wait_s = 0.0
        for each in self._requests:
            wait_s = max(wait_s, each.wait_s(1, requests_ahead, at))
        for each in self._tokens:
            wait_s = max(wait_s, each.wait_s(tokens, tokens_ahead, at))
        if wait_s or now < throttle.resume_at:
            return throttle.wait_s(wait_s, now)
        return wait_s

    def _take(self, tokens: int, now: float) -> LocalGrant:
        at = self._throttle.time(now)
        for each in self._requests:
            each.take(1, at)
        for each in self._tokens:
            each.take(tokens, at)
        self._running += 1
        self._lent += tokens
        return LocalGrant(self, tokens, at, self._penalties)

    def _join(self, waiter: Waiter) -> None:
        self._queued_requests[waiter.key[0]] += 1
        self._queue.join(waiter)

    def _leave(self, waiter: Waiter) -> None:
        self._queued_requests[waiter.key[0]] -= 1
        self._queue.leave(waiter)

    def _correct(self, tokens: int, delta: int, taken_at: float) -> None:
        with self._lock:
            self._lent -= tokens
            if not delta:
                return
            at = self._throttle.time(self.clock())
            for each in self._tokens:
                each.correct(delta, taken_at, at)
            if self._queue.waiting:
                self._queue.wake_head()

    def _give_back(self, tokens: int, taken_at: float) -> None:
        with self._lock:
            self._lent -= tokens
            at = self._throttle.time(self.clock())
            for each in self._requests:
                each.correct(-1, taken_at, at)
            for each in self._tokens:
                each.correct(-tokens, taken_at, at)
            self._queue.wake_head()


@dataclass(slots=True, eq=False)
class LocalGrant:
    """The right to send one request; `settle` it where its tokens are known, then `release` it."""

    _limiter: RateLimiter = field(repr=False)
    tokens: int
    _taken_at: float
    _penalties: int
    _is_settled: bool = False
    _is_released: bool = False

    def settle(self, actual_tokens: int) -> None:
        """Correct the estimate: give back what was too much, owe what was missing. Once."""
        if not self._is_settled:
            self._is_settled = True
            self._limiter._correct(self.tokens, actual_tokens - self.tokens, self._taken_at)

    def give_back(self) -> None:
        """Give back the request and its tokens: nothing was sent. Instead of `settle`."""
        if not self._is_settled:
            self._is_settled = True
            self._limiter._give_back(self.tokens, self._taken_at)

    def release(self) -> None:
        """Free the slot of a call that has ended; tokens that were not settled stay used. Once."""
        if self._is_released:
            return
        self._is_released = True
        if not self._is_settled:
            self.settle(self.tokens)
        limiter = self._limiter
        with limiter._lock:
            limiter._running -= 1
            if limiter.concurrency is not None:
                limiter._queue.wake_head()

    def _is_after_penalties(self) -> bool:
        return self._penalties == self._limiter._penalties


class Throttle:
    """A clock for limits: those counted on it are halved while it runs at half speed.

    It stands still until `resume_at`, begins again with `speed` (1 is full) and gains speed
    evenly until, `RECOVERY_S` later, it runs fully: multiplicative decrease, additive increase.
    Source: D. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for
    congestion avoidance in computer networks", Computer Networks and ISDN Systems 17, 1989.
    """

    __slots__ = ("_begin", "_speed", "resume_at")

    def __init__(self, now: float) -> None:
        self.resume_at = now
        self._speed = 1.0  # at `resume_at`
        self._begin = 0.0  # this clock's time until `resume_at`

    def time(self, now: float) -> float:
        """Return this clock's time, in seconds, when it is `now`."""
        passed_s = now - self.resume_at
        if passed_s <= 0:
            return self._begin
        speed = self._speed
        if speed == 1.0:
            return self._begin + passed_s
        rising_s = min(passed_s, RECOVERY_S)
        gained = (1 - speed) * rising_s * rising_s / (2 * RECOVERY_S)
        return self._begin + speed * rising_s + gained + (passed_s - rising_s)

    def wait_s(self, clock_s: float, now: float) -> float:
        """Seconds from `now` until this clock has gone on by `clock_s`, pauses included."""
        target = self.time(now) + clock_s - self._begin
        full = (1 + self._speed) / 2 * RECOVERY_S  # what it runs while it gains speed
        if self._speed == 1.0:
            after_s = target
        elif target >= full:
            after_s = RECOVERY_S + target - full
        else:  # the root of speed * x + slope * x**2 == target, without cancellation
            slope = (1 - self._speed) / (2 * RECOVERY_S)
            after_s = 2 * target / (self._speed + sqrt(self._speed**2 + 4 * slope * target))
        return max(0.0, self.resume_at + after_s - now)

    def speed(self, now: float) -> float:
        """Return how fast it runs, or will once it is resumed; 1 is full."""
        passed_s = min(max(now - self.resume_at, 0.0), RECOVERY_S)
        return self._speed + (1 - self._speed) * passed_s / RECOVERY_S

    def pause(self, until: float, now: float) -> None:
        """Stand still until then; an earlier end than the present one changes nothing."""
        if until > max(now, self.resume_at):
            self._restart(until, self.speed(now), now)

    def halve(self, now: float) -> None:
        """Go on at half the speed, or from the end of the pause on."""
        self._restart(max(now, self.resume_at), max(SLOWEST, self.speed(now) / 2), now)

    def _restart(self, resume_at: float, speed: float, now: float) -> None:
        self._begin = self.time(now)
        self.resume_at = resume_at
        self._speed = speed


def _request_counters(
    algorithm: Algorithm, limit: int | None, window_s: float, burst: int | None
) -> list[LimitCounter]:
    if limit is None:
        return []
    if algorithm == "token_bucket" or burst is None:
        return [new_counter(algorithm, limit, window_s, burst)]
    return [new_counter(algorithm, limit, window_s), TokenBucket(burst, limit / window_s)]


def check_deadline(wait_s: float | None, deadline: float | None, now: float) -> None:
    """Raise where a wait of `wait_s` (None: nobody knows) does not end before the deadline."""
    if deadline is None:
        return
    if now >= deadline or now + (wait_s or 0.0) > deadline:
        told = f"; it comes in {wait_s:.3g} s" if wait_s else ""
        raise RateLimitError(
            f"our own rate limit has no turn for this call before its deadline{told}",
            retry_after_s=wait_s or None,
        )
