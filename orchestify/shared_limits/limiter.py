"""A rate limit of several processes: the local limiter, then windows shared over Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from orchestify.core.policies import RateLimitConfig
from orchestify.policy.rate_limit import (
    DAY_S,
    MINUTE_S,
    RANKS,
    Limiter,
    LocalGrant,
    RateLimiter,
    RateLimitState,
    check_deadline,
)
from orchestify.policy.rate_limit_headers import RateHint
from orchestify.policy.wait_queue import Waiter, WaitQueue, call_later, running_loop
from orchestify.shared_limits.redis_connection import RedisConnection, State
from orchestify.shared_limits.sliding_window import SharedSlidingWindow
from orchestify.values import Priority


class SharedRateLimiter:
    """Passes the local limiter, then takes from the shared windows, first in line first.

    `local` bounds this process alone: its concurrency, its burst, and its pauses after a 429,
    which stay local (each machine learns from its own answers). Only the head of the queue asks
    Redis, and sleeps until the window may open. On one event loop; `settle` and its like may
    be called from any thread. A wait that is cancelled while Redis answers may leave a hit.
    """

    def __init__(
        self,
        connection: RedisConnection,
        local: RateLimiter,
        *,
        requests: Sequence[SharedSlidingWindow] = (),
        tokens: Sequence[SharedSlidingWindow] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._local = local
        self._requests = tuple(requests)
        self._tokens = tuple(tokens)
        self._clock = clock
        self._queue = WaitQueue()
        self._tickets = 0
        self._waiting = 0
        self._opens_at = 0.0  # when the head's window may open, as far as Redis told
        self._lent = 0  # tokens that running calls of this process may yet give back
        self._loop: asyncio.AbstractEventLoop | None = None
        self._payment: asyncio.Task[None] | None = None

    async def acquire(
        self, tokens: int, *, priority: Priority = "normal", deadline: float | None = None
    ) -> SharedGrant:
        """Wait for a turn, `priority` first and then in order, and take a request and `tokens`.

        `tokens` is an estimate, and one hit; `SharedGrant.settle` makes a second hit of what it
        missed and leaves what was too much to this process's next calls. `deadline` is a time
        of `clock`.

        Raises:
            RateLimitError: the turn does not come before the deadline; `retry_after_s` says
                when it may come, None where nobody knows. Nothing was taken.
        """
        self._loop = asyncio.get_running_loop()
        rank = RANKS[priority]
        head = self._queue.head()
        if head is not None and head.key[0] <= rank and not self._lent:
            now = self._clock()
            check_deadline(max(0.0, self._opens_at - now), deadline, now)
        self._tickets += 1
        waiter = Waiter((rank, self._tickets))
        self._queue.join(waiter)
        self._waiting += 1
        try:
            return await self._wait_turn(waiter, tokens, priority, deadline)
        finally:
            self._waiting -= 1
            self._queue.leave(waiter)

    def wait_s(self, tokens: int, *, priority: Priority = "normal") -> float:
        """Seconds that `acquire` would wait now, at least: Redis is not asked."""
        local_s = self._local.wait_s(tokens, priority=priority)
        return max(local_s, self._opens_at - self._clock())

    def state(self) -> RateLimitState:
        """Return what this process has used of the limit; Redis is not asked."""
        local = self._local.state()
        wait_s = max(local.wait_s, self._opens_at - self._clock())
        return replace(local, wait_s=wait_s, waiting=self._waiting)

    def penalise(self, retry_after_s: float | None, grant: SharedGrant | None = None) -> None:
        """Take a 429, for this process alone: see `RateLimiter.penalise`."""
        self._local.penalise(retry_after_s, None if grant is None else grant.local)

    def learn(self, hint: RateHint) -> None:
        """Take a provider's own word, for this process alone."""
        self._local.learn(hint)

    async def _wait_turn(
        self, waiter: Waiter, tokens: int, priority: Priority, deadline: float | None
    ) -> SharedGrant:
        while True:
            wait_s: float | None = None
            if self._queue.head() is waiter:
                grant = await self._local.acquire(tokens, priority=priority, deadline=deadline)
                taken_at = self._clock()
                wait_s = await self._take(tokens, grant, taken_at)
                if wait_s == 0:
                    self._pay_soon()
                    self._lent += tokens
                    return SharedGrant(self, grant, taken_at)
                self._opens_at = self._clock() + wait_s
            now = self._clock()
            check_deadline(None if self._lent else wait_s, deadline, now)
            if deadline is not None:
                wait_s = deadline - now if wait_s is None else min(wait_s, deadline - now)
            await waiter.park(wait_s, call_later)

    async def _take(self, tokens: int, grant: LocalGrant, now: float) -> float:
        """Take from all windows, and return 0; or from none and `grant` neither, and the wait."""
        taken: list[tuple[SharedSlidingWindow, int]] = []
        wait_s = 1.0
        try:
            for window, amount in self._costs(1, tokens):
                wait_s = await window.take(amount, now)
                if wait_s > 0:
                    break
                taken.append((window, amount))
        finally:
            if wait_s > 0:
                for window, amount in taken:
                    window.correct(-amount, now)
                grant.give_back()
                grant.release()
        return wait_s

    def _costs(self, requests: int, tokens: int) -> list[tuple[SharedSlidingWindow, int]]:
        return [
            *((each, requests) for each in self._requests),
            *((each, tokens) for each in self._tokens),
        ]

    def _correct(self, requests: int, tokens: int, taken_at: float) -> None:
        """Correct what a grant took, on the limiter's own loop."""
        if running_loop() is not self._loop:
            with suppress(RuntimeError):  # the loop was closed
                assert self._loop is not None  # noqa: S101 - a grant was given on it
                self._loop.call_soon_threadsafe(self._correct, requests, tokens, taken_at)
            return
        for window, amount in self._costs(requests, tokens):
            window.correct(amount, taken_at)
        self._pay_soon()
        if requests + tokens < 0:
            self._opens_at = 0.0
            self._queue.wake_head()

    def _pay_soon(self) -> None:
        """Send the second hit of what was used and not paid, unless one is under way."""
        is_owing = any(each.owes for each in (*self._requests, *self._tokens))
        is_paying = self._payment is not None and not self._payment.done()
        if is_owing and not is_paying and self._connection.state == "shared":
            self._payment = self._connection.spawn(self._pay())

    async def _pay(self) -> None:
        for each in (*self._requests, *self._tokens):
            await each.pay()


class SharedGrant:
    """The right to send one request, of a shared limit; see `LocalGrant`."""

    __slots__ = ("_limiter", "_settled", "_taken_at", "local")

    def __init__(self, limiter: SharedRateLimiter, local: LocalGrant, taken_at: float) -> None:
        self.local = local
        self._limiter = limiter
        self._taken_at = taken_at
        self._settled = False

    def settle(self, actual_tokens: int) -> None:
        """Pay what the estimate missed, or leave what was too much to the next calls. Once."""
        if not self._settled:
            self._settled = True
            self._limiter._lent -= self.local.tokens
            missed = actual_tokens - self.local.tokens
            self.local.settle(actual_tokens)
            if missed:
                self._limiter._correct(0, missed, self._taken_at)

    def give_back(self) -> None:
        """Leave the request and its tokens to the next calls: nothing was sent."""
        if not self._settled:
            self._settled = True
            self._limiter._lent -= self.local.tokens
            self.local.give_back()
            self._limiter._correct(-1, -self.local.tokens, self._taken_at)

    def release(self) -> None:
        """Free the slot of a call that has ended; tokens that were not settled stay used. Once."""
        self.settle(self.local.tokens)
        self.local.release()


Key: TypeAlias = tuple[str, str, str]  # `provider` or `agent`, its name, its limit as text


class RedisLimits:
    """Makes limiters whose requests and tokens, a minute and a day, count in one Redis.

    They count in sliding windows whatever `algorithm` says; that, `burst` and `concurrency`
    hold for each process by itself. While Redis is away, each process goes on with its share of
    a limit: the limit divided by `machines`, the number of processes that use this Redis. Keys
    hold the tenant and the name of a provider or agent, never a secret; they expire.
    """

    def __init__(self, url: str, prefix: str = "orchestify", machines: int = 1) -> None:
        """Prepare; nothing is sent before the first call.

        Raises:
            MissingExtraError: the extra `redis` is not installed.
            InvalidParameterError: `url` is not one of Redis.
        """
        self._connection = RedisConnection(url, prefix)
        self._machines = max(1, machines)

    @property
    def connection(self) -> RedisConnection:
        """The connection, for what else the processes share; it closes with the limits."""
        return self._connection

    @property
    def state(self) -> State:
        """`shared`, or `local` while Redis is away."""
        return self._connection.state

    async def check(self) -> State:
        """Ask Redis anything, unless it was found away just now, and return the state."""
        return await self._connection.check()

    def for_tenant(self, tenant_id: str) -> Callable[[Key, RateLimitConfig], Limiter]:
        """Return what makes the limiters of a tenant's registry (a `MakeLimiter`)."""
        return partial(self._make, tenant_id)

    async def aclose(self) -> None:
        """Wait for what is being sent, and close the connections."""
        await self._connection.aclose()

    def _make(self, tenant_id: str, key: Key, limit: RateLimitConfig) -> Limiter:
        kind, name, _ = key
        local = RateLimiter(**limit.model_dump())

        def windows(
            unit: str, per_minute: int | None, per_day: int | None
        ) -> list[SharedSlidingWindow]:
            where = f"limit/{tenant_id}/{kind}/{name}/{unit}"
            return [
                SharedSlidingWindow(
                    self._connection,
                    where,
                    most,
                    int(window_s),
                    share=max(1, most // self._machines),
                )
                for most, window_s in ((per_minute, MINUTE_S), (per_day, DAY_S))
                if most is not None
            ]

        requests = windows("requests", limit.requests_per_minute, limit.requests_per_day)
        tokens = windows("tokens", limit.tokens_per_minute, limit.tokens_per_day)
        if not requests and not tokens:
            return local
        return SharedRateLimiter(self._connection, local, requests=requests, tokens=tokens)
