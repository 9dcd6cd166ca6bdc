"""A report as a table for terminals, with bars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.bar import Bar
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.totals import Total
from orchestify.report.figures import (
    cache_hit_share,
    named,
    write_cost,
    write_count,
    write_share,
)
from orchestify.report.grouping import in_reading_order
from orchestify.report.remarks import coverage, usage_remarks

_BAR_WIDTH = 16
_BAR_LEAST = 6
_BAR_GAP = 2


@dataclass(frozen=True, slots=True)
class UsageTable:
    """A usage report that `rich` prints; it fits the console, from 80 columns on.

    Days come as they passed, everything else dearest first. A bar is the row's share of the
    largest cost, or of the most tokens where no cost is known; it has what room is left.
    """

    report: UsageReport

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        report = self.report
        covers = coverage(report.by, report.since, report.until, report.where)
        yield Text.assemble(("Usage ", "bold"), (covers, "dim"))
        yield ""
        if report.rows:
            bar_width = 0 if options.ascii_only else self._bar_width(console, options)
            yield _table(report, bar_width)
            yield ""
        else:
            yield Text("No call was booked in this time.\n")
        yield remark_list(usage_remarks(report), options)

    def _bar_width(self, console: Console, options: ConsoleOptions) -> int:
        used = Measurement.get(console, options, _table(self.report, 0)).maximum
        left = min(options.max_width - used - _BAR_GAP, _BAR_WIDTH)
        # a lone long name is rather folded than shown without its bar
        return max(left, _BAR_LEAST) if len(self.report.by) == 1 else left


def plain_table() -> Table:
    """Return an empty table with lines under its head and over its foot only."""
    return Table(
        box=box.SIMPLE,
        show_edge=False,
        show_footer=True,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        footer_style="bold",
    )


def remark_list(lines: list[str], options: ConsoleOptions) -> Table:
    """Return remarks as a list."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        grid.add_row("-" if options.ascii_only else "·", Text(line), style="dim")
    return grid


def _table(report: UsageReport, bar_width: int) -> Table:
    table = plain_table()
    for axis in report.by:
        table.add_column(Text(named(axis.removeprefix("label:"))), overflow="fold")
    table.columns[0].footer = "total"
    for name, value in zip(_COLUMNS, _cells(report.total), strict=True):
        table.add_column(name, value, justify="right", no_wrap=True)
    has_bars = bar_width >= _BAR_LEAST
    if has_bars:
        table.add_column("", width=bar_width)
    rows = in_reading_order(report)
    largest = max(_weight(row, report) for row in rows) or 1.0
    for row in rows:
        bar = [Bar(largest, 0, _weight(row, report), color="cyan")] if has_bars else []
        table.add_row(*(Text(named(key)) for key in row.key), *_cells(row.total), *bar)
    return table


_COLUMNS = ("calls", "not ok", "in", "cached", "out", "cost")


def _cells(total: Total) -> tuple[str, ...]:
    return (
        write_count(total.calls),
        write_count(total.attempts - total.calls) if total.attempts != total.calls else "",
        write_count(total.input_tokens),
        write_share(cache_hit_share(total)),
        write_count(total.output_tokens),
        write_cost(total.cost_usd, total.unpriced_calls),
    )


def _weight(row: UsageRow, report: UsageReport) -> float:
    return float(row.total.cost_usd if report.total.cost_usd else row.total.total_tokens)
