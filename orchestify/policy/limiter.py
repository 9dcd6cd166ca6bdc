"""What the call path asks of a rate limit, whether one process counts it or several together."""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias

from orchestify.policy.retry_after import RateHint

Priority: TypeAlias = Literal["high", "normal", "low"]


class Grant(Protocol):
    """The right to send one request."""

    def settle(self, actual_tokens: int) -> None:
        """Correct the estimate it was taken with. Once."""

    def give_back(self) -> None:
        """Give back the request and its tokens: nothing was sent. Instead of `settle`."""

    def release(self) -> None:
        """Free the slot of a call that has ended. Once."""


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

    def penalise(self, retry_after_s: float | None, grant: Any = None) -> None:
        """Take a 429 that came to the call of `grant`, one of this limiter's own."""

    def learn(self, hint: RateHint) -> None:
        """Take a provider's own word on what is left."""
