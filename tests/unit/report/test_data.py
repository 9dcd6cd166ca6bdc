from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import Total
from orchestify.report import usage_csv, usage_json
from orchestify.report.data import write_exact

TOTAL = Total(
    calls=2,
    attempts=3,
    failed=1,
    unpriced_calls=1,
    estimated_calls=1,
    input_tokens=30,
    output_tokens=7,
    cache_read=10,
    cost_usd=Decimal("0.100000000001"),
    estimated_cost_usd=Decimal("0.025000000000"),
    possible_usd=Decimal("0.750000000000"),
    latency_s=1.5,
)
REPORT = UsageReport(
    by=("agent", "label:run"),
    rows=(UsageRow(("reviewer", "r1"), TOTAL),),
    total=TOTAL,
    since=datetime(2026, 3, 14, tzinfo=UTC),
    where={"provider": "local"},
    unpriced={"local/llama3": 1},
    behind=4,
    open=5,
)
SUMS = {
    "calls": 2,
    "attempts": 3,
    "failed": 1,
    "cancelled": 0,
    "interrupted": 0,
    "unpriced_calls": 1,
    "estimated_calls": 1,
    "invalid_usage": 0,
    "input_tokens": 30,
    "output_tokens": 7,
    "cache_read": 10,
    "cache_write": 0,
    "reasoning": 0,
    "cost_usd": "0.100000000001",
    "estimated_cost_usd": "0.025",
    "possible_usd": "0.75",
    "cached": 0,
    "saved_usd": "0",
    "latency_s": 1.5,
}


def test_json_has_every_figure_and_money_as_exact_text() -> None:
    assert json.loads(usage_json(REPORT)) == {
        "by": ["agent", "label:run"],
        "since": "2026-03-14T00:00:00+00:00",
        "until": None,
        "where": {"provider": "local"},
        "rows": [{"agent": "reviewer", "label:run": "r1", **SUMS}],
        "rows_left": 0,
        "total": SUMS,
        "unpriced": {"local/llama3": 1},
        "estimated_cost_share": 0.25,
        "cache_hit_share": 0.333333,
        "behind": 4,
        "open": 5,
    }


def test_csv_has_the_axes_and_the_same_sums() -> None:
    assert usage_csv(REPORT).splitlines() == [
        "agent,label:run,calls,attempts,failed,cancelled,interrupted,unpriced_calls,"
        "estimated_calls,invalid_usage,input_tokens,output_tokens,cache_read,cache_write,"
        "reasoning,cost_usd,estimated_cost_usd,latency_s,possible_usd,cached,saved_usd",
        "reviewer,r1,2,3,1,0,0,1,1,0,30,7,10,0,0,0.100000000001,0.025,1.5,0.75,0,0",
    ]


def test_cost_of_calls_without_a_price_is_null_and_not_nothing() -> None:
    unpriced = Total(calls=2, attempts=2, unpriced_calls=2)
    report = UsageReport(("model",), (UsageRow(("llama3",), unpriced),), unpriced)
    told = json.loads(usage_json(report))
    assert (told["rows"][0]["cost_usd"], told["total"]["cost_usd"]) == (None, None)
    assert told["total"]["estimated_cost_usd"] is None
    assert usage_csv(report).splitlines()[1] == "llama3,2,2,0,0,0,2,0,0,0,0,0,0,0,,,0.0,0,0,0"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-x", "-1+1", "@SUM(A1)", "\tx", "\uff1d1+1"])
def test_spreadsheet_runs_no_name(name: str) -> None:
    report = UsageReport(("agent",), (UsageRow((name,), Total()),), Total())
    assert usage_csv(report).splitlines()[1].startswith(f"'{name},")


def test_a_name_that_is_a_plain_number_stays_one() -> None:
    report = UsageReport(("label:step",), (UsageRow(("-1",), Total()),), Total())
    assert usage_csv(report).splitlines()[1].startswith("-1,")


def test_nothing_has_no_shares() -> None:
    told = json.loads(usage_json(UsageReport(("agent",), (), Total())))
    assert told["estimated_cost_share"] is None
    assert told["cache_hit_share"] is None


@pytest.mark.parametrize(
    ("amount", "written"),
    [("0E-12", "0"), ("100", "100"), ("1E+2", "100"), ("0.500000000000", "0.5")],
)
def test_exact_money_has_no_zeros_behind_it(amount: str, written: str) -> None:
    assert write_exact(Decimal(amount)) == written
