from __future__ import annotations

import pytest

from orchestify.policy.rate_limit import Throttle


def test_it_runs_with_the_clock() -> None:
    throttle = Throttle(100.0)
    assert throttle.time(100.0) == 0.0
    assert throttle.time(160.0) == 60.0
    assert throttle.wait_s(5.0, 160.0) == 5.0
    assert throttle.speed(160.0) == 1.0


def test_it_stands_still_while_paused() -> None:
    throttle = Throttle(0.0)
    throttle.pause(30.0, 10.0)
    assert throttle.time(20.0) == 10.0
    assert throttle.time(31.0) == 11.0
    assert throttle.wait_s(5.0, 20.0) == 15.0
    assert throttle.wait_s(0.0, 20.0) == 10.0


def test_a_shorter_pause_changes_nothing() -> None:
    throttle = Throttle(0.0)
    throttle.pause(30.0, 10.0)
    throttle.pause(20.0, 10.0)
    assert throttle.resume_at == 30.0


def test_half_the_speed_grows_back_evenly_within_sixty_seconds() -> None:
    throttle = Throttle(0.0)
    throttle.halve(0.0)
    assert [throttle.speed(now) for now in (0.0, 30.0, 60.0, 90.0)] == [0.5, 0.75, 1.0, 1.0]
    assert throttle.time(30.0) == 18.75
    assert throttle.time(60.0) == 45.0
    assert throttle.time(90.0) == 75.0


@pytest.mark.parametrize("target_s", [0.5, 18.75, 45.0, 75.0])
def test_the_wait_is_the_inverse_of_the_time(target_s: float) -> None:
    throttle = Throttle(0.0)
    throttle.halve(0.0)
    assert throttle.time(throttle.wait_s(target_s, 0.0)) == pytest.approx(target_s)


def test_it_never_gets_slower_than_a_sixty_fourth() -> None:
    throttle = Throttle(0.0)
    for _ in range(20):
        throttle.halve(0.0)
    assert throttle.speed(0.0) == 1 / 64


def test_halving_while_paused_begins_at_the_end_of_the_pause() -> None:
    throttle = Throttle(0.0)
    throttle.pause(30.0, 0.0)
    throttle.halve(0.0)
    assert throttle.speed(30.0) == 0.5
    assert throttle.speed(60.0) == 0.75
