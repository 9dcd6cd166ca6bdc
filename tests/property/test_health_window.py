"""Statistics of the window, against Python's own over the same calls."""

from __future__ import annotations

import statistics
import threading

from hypothesis import given, strategies as st

from orchestify.health.health import CallWindow, Health, ObservedCall, quantile
from orchestify.ledger.record import Record
from tests.clock import MIDNIGHT, ManualClock

seconds = st.floats(0, 1000)
calls = st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["", "ServerError"]), seconds))


@given(st.lists(seconds, min_size=2, max_size=200))
def test_quantiles_are_those_of_statistics(values: list[float]) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")
    ordered = sorted(values)
    assert [quantile(ordered, percent) for percent in range(1, 100)] == expected


@given(calls)
def test_window_is_the_newest_calls_and_its_counts_are_theirs(
    past: list[tuple[float, str, float]],
) -> None:
    window, now, everything = CallWindow(size=10, age_s=60), 0.0, []
    for pause_s, error, latency_s in past:
        now += pause_s
        everything.append(ObservedCall(now, error, latency_s, None))
        window.add(everything[-1])
        assert list(window.calls) == [c for c in everything[-10:] if c.at >= now - 60]
        assert window.failed == sum(c.error != "" for c in window.calls)
        assert len(window.calls) <= 10


@given(calls)
def test_scores_and_shares_stay_between_zero_and_one(past: list[tuple[float, str, float]]) -> None:
    clock = ManualClock()
    health = Health(clock=clock, now=clock.utc)
    for pause_s, error, latency_s in past:
        clock.advance(pause_s)
        health.observe(_record(error, latency_s))
        stats = health.stats("main")
        assert 0 <= health.score("main", "m") <= 1
        assert stats.uptime is not None
        assert 0 <= stats.uptime <= 1 + 1e-9
        assert stats.success_rate is not None
        assert stats.error_rate is not None
        assert abs(stats.success_rate + stats.error_rate - 1) < 1e-9


def test_calls_from_many_threads_are_all_counted() -> None:
    health = Health()
    ok, failed = _record("", 1.0), _record("ServerError", 1.0)

    def observe() -> None:
        for _ in range(100):
            health.observe(ok)
            health.observe(failed)

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = health.stats("main")
    assert stats.calls == 200
    assert stats.error_rate == stats.errors["ServerError"] / 200


def _record(error: str, latency_s: float) -> Record:
    return Record(
        id="1",
        call_id="1",
        started_at=MIDNIGHT,
        provider="main",
        model="m",
        outcome="failed" if error else "ok",
        error=error,
        latency_s=latency_s,
    )
