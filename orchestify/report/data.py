"""A report as data: JSON, and CSV for spreadsheets. Money is exact, as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from orchestify.ledger.base import UsageReport
from orchestify.ledger.memory import SUMS, Total
from orchestify.report.formatting import cache_hit_share, estimated_share, known_cost

Cell: TypeAlias = str | int | float | None

SHARE_PLACES = 6
_COSTS = ("cost_usd", "estimated_cost_usd")
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are full-width


def usage_json(report: UsageReport) -> str:
    """Return a report as one JSON object.

    `rows` are in the order of their keys: the axes asked for, then the sums, as in `total`.
    Money is text, so that it stays exact, null where no call has a price; shares are numbers
    from 0 to 1, null where there is nothing to share. `unpriced` has the calls of each model
    without a price.
    """
    shares = {
        "estimated_cost_share": estimated_share(report.total),
        "cache_hit_share": cache_hit_share(report.total),
    }
    return json_text(
        {
            "by": report.by,
            "since": report.since,
            "until": report.until,
            "where": dict(report.where),
            "rows": [
                {**dict(zip(report.by, row.key, strict=True)), **sums(row.total)}
                for row in report.rows
            ],
            "rows_left": report.rows_left,
            "total": sums(report.total),
            "unpriced": dict(report.unpriced),
            **{
                name: None if share is None else round(float(share), SHARE_PLACES)
                for name, share in shares.items()
            },
            "behind": report.behind,
            "open": report.open,
        }
    )


def usage_csv(report: UsageReport) -> str:
    """Return a report's rows as CSV, in the order of their keys: the axes, then the sums."""
    lines = [(*row.key, *sums(row.total).values()) for row in report.rows]
    return csv_text((*report.by, *SUMS), lines)


def sums(total: Total) -> dict[str, Cell]:
    """Return a total's sums by name, money as text, None where no call has a price."""
    unknown = dict.fromkeys(_COSTS if known_cost(total) is None else ())
    return {name: _exact(getattr(total, name)) for name in SUMS} | unknown


def write_exact(amount: Decimal) -> str:
    """Write money with all its digits, and no zeros behind them."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def json_text(document: Mapping[str, Any]) -> str:
    """Return a document as JSON, moments in ISO 8601."""
    return json.dumps(document, indent=2, ensure_ascii=False, default=_plain)


def csv_text(header: Sequence[str], lines: Iterable[Sequence[Cell]]) -> str:
    """Return lines as CSV (RFC 4180); text that a spreadsheet would run begins with `'`.

    Source: OWASP, "CSV Injection".
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    for line in lines:
        writer.writerow([_inert(cell) for cell in line])
    return out.getvalue()


def _exact(value: float | Decimal) -> Cell:
    return write_exact(value) if isinstance(value, Decimal) else value


def _inert(cell: Cell) -> Cell:
    is_formula = isinstance(cell, str) and cell.startswith(_FORMULA) and not _is_number(cell)
    return f"'{cell}" if is_formula else cell


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")
