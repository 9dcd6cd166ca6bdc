from __future__ import annotations

from decimal import Decimal

from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import Total
from orchestify.report.rows import in_reading_order, regroup, shortened

CHEAP = Total(calls=1, input_tokens=9, cost_usd=Decimal("0.1"))
DEAR = Total(calls=1, input_tokens=1, cost_usd=Decimal("0.2"))


def test_days_stay_in_their_order() -> None:
    rows = (UsageRow(("2026-03-14",), CHEAP), UsageRow(("2026-03-15",), DEAR))
    assert in_reading_order(UsageReport(("day",), rows, Total())) == [rows[0], rows[1]]


def test_names_come_dearest_first() -> None:
    rows = (UsageRow(("a",), CHEAP), UsageRow(("b",), DEAR))
    assert in_reading_order(UsageReport(("agent",), rows, Total())) == [rows[1], rows[0]]


def test_fewer_axes_have_the_same_sums() -> None:
    rows = (
        UsageRow(("2026-03-14", "a", "m"), CHEAP),
        UsageRow(("2026-03-14", "b", "m"), DEAR),
        UsageRow(("2026-03-15", "a", "m"), DEAR),
    )
    grouped = regroup(UsageReport(("day", "agent", "model"), rows, Total()), ["agent"])
    assert grouped.by == ("agent",)
    assert grouped.rows == (
        UsageRow(("a",), Total(calls=2, input_tokens=10, cost_usd=Decimal("0.3"))),
        UsageRow(("b",), Total(calls=1, input_tokens=1, cost_usd=Decimal("0.2"))),
    )


def test_regrouping_leaves_the_report_as_it_was() -> None:
    row = UsageRow(("2026-03-14", "a"), Total(calls=1))
    regroup(UsageReport(("day", "agent"), (row, row), Total()), ["agent"])
    assert row.total == Total(calls=1)


def test_a_shortened_report_has_its_dearest_rows_in_order_and_the_whole_total() -> None:
    rows = (UsageRow(("a",), DEAR), UsageRow(("b",), CHEAP), UsageRow(("c",), DEAR))
    total = Total(calls=3, cost_usd=Decimal("0.5"))
    short = shortened(UsageReport(("agent",), rows, total), 2)
    assert [row.key for row in short.rows] == [("a",), ("c",)]
    assert (short.rows_left, short.total) == (1, total)


def test_a_shortened_report_counts_the_other_models_without_a_price() -> None:
    unpriced = {"p/a": 1, "p/b": 5, "p/c": 2, "p/d": 9}
    short = shortened(UsageReport(("agent",), (), Total(), unpriced=unpriced), 2)
    assert short.unpriced == {"p/b": 5, "p/d": 9, "other": 3}


def test_a_report_within_its_limit_stays_as_it_is() -> None:
    rows = (UsageRow(("a",), CHEAP), UsageRow(("b",), DEAR))
    report = UsageReport(("agent",), rows, Total(), unpriced={"p/a": 1})
    assert shortened(report, 2) == report
