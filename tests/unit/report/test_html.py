from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestify.errors import MissingExtraError
from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import MemoryLedger, Total
from orchestify.policy.budget import Budget, BudgetState
from orchestify.report import usage_page
from orchestify.report.charts import charts_of
from orchestify.report.html import Before, page
from tests.ledgers import answered, opened

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def _report(*rows: UsageRow) -> UsageReport:
    total = Total()
    for row in rows:
        total.merge(row.total)
    return UsageReport(by=("day", "agent", "model"), rows=rows, total=total)


def _row(day: str, agent: str, model: str, cost_usd: str = "1") -> UsageRow:
    total = Total(calls=1, attempts=1, input_tokens=10, cost_usd=Decimal(cost_usd))
    return UsageRow((day, agent, model), total)


def _text(page: str) -> str:
    return re.sub(r"<[^>]+>", "", page)


def test_budgets_are_shown_against_their_spend() -> None:
    states = [
        BudgetState(
            Budget("day", Decimal(4)),
            spent_usd=Decimal(1),
            possible_usd=Decimal(2),
            held_usd=Decimal("0.5"),
        ),
        BudgetState(Budget("run<1>", Decimal(1), period="ever", mode="warn"), spent_usd=Decimal(9)),
    ]
    text = page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON, budgets=states)
    assert "$1.00 of $4.00 a day spent; $2.00 possibly billed; $0.50 held by calls under way" in (
        _text(text)
    )
    assert 'class="spent" style="width:25.00%"' in text
    assert 'class="possible" style="width:50.00%"' in text
    assert "run&lt;1&gt;" in text
    assert "$9.00 of $1.00 spent; warns only" in text
    assert 'class="budget over"' in text
    assert 'style="width:100.00%"' in text


def test_a_page_without_budgets_has_no_section_of_them() -> None:
    assert "Budgets" not in page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON)


@pytest.mark.parametrize(
    ("spent", "said"),
    [
        ("2", "2026-03-07 to 2026-03-14; 50% less now"),
        ("0.5", "2026-03-07 to 2026-03-14; 100% more now"),
        ("1", "2026-03-07 to 2026-03-14; as much as now"),
        ("0", "2026-03-07 to 2026-03-14; nothing was spent"),
    ],
)
def test_the_cost_is_compared_with_the_time_before(spent: str, said: str) -> None:
    total = Total(calls=1, attempts=1, cost_usd=Decimal(spent))
    before = Before(NOON - timedelta(days=7), NOON, total)
    text = page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON, before=before)
    assert said in text


async def test_a_report_since_a_time_reads_the_time_before_as_long() -> None:
    asked: list[tuple[datetime | None, datetime | None]] = []

    class Source(MemoryLedger):
        async def usage(self, by: object = "", **given: Any) -> UsageReport:
            asked.append((given["since"], given["until"]))
            return _report(_row("2026-03-14", "a", "m"))

    since, until = NOON - timedelta(days=3), NOON - timedelta(days=1)
    text = await usage_page(Source(), "agent", since=since, until=until, written_at=NOON)
    assert asked == [(since, until), (since - timedelta(days=2), since)]
    assert "as much as now" in text


async def test_a_report_of_all_time_is_compared_with_nothing() -> None:
    assert "Time before" not in await usage_page(MemoryLedger(), "agent", written_at=NOON)


def test_latency_and_errors_are_told_by_model() -> None:
    total = Total(calls=3, attempts=4, failed=1, latency_s=6.0)
    text = page(_report(UsageRow(("2026-03-14", "a", "m"), total)), ["agent"], NOON)
    [row] = re.findall(r"<tr><th [^>]*>m</th>(.*?)</tr>", text[text.index('id="outcomes"') :])[:1]
    assert re.findall(r"<td>(.*?)</td>", row) == ["4", "1.50", "1", "25%", "1", "0", "0"]


def test_the_days_of_the_calls_are_told() -> None:
    rows = (_row("2026-03-12", "a", "m"), _row("2026-03-14", "a", "m"))
    assert "from 2026-03-12 to 2026-03-14 (UTC)" in page(_report(*rows), ["agent"], NOON)


def test_a_report_that_needs_no_warning_has_none() -> None:
    fine = page(_report(_row("2026-03-14", "a", "m")), ["agent"], NOON)
    assert 'class="fine"' in fine
    assert 'class="remarks"' not in fine
    doubtful = Total(calls=1, attempts=2, failed=1, possible_usd=Decimal(1))
    text = page(_report(UsageRow(("2026-03-14", "a", "m"), doubtful)), ["agent"], NOON)
    assert 'class="remarks"' in text
    assert '<data value="1" class="possible_usd">$1.00</data>' in text


async def test_page_is_made_from_anything_that_reports_usage() -> None:
    ledger = MemoryLedger()
    record = opened()
    await ledger.open(record)
    ledger.complete(answered(record))
    text = await usage_page(ledger, "agent", written_at=NOON)
    assert text.startswith("<!doctype html>\n<html")
    assert "Written 2026-03-14 12:00 UTC" in text


def test_page_of_nothing_says_so() -> None:
    text = page(_report(), ["model"], NOON)
    assert text.count("Nothing to show.") == 5


def test_page_names_no_other_place() -> None:
    text = page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON)
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text


def test_control_characters_in_a_name_are_replaced() -> None:
    text = page(_report(_row("2026-03-14", "a\x00\x1b\ud800", "m")), ["agent"], NOON)
    assert "a???" in text


def test_cost_of_calls_without_a_price_is_unknown_and_not_nothing() -> None:
    unpriced = Total(calls=1, attempts=1, unpriced_calls=1, input_tokens=10)
    text = page(_report(UsageRow(("2026-03-14", "a", "m"), unpriced)), ["model"], NOON)
    assert text.count('<data value="" class="cost_usd">unknown</data>') == 3
    assert "$0.00" not in text


def test_costs_of_a_fraction_of_a_cent_are_drawn() -> None:
    text = page(_report(_row("2026-03-14", "a", "m", "0.000000000001")), ["agent"], NOON)
    assert "2026-03-14, m: $0.000000000001" in text


def test_large_costs_are_drawn() -> None:
    text = page(_report(_row("2026-03-14", "a", "m", "9000000")), ["agent"], NOON)
    assert "2026-03-14, m: $9,000,000.00" in text


def test_days_without_a_call_have_a_place() -> None:
    cost, *_ = charts_of(_report(_row("2026-02-27", "a", "m"), _row("2026-03-06", "a", "m")))
    assert cost.labels == [
        "2026-02-27",
        "2026-02-28",
        "2026-03-01",
        "2026-03-02",
        "2026-03-03",
        "2026-03-04",
        "2026-03-05",
        "2026-03-06",
    ]


def test_one_day_is_shown_in_its_week() -> None:
    cost, *_ = charts_of(_report(_row("2026-03-14", "a", "m")))
    assert (cost.labels[0], cost.labels[-1], len(cost.labels)) == ("2026-03-08", "2026-03-14", 7)


def test_models_beyond_the_colours_are_one() -> None:
    rows = [_row("2026-03-14", "a", f"m{n}", str(20 - n)) for n in range(10)]
    cost, *_ = charts_of(_report(*rows))
    assert [name for name, _ in cost.series] == [*[f"m{n}" for n in range(7)], "3 others"]
    assert [values[-1] for _, values in cost.series][-2:] == [Decimal(14), Decimal(36)]


def test_model_without_a_cost_has_no_colour() -> None:
    cost, *_ = charts_of(_report(_row("2026-03-14", "a", "m"), _row("2026-03-14", "a", "l", "0")))
    assert [name for name, _ in cost.series] == ["m"]


def test_without_its_charts_library_the_page_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)
    with pytest.raises(MissingExtraError, match=r'needs pygal: pip install .*\[html\]"'):
        page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON)


def test_charts_library_leaves_no_finder_behind() -> None:
    page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON)
    assert [each for each in sys.meta_path if not hasattr(each, "find_spec")] == []


def test_kept_answers_and_what_they_saved_are_shown() -> None:
    total = Total(calls=1, attempts=1, cost_usd=Decimal(1), cached=2, saved_usd=Decimal("1.25"))
    text = page(_report(UsageRow(("2026-03-14", "a", "m"), total)), ["model"], NOON)
    assert '<data value="2" class="cached">2</data>' in text
    assert '<data value="1.25" class="saved_usd">$1.25</data>' in text
    assert "saved_usd" not in page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON)
