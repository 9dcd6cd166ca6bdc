from __future__ import annotations

from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console

from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import Total
from orchestify.report import UsageTable

SONNET = Total(
    calls=516,
    attempts=535,
    failed=15,
    cancelled=4,
    input_tokens=6_520_000,
    cache_read=3_260_000,
    output_tokens=438_000,
    cost_usd=Decimal("18.08"),
)
LLAMA = Total(calls=34, attempts=34, input_tokens=9_000, output_tokens=250, unpriced_calls=34)
BOTH = Total(
    calls=550,
    attempts=569,
    failed=15,
    cancelled=4,
    input_tokens=6_529_000,
    cache_read=3_260_000,
    output_tokens=438_250,
    cost_usd=Decimal("18.08"),
    unpriced_calls=34,
)
REPORT = UsageReport(
    by=("model",),
    rows=(UsageRow(("llama3",), LLAMA), UsageRow(("claude-sonnet-4-5",), SONNET)),
    total=BOTH,
    unpriced={"local/llama3": 34},
)
LONG = UsageReport(
    by=("day", "agent", "model"),
    rows=(UsageRow(("2026-03-14", "a" * 60, "m" * 60), SONNET),),
    total=SONNET,
)


def _printed(report: UsageReport, **options: object) -> list[str]:
    out = StringIO()
    settings: dict[str, object] = {"width": 80, "markup": True, **options}
    Console(file=out, **settings).print(UsageTable(report))  # type: ignore[arg-type]
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_table_has_figures_bars_and_remarks() -> None:
    assert _printed(REPORT) == [
        "Usage by model; all time",
        "",
        "model              answered  not ok     in  cached   out     cost",
        "─" * 80,
        "claude-sonnet-4-5       516      19  6.52M     50%  438k   $18.08  █████████████",
        "llama3                   34          9,000      0%   250  unknown",
        "─" * 80,
        "total                   550      19  6.53M   49.9%  438k  $18.08+",
        "",
        "· 34 calls have no known price and are not in the cost: local/llama3 (34)",
        "· beside the answered calls, 19 attempts were not ok: 15 failed, 4 cancelled",
    ]


def test_narrow_table_leaves_out_figures_and_names_them() -> None:
    assert _printed(REPORT, width=40) == [
        "Usage by model; all time",
        "",
        "model                 in   out     cost",
        "───────────────────────────────────────",
        "claude-sonnet-4-5  6.52M  438k   $18.08",
        "llama3             9,000   250  unknown",
        "───────────────────────────────────────",
        "total              6.53M  438k  $18.08+",
        "",
        "· 34 calls have no known price and are",
        "  not in the cost: local/llama3 (34)",
        "· beside the answered calls, 19 attempts",
        "  were not ok: 15 failed, 4 cancelled",
        "· too narrow to show: answered, not ok,",
        "  cached",
    ]


def test_a_day_is_never_folded() -> None:
    assert "2026-03-14" in "\n".join(_printed(LONG, width=40))


@pytest.mark.parametrize("width", [80, 60, 40])
@pytest.mark.parametrize("report", [REPORT, LONG])
def test_no_line_is_wider_than_the_terminal(report: UsageReport, width: int) -> None:
    assert max(map(len, _printed(report, width=width))) <= width


def test_long_name_is_folded_and_not_cut() -> None:
    assert "".join(_printed(LONG)).count("m") >= 60


def test_bars_are_of_tokens_where_no_cost_is_known() -> None:
    row = UsageRow(("llama3",), LLAMA)
    assert "█" in "".join(_printed(UsageReport(("model",), (row,), LLAMA)))


def test_report_of_nothing_says_so() -> None:
    assert "No call was booked in this time." in _printed(UsageReport(("model",), (), Total()))


def test_name_is_neither_markup_nor_obeyed() -> None:
    row = UsageRow(("[red]\x1b[31mx",), SONNET)
    text = "\n".join(_printed(UsageReport(("agent",), (row,), SONNET)))
    assert "[red]?[31mx" in text
    assert "\x1b" not in text


def test_what_was_possibly_billed_stands_beside_the_cost_where_it_was() -> None:
    lost = Total(attempts=2, failed=2, possible_usd=Decimal("0.75"))
    both = Total(calls=1, attempts=3, failed=2, cost_usd=Decimal(1), possible_usd=Decimal("0.75"))
    rows = (
        UsageRow(("a",), Total(calls=1, attempts=1, cost_usd=Decimal(1))),
        UsageRow(("b",), lost),
    )
    lines = _printed(UsageReport(by=("agent",), rows=rows, total=both), width=100)
    assert lines[2].split()[-2:] == ["cost", "possibly"]
    assert lines[5].split()[-2:] == ["$0.00", "+$0.75"]
    assert lines[7].split()[-2:] == ["$1.00", "+$0.75"]


def test_kept_answers_and_what_they_saved_stand_where_there_are_some() -> None:
    total = Total(calls=3, attempts=3, cost_usd=Decimal("1.5"), cached=12, saved_usd=Decimal("0.6"))
    report = UsageReport(by=("model",), rows=(UsageRow(("m",), total),), total=total)
    lines = _printed(report, width=90)
    assert lines[2].split()[-3:] == ["cost", "kept", "saved"]
    assert lines[4].split()[-4:-1] == ["$1.50", "12", "$0.60"]
    assert lines[-1] == (
        "· 12 answers came from the response cache, beside the calls; they had cost $0.60"
    )
    assert "kept" not in " ".join(_printed(REPORT))
