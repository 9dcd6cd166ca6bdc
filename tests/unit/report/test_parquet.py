from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestify.errors import MissingExtraError
from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import SUMS, Total
from orchestify.report import usage_parquet
from tests.extras import needs

needs("pyarrow", "parquet")

TOTAL = Total(
    calls=2,
    attempts=3,
    failed=1,
    input_tokens=30,
    output_tokens=7,
    cost_usd=Decimal("123456789.100000000001"),
    estimated_cost_usd=Decimal("0.0250000000004"),  # more than a ledger in a database keeps
    latency_s=1.5,
)
FREE = Total(calls=1, attempts=1, unpriced_calls=1, possible_usd=Decimal("0.75"))
REPORT = UsageReport(
    by=("day", "agent", "label:run"),
    rows=(
        UsageRow(("2026-03-14", "reviewer", "r1"), TOTAL),
        UsageRow(("2026-03-15", "", "=1+1"), FREE),
    ),
    total=TOTAL,
    since=datetime(2026, 3, 14, tzinfo=UTC),
    where={"provider": "local"},
    behind=4,
)


def table_of(report: UsageReport) -> Any:
    """Return what another reader finds in the file."""
    from pyarrow import parquet  # noqa: PLC0415 - only where it is used

    return parquet.read_table(io.BytesIO(usage_parquet(report)))


def test_axes_are_texts_and_days_utc_timestamps() -> None:
    table = table_of(REPORT)
    assert table.column_names == ["day", "agent", "label:run", *SUMS]
    assert [str(table.schema.field(name).type) for name in REPORT.by] == [
        "timestamp[us, tz=UTC]",
        "string",
        "string",
    ]
    assert [each.timestamp() for each in table["day"].to_pylist()] == [1773446400, 1773532800]
    assert table["label:run"].to_pylist() == ["r1", "=1+1"]


def test_money_is_an_exact_decimal_and_null_where_nobody_knows_it() -> None:
    table = table_of(REPORT)
    types = {str(table.schema.field(name).type) for name in SUMS if name.endswith("_usd")}
    assert types == {"decimal128(38, 12)"}
    assert table["cost_usd"].to_pylist() == [Decimal("123456789.100000000001"), None]
    assert table["estimated_cost_usd"].to_pylist() == [Decimal("0.025000000000"), None]
    assert table["possible_usd"].to_pylist() == [Decimal("0E-12"), Decimal("0.750000000000")]


def test_counts_are_whole_numbers() -> None:
    table = table_of(REPORT)
    others = [name for name in SUMS if not name.endswith("_usd")]
    assert {str(table.schema.field(name).type) for name in others} == {"int64", "double"}
    assert table["input_tokens"].to_pylist() == [30, 0]
    assert table["latency_s"].to_pylist() == [1.5, 0.0]


def test_the_file_says_what_it_covers_and_how_far_it_holds() -> None:
    told = json.loads(table_of(REPORT).schema.metadata[b"orchestify"])
    assert (told["by"], told["where"]) == (["day", "agent", "label:run"], {"provider": "local"})
    assert (told["since"], told["until"]) == ("2026-03-14T00:00:00+00:00", None)
    assert any("the ledger is behind: 4 records wait" in each for each in told["caveats"])


def test_a_report_without_rows_has_its_columns() -> None:
    assert table_of(replace(REPORT, rows=())).num_rows == 0


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'needs pyarrow: pip install .*\[parquet\]"'):
        usage_parquet(REPORT)
