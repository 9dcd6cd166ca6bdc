from __future__ import annotations

import pytest

from orchestify.policy.pace import Pace


def test_it_runs_with_the_clock() -> None:
    pace = Pace(100.0)
    assert pace.time(100.0) == 0.0
    assert pace.time(160.0) == 60.0
    assert pace.wait_s(5.0, 160.0) == 5.0
    assert pace.speed(160.0) == 1.0


def test_it_stands_still_while_paused() -> None:
    pace = Pace(0.0)
    pace.pause(30.0, 10.0)
    assert pace.time(20.0) == 10.0
    assert pace.time(31.0) == 11.0
    assert pace.wait_s(5.0, 20.0) == 15.0
    assert pace.wait_s(0.0, 20.0) == 10.0


def test_a_shorter_pause_changes_nothing() -> None:
    pace = Pace(0.0)
    pace.pause(30.0, 10.0)
    pace.pause(20.0, 10.0)
    assert pace.resume_at == 30.0


def test_half_the_speed_grows_back_evenly_within_sixty_seconds() -> None:
    pace = Pace(0.0)
    pace.halve(0.0)
    assert [pace.speed(now) for now in (0.0, 30.0, 60.0, 90.0)] == [0.5, 0.75, 1.0, 1.0]
    assert pace.time(30.0) == 18.75
    assert pace.time(60.0) == 45.0
    assert pace.time(90.0) == 75.0


@pytest.mark.parametrize("target_s", [0.5, 18.75, 45.0, 75.0])
def test_the_wait_is_the_inverse_of_the_time(target_s: float) -> None:
    pace = Pace(0.0)
    pace.halve(0.0)
    assert pace.time(pace.wait_s(target_s, 0.0)) == pytest.approx(target_s)


def test_it_never_gets_slower_than_a_sixty_fourth() -> None:
    pace = Pace(0.0)
    for _ in range(20):
        pace.halve(0.0)
    assert pace.speed(0.0) == 1 / 64


def test_halving_while_paused_begins_at_the_end_of_the_pause() -> None:
    pace = Pace(0.0)
    pace.pause(30.0, 0.0)
    pace.halve(0.0)
    assert pace.speed(30.0) == 0.5
    assert pace.speed(60.0) == 0.75
