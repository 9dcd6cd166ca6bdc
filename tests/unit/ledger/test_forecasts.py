from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.ledger.forecasts import budget_forecasts, spend_forecast
from orchestify.ledger.memory import MemoryLedger
from orchestify.policy.budget import Budget, BudgetState, CallFilter, Period
from tests.ledgers import answered, opened

NOW = datetime(2026, 3, 16, 12, tzinfo=UTC)  # a Monday, at noon
APRIL = datetime(2026, 4, 1, tzinfo=UTC)


def _ledger(days: int, usd: str = "10", agent: str = "reviewer") -> MemoryLedger:
    """One call a day, that costs the same every day, up to yesterday; and half of it today."""
    ledger = MemoryLedger()
    _book(ledger, days, usd, agent)
    return ledger


def _book(ledger: MemoryLedger, days: int, usd: str, agent: str) -> None:
    for back in range(1, days + 1):
        record = opened(started_at=NOW - timedelta(days=back), agent=agent)
        ledger.complete(answered(record, cost_usd=Decimal(usd)))
    ledger.complete(answered(opened(started_at=NOW, agent=agent), cost_usd=Decimal(usd) / 2))


def _state(period: Period, limit_usd: str, spent_usd: str = "0", **more: object) -> BudgetState:
    budget = Budget("b", Decimal(limit_usd), period, **more)  # type: ignore[arg-type]
    end = APRIL if period == "month" else None
    return BudgetState(budget, end=end, spent_usd=Decimal(spent_usd))


async def test_a_month_is_what_was_spent_and_what_is_to_come() -> None:
    total = (await spend_forecast(_ledger(40), NOW)).total
    assert (total.since, total.until, total.known_days) == (date(2026, 3, 1), date(2026, 4, 1), 40)
    assert total.spent_usd == 155
    assert total.past[-1] == (date(2026, 3, 15), Decimal(150))
    assert total.end is not None
    assert total.end.day == date(2026, 3, 31)
    assert round(total.end.expected_usd, 3) == 310


async def test_few_days_are_said_and_make_no_number() -> None:
    total = (await spend_forecast(_ledger(13), NOW)).total
    assert (total.known_days, total.ahead, total.end) == (13, (), None)
    assert total.spent_usd == 135


async def test_rows_are_by_the_axes_and_the_dearest_comes_first() -> None:
    ledger = _ledger(20, "10")
    _book(ledger, 20, "30", "planner")
    _book(ledger, 3, "1", "new")
    report = await spend_forecast(ledger, NOW, by="agent")
    assert [row.key for row in report.rows] == [("planner",), ("reviewer",), ("new",)]
    assert [row.known_days for row in report.rows] == [20, 20, 3]
    assert report.total.spent_usd == Decimal("155") + 465 + Decimal("3.5")


async def test_days_without_a_call_count_as_nothing() -> None:
    ledger = MemoryLedger()
    for back in (28, 1):
        record = opened(started_at=NOW - timedelta(days=back))
        ledger.complete(answered(record, cost_usd=Decimal(28)))
    total = (await spend_forecast(ledger, NOW)).total
    assert total.known_days == 28
    assert total.end is not None
    assert 0 < total.end.expected_usd - total.spent_usd < 16 * 14


async def test_what_has_no_price_is_counted() -> None:
    ledger = _ledger(20)
    ledger.complete(answered(opened(started_at=NOW), cost_usd=None, cost_source="none"))
    assert (await spend_forecast(ledger, NOW)).unpriced_calls == 1


@pytest.mark.parametrize("until", [date(2026, 3, 16), date(2026, 6, 17)])
async def test_an_end_that_is_past_or_too_far_is_refused(until: date) -> None:
    with pytest.raises(InvalidParameterError, match="from tomorrow to 92 days ahead"):
        await spend_forecast(_ledger(20), NOW, until=until)


async def test_days_are_no_axis_of_a_forecast() -> None:
    with pytest.raises(InvalidParameterError, match="leave out `day`"):
        await spend_forecast(_ledger(20), NOW, by=("agent", "day"))


@pytest.mark.parametrize(
    ("state", "outlook", "day"),
    [
        (_state("month", "200", "155"), "on", date(2026, 3, 20)),
        (_state("month", "155", "155"), "spent", None),
        (_state("month", "400", "155"), "lasts", None),
        (_state("ever", "400", "155"), "on", date(2026, 4, 9)),
        (_state("ever", "5000", "155"), "lasts", None),
        (_state("day", "9", "5"), "on", date(2026, 3, 16)),
        (_state("day", "11", "5"), "lasts", None),
        (_state("month", "20", match=CallFilter(agent="nobody")), "unknown", None),
    ],
)
async def test_a_budget_names_the_day_on_which_it_will_be_spent(
    state: BudgetState, outlook: str, day: date | None
) -> None:
    [found] = await budget_forecasts(_ledger(40), [state], NOW)
    assert (found.outlook, found.day) == (outlook, day)


async def test_a_budget_of_one_agent_is_forecast_from_its_calls() -> None:
    ledger = _ledger(40)
    _book(ledger, 40, "90", "planner")
    state = _state("month", "200", "155", match=CallFilter(agent="reviewer"))
    [found] = await budget_forecasts(ledger, [state], NOW)
    assert found.day == date(2026, 3, 20)


async def test_tokens_and_calls_run_out_too() -> None:
    budget = Budget("b", period="ever", limit_tokens=10_000, limit_calls=45)
    state = BudgetState(budget, spent_tokens=120, spent_calls=41)
    [found] = await budget_forecasts(_ledger(40), [state], NOW)
    assert found.day == date(2026, 3, 20)


async def test_budgets_of_an_hour_are_over_before_a_day_is() -> None:
    assert await budget_forecasts(_ledger(40), [_state("hour", "1")], NOW) == []
