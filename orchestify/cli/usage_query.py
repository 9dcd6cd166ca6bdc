"""What the commands of `orchestify usage` share: which ledger, what of it, where it is written."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from orchestify.cli.options import DATABASE_VARIABLE, config_option, find_database, load, moment
from orchestify.cli.output import console, note
from orchestify.errors import ConfigError, InvalidParameterError
from orchestify.ledger.axes import axes_in_words, axes_of
from orchestify.report import DataFormatName
from orchestify.values import NOTHING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestify.core.config import Config
    from orchestify.ledger.base import Ledger, UsageReport
    from orchestify.policy.budget import BudgetState


def _axes(_ctx: click.Context, _param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    if any("," in name and not name.startswith("label:") for name in names):
        raise click.BadParameter("name one axis each, as in --by agent --by model")
    try:
        return axes_of(tuple(dict.fromkeys(names)), None)
    except InvalidParameterError as error:
        raise click.BadParameter(str(error)) from None


def _filters(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    where: dict[str, str] = {}
    for text in texts:
        axis, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} has no value; write it as agent=reviewer")
        if axis in where:
            raise click.BadParameter(f"{axis} is given twice")
        where[axis] = value
    _axes(_ctx, _param, tuple(where))
    return where


_OPTIONS = (
    click.option(
        "--ledger",
        "url",
        metavar="URL",
        help="A ledger's database, instead of the configuration's.",
    ),
    click.option(
        "--by",
        callback=_axes,
        multiple=True,
        metavar="AXIS",
        help=f"{axes_in_words('KEY')}; may be given several times.",
    ),
    click.option(
        "--where",
        callback=_filters,
        multiple=True,
        metavar="AXIS=VALUE",
        help="Only these, as agent=reviewer or label:run=r1; may be given several times.",
    ),
)


_SPAN = (
    click.option(
        "--since",
        callback=moment,
        metavar="TIME",
        help="24h or 30m ago; 7d or 2w, from midnight UTC; a date; a time in ISO 8601.",
    ),
    click.option("--until", callback=moment, metavar="TIME", help="The same; not included."),
)


@dataclass(frozen=True, slots=True)
class LedgerQuery:
    """Which ledger to read, and what of it, as a command line says."""

    url: str = field(repr=False)  # it may hold a password
    config: Config | None
    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    where: Mapping[str, str]
    is_new: bool = False  # the configuration's, before its first call

    def is_there(self) -> bool:
        """Whether the ledger's file is there now; a server's database always is."""
        from orchestify.database.sql import database_url  # noqa: PLC0415 - SQLAlchemy is slow

        found = database_url(self.url, Path())
        return found.get_backend_name() != "sqlite" or Path(str(found.database)).exists()

    @property
    def selection(self) -> dict[str, Any]:
        """What else than the axes a ledger's `usage` takes."""
        return {"since": self.since, "until": self.until, "where": self.where}


def query_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--config`, `--ledger`, `--by`, `--where`, `--since` and `--until`.

    The command takes a function that makes of them a `query`. A ledger that is named needs no
    configuration; the query then has one only where `--config` is given too.
    """
    return _with_query(command, (*_OPTIONS, *_SPAN))


def query_options_of_all(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--config` and `--ledger` alone."""
    return _with_query(command, _OPTIONS[:1])


def query_options_of_now(command: Callable[..., None]) -> Callable[..., None]:
    """Add the same without `--since` and `--until`."""
    return _with_query(command, _OPTIONS)


def _with_query(
    command: Callable[..., None],
    options: Sequence[Callable[[Callable[..., None]], Callable[..., None]]],
) -> Callable[..., None]:
    @wraps(command)
    def with_query(
        *,
        path: Path,
        url: str | None,
        by: tuple[str, ...] = (),
        where: Mapping[str, str] = NOTHING,
        since: datetime | None = None,
        until: datetime | None = None,
        **given: Any,
    ) -> None:
        def query(*default: str) -> LedgerQuery:
            source = click.get_current_context().get_parameter_source("path")
            is_needed = url is None or source is not ParameterSource.DEFAULT
            try:
                config = load(path) if is_needed else None
                found, missing = _ledger_url(config, url)
            except (click.ClickException, ConfigError):
                if url is None:
                    _hint_at_service_ledger()
                raise
            if missing is not None:
                note(f"nothing was booked yet; the ledger will be {missing}")
            is_new = missing is not None
            return LedgerQuery(found, config, by or default, since, until, where, is_new)

        command(query=query, **given)

    made: Callable[..., None] = with_query
    for option in reversed(options):
        made = option(made)
    return config_option(made)


def _hint_at_service_ledger() -> None:
    """Say where the service's ledger is, where there is one: the configuration does not."""
    database = find_database()
    if database is not None:
        shown = f'"${DATABASE_VARIABLE}"' if os.environ.get(DATABASE_VARIABLE) else database
        note(f"the service's ledger is read with --ledger {shown}")


def _ledger_url(config: Config | None, url: str | None) -> tuple[str, str | None]:
    """Return the ledger's URL, and the file of a configured one that is not there yet."""
    is_named, name = url is not None, "ledger.url" if url is None else "--ledger"
    if url is None and config is not None and config.ledger and config.ledger.url:
        url = config.ledger.url.get_secret_value()
    if url is None:
        raise click.ClickException(
            "the configuration's ledger is in memory, which ends with its process; "
            "write `ledger: {url: sqlite:///.orchestify/usage.db}`, or name one with --ledger"
        )
    from orchestify.database.sql import database_url  # noqa: PLC0415 - SQLAlchemy is slow

    found = database_url(url, Path(), name=name)
    if found.get_backend_name() != "sqlite" or Path(str(found.database)).exists():
        return url, None
    if is_named:
        raise click.ClickException(f"there is no ledger at {found.database}: nothing was booked")
    return url, found.database


class NothingBooked:
    """A ledger before its first call."""

    async def usage(
        self,
        by: str | Sequence[str] = "provider",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, str] | None = None,
    ) -> UsageReport:
        """Return a report without rows."""
        from orchestify.ledger.base import UsageReport  # noqa: PLC0415 - as above
        from orchestify.ledger.memory import Total  # noqa: PLC0415

        return UsageReport(axes_of(by, where), (), Total(), since, until, where or {})


@asynccontextmanager
async def opened_ledger(query: LedgerQuery) -> AsyncIterator[Ledger | NothingBooked]:
    """Open the ledger that is asked; one before its first call has no database yet."""
    if query.is_new:
        yield NothingBooked()
        return
    from orchestify.ledger.opening import open_ledger  # noqa: PLC0415 - SQLAlchemy is slow to import

    async with aclosing(open_ledger(query.url, base_dir=Path())) as ledger:
        yield ledger


DATA_FORMATS: tuple[str, ...] = get_args(DataFormatName)
_FILE_WIDTH = 100  # of a table that is written to a file


def format_option(*kinds: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add `--format`, the first kind where nothing is said."""
    return click.option(
        "--format", "kind", type=click.Choice(kinds), default=kinds[0], show_default=True
    )


output_option = click.option(
    *("--output", "-o"),
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to a file instead of stdout.",
)


def budget_states(config: Config | None, ledger: Ledger) -> list[BudgetState]:
    """Return how a configuration's budgets stand, as its ledger's database says."""
    if config is None or not config.budgets:
        return []
    from orchestify.providers.building import configured_budgets  # noqa: PLC0415 - as above

    book = ledger.budget_book()
    return [book.state(each) for each in configured_budgets(config)]


def show(table: RenderableType, output: Path | None) -> None:
    """Print a table, or write it to a file, 100 characters wide."""
    if output is None:
        console().print(table)
        return
    from rich.console import Console  # noqa: PLC0415

    text = StringIO()
    Console(file=text, width=_FILE_WIDTH, markup=False, highlight=False).print(table)
    write(text.getvalue(), output)


def write(written: str | bytes, output: Path | None) -> None:
    """Print a text or bytes, or write them to a file; bytes are not for a terminal."""
    if output is None:
        if isinstance(written, bytes) and sys.stdout.isatty():
            raise click.ClickException("this format is not for a terminal; name a file by --output")
        click.echo(written, nl=isinstance(written, str) and not written.endswith("\n"))
        return
    if isinstance(written, str):
        written = (written if written.endswith("\n") else f"{written}\n").encode()
    try:
        output.write_bytes(written)
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise click.ClickException(f"{output} cannot be written: {reason}") from None


def notes(lines: list[str]) -> None:
    """Say on stderr what a table of bare figures has no place for."""
    for line in lines:
        note(line)
