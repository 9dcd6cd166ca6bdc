from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orchestify.errors import MissingExtraError
from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import MemoryLedger, Total
from orchestify.report import usage_page
from orchestify.report.charts import charts_of
from orchestify.report.html import page
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
    assert text.count("Nothing to show.") == 3


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
    cost, _, _ = charts_of(_report(_row("2026-02-27", "a", "m"), _row("2026-03-06", "a", "m")))
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
    cost, _, _ = charts_of(_report(_row("2026-03-14", "a", "m")))
    assert (cost.labels[0], cost.labels[-1], len(cost.labels)) == ("2026-03-08", "2026-03-14", 7)


def test_models_beyond_the_colours_are_one() -> None:
    rows = [_row("2026-03-14", "a", f"m{n}", str(20 - n)) for n in range(10)]
    cost, _, _ = charts_of(_report(*rows))
    assert [name for name, _ in cost.series] == [*[f"m{n}" for n in range(7)], "3 others"]
    assert [values[-1] for _, values in cost.series][-2:] == [Decimal(14), Decimal(36)]


def test_model_without_a_cost_has_no_colour() -> None:
    cost, _, _ = charts_of(_report(_row("2026-03-14", "a", "m"), _row("2026-03-14", "a", "l", "0")))
    assert [name for name, _ in cost.series] == ["m"]


def test_without_its_charts_library_the_page_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)
    with pytest.raises(MissingExtraError, match=r'pip install "orchestify\[html\]"'):
        page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON)


def test_charts_library_leaves_no_finder_behind() -> None:
    page(_report(_row("2026-03-14", "a", "m")), ["model"], NOON)
    assert [each for each in sys.meta_path if not hasattr(each, "find_spec")] == []
