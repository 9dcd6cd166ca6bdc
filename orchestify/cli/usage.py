"""`orchestify usage` and `orchestify usage reprice`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from orchestify.cli.output import console
from orchestify.cli.query import Query, query_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestify.ledger.base import UsageReport
    from orchestify.ledger.sql.repricing import Repricing

_FILE_WIDTH = 100  # of a table that is written to a file


def _format_option(*kinds: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--format", "kind", type=click.Choice(kinds), default=kinds[0], show_default=True
    )


_output_option = click.option(
    *("--output", "-o"),
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to a file instead of stdout.",
)


@click.group(invoke_without_command=True)
@query_options
@_format_option("table", "json", "csv", "html")
@_output_option
@click.pass_context
def command(
    ctx: click.Context, query: Callable[..., Query], kind: str, output: Path | None
) -> None:
    """Report tokens and money from the ledger, by provider or what --by says.

    Every report counts and names the calls without a price, says which share of the cost is
    estimated, and whether the ledger is behind.
    """
    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is _TYPED for name in ctx.params):
            raise click.UsageError("write the options behind `reprice`")
        return
    asked = query("provider")
    if kind == "html":
        _write(asyncio.run(_page(asked)), output)
        return
    from orchestify.report import UsageTable, usage_csv, usage_json, usage_remarks  # noqa: PLC0415

    report = asyncio.run(_usage(asked))
    if kind == "table":
        _show(UsageTable(report), output)
    elif kind == "json":
        _write(usage_json(report), output)
    else:
        _write(usage_csv(report), output)
        _note(usage_remarks(report))


@command.command("reprice", short_help="Compare what was booked with other prices.")
@query_options
@_format_option("table", "json", "csv")
@click.option(
    "--prices",
    type=click.Choice(["today", "dated"]),
    default="today",
    show_default=True,
    help="Today's, as calls are booked now, or genai-prices' at each record's date.",
)
@_output_option
def reprice_command(
    query: Callable[..., Query], kind: str, prices: str, output: Path | None
) -> None:
    """Show what was booked beside what the same tokens cost at other prices.

    By provider and model, or what --by says. It changes no record. With --ledger and without
    --config, the models' names alone say whose prices to take.
    """
    from orchestify.report import comparison  # noqa: PLC0415 - only where it is used

    repricing = _reprice(query("provider", "model"), prices)
    if kind == "table":
        _show(comparison.RepricingTable(repricing, _PRICES[prices]), output)
    elif kind == "json":
        _write(comparison.repricing_json(repricing), output)
    else:
        _write(comparison.repricing_csv(repricing), output)
        _note(comparison.repricing_remarks(repricing))


_TYPED = ParameterSource.COMMANDLINE
_PRICES = {"today": "today's prices", "dated": "genai-prices of the record's date"}


async def _usage(query: Query) -> UsageReport:
    from orchestify.ledger.opening import open_ledger  # noqa: PLC0415 - SQLAlchemy is slow to import

    async with aclosing(open_ledger(query.url, base_dir=Path())) as ledger:
        return await ledger.usage(query.by, **query.selection)


async def _page(query: Query) -> str:
    from orchestify.ledger.opening import open_ledger  # noqa: PLC0415 - as above
    from orchestify.report import usage_page  # noqa: PLC0415

    async with aclosing(open_ledger(query.url, base_dir=Path())) as ledger:
        return await usage_page(ledger, query.by, **query.selection)


def _reprice(query: Query, prices: str) -> Repricing:
    from orchestify.database.sql import database_url  # noqa: PLC0415
    from orchestify.ledger.sql.repricing import reprice  # noqa: PLC0415
    from orchestify.ledger.sql.schema import ledger_database  # noqa: PLC0415 - as above
    from orchestify.report import dated_prices, todays_prices  # noqa: PLC0415

    price_of = (todays_prices if prices == "today" else dated_prices)(query.config)
    database = ledger_database(database_url(query.url, Path()))
    try:
        return reprice(database, price_of, query.by, **query.selection)
    finally:
        database.dispose()


def _show(table: RenderableType, output: Path | None) -> None:
    if output is None:
        console().print(table)
        return
    from rich.console import Console  # noqa: PLC0415

    text = StringIO()
    Console(file=text, width=_FILE_WIDTH, markup=False, highlight=False).print(table)
    _write(text.getvalue(), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        output.write_text(text if text.endswith("\n") else f"{text}\n", "utf-8", newline="")
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise click.ClickException(f"{output} cannot be written: {reason}") from None


def _note(lines: list[str]) -> None:
    """Say on stderr what a table of bare figures has no place for."""
    for line in lines:
        click.echo(f"note: {line}", err=True)
