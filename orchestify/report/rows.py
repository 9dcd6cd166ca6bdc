"""A report's rows in reading order, by fewer axes, or only the most expensive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal

from orchestify.ledger.axes import TIME_AXES
from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import OTHER, Total
from orchestify.report.formatting import display_name


def in_reading_order(report: UsageReport) -> list[UsageRow]:
    """Return the rows as people want them: times as they passed, all else dearest first."""
    is_by_time = any(axis in TIME_AXES for axis in report.by)
    return list(report.rows) if is_by_time else _dearest_first(report)


def regroup(report: UsageReport, by: Iterable[str]) -> UsageReport:
    """Return the same usage by fewer of its axes, so that all parts of a page agree."""
    axes = tuple(by)
    places = [report.by.index(axis) for axis in axes]
    sums: dict[tuple[str, ...], Total] = {}
    for row in report.rows:
        sums.setdefault(tuple(row.key[place] for place in places), Total()).merge(row.total)
    return replace(report, by=axes, rows=tuple(UsageRow(key, sums[key]) for key in sorted(sums)))


def shortened(report: UsageReport, limit: int) -> UsageReport:
    """Return the report with its `limit` dearest rows, still in the order of their keys.

    The total stays whole. Of the models without a price those with the most calls stay, and
    `other` counts the calls of the rest.
    """
    rows = sorted(_dearest_first(report)[:limit], key=lambda row: row.key)
    names = sorted(report.unpriced, key=lambda name: -report.unpriced[name])
    unpriced = {name: report.unpriced[name] for name in sorted(names[:limit])}
    if names[limit:]:
        unpriced[OTHER] = sum(report.unpriced[name] for name in names[limit:])
    left = report.rows_left + len(report.rows) - len(rows)
    return replace(report, rows=tuple(rows), unpriced=unpriced, rows_left=left)


def largest(
    report: UsageReport, number: int, weight: Callable[[Total], Decimal | int]
) -> list[tuple[str, Total]]:
    """Return at most `number` rows of a report by one axis, largest first, the rest as one.

    Each with its name as it can be shown.
    """
    rows = sorted(report.rows, key=lambda row: (-weight(row.total), row.key))
    end = number if len(rows) <= number else number - 1
    found = [(display_name(row.key[0]), row.total) for row in rows[:end]]
    if rest := rows[end:]:
        others = Total()
        for row in rest:
            others.merge(row.total)
        found.append((f"{len(rest)} others", others))
    return found


def _dearest_first(report: UsageReport) -> list[UsageRow]:
    return sorted(report.rows, key=lambda row: (-row.total.cost_usd, -row.total.total_tokens))
