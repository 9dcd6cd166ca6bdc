"""A rate limit of several processes: the local one, and windows that they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from orchestify.policy.rate_limit import RANKS, LocalGrant, RateLimiter, check_deadline
from orchestify.policy.rate_limit_headers import RateHint
from orchestify.policy.wait_queue import Waiter, WaitQueue, call_later, running_loop
from orchestify.shared_limits.link import RedisLink
from orchestify.shared_limits.window import SharedWindow
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
        link: RedisLink,
        local: RateLimiter,
        *,
        requests: Sequence[SharedWindow] = (),
        tokens: Sequence[SharedWindow] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._local = local
        self._requests = tuple(requests)
        self._tokens = tuple(tokens)
        self._clock = clock
        self._queue = WaitQueue()
        self._tickets = 0
        self._opens_at = 0.0  # when the head's window may open, as far as Redis told
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
        if head is not None and head.key[0] <= rank:
            now = self._clock()
            check_deadline(max(0.0, self._opens_at - now), deadline, now)
        self._tickets += 1
        waiter = Waiter((rank, self._tickets))
        self._queue.join(waiter)
        try:
            return await self._wait_turn(waiter, tokens, priority, deadline)
        finally:
            self._queue.leave(waiter)

    def wait_s(self, tokens: int, *, priority: Priority = "normal") -> float:
        """Seconds that `acquire` would wait now, at least: Redis is not asked."""
        local_s = self._local.wait_s(tokens, priority=priority)
        return max(local_s, self._opens_at - self._clock())

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
                    return SharedGrant(self, grant, taken_at)
                self._opens_at = self._clock() + wait_s
            now = self._clock()
            check_deadline(wait_s, deadline, now)
            if wait_s is None and deadline is not None:
                wait_s = deadline - now
            await waiter.park(wait_s, call_later)

    async def _take(self, tokens: int, grant: LocalGrant, now: float) -> float:
        """Take from all windows, and return 0; or from none and `grant` neither, and the wait."""
        taken: list[tuple[SharedWindow, int]] = []
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

    def _costs(self, requests: int, tokens: int) -> list[tuple[SharedWindow, int]]:
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
        if is_owing and not is_paying and self._link.state == "shared":
            self._payment = self._link.spawn(self._pay())

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
            missed = actual_tokens - self.local.tokens
            self.local.settle(actual_tokens)
            if missed:
                self._limiter._correct(0, missed, self._taken_at)

    def give_back(self) -> None:
        """Leave the request and its tokens to the next calls: nothing was sent."""
        if not self._settled:
            self._settled = True
            self.local.give_back()
            self._limiter._correct(-1, -self.local.tokens, self._taken_at)

    def release(self) -> None:
        """Free the slot of a call that has ended. Once."""
        self.local.release()
