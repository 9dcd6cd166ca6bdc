"""A report as Parquet, for data frames and warehouses; the only module that imports pyarrow."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

from orchestify.ledger.axes import TIME_AXES
from orchestify.ledger.base import UsageReport
from orchestify.ledger.memory import SUMS, Total
from orchestify.report.caveats import usage_caveats
from orchestify.report.data import json_text
from orchestify.report.formatting import known_cost
from orchestify.resources.extras import missing_extra

SCALE = 12
"""The decimals of money: the ledger's 1e-12 USD, exactly."""

_DIGITS = 38  # the most that a decimal128 has
_KNOWN_ONLY = ("cost_usd", "estimated_cost_usd")


def usage_parquet(report: UsageReport) -> bytes:
    """Return a report's rows as a Parquet file: the axes, then the sums, in the rows' order.

    Money is a decimal of 38 digits, 12 of them behind the point, null where no call has a price; a
    day is the UTC timestamp at which it begins. The file's metadata has `orchestify`: what the
    report covers, and how far its sums hold, in words.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    arrow = _pyarrow()
    fields = [(axis, _axis_type(arrow, axis)) for axis in report.by]
    fields += [(name, _sum_type(arrow, name)) for name in SUMS]
    columns = [
        [_axis_value(axis, row.key[at]) for row in report.rows] for at, axis in enumerate(report.by)
    ]
    columns += [[_sum_value(name, row.total) for row in report.rows] for name in SUMS]
    schema = arrow.schema(fields, metadata={"orchestify": _told(report)})
    arrays = [arrow.array(column, kind) for column, (_, kind) in zip(columns, fields, strict=True)]
    out = io.BytesIO()
    from pyarrow import parquet  # noqa: PLC0415 - as below

    parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), out)
    return out.getvalue()


def _pyarrow() -> ModuleType:
    try:
        import pyarrow  # noqa: PLC0415 - an extra, and 100 ms
    except ImportError:
        raise missing_extra("Parquet needs pyarrow", "parquet") from None
    module: ModuleType = pyarrow
    return module


def _axis_type(arrow: Any, axis: str) -> Any:
    return arrow.timestamp("us", tz="UTC") if axis in TIME_AXES else arrow.string()


def _axis_value(axis: str, value: str) -> str | datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if axis in TIME_AXES else value


def _sum_type(arrow: Any, name: str) -> Any:
    if name.endswith("_usd"):
        return arrow.decimal128(_DIGITS, SCALE)
    return arrow.float64() if name.endswith("_s") else arrow.int64()


def _sum_value(name: str, total: Total) -> Any:
    if name in _KNOWN_ONLY and known_cost(total) is None:
        return None
    value = getattr(total, name)
    return value.quantize(Decimal(1).scaleb(-SCALE)) if isinstance(value, Decimal) else value


def _told(report: UsageReport) -> str:
    told = {"by": report.by, "since": report.since, "until": report.until}
    return json_text({**told, "where": dict(report.where), "caveats": usage_caveats(report)})
