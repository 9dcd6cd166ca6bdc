from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from orchestify.events.events import ErrorRateHigh, Event, ProviderUnavailable, SlowCall
from orchestify.health.health import Health
from orchestify.ledger.record import Outcome, Record
from tests.clock import MIDNIGHT, ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def health(clock: ManualClock, heard: list[Event]) -> Health:
    return Health(error_rate=0.5, slow_s=30, emit=heard.append, clock=clock, now=clock.utc)


def record(
    outcome: Outcome = "ok",
    error: str = "",
    latency_s: float | None = 1.0,
    first_chunk_s: float | None = None,
    model: str = "m",
) -> Record:
    return Record(
        id="1",
        call_id="1",
        started_at=MIDNIGHT,
        provider="main",
        model=model,
        outcome=outcome,
        error=error,
        latency_s=latency_s,
        first_chunk_s=first_chunk_s,
    )


OK = record()
FAILED = record("failed", "ServerError")
LIMITED = record("failed", "RateLimitError")


def observe(health: Health, each: Record, times: int = 1) -> None:
    for _ in range(times):
        health.observe(each)


def test_provider_that_nobody_called_is_unknown_and_not_healthy(health: Health) -> None:
    stats = health.stats("main")
    assert (stats.status, stats.is_healthy, stats.calls) == ("unknown", False, 0)
    assert (stats.success_rate, stats.latency_p50_s, stats.uptime) == (None, None, None)
    assert health.all() == {}


def test_rates_and_errors_are_those_of_the_calls(health: Health) -> None:
    observe(health, OK, 6)
    observe(health, FAILED)
    observe(health, record("interrupted", "StreamInterruptedError"))
    stats = health.stats("main")
    assert (stats.calls, stats.success_rate, stats.error_rate) == (8, 0.75, 0.25)
    assert stats.errors == {"ServerError": 1, "StreamInterruptedError": 1}
    assert stats.last_error == "StreamInterruptedError"


def test_failure_without_a_class_is_told_by_its_outcome(health: Health) -> None:
    observe(health, record("interrupted"))
    assert health.stats("main").errors == {"interrupted": 1}


@pytest.mark.parametrize(
    "each",
    [
        record("cancelled"),
        record("open"),
        record("failed", "InvalidRequestError"),
        record("failed", "ContextWindowError"),
        record("failed", "ContentFilterError"),
        record("failed", "StructuredOutputError"),
        record("failed", "InvalidParameterError"),
    ],
    ids=lambda each: each.error or each.outcome,
)
def test_what_says_nothing_of_the_provider_does_not_count(health: Health, each: Record) -> None:
    observe(health, each)
    assert health.all() == {}


def test_latencies_are_those_of_calls_that_went_well(health: Health) -> None:
    observe(health, record(latency_s=1.0, first_chunk_s=0.1))
    observe(health, record(latency_s=2.0, first_chunk_s=0.3))
    observe(health, record(latency_s=6.0))
    observe(health, record("failed", "ServerError", latency_s=100.0, first_chunk_s=50.0))
    observe(health, record(latency_s=None))
    stats = health.stats("main")
    assert (stats.latency_mean_s, stats.latency_p50_s) == (3.0, 2.0)
    assert stats.latency_p95_s == pytest.approx(5.6)
    assert stats.latency_p99_s == pytest.approx(5.92)
    assert stats.first_chunk_p50_s == pytest.approx(0.2)
    assert stats.first_chunk_p95_s == pytest.approx(0.29)


def test_only_the_last_200_calls_count(health: Health) -> None:
    observe(health, FAILED, 50)
    observe(health, OK, 200)
    stats = health.stats("main")
    assert (stats.calls, stats.success_rate, stats.errors) == (200, 1.0, {})


def test_calls_older_than_ten_minutes_do_not_count(health: Health, clock: ManualClock) -> None:
    observe(health, FAILED)
    clock.advance(300)
    observe(health, OK)
    clock.advance(301)
    assert health.stats("main").success_rate == 1.0
    clock.advance(300)
    stats = health.stats("main")
    assert (stats.status, stats.calls) == ("unknown", 0)
    assert stats.message == "neither called nor checked in the last 600 s"


def test_error_rate_at_the_alerts_is_degraded(health: Health) -> None:
    observe(health, OK, 2)
    assert health.stats("main").status == "healthy"
    observe(health, FAILED, 2)
    stats = health.stats("main")
    assert (stats.status, stats.is_healthy) == ("degraded", False)
    assert stats.message == "2 of 4 calls failed"


def test_error_rate_of_a_tenth_is_degraded_where_no_alert_says_another() -> None:
    health = Health()
    observe(health, FAILED)
    observe(health, OK, 9)
    assert health.stats("main").status == "degraded"
    observe(health, OK)
    assert health.stats("main").status == "healthy"


def test_five_failures_in_a_row_are_an_outage_told_once(health: Health, heard: list[Event]) -> None:
    observe(health, FAILED, 4)
    assert health.stats("main").status == "degraded"
    observe(health, FAILED, 2)
    stats = health.stats("main")
    assert stats.status == "unavailable"
    assert stats.message == "the last 6 calls failed: ServerError"
    assert heard == [ProviderUnavailable("main", "ServerError")]


def test_one_good_call_ends_an_outage(health: Health, heard: list[Event]) -> None:
    observe(health, FAILED, 5)
    observe(health, OK)
    assert health.stats("main").status == "degraded"
    observe(health, FAILED, 5)
    assert heard.count(ProviderUnavailable("main", "ServerError")) == 2


def test_rate_limits_are_failures_but_no_outage(health: Health, heard: list[Event]) -> None:
    observe(health, LIMITED, 9)
    stats = health.stats("main")
    assert (stats.status, stats.error_rate) == ("degraded", 1.0)
    assert heard == []


def test_failed_check_is_an_outage_told_once(health: Health, heard: list[Event]) -> None:
    observe(health, OK)
    health.note_check("main", ok=False, latency_s=0.5, message="APIConnectionError: refused")
    health.note_check("main", ok=False, latency_s=0.5, message="APIConnectionError: refused")
    stats = health.stats("main")
    assert (stats.status, stats.message) == ("unavailable", "APIConnectionError: refused")
    assert (stats.check_latency_s, stats.checked_at) == (0.5, MIDNIGHT)
    assert heard == [ProviderUnavailable("main", "APIConnectionError: refused")]


def test_good_check_alone_is_healthy_for_ten_minutes(health: Health, clock: ManualClock) -> None:
    health.note_check("main", ok=True, latency_s=0.2)
    assert health.stats("main").is_healthy
    clock.advance(601)
    assert health.stats("main").status == "unknown"


def test_good_check_ends_an_outage_but_not_the_error_rate(health: Health) -> None:
    observe(health, FAILED, 5)
    health.note_check("main", ok=True, latency_s=0.2)
    assert health.stats("main").status == "degraded"


def test_next_failure_after_a_good_check_is_an_outage_again_and_no_news(
    health: Health, heard: list[Event]
) -> None:
    observe(health, FAILED, 5)
    health.note_check("main", ok=True)
    observe(health, FAILED)
    assert health.stats("main").status == "unavailable"
    assert len(heard) == 1


def test_check_that_cannot_tell_changes_no_status(health: Health) -> None:
    health.note_check("main", ok=None, message="no free request to check with")
    stats = health.stats("main")
    assert (stats.status, stats.message) == ("unknown", "no free request to check with")
    assert stats.uptime is None
    observe(health, OK)
    health.note_check("main", ok=None)
    assert health.stats("main").status == "healthy"


def test_high_error_rate_is_told_once_until_it_has_recovered(
    health: Health, heard: list[Event]
) -> None:
    observe(health, OK, 5)
    observe(health, LIMITED, 4)
    assert heard == []
    observe(health, LIMITED, 3)
    assert heard == [ErrorRateHigh("main", 0.5)]
    observe(health, OK, 17)
    observe(health, LIMITED, 20)
    assert heard[1:] == [ErrorRateHigh("main", 0.5)]


def test_high_error_rate_waits_for_ten_calls(health: Health, heard: list[Event]) -> None:
    observe(health, LIMITED, 9)
    assert heard == []
    observe(health, LIMITED)
    assert heard == [ErrorRateHigh("main", 1.0)]


def test_slow_call_is_told(health: Health, heard: list[Event]) -> None:
    observe(health, record(latency_s=29.9))
    observe(health, record(latency_s=30.0))
    assert heard == [SlowCall("main", "m", 30.0)]


def test_without_alerts_only_an_outage_is_told(heard: list[Event]) -> None:
    health = Health(emit=heard.append)
    observe(health, record("failed", "ServerError", latency_s=600.0), 20)
    assert heard == [ProviderUnavailable("main", "ServerError")]


def test_uptime_is_the_share_of_time_whose_latest_sign_was_good(
    health: Health, clock: ManualClock
) -> None:
    observe(health, OK)
    assert health.stats("main").uptime == 1.0
    clock.advance(60)
    health.note_check("main", ok=False)
    clock.advance(20)
    health.note_check("main", ok=True)
    clock.advance(20)
    assert health.stats("main").uptime == pytest.approx(0.8)


def test_provider_that_never_answered_was_never_up(
    health: Health, clock: ManualClock, heard: list[Event]
) -> None:
    for _ in range(5):
        observe(health, FAILED)
        clock.advance(60)
    assert health.stats("main").uptime == 0.0
    assert heard.count(ProviderUnavailable("main", "ServerError")) == 1


def test_uptime_begins_with_the_first_good_sign(health: Health, clock: ManualClock) -> None:
    observe(health, FAILED)
    assert health.stats("main").uptime == 0.0
    clock.advance(30)
    observe(health, OK)
    clock.advance(10)
    observe(health, FAILED)
    clock.advance(20)
    assert health.stats("main").uptime == pytest.approx(0.5)


def test_moments_of_the_last_success_and_failure_are_told(
    health: Health, clock: ManualClock
) -> None:
    observe(health, OK)
    clock.advance(5)
    observe(health, FAILED)
    stats = health.stats("main")
    assert stats.last_ok_at == MIDNIGHT
    assert stats.last_failure_at == datetime(2025, 3, 31, 0, 0, 5, tzinfo=UTC)


def test_score_puts_success_before_latency(health: Health) -> None:
    observe(health, record(model="quick", latency_s=1.0), 9)
    observe(health, record(model="slow", latency_s=9.0), 9)
    observe(health, record(model="failing", latency_s=0.0), 5)
    observe(health, record("failed", "ServerError", model="failing"), 4)
    assert health.score("main", "quick") == pytest.approx(0.95)
    assert health.score("main", "slow") == pytest.approx(0.91)
    assert health.score("main", "failing") == pytest.approx(0.6)


def test_untried_target_comes_after_what_works_and_before_what_fails(health: Health) -> None:
    assert health.score("other", "m") == 0.9


def test_untried_model_is_judged_by_its_provider(health: Health) -> None:
    observe(health, FAILED, 4)
    assert health.score("main", "untried") == pytest.approx(0.18)


def test_failed_check_scores_zero_for_ten_minutes(health: Health, clock: ManualClock) -> None:
    health.note_check("main", ok=False)
    assert health.score("main", "m") == 0.0
    clock.advance(601)
    assert health.score("main", "m") == 0.9


def test_good_call_after_a_failed_check_scores_again(health: Health) -> None:
    health.note_check("main", ok=False)
    observe(health, OK)
    assert health.score("main", "m") == pytest.approx(0.95)


def test_history_has_one_entry_for_five_minutes(health: Health, clock: ManualClock) -> None:
    observe(health, OK, 10)
    clock.advance(299)
    observe(health, OK)
    clock.advance(1)
    observe(health, FAILED)
    assert [(each.at, each.calls) for each in health.history("main")] == [
        (MIDNIGHT, 1),
        (datetime(2025, 3, 31, 0, 5, tzinfo=UTC), 12),
    ]
    assert health.history("other") == []


def test_history_keeps_a_day(health: Health, clock: ManualClock) -> None:
    for _ in range(300):
        health.note_check("main", ok=True)
        clock.advance(300)
    history = health.history("main")
    assert len(history) == 288
    assert history[0].at == datetime(2025, 3, 31, 1, 0, tzinfo=UTC)


def test_export_is_history_and_present_as_json(health: Health, clock: ManualClock) -> None:
    observe(health, OK)
    clock.advance(1)
    observe(health, FAILED)
    exported = json.loads(json.dumps(health.export()))
    assert [(each["at"], each["calls"], each["is_healthy"]) for each in exported] == [
        ("2025-03-31T00:00:00+00:00", 1, True),
        ("2025-03-31T00:00:01+00:00", 2, False),
    ]
    assert exported[1]["errors"] == {"ServerError": 1}


def test_made_up_model_names_do_not_fill_the_memory(health: Health) -> None:
    for number in range(1001):
        health.observe(record("failed", "RateLimitError", model=f"m{number}"))
    observe(health, record(model="m1000"), 8)
    assert health.score("main", "m0") == health.score("main", "untried")
    assert health.score("main", "m1000") == pytest.approx(0.855)
