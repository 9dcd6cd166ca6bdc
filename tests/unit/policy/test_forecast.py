from __future__ import annotations

import csv
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from statistics import fmean

import pytest

from orchestify.policy.forecast import LEAST_DAYS, MOST_DAYS, forecast

SERIES = Path(__file__).parents[2] / "forecast_series.csv"
WEEK = [Decimal(each) for each in (10, 12, 11, 13, 9, 2, 1)]


def _series(name: str) -> list[Decimal]:
    with SERIES.open(encoding="utf-8") as file:
        return [Decimal(row[name]) for row in csv.DictReader(file)]


def _errors(series: Sequence[Decimal], days: int) -> list[tuple[float, float, bool]]:
    """Errors of the forecast and of "the same as last week", and whether the band held."""
    found = []
    for origin in range(56, len(series) - days, 3):
        made = forecast(series[:origin], days)
        assert made is not None
        truth = float(sum(series[origin : origin + days]))
        naive = float(sum(series[origin - 7 + n % 7] for n in range(days)))
        is_within = float(made.low[-1]) <= truth <= float(made.high[-1])
        ours = abs(float(made.expected[-1]) - truth) / truth
        found.append((ours, abs(naive - truth) / truth, is_within))
    return found


@pytest.mark.parametrize("name", ["steady", "growing"])
@pytest.mark.parametrize("days", [7, 14, 28])
def test_it_is_less_far_off_than_the_same_as_last_week(name: str, days: int) -> None:
    errors = _errors(_series(name), days)
    assert fmean(ours for ours, _, _ in errors) < fmean(naive for _, naive, _ in errors)


def test_the_band_holds_about_as_often_as_it_says() -> None:
    held = [fmean(each[2] for each in _errors(_series(name), 7)) for name in ("steady", "growing")]
    assert all(0.7 <= share <= 0.95 for share in held)


@pytest.mark.parametrize("days", range(LEAST_DAYS))
def test_with_less_than_two_weeks_there_is_none(days: int) -> None:
    assert forecast([Decimal(5)] * days, 10) is None


def test_weeks_that_are_all_alike_go_on() -> None:
    made = forecast(WEEK * 8, 9)
    assert made is not None
    sums = [Decimal(each) for each in (10, 22, 33, 46, 55, 57, 58, 68, 80)]
    assert [round(each, 4) for each in made.expected] == sums
    assert (round(made.low[-1], 4), round(made.high[-1], 4)) == (80, 80)


def test_the_first_day_ahead_has_its_own_weekday() -> None:
    made = forecast([*WEEK * 4, *WEEK[:5]], 2)
    assert made is not None
    assert made.expected[0] < 4


def test_one_burst_is_no_weekday() -> None:
    history = WEEK * 8
    history[-20] *= 50
    made, calm = forecast(history, 7), forecast(WEEK * 8, 7)
    assert made is not None
    assert calm is not None
    shares = [round(made.expected[n] / made.expected[-1], 2) for n in range(7)]
    assert shares == [round(calm.expected[n] / calm.expected[-1], 2) for n in range(7)]


def test_nothing_spent_is_nothing_to_come() -> None:
    made = forecast([Decimal(0)] * 30, 5)
    assert made is not None
    assert [*made.expected, *made.low, *made.high] == [0] * 15


def test_the_band_lies_around_what_is_expected_and_widens() -> None:
    made = forecast(_series("growing"), MOST_DAYS)
    assert made is not None
    for low, expected, high in zip(made.low, made.expected, made.high, strict=True):
        assert 0 <= low <= expected <= high
    widths = [high - low for low, high in zip(made.low, made.high, strict=True)]
    assert widths[-1] > widths[27] > widths[6] > widths[0]


def test_what_has_passed_of_the_first_day_is_not_to_come() -> None:
    made = forecast(WEEK * 8, 3)
    assert made is not None
    left = made.after(Decimal("0.75"))
    assert [round(each, 3) for each in left.expected] == [Decimal("2.5"), Decimal("14.5"), 25.5]
    for low, expected, high in zip(left.low, left.expected, left.high, strict=True):
        assert low <= expected <= high


def test_no_more_days_are_forecast_than_can_be() -> None:
    made = forecast(WEEK * 4, 1_000)
    assert made is not None
    assert len(made.expected) == MOST_DAYS
