"""`orchestify usage` and `orchestify usage reprice`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from click.core import ParameterSource

from orchestify.cli.usage_forecast import budgets_ahead, forecast_command
from orchestify.cli.usage_query import (
    DATA_FORMATS,
    LedgerQuery,
    NothingBooked,
    budget_states,
    format_option,
    notes,
    opened_ledger,
    output_option,
    query_options,
    show,
    write,
)
from orchestify.cli.usage_serve import serve_command
from orchestify.cli.usage_watch import watch
from orchestify.report import DataFormatName

if TYPE_CHECKING:
    from orchestify.ledger.base import UsageReport
    from orchestify.ledger.sql.repricing import Repricing
    from orchestify.policy.budget import BudgetState
    from orchestify.report import UsageTable


@click.group(invoke_without_command=True)
@query_options
@format_option("table", *DATA_FORMATS, "html")
@output_option
@click.option("--watch", "-w", "is_watched", is_flag=True, help="Draw the table anew until Ctrl-C.")
@click.pass_context
def command(
    ctx: click.Context,
    query: Callable[..., LedgerQuery],
    kind: str,
    output: Path | None,
    is_watched: bool,
) -> None:
    """Report tokens and money from the ledger, by provider or what --by says.

    Every report counts and names the calls without a price, says which share of the cost is
    estimated, and whether the ledger is behind. `focus` is the FinOps Foundation's form of bills
    (FOCUS 1.2), by day, provider and model at least.
    """
    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is _TYPED for name in ctx.params):
            raise click.UsageError(f"write the options behind `{ctx.invoked_subcommand}`")
        return
    if is_watched and (kind != "table" or output is not None):
        raise click.UsageError("--watch draws a table in a terminal: no --format, no --output")
    asked = query() if kind in DATA_FORMATS else query("provider")
    if is_watched:
        with suppress(KeyboardInterrupt):
            asyncio.run(_watch(asked))
        return
    if kind == "html":
        write(asyncio.run(_page(asked)), output)
        return
    from orchestify.report import FORMATS, usage_caveats  # noqa: PLC0415

    if kind == "table":
        show(asyncio.run(_table(asked)), output)
        return
    found = FORMATS[cast("DataFormatName", kind)]
    report = asyncio.run(_usage(replace(asked, by=found.axes(asked.by, "provider"))))
    write(found.write(report), output)
    if not found.has_caveats:
        notes(usage_caveats(report))


@command.command("reprice", short_help="Compare what was booked with other prices.")
@query_options
@format_option("table", "json", "csv")
@click.option(
    "--prices",
    type=click.Choice(["today", "dated"]),
    default="today",
    show_default=True,
    help="Today's, as calls are booked now, or genai-prices' at each record's date.",
)
@output_option
def reprice_command(
    query: Callable[..., LedgerQuery], kind: str, prices: str, output: Path | None
) -> None:
    """Show what was booked beside what the same tokens cost at other prices.

    By provider and model, or what --by says. It changes no record. With --ledger and without
    --config, the models' names alone say whose prices to take.
    """
    from orchestify.report import repricing as comparison  # noqa: PLC0415 - only where it is used

    repricing = _reprice(query("provider", "model"), prices)
    if kind == "table":
        show(comparison.RepricingTable(repricing, _PRICES[prices]), output)
    elif kind == "json":
        write(comparison.repricing_json(repricing), output)
    else:
        write(comparison.repricing_csv(repricing), output)
        notes(comparison.repricing_caveats(repricing))


command.add_command(forecast_command)
command.add_command(serve_command)

_TYPED = ParameterSource.COMMANDLINE
_PRICES = {"today": "today's prices", "dated": "genai-prices of the record's date"}


async def _usage(query: LedgerQuery) -> UsageReport:
    async with opened_ledger(query) as ledger:
        return await ledger.usage(query.by, **query.selection)


async def _table(query: LedgerQuery) -> UsageTable:
    from orchestify.report import UsageTable  # noqa: PLC0415 - as above
    from orchestify.report.forecasts import budget_line  # noqa: PLC0415 - as above

    async with opened_ledger(query) as ledger:
        report = await ledger.usage(query.by, **query.selection)
        budgets = await budgets_ahead(query, ledger, datetime.now(UTC))
        return UsageTable(report, tuple(map(budget_line, budgets)))


async def _watch(query: LedgerQuery) -> None:
    async def draw() -> UsageTable:
        return await _table(replace(query, is_new=query.is_new and not query.is_there()))

    await watch(draw)


async def _page(query: LedgerQuery) -> str:
    from orchestify.report import usage_page  # noqa: PLC0415 - only where it is used

    async with opened_ledger(query) as ledger:
        budgets: list[BudgetState] = []
        if not isinstance(ledger, NothingBooked):
            budgets = await asyncio.to_thread(budget_states, query.config, ledger)
        return await usage_page(ledger, query.by, budgets=budgets, **query.selection)


def _reprice(query: LedgerQuery, prices: str) -> Repricing:
    from orchestify.database.sql import database_url  # noqa: PLC0415
    from orchestify.ledger.sql.repricing import reprice  # noqa: PLC0415
    from orchestify.ledger.sql.schema import ledger_database  # noqa: PLC0415 - as above
    from orchestify.report import dated_prices, todays_prices  # noqa: PLC0415

    if query.is_new:
        raise click.ClickException("there is nothing to compare yet")
    price_of = (todays_prices if prices == "today" else dated_prices)(query.config)
    database = ledger_database(database_url(query.url, Path()))
    try:
        return reprice(database, price_of, query.by, **query.selection)
    finally:
        database.dispose()
