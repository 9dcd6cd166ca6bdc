from __future__ import annotations

import pytest

from orchestify.errors import InvalidRequestError, RateLimitError, ServerError
from orchestify.policy.retry import RetryPolicy

POLICY = RetryPolicy(max_attempts=5, first_delay_s=1.0, max_delay_s=8.0)


@pytest.mark.parametrize(("attempt", "ceiling_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0)])
def test_the_ceiling_doubles_with_each_attempt(attempt: int, ceiling_s: float) -> None:
    assert POLICY.delay_s(ServerError(), attempt, lambda: 1.0) == ceiling_s


def test_the_delay_is_jittered_over_the_whole_range() -> None:
    assert POLICY.delay_s(ServerError(), 4, lambda: 0.0) == 0.0
    assert POLICY.delay_s(ServerError(), 4, lambda: 0.25) == 2.0


def test_the_delay_never_passes_the_maximum() -> None:
    patient = RetryPolicy(max_attempts=10_000, first_delay_s=1.0, max_delay_s=8.0)
    assert patient.delay_s(ServerError(), 9_999, lambda: 1.0) == 8.0


def test_the_last_attempt_gives_up() -> None:
    assert POLICY.delay_s(ServerError(), 5, lambda: 1.0) is None


def test_one_attempt_means_no_retry() -> None:
    assert RetryPolicy(max_attempts=1).delay_s(ServerError(), 1, lambda: 1.0) is None


def test_what_is_not_retryable_gives_up_at_once() -> None:
    assert POLICY.delay_s(InvalidRequestError(), 1, lambda: 1.0) is None


def test_retry_after_wins_over_jitter_and_maximum() -> None:
    assert POLICY.delay_s(RateLimitError(retry_after_s=61.5), 1, lambda: 0.0) == 61.5


def test_a_retry_after_of_zero_keeps_the_backoff() -> None:
    assert POLICY.delay_s(RateLimitError(retry_after_s=0.0), 1, lambda: 1.0) == 1.0


def test_retry_after_gives_no_attempt_more() -> None:
    assert POLICY.delay_s(RateLimitError(retry_after_s=1.0), 5, lambda: 1.0) is None
