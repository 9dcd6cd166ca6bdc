from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from orchestify.policy.budget import Amount, Budget, BudgetState, CallFilter, Period, period_bounds

NOW = datetime(2024, 2, 29, 23, 59, 30, 123456, tzinfo=UTC)


def usd(text: str) -> Decimal:
    return Decimal(text)


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("minute", datetime(2024, 2, 29, 23, 59, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("hour", datetime(2024, 2, 29, 23, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("day", datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("month", datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("ever", datetime(1970, 1, 1, tzinfo=UTC), None),
    ],
)
def test_periods_are_those_of_the_calendar(
    period: Period, start: datetime, end: datetime | None
) -> None:
    assert period_bounds(period, NOW) == (start, end)


def test_periods_are_in_utc_whatever_the_time_zone() -> None:
    tokyo = datetime(2024, 3, 1, 8, 0, tzinfo=timezone(timedelta(hours=9)))
    assert period_bounds("day", tokyo)[0] == datetime(2024, 2, 29, tzinfo=UTC)


def test_december_ends_with_the_year() -> None:
    end = period_bounds("month", datetime(2025, 12, 31, tzinfo=UTC))[1]
    assert end == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_budget_without_a_match_is_for_every_call() -> None:
    assert Budget("all", usd("1")).matches("p", "a", "m", {"team": "x"})
    assert Budget("all", usd("1")).matches(None, None, None)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (CallFilter(provider="p"), True),
        (CallFilter(provider="q"), False),
        (CallFilter(agent="a", model="m"), True),
        (CallFilter(agent="a", model="n"), False),
        (CallFilter(labels={"team": "x"}), True),
        (CallFilter(labels={"team": "y"}), False),
        (CallFilter(agent="a", labels={"team": "x", "run": "1"}), False),
    ],
)
def test_a_match_asks_for_everything_it_names(match: CallFilter, expected: bool) -> None:
    assert Budget("b", usd("1"), match=match).matches("p", "a", "m", {"team": "x"}) is expected


def test_only_a_match_of_provider_or_model_lets_another_target_help() -> None:
    assert CallFilter(provider="p").is_of_target
    assert CallFilter(agent="a", model="m").is_of_target
    assert not CallFilter(agent="a", labels={"team": "x"}).is_of_target


@pytest.mark.parametrize(
    ("spent", "held", "worst", "decision"),
    [
        ("0", "0", "1", "fits"),
        ("0.4", "0.3", "0.3", "fits"),
        ("0.4", "0.3", "0.31", "wait"),
        ("0.4", "0.6", "0.6", "wait"),
        ("0.4", "0", "0.61", "refuse"),
        ("0.4", "0.6", "0.61", "refuse"),
        ("1.5", "0", "0.01", "refuse"),
        ("1.5", "0.5", "0", "fits"),
    ],
)
def test_a_call_fits_or_waits_for_holds_or_is_refused(
    spent: str, held: str, worst: str, decision: str
) -> None:
    state = BudgetState(Budget("b", usd("1")), spent_usd=usd(spent), held_usd=usd(held))
    assert state.decide(Amount(usd(worst))) == decision


def test_a_warn_budget_refuses_nothing() -> None:
    state = BudgetState(Budget("b", usd("1"), mode="warn"), spent_usd=usd("5"))
    assert state.decide(Amount(usd("1"))) == "fits"


def test_a_limit_of_zero_lets_only_free_calls_through() -> None:
    state = BudgetState(Budget("b", usd("0")))
    assert state.decide(Amount(usd("0"))) == "fits"
    assert state.decide(Amount(usd("0.000001"))) == "refuse"


def test_settling_books_the_cost_and_drops_the_hold() -> None:
    state = BudgetState(Budget("b", usd("1")))
    state.reserve(Amount(usd("0.5")))
    state.settle(Amount(usd("0.5")), Amount(usd("0.2")))
    assert (state.spent_usd, state.held_usd, state.overrun_usd) == (usd("0.2"), 0, 0)
    assert state.remaining_usd == usd("0.8")


def test_what_is_billed_above_the_hold_is_booked_in_full_and_counted() -> None:
    state = BudgetState(Budget("b", usd("1")))
    state.reserve(Amount(usd("0.5")))
    state.settle(Amount(usd("0.5")), Amount(usd("1.25")))
    assert (state.spent_usd, state.overrun_usd) == (usd("1.25"), usd("0.75"))
    assert state.remaining_usd == 0


def test_each_share_is_told_once_in_rising_order() -> None:
    state = BudgetState(Budget("b", usd("10"), alert_at=(0.8, 0.5, 0.9)))
    state.settle(Amount(usd("0")), Amount(usd("4.99")))
    assert state.crossed_thresholds() == []
    state.settle(Amount(usd("0")), Amount(usd("3.01")))
    assert state.crossed_thresholds() == [0.5, 0.8]
    assert state.crossed_thresholds() == []
    assert state.alerted == 2


def test_a_warn_budget_also_tells_when_its_limit_is_spent() -> None:
    state = BudgetState(Budget("b", usd("10"), mode="warn", alert_at=(0.5,)))
    state.settle(Amount(usd("0")), Amount(usd("10")))
    assert state.crossed_thresholds() == [0.5, 1.0]
