from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO

from rich.console import Console

from orchestify.ledger.forecasts import (
    BudgetForecast,
    DayAhead,
    ForecastReport,
    SpendForecast,
    budget_forecasts,
)
from orchestify.ledger.memory import MemoryLedger
from orchestify.policy.budget import Budget, BudgetState
from orchestify.report import usage_page
from orchestify.report.forecast_chart import draw_forecast
from orchestify.report.forecasts import (
    ForecastTable,
    budget_words,
    forecast_csv,
    forecast_json,
    forecast_remarks,
)
from orchestify.report.markup import document
from tests.ledgers import answered, opened

NOW = datetime(2026, 3, 16, 12, tzinfo=UTC)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
KNOWN = SpendForecast(
    ("planner",),
    MARCH,
    APRIL,
    Decimal("150.5"),
    40,
    ((date(2026, 3, 15), Decimal(150)),),
    (DayAhead(date(2026, 3, 31), Decimal("310.25"), Decimal(300), Decimal(330)),),
)
NEW = SpendForecast(("new",), MARCH, APRIL, Decimal(3), 5)
TOTAL = SpendForecast((), MARCH, APRIL, Decimal("153.5"), 40, KNOWN.past, KNOWN.ahead)
REPORT = ForecastReport(("agent",), {}, (KNOWN, NEW), TOTAL, unpriced_calls=2)
SPENT_ON = BudgetForecast(
    BudgetState(Budget("month", Decimal(200), "month")), "on", date(2026, 3, 20), date(2026, 3, 18)
)


def _printed(table: ForecastTable) -> str:
    text = StringIO()
    Console(file=text, width=100, markup=False, highlight=False).print(table)
    return text.getvalue()


async def _ledger() -> MemoryLedger:
    ledger = MemoryLedger()
    for back in range(1, 41):
        record = opened(started_at=NOW - timedelta(days=back))
        ledger.complete(answered(record, cost_usd=Decimal(10)))
    return ledger


def test_the_table_has_a_row_a_key_and_says_what_is_not_known() -> None:
    text = _printed(ForecastTable(REPORT, [SPENT_ON]))
    rows = [line.split() for line in text.splitlines() if "$" in line]
    assert rows == [
        ["planner", "$150.50", "$310.25", "$300.00", "$330.00"],
        ["new", "$3.00", "-", "-", "-"],
        ["total", "$153.50", "$310.25", "$300.00", "$330.00"],
    ]
    assert "by agent; from 2026-03-01 to 2026-03-31 UTC" in text
    assert "- has no forecast: fewer than 14 whole days are known of it" in text
    assert "2 calls of the month have no known price and are not in it" in text
    assert "budget month: spent on 2026-03-20 at this pace, at the earliest on 2026-03-18" in text


def test_a_forecast_of_few_days_says_that_it_knows_too_little() -> None:
    report = ForecastReport((), {}, (), NEW)
    assert forecast_remarks(report) == [
        "too little is known for a forecast: 5 of 14 whole days",
    ]


def test_budgets_are_told_in_words() -> None:
    month = BudgetState(Budget("b", Decimal(1), "month"))
    ever = BudgetState(Budget("b", Decimal(1), "ever"))
    day = date(2026, 3, 30)
    assert [
        budget_words(BudgetForecast(month, "spent")),
        budget_words(BudgetForecast(month, "unknown", known_days=3)),
        budget_words(BudgetForecast(month, "lasts", None, day)),
        budget_words(BudgetForecast(ever, "lasts")),
        budget_words(BudgetForecast(ever, "on", day, day)),
    ] == [
        "spent",
        "too little is known for a forecast: 3 of 14 whole days",
        "lasts the month at this pace; spent on 2026-03-30 at the earliest",
        "lasts 92 days at this pace",
        "spent on 2026-03-30 at this pace",
    ]


def test_json_is_exact_and_null_where_too_little_is_known() -> None:
    told = json.loads(forecast_json(REPORT, [SPENT_ON]))
    assert told["until"] == "2026-04-01"
    assert told["rows"][0]["expected_usd"] == "310.25"
    assert told["rows"][0]["days"] == [
        {"day": "2026-03-31", "expected_usd": "310.25", "low_usd": "300", "high_usd": "330"}
    ]
    assert (told["rows"][1]["expected_usd"], told["rows"][1]["days"]) == (None, [])
    assert told["budgets"][0]["day"] == "2026-03-20"


def test_csv_has_a_line_a_row() -> None:
    assert forecast_csv(REPORT).splitlines() == [
        "agent,spent_usd,expected_usd,low_usd,high_usd,known_days",
        "planner,150.5,310.25,300,330,40",
        "new,3,,,,5",
    ]
    assert forecast_csv(ForecastReport((), {}, (), TOTAL)).splitlines()[1] == (
        "153.5,310.25,300,330,40"
    )


def test_the_chart_has_a_band_and_words() -> None:
    svg = document(draw_forecast(TOTAL))
    assert 'class="band"' in svg
    assert "$310.25 expected from 2026-03-01 to 2026-03-31 (likely $300.00 to $330.00)" in svg
    assert "2026-03-31: $310.25 expected, likely $300.00 to $330.00" in svg


async def test_the_page_shows_the_month_ahead_and_when_budgets_are_spent() -> None:
    ledger = await _ledger()
    budget, end = Budget("m", Decimal(200), "month"), datetime(2026, 4, 1, tzinfo=UTC)
    states = [BudgetState(budget, end=end, spent_usd=Decimal(150))]
    text = await usage_page(ledger, "agent", written_at=NOW, budgets=states)
    [ahead] = await budget_forecasts(ledger, states, NOW)
    assert 'id="forecast"' in text
    assert 'class="chart forecast"' in text
    assert f"spent on {ahead.day} at this pace" in text


async def test_the_page_of_few_days_has_a_sentence_and_no_chart() -> None:
    ledger = MemoryLedger()
    ledger.complete(answered(opened(started_at=NOW)))
    text = await usage_page(ledger, "agent", written_at=NOW)
    assert "too little is known for a forecast: 0 of 14 whole days" in text
    assert "chart forecast" not in text


async def test_a_page_of_the_past_has_no_forecast() -> None:
    text = await usage_page(await _ledger(), "agent", until=NOW, written_at=NOW)
    assert 'id="forecast"' not in text
