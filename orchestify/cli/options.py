"""Options that several commands share, and opening what they name."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestify.cli.errors import CONFIG_ERROR
from orchestify.errors import InvalidParameterError
from orchestify.resources.extras import missing_extra
from orchestify.server.settings import DEFAULT_DATABASE

if TYPE_CHECKING:
    from orchestify.core.config import Config
    from orchestify.database.sql import Database
    from orchestify.server.storage.audit import Actor


F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_PATH = Path("config")

_path = click.Path(path_type=Path)


class _NoConfigurationError(click.ClickException):
    exit_code = CONFIG_ERROR


def config_option(command: F) -> F:
    """Add `--config PATH`."""
    return click.option(
        "--config",
        "path",
        type=_path,
        default=DEFAULT_PATH,
        show_default=True,
        metavar="PATH",
        help="A directory with providers.yaml and agents.yaml, or one file.",
    )(command)


def config_argument(command: F) -> F:
    """Add the argument `[PATH]`."""
    return click.argument("path", type=_path, default=DEFAULT_PATH, metavar="[PATH]")(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def load(path: Path) -> Config:
    """Return the configuration at `path`; where there is nothing, say how to get one.

    Raises: ConfigError with all that is wrong with it.
    """
    from orchestify.core.config import load_config  # noqa: PLC0415 - pydantic is slow to import

    if not path.exists():
        raise _NoConfigurationError(
            f"there is no configuration at {path}; `orchestify init` writes one, "
            "--config PATH names another"
        )
    return load_config(path)


def complete_agent(ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """Return the agents whose names begin so, for the shell's completion."""
    return _names(ctx, "agents", begun)


def complete_provider(ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """Return the providers whose names begin so, for the shell's completion."""
    return _names(ctx, "providers", begun)


def _names(ctx: click.Context, section: str, begun: str) -> list[str]:
    """Return the names in the configuration as it is written, with nothing of it checked."""
    from orchestify.core.files import read  # noqa: PLC0415 - it is slow to import

    entries = read(ctx.params.get("path") or DEFAULT_PATH).values.get(section)
    names = entries if isinstance(entries, dict) else ()
    return sorted(name for name in names if name.startswith(begun))


def check_agent(config: Config, name: str, aliases: Iterable[str] = ()) -> None:
    """Refuse an agent that is not configured or is off, and name those that are on.

    Where an alias would do as well, these are named too.
    """
    agents = config.agents.agents
    on = [each for each, agent in agents.items() if agent.enabled]
    if name in on:
        return
    state = "is off" if name in agents else "is not configured"
    _refuse("agent", name, state, [*on, *aliases])


def check_provider(config: Config, name: str) -> None:
    """Refuse a provider that is not configured or is off, and name those that are on."""
    off = config.providers.off
    on = [each for each in config.providers.providers if each not in off]
    if name not in on:
        state = f"is off ({off[name]})" if name in off else "is not configured"
        _refuse("provider", name, state, on)


def _refuse(kind: str, name: str, state: str, known: Iterable[str]) -> None:
    from orchestify.core.problems import did_you_mean  # noqa: PLC0415 - difflib is slow to import

    names = list(dict.fromkeys(known))
    there = ", ".join(names) or "none"
    meant = did_you_mean(name, names)
    raise click.UsageError(f"{kind} {name!r} {state}{meant}\nThere are: {there}")


DATABASE_VARIABLE = "ORCHESTIFY_DATABASE"


def database_option(command: F) -> F:
    """Add `--database URL`."""
    return click.option(
        "--database",
        "url",
        default=DEFAULT_DATABASE,
        show_default=True,
        envvar=DATABASE_VARIABLE,
        show_envvar=True,
        metavar="URL",
        help="The service's database: sqlite:///FILE or postgresql://USER@HOST/NAME.",
    )(command)


def find_database() -> str | None:
    """Return the URL of the service's database that is named, or is in the current folder."""
    there = (Path() / DEFAULT_DATABASE.removeprefix("sqlite:///")).exists()
    return os.environ.get(DATABASE_VARIABLE) or (DEFAULT_DATABASE if there else None)


@contextmanager
def server_extra_needed() -> Iterator[None]:
    """Answer a library of the extra `server` that is missing with how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "orchestify":
            raise
        raise missing_extra(f"the service needs {error.name}", "server") from None


def describe_database(url: str) -> str:
    """Name a service's database, and say whether it is about to be made; no password."""
    with server_extra_needed():
        from orchestify.server.storage.opening import missing, shown_url  # noqa: PLC0415 - it is slow

    is_new = missing(url, Path()) is not None
    return f"the service's database {'is new' if is_new else 'is'}: {shown_url(url, Path())}"


@contextmanager
def service_database(url: str, *, new: bool = False) -> Iterator[Database]:
    """Open the service's database; one that may be `new` is made where there is none."""
    with server_extra_needed():
        from orchestify.server.storage.opening import missing, open_database  # noqa: PLC0415 - it is slow

    if not new and (path := missing(url, Path())) is not None:
        raise click.ClickException(
            f"there is no service's database at {path}; --database URL names another"
        )
    database = open_database(url, Path())
    try:
        yield database
    finally:
        database.dispose()


def current_actor() -> Actor:
    """Return who the audit log says runs a command."""
    from orchestify.server.storage.audit import Actor  # noqa: PLC0415 - as above

    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        name = "unknown"
    return Actor(f"cli:{name}", "local")


def moment(_ctx: click.Context, _param: click.Parameter, text: str | None) -> datetime | None:
    """Read an option's time, as a callback of click."""
    from orchestify.report.times import parse_time  # noqa: PLC0415 - only where it is used

    try:
        return None if text is None else parse_time(text, datetime.now(UTC))
    except InvalidParameterError as error:
        raise click.BadParameter(str(error)) from None
