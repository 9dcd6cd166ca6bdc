"""Forecasts as a table, JSON and CSV, and in words: the month, and when budgets will be spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from orchestify.ledger.forecasts import BudgetForecast, ForecastReport, SpendForecast
from orchestify.policy.forecast import BAND, LEAST_DAYS, MOST_DAYS
from orchestify.report.data import Cell, csv_text, json_text, write_exact
from orchestify.report.formatting import display_name, plural, write_usd
from orchestify.report.table import bullet_list, plain_table

_COLUMNS = ("spent so far", "expected", "at least", "at most")


@dataclass(frozen=True, slots=True)
class ForecastTable:
    """A forecast that `rich` prints, and below it when budgets will be spent."""

    report: ForecastReport
    budgets: Sequence[BudgetForecast] = field(default=())

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        report = self.report
        yield Text.assemble(("Forecast ", "bold"), (_coverage(report), "dim"))
        yield ""
        yield _table(report)
        yield ""
        yield bullet_list([*forecast_remarks(report), *map(budget_line, self.budgets)], options)


def forecast_remarks(report: ForecastReport) -> list[str]:
    """Return what a reader must know of a forecast."""
    said = [f"{BAND:.0%} of such forecasts have come out between `at least` and `at most`"]
    if report.total.end is None:
        said = [_too_little(report.total.known_days)]
    elif any(row.end is None for row in report.rows):
        said.append(f"- has no forecast: fewer than {LEAST_DAYS} whole days are known of it")
    if len(report.rows) > 1:
        said.append("each row is forecast by itself; the rows need not add up to the total")
    if report.unpriced_calls:
        have, are = ("has", "is") if report.unpriced_calls == 1 else ("have", "are")
        calls = plural(report.unpriced_calls, "call")
        said.append(f"{calls} of the month {have} no known price and {are} not in it")
    return said


def total_words(total: SpendForecast) -> str:
    """Say what will have been spent, in one sentence."""
    end = total.end
    if end is None:
        return f"{write_usd(total.spent_usd)} spent so far; {_too_little(total.known_days)}"
    span = f"likely {write_usd(end.low_usd)} to {write_usd(end.high_usd)}"
    return (
        f"{write_usd(end.expected_usd)} expected from {total.since} to {end.day} ({span}); "
        f"{write_usd(total.spent_usd)} spent so far"
    )


def budget_line(budget: BudgetForecast) -> str:
    """Say when a budget will be spent, with its name before."""
    return f"budget {display_name(budget.state.budget.title)}: {budget_words(budget)}"


def budget_words(budget: BudgetForecast) -> str:
    """Say when a budget will be spent."""
    period = budget.state.budget.period
    if budget.outlook == "spent":
        return "spent"
    if budget.outlook == "unknown":
        return _too_little(budget.known_days)
    if budget.outlook == "on":
        early = budget.earliest is not None and budget.earliest != budget.day
        hedge = f", at the earliest on {budget.earliest}" if early else ""
        return f"spent on {budget.day} at this pace{hedge}"
    lasts = f"lasts the {period}" if period in ("week", "month") else f"lasts {MOST_DAYS} days"
    hedge = f"; spent on {budget.earliest} at the earliest" if budget.earliest else ""
    return f"{lasts} at this pace{hedge}"


def forecast_json(report: ForecastReport, budgets: Sequence[BudgetForecast] = ()) -> str:
    """Return a forecast as one JSON object.

    Money is exact text, null where too little is known; `days` has the sums by the end of each
    day from today on. `until` is not included.
    """
    return json_text(
        {
            "by": report.by,
            "since": report.total.since.isoformat(),
            "until": report.total.until.isoformat(),
            "where": dict(report.where),
            "band": BAND,
            "rows": [
                {**dict(zip(report.by, row.key, strict=True)), **_sums(row), "days": _days(row)}
                for row in report.rows
            ],
            "total": {**_sums(report.total), "days": _days(report.total)},
            "unpriced_calls": report.unpriced_calls,
            "budgets": [budget_data(each) for each in budgets],
        }
    )


def budget_data(budget: BudgetForecast) -> dict[str, Any]:
    """Return when a budget will be spent, ready for JSON."""
    return {
        "budget": budget.state.budget.name,
        "value": budget.state.budget.value,
        "outlook": budget.outlook,
        "day": None if budget.day is None else budget.day.isoformat(),
        "earliest": None if budget.earliest is None else budget.earliest.isoformat(),
        "known_days": budget.known_days,
    }


def forecast_csv(report: ForecastReport) -> str:
    """Return a forecast's rows as CSV: the axes, then the sums."""
    lines = [(*row.key, *_sums(row).values()) for row in report.rows or (report.total,)]
    return csv_text((*report.by, *_sums(report.total)), lines)


def _coverage(report: ForecastReport) -> str:
    axes = [f"by {', '.join(report.by)}"] if report.by else []
    last = report.total.until - timedelta(days=1)
    filters = [f"{axis}={value}" for axis, value in report.where.items()]
    return "; ".join([*axes, f"from {report.total.since} to {last} UTC", *filters])


def _table(report: ForecastReport) -> Table:
    table = plain_table()
    for axis in report.by or ("",):
        table.add_column(Text(display_name(axis.removeprefix("label:"))), overflow="fold")
    table.columns[0].header = table.columns[0].header if report.by else ""
    table.columns[0].footer = "total"
    for name, total in zip(_COLUMNS, _cells(report.total), strict=True):
        table.add_column(name, total, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(*(Text(display_name(each)) for each in row.key), *_cells(row))
    return table


def _cells(row: SpendForecast) -> tuple[str, ...]:
    end = row.end
    ahead = (None,) * 3 if end is None else (end.expected_usd, end.low_usd, end.high_usd)
    return (write_usd(row.spent_usd), *("-" if each is None else write_usd(each) for each in ahead))


def _sums(row: SpendForecast) -> dict[str, Cell]:
    end = row.end
    return {
        "spent_usd": write_exact(row.spent_usd),
        "expected_usd": None if end is None else write_exact(end.expected_usd),
        "low_usd": None if end is None else write_exact(end.low_usd),
        "high_usd": None if end is None else write_exact(end.high_usd),
        "known_days": row.known_days,
    }


def _days(row: SpendForecast) -> list[dict[str, str]]:
    return [
        {
            "day": each.day.isoformat(),
            "expected_usd": write_exact(each.expected_usd),
            "low_usd": write_exact(each.low_usd),
            "high_usd": write_exact(each.high_usd),
        }
        for each in row.ahead
    ]


def _too_little(known_days: int) -> str:
    return f"too little is known for a forecast: {known_days} of {LEAST_DAYS} whole days"


def most_usd(total: SpendForecast) -> Decimal:
    """Return the largest sum of a forecast's days, for an axis."""
    sums = [total.spent_usd, *(usd for _, usd in total.past)]
    return max([*sums, *(each.high_usd for each in total.ahead)])
