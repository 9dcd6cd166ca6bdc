from __future__ import annotations

import threading

import pytest

from orchestify.policy.breaker import BreakerSettings, CircuitBreaker, Permit
from tests.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def changes() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def breaker(clock: ManualClock, changes: list[tuple[str, str]]) -> CircuitBreaker:
    return CircuitBreaker(clock=clock, on_change=lambda old, new: changes.append((old, new)))


def permit(breaker: CircuitBreaker) -> Permit:
    admitted = breaker.admit()
    assert admitted is not None
    return admitted


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        permit(breaker).failed()


def test_five_failures_within_the_window_open_it(breaker: CircuitBreaker) -> None:
    fail(breaker, 4)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"


def test_failures_that_are_not_within_one_window_do_not_open_it(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 4)
    clock.advance(60.1)
    fail(breaker, 4)
    assert breaker.state == "closed"


def test_the_window_slides(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, 2)
    clock.advance(40)
    fail(breaker, 2)
    clock.advance(30)
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"


def test_successes_in_between_do_not_hide_failures(breaker: CircuitBreaker) -> None:
    fail(breaker, 4)
    permit(breaker).succeeded()
    fail(breaker, 1)
    assert breaker.state == "open"


def test_a_released_permit_is_not_judged(breaker: CircuitBreaker) -> None:
    fail(breaker, 4)
    permit(breaker).released()
    assert breaker.state == "closed"


def test_an_open_circuit_admits_nothing(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, 5)
    clock.advance(29.9)
    assert not breaker.allows()
    assert breaker.admit() is None


def test_open_for_s_counts_down_to_the_probe(breaker: CircuitBreaker, clock: ManualClock) -> None:
    assert breaker.open_for_s == 0.0
    fail(breaker, 5)
    assert breaker.open_for_s == 30.0
    clock.advance(12)
    assert breaker.open_for_s == 18.0
    clock.advance(30)
    assert breaker.open_for_s == 0.0


def test_exactly_one_probe_goes_through_when_half_open(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 5)
    clock.advance(30)
    admitted = [breaker.admit() for _ in range(64)]
    assert sum(each is not None for each in admitted) == 1
    assert not breaker.allows()


def test_allows_takes_no_place(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, 5)
    clock.advance(30)
    assert breaker.allows()
    assert breaker.allows()
    assert breaker.state == "half_open"
    assert breaker.admit() is not None


def test_the_probes_success_closes_it_and_forgets_the_failures(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 5)
    clock.advance(30)
    permit(breaker).succeeded()
    assert breaker.state == "closed"
    fail(breaker, 4)
    assert breaker.state == "closed"


def test_the_probes_failure_opens_it_for_twice_as_long_up_to_the_maximum(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 5)
    lengths = []
    for _ in range(5):
        clock.advance(breaker.open_for_s)
        permit(breaker).failed()
        lengths.append(breaker.open_for_s)
    assert lengths == [60.0, 120.0, 240.0, 300.0, 300.0]


def test_a_success_resets_the_length_of_the_opening(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 5)
    clock.advance(30)
    fail(breaker, 1)
    clock.advance(60)
    permit(breaker).succeeded()
    fail(breaker, 5)
    assert breaker.open_for_s == 30.0


def test_a_cancelled_probe_frees_its_place_unjudged(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, 5)
    clock.advance(30)
    permit(breaker).released()
    assert breaker.state == "half_open"
    permit(breaker).succeeded()
    assert breaker.state == "closed"


def test_late_verdicts_from_before_the_opening_change_nothing(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    late_success, late_failure, later_failure = (permit(breaker) for _ in range(3))
    fail(breaker, 5)
    late_success.succeeded()
    assert breaker.state == "open"
    clock.advance(10)
    late_failure.failed()
    assert breaker.open_for_s == 20.0
    clock.advance(20)
    probe = permit(breaker)
    later_failure.failed()
    assert breaker.state == "half_open"
    assert breaker.admit() is None
    probe.succeeded()
    assert breaker.state == "closed"


def test_late_failures_do_not_count_after_it_has_closed(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    late = [permit(breaker) for _ in range(10)]
    fail(breaker, 5)
    clock.advance(30)
    permit(breaker).succeeded()
    for each in late:
        each.failed()
    assert breaker.state == "closed"


def test_only_the_first_verdict_of_a_permit_counts(breaker: CircuitBreaker) -> None:
    fail(breaker, 4)
    admitted = permit(breaker)
    admitted.succeeded()
    admitted.failed()
    assert breaker.state == "closed"


def test_every_change_is_told_once(
    breaker: CircuitBreaker, clock: ManualClock, changes: list[tuple[str, str]]
) -> None:
    fail(breaker, 5)
    clock.advance(30)
    fail(breaker, 1)
    clock.advance(60)
    permit(breaker).succeeded()
    assert changes == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]


def test_a_change_is_told_outside_the_lock(clock: ManualClock) -> None:
    seen: list[str] = []
    breaker = CircuitBreaker(BreakerSettings(failures=1), clock=clock)
    breaker.on_change = lambda _old, _new: seen.append(str(breaker.admit()))
    fail(breaker, 1)
    assert seen == ["None"]


def test_threads_get_one_probe_between_them(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, 5)
    clock.advance(30)
    start = threading.Barrier(16)
    admitted: list[Permit | None] = []

    def ask() -> None:
        start.wait()
        admitted.append(breaker.admit())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each is not None for each in admitted) == 1
