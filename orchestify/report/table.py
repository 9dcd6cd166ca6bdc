"""A report as a table for terminals, with bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.bar import Bar
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from orchestify.ledger.axes import TIME_AXES
from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import Total
from orchestify.report.caveats import coverage, usage_caveats
from orchestify.report.formatting import (
    cache_hit_share,
    display_name,
    known_cost,
    write_cost,
    write_count,
    write_share,
    write_usd,
)
from orchestify.report.rows import in_reading_order

_BAR_WIDTH = 16
_BAR_LEAST = 6
_BAR_GAP = 2
_NAME_LEAST, _LONE_NAME_LEAST = 8, 16
_ENDLESS = 10_000


@dataclass(frozen=True, slots=True)
class UsageTable:
    """A usage report that `rich` prints; it fits the console.

    Where that is narrow, columns are left out and named below, the cost never. Days come as
    they passed, everything else dearest first. A bar is the row's share of the largest cost, or
    of the most tokens where no cost is known; it has what room is left. `more` ends the remarks.
    """

    report: UsageReport
    more: Sequence[str] = ()

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        report = self.report
        covers = coverage(report.by, report.since, report.until, report.where)
        yield Text.assemble(("Usage ", "bold"), (covers, "dim"))
        yield ""
        remarks = usage_caveats(report)
        if report.rows:
            shown = self._columns(console, options)
            bar_width = 0 if options.ascii_only else self._bar_width(console, options, shown)
            yield _table(report, shown, bar_width)
            yield ""
            left_out = ", ".join(name for name in _columns(report) if name not in shown)
            remarks += [f"too narrow to show: {left_out}"] if left_out else []
        else:
            yield Text("No call was booked in this time.\n")
        yield bullet_list([*remarks, *self.more], options)

    def _columns(self, console: Console, options: ConsoleOptions) -> tuple[str, ...]:
        """Return which figures have room where long names are folded."""
        for count in range(len(_LEFT_OUT_FIRST)):
            left_out = _LEFT_OUT_FIRST[:count]
            shown = tuple(name for name in _columns(self.report) if name not in left_out)
            if self._least_width(console, options, shown) <= options.max_width:
                return shown
        return ("cost",)

    def _bar_width(self, console: Console, options: ConsoleOptions, shown: tuple[str, ...]) -> int:
        used = Measurement.get(console, options, _table(self.report, shown)).maximum
        left = min(options.max_width - used - _BAR_GAP, _BAR_WIDTH)
        if left >= _BAR_LEAST or len(self.report.by) > 1:
            return left
        # a lone long name is rather folded than shown without its bar
        least = self._least_width(console, options, shown) + _BAR_GAP + _BAR_LEAST
        return _BAR_LEAST if least <= options.max_width else 0

    def _least_width(
        self, console: Console, options: ConsoleOptions, shown: tuple[str, ...]
    ) -> int:
        name_width = _LONE_NAME_LEAST if len(self.report.by) == 1 else _NAME_LEAST
        table = _table(self.report, shown, name_width=name_width)
        return Measurement.get(console, options.update_width(_ENDLESS), table).maximum


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


def bullet_list(lines: list[str], options: ConsoleOptions) -> Table:
    """Return remarks as a list."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        grid.add_row("-" if options.ascii_only else "·", Text(line), style="dim")
    return grid


def _table(
    report: UsageReport,
    shown: tuple[str, ...],
    bar_width: int = 0,
    name_width: int | None = None,
) -> Table:
    table = plain_table()
    for axis in report.by:
        heading, is_day = Text(display_name(axis.removeprefix("label:"))), axis in TIME_AXES
        most = None if is_day else name_width
        table.add_column(heading, overflow="fold", no_wrap=is_day, max_width=most)
    table.columns[0].footer = "total"
    total = _cells(report.total)
    for name in shown:
        table.add_column(name, total[name], justify="right", no_wrap=True)
    has_bars = bar_width >= _BAR_LEAST
    if has_bars:
        table.add_column("", width=bar_width)
    rows = in_reading_order(report)
    largest = max(_weight(row, report) for row in rows) or 1.0
    for row in rows:
        bar = [Bar(largest, 0, _weight(row, report), color="cyan")] if has_bars else []
        cells = _cells(row.total)
        table.add_row(*(Text(display_name(key)) for key in row.key), *map(cells.get, shown), *bar)
    return table


_COLUMNS = ("answered", "not ok", "in", "cached", "out", "cost")
_LEFT_OUT_FIRST = ("cached", "not ok", "answered", "in", "out", "kept", "possibly", "saved")


def _columns(report: UsageReport) -> tuple[str, ...]:
    """The figures of a report; what is rarely anything only where it is something."""
    total = report.total
    possibly = ("possibly",) if total.possible_usd else ()
    kept = ("kept", "saved") if total.cached else ()
    return (*_COLUMNS, *possibly, *kept)


def _cells(total: Total) -> dict[str, str]:
    not_ok = total.attempts - total.calls
    return {
        "answered": write_count(total.calls),
        "not ok": write_count(not_ok) if not_ok else "",
        "in": write_count(total.input_tokens),
        "cached": write_share(cache_hit_share(total)),
        "out": write_count(total.output_tokens),
        "cost": write_cost(known_cost(total), total.unpriced_calls),
        "possibly": f"+{write_usd(total.possible_usd)}" if total.possible_usd else "",
        "kept": write_count(total.cached) if total.cached else "",
        "saved": write_usd(total.saved_usd) if total.cached else "",
    }


def _weight(row: UsageRow, report: UsageReport) -> float:
    return float(row.total.cost_usd if report.total.cost_usd else row.total.total_tokens)
