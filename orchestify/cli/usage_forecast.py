"""`orchestify usage forecast`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestify.cli.usage_query import (
    LedgerQuery,
    NothingBooked,
    budget_states,
    format_option,
    notes,
    opened_ledger,
    output_option,
    query_options_of_now,
    show,
    write,
)
from orchestify.errors import InvalidParameterError

if TYPE_CHECKING:
    from orchestify.ledger.base import Ledger
    from orchestify.ledger.forecasts import BudgetForecast, ForecastReport

MONTH_END = "month-end"


def _end(_ctx: click.Context, _param: click.Parameter, text: str) -> date | None:
    """Read `--until`; None is the month's end."""
    if text == MONTH_END:
        return None
    try:
        if text.endswith("d") and text[:-1].isdecimal():
            return datetime.now(UTC).date() + timedelta(days=int(text[:-1]) + 1)
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no end; write {MONTH_END}, 14d (days ahead) or a date as 2026-12-24"
        ) from None


@click.command("forecast", short_help="Say what the month will have cost.")
@query_options_of_now
@click.option(
    "--until",
    "end",
    callback=_end,
    default=MONTH_END,
    show_default=True,
    metavar="END",
    help="month-end; 14d, so many days ahead; a date, not included. At most 92 days with today.",
)
@format_option("table", "json", "csv")
@output_option
def forecast_command(
    query: Callable[..., LedgerQuery], end: date | None, kind: str, output: Path | None
) -> None:
    """Forecast what will have been spent since the month began, as a whole or by what --by says.

    From the daily sums of 16 weeks: weekdays, a damped trend, and a band from the errors that the
    same method made on these days. With fewer than 14 whole days it says that it knows too
    little. The configuration's budgets are told with the day on which they will be spent.
    """
    from orchestify.report import forecasts as writing  # noqa: PLC0415 - only where it is used

    report, budgets = asyncio.run(_forecast(query(), end))
    if kind == "table":
        show(writing.ForecastTable(report, budgets), output)
    elif kind == "json":
        write(writing.forecast_json(report, budgets), output)
    else:
        write(writing.forecast_csv(report), output)
        notes([*writing.forecast_remarks(report), *map(writing.budget_line, budgets)])


async def _forecast(
    query: LedgerQuery, end: date | None
) -> tuple[ForecastReport, Sequence[BudgetForecast]]:
    from orchestify.ledger.forecasts import spend_forecast  # noqa: PLC0415 - as above

    now = datetime.now(UTC)
    async with opened_ledger(query) as ledger:
        try:
            report = await spend_forecast(ledger, now, by=query.by, until=end, where=query.where)
        except InvalidParameterError as error:
            raise click.UsageError(str(error)) from None
        return report, await budgets_ahead(query, ledger, now)


async def budgets_ahead(
    query: LedgerQuery, ledger: Ledger | NothingBooked, now: datetime
) -> Sequence[BudgetForecast]:
    """Return when the configuration's budgets will be spent, as its ledger's database says."""
    if isinstance(ledger, NothingBooked):
        return []
    from orchestify.ledger.forecasts import budget_forecasts  # noqa: PLC0415 - as above

    states = await asyncio.to_thread(budget_states, query.config, ledger)
    return await budget_forecasts(ledger, states, now) if states else []
