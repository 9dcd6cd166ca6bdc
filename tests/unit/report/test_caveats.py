from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from orchestify.ledger.base import UsageReport
from orchestify.ledger.memory import Total
from orchestify.report import usage_caveats
from orchestify.report.caveats import coverage


def test_a_report_without_a_doubt_says_that_all_is_priced() -> None:
    report = UsageReport(by=("model",), rows=(), total=Total(calls=1, attempts=1))
    assert usage_caveats(report) == ["every call has a price"]


def test_unpriced_calls_are_counted_and_named() -> None:
    unpriced = {"local/llama3": 2, "lab/x": 5}
    report = UsageReport(("model",), (), Total(calls=9, unpriced_calls=7), unpriced=unpriced)
    assert usage_caveats(report)[0] == (
        "7 calls have no known price and are not in the cost: lab/x (5), local/llama3 (2)"
    )


def test_many_unpriced_models_are_named_up_to_five() -> None:
    unpriced = {"a": 7, "b": 6, "c": 5, "d": 4, "e": 3, "f": 2, "g": 1}
    report = UsageReport(("model",), (), Total(unpriced_calls=28), unpriced=unpriced)
    assert usage_caveats(report)[0].endswith(": a (7), b (6), c (5), d (4), e (3), 2 more")


def test_estimated_share_of_the_cost_is_said() -> None:
    total = Total(cost_usd=Decimal(8), estimated_cost_usd=Decimal(1))
    assert usage_caveats(UsageReport(("model",), (), total))[1] == (
        "12.5% of the cost ($1.00) is estimated: the provider reported no tokens"
    )


def test_ledger_that_is_behind_says_so() -> None:
    report = UsageReport(("model",), (), Total(), behind=3, open=1)
    assert usage_caveats(report)[1:] == [
        "1 attempt is still under way and not counted",
        "the ledger is behind: 3 records wait for the database, so the sums are too low",
    ]


def test_counts_that_cannot_be_true_are_told() -> None:
    report = UsageReport(("model",), (), Total(invalid_usage=1))
    assert usage_caveats(report)[1] == (
        "1 record had counts that cannot be true; they were not booked as such"
    )


def test_coverage_is_in_utc() -> None:
    since = datetime(2026, 3, 14, 1, tzinfo=timezone(timedelta(hours=1)))
    until = datetime(2026, 3, 15, 12, 30, tzinfo=UTC)
    assert coverage(("agent", "day"), since, until, {"label:run": "r1"}) == (
        "by agent, day; since 2026-03-14 until 2026-03-15 12:30:00 UTC; label:run=r1"
    )


def test_coverage_without_bounds_is_all_time() -> None:
    assert coverage(("agent",), None, None, {}) == "by agent; all time"


def test_no_report_says_that_all_is_priced_while_something_is_possibly_billed() -> None:
    total = Total(attempts=1, failed=1, possible_usd=Decimal("1.25"))
    said = usage_caveats(UsageReport(("agent",), (), total))
    assert "every call has a price" not in said
    assert "at most $1.25" in said[0]


def test_unpriced_calls_and_what_is_possibly_billed_are_told_together() -> None:
    total = Total(calls=1, attempts=2, unpriced_calls=1, possible_usd=Decimal(1))
    said = usage_caveats(UsageReport(("agent",), (), total, unpriced={"one/m": 1}))
    assert "no known price" in said[0]
    assert "at most $1.00" in said[0]
