"""A report's rows in another order, or by fewer axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.totals import Total


def in_reading_order(report: UsageReport) -> list[UsageRow]:
    """Return the rows as people want them: days as they passed, all else dearest first."""
    if "day" in report.by:
        return list(report.rows)
    return sorted(report.rows, key=lambda row: (-row.total.cost_usd, -row.total.total_tokens))


def regroup(report: UsageReport, by: Iterable[str]) -> UsageReport:
    """Return the same usage by fewer of its axes, so that all parts of a page agree."""
    axes = tuple(by)
    places = [report.by.index(axis) for axis in axes]
    sums: dict[tuple[str, ...], Total] = {}
    for row in report.rows:
        sums.setdefault(tuple(row.key[place] for place in places), Total()).merge(row.total)
    return replace(report, by=axes, rows=tuple(UsageRow(key, sums[key]) for key in sorted(sums)))
