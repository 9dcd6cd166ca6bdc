"""The retry policy: when the same target is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestify.errors import APIError

_MAX_DOUBLINGS = 60  # keeps the power finite; every sane `max_delay_s` is reached long before


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often one target is tried, and how long to wait in between."""

    max_attempts: int = 5
    first_delay_s: float = 1.0
    max_delay_s: float = 8.0

    def delay_s(self, error: APIError, attempt: int, random: Callable[[], float]) -> float | None:
        """Seconds to wait before attempt `attempt + 1`, or None to give up.

        `attempt` is the one that failed, from 1; `random` returns a number in [0, 1).
        Exponential backoff with full jitter; a provider's own Retry-After wins, even over
        `max_delay_s`: whether a wait is worth it is the caller's decision. A Retry-After of zero
        says nothing about when to come back, so the backoff stays.
        Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
        """
        if not error.retryable or attempt >= self.max_attempts:
            return None
        if error.retry_after_s:
            return error.retry_after_s
        ceiling_s = self.first_delay_s * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)
        return random() * min(self.max_delay_s, ceiling_s)
