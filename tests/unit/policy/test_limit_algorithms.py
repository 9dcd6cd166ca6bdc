from __future__ import annotations

import pytest

from orchestify.policy.limit_algorithms import (
    FixedWindow,
    LimitCounter,
    SlidingWindow,
    TokenBucket,
    new_counter,
)


def test_a_bucket_is_full_in_the_beginning_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(capacity=10, rate=2.0)
    bucket.take(10, 0.0)
    assert bucket.wait_s(1, 0, 0.0) == 0.5
    assert bucket.wait_s(10, 0, 0.0) == 5.0
    assert bucket.wait_s(10, 0, 5.0) == 0.0


def test_a_bucket_never_holds_more_than_its_capacity() -> None:
    bucket = TokenBucket(capacity=10, rate=2.0)
    bucket.wait_s(1, 0, 0.0)
    bucket.take(10, 1000.0)
    assert bucket.wait_s(1, 0, 1000.0) == 0.5


def test_more_than_the_capacity_goes_when_the_bucket_is_full_and_leaves_a_debt() -> None:
    bucket = TokenBucket(capacity=10, rate=2.0)
    bucket.take(1, 0.0)
    assert bucket.wait_s(30, 0, 0.0) == 0.5
    bucket.take(30, 0.5)
    assert bucket.wait_s(1, 0, 0.5) == 10.5


def test_a_bucket_takes_back_what_was_too_much_up_to_its_capacity() -> None:
    bucket = TokenBucket(capacity=10, rate=2.0)
    bucket.take(8, 0.0)
    bucket.correct(-6, 0.0, 0.0)
    assert bucket.wait_s(8, 0, 0.0) == 0.0
    bucket.correct(-100, 0.0, 0.0)
    bucket.take(10, 0.0)
    assert bucket.wait_s(1, 0, 0.0) == 0.5


def test_a_drained_bucket_holds_one() -> None:
    bucket = TokenBucket(capacity=10, rate=2.0)
    bucket.drain(0.0)
    assert bucket.wait_s(1, 0, 0.0) == 0.0
    assert bucket.wait_s(2, 0, 0.0) == 0.5


def test_a_sliding_window_frees_what_was_taken_a_window_ago() -> None:
    window = SlidingWindow(limit=10, window_s=60.0)
    window.take(4, 0.0)
    window.take(6, 30.0)
    assert window.wait_s(1, 0, 30.0) == 30.0
    assert window.wait_s(5, 0, 30.0) == 60.0
    assert window.wait_s(1, 0, 59.0) == 1.0
    assert window.wait_s(4, 0, 60.0) == 0.0


def test_a_sliding_window_joins_what_is_close_together_on_the_safe_side() -> None:
    window = SlidingWindow(limit=10, window_s=60.0)
    window.take(5, 0.0)
    window.take(5, 0.9)
    assert window.wait_s(1, 0, 1.0) == pytest.approx(59.9)


def test_more_than_a_sliding_windows_limit_goes_when_it_is_empty_and_leaves_a_debt() -> None:
    window = SlidingWindow(limit=10, window_s=60.0)
    window.take(1, 0.0)
    assert window.wait_s(25, 0, 0.0) == 60.0
    window.take(25, 60.0)
    assert window.wait_s(1, 0, 60.0) == 150.0


def test_a_sliding_window_takes_back_only_what_it_still_counts() -> None:
    window = SlidingWindow(limit=10, window_s=60.0)
    window.take(10, 0.0)
    window.correct(-4, 0.0, 30.0)
    assert window.wait_s(4, 0, 30.0) == 0.0
    window.take(10, 60.0)
    window.correct(-4, 0.0, 70.0)
    assert window.wait_s(1, 0, 70.0) == 50.0


def test_a_sliding_window_forgives_a_debt_that_was_none() -> None:
    window = SlidingWindow(limit=10, window_s=60.0)
    window.take(30, 0.0)
    window.correct(-25, 0.0, 10.0)
    assert window.wait_s(10, 0, 10.0) == 51.0


def test_a_sliding_window_counts_a_debt_from_the_moment_it_is_known() -> None:
    window = SlidingWindow(limit=10, window_s=60.0)
    window.take(5, 0.0)
    window.correct(5, 0.0, 30.0)
    assert window.wait_s(6, 0, 60.0) == 30.0


def test_a_fixed_window_begins_anew_at_the_clocks_multiples() -> None:
    window = FixedWindow(limit=10, window_s=60.0)
    window.take(10, 59.0)
    assert window.wait_s(1, 0, 59.0) == 1.0
    assert window.wait_s(10, 0, 60.0) == 0.0


def test_more_than_a_fixed_windows_limit_uses_the_next_windows_too() -> None:
    window = FixedWindow(limit=10, window_s=60.0)
    assert window.wait_s(25, 0, 0.0) == 0.0
    window.take(25, 0.0)
    assert window.wait_s(5, 0, 0.0) == 120.0
    assert window.wait_s(6, 0, 0.0) == 180.0
    assert window.wait_s(5, 0, 60.0) == 60.0
    assert window.wait_s(5, 0, 120.0) == 0.0
    assert window.wait_s(6, 0, 120.0) == 60.0


def test_a_fixed_window_takes_back_only_what_was_taken_in_it() -> None:
    window = FixedWindow(limit=10, window_s=60.0)
    window.take(10, 50.0)
    window.correct(-4, 50.0, 55.0)
    assert window.wait_s(4, 0, 55.0) == 0.0
    window.take(10, 60.0)
    window.correct(-4, 50.0, 65.0)
    assert window.wait_s(1, 0, 65.0) == 55.0
    window.correct(5, 50.0, 65.0)
    assert window.wait_s(6, 0, 65.0) == 115.0


@pytest.mark.parametrize(
    ("each", "wait_s"),
    [
        (TokenBucket(capacity=10, rate=0.5), 34.0),
        (SlidingWindow(limit=10, window_s=60.0), 120.0),
        (FixedWindow(limit=10, window_s=60.0), 120.0),
    ],
)
def test_those_ahead_are_waited_for(each: LimitCounter, wait_s: float) -> None:
    each.take(10, 0.0)
    assert each.wait_s(2, 15, 0.0) == wait_s


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
def test_every_algorithm_grants_its_limit_at_once_and_no_more(algorithm: str) -> None:
    each = new_counter(algorithm, 10, 60.0)  # type: ignore[arg-type]
    assert each.wait_s(10, 0, 0.0) == 0.0
    each.take(10, 0.0)
    assert each.wait_s(1, 0, 0.0) > 0.0
    assert each.wait_s(10, 0, 60.0) == 0.0
