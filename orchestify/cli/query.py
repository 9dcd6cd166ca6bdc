"""Options that name a ledger and what is to be read from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from orchestify.cli.configuration import config_option, load
from orchestify.cli.serving import DATABASE_VARIABLE, found_database
from orchestify.errors import ConfigError, InvalidParameterError
from orchestify.ledger.axes import axes_in_words, axes_of

if TYPE_CHECKING:
    from orchestify.core.config import Config


def moment(_ctx: click.Context, _param: click.Parameter, text: str | None) -> datetime | None:
    """Read an option's time, as a callback of click."""
    from orchestify.report.times import parse_time  # noqa: PLC0415 - only where it is used

    try:
        return None if text is None else parse_time(text, datetime.now(UTC))
    except InvalidParameterError as error:
        raise click.BadParameter(str(error)) from None


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
        "--since",
        callback=moment,
        metavar="TIME",
        help="24h or 30m ago; 7d or 2w, from midnight UTC; a date; a time in ISO 8601.",
    ),
    click.option("--until", callback=moment, metavar="TIME", help="The same; not included."),
    click.option(
        "--where",
        callback=_filters,
        multiple=True,
        metavar="AXIS=VALUE",
        help="Only these, as agent=reviewer or label:run=r1; may be given several times.",
    ),
)


@dataclass(frozen=True, slots=True)
class Query:
    """Which ledger to read, and what of it, as a command line says."""

    url: str = field(repr=False)  # it may hold a password
    config: Config | None
    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    where: Mapping[str, str]

    @property
    def selection(self) -> dict[str, Any]:
        """What else than the axes a ledger's `usage` takes."""
        return {"since": self.since, "until": self.until, "where": self.where}


def query_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--config`, `--ledger`, `--by`, `--since`, `--until` and `--where`.

    The command takes a function that makes of them a `query`. A ledger that is named needs no
    configuration; the query then has one only where `--config` is given too.
    """

    @wraps(command)
    def with_query(
        *,
        path: Path,
        url: str | None,
        by: tuple[str, ...],
        since: datetime | None,
        until: datetime | None,
        where: dict[str, str],
        **given: Any,
    ) -> None:
        def query(*default: str) -> Query:
            source = click.get_current_context().get_parameter_source("path")
            is_needed = url is None or source is not ParameterSource.DEFAULT
            try:
                config = load(path) if is_needed else None
                found = _ledger_url(config, url)
            except (click.ClickException, ConfigError):
                if url is None:
                    _tell_of_service()
                raise
            return Query(found, config, by or default, since, until, where)

        command(query=query, **given)

    made: Callable[..., None] = with_query
    for option in reversed(_OPTIONS):
        made = option(made)
    return config_option(made)


def _tell_of_service() -> None:
    """Say where the service's ledger is, where there is one: the configuration does not."""
    database = found_database()
    if database is not None:
        shown = f'"${DATABASE_VARIABLE}"' if os.environ.get(DATABASE_VARIABLE) else database
        click.echo(f"note: the service's ledger is read with --ledger {shown}", err=True)


def _ledger_url(config: Config | None, url: str | None) -> str:
    name = "ledger.url" if url is None else "--ledger"
    if url is None and config is not None and config.ledger and config.ledger.url:
        url = config.ledger.url.get_secret_value()
    if url is None:
        raise click.ClickException(
            "the configuration's ledger is in memory, which ends with its process; "
            "write `ledger: {url: sqlite:///.orchestify/usage.db}`, or name one with --ledger"
        )
    from orchestify.database.sql import database_url  # noqa: PLC0415 - SQLAlchemy is slow

    found = database_url(url, Path(), name=name)
    if found.get_backend_name() == "sqlite" and not Path(str(found.database)).exists():
        raise click.ClickException(f"there is no ledger at {found.database}: nothing was booked")
    return url
