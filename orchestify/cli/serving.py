"""What the service's commands have in common: its database, and the extra that they need."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestify.errors import MissingExtraError
from orchestify.server.settings import DEFAULT_DATABASE

if TYPE_CHECKING:
    from orchestify.database.sql import Database
    from orchestify.server.storage.audit import Actor

F = TypeVar("F", bound=Callable[..., Any])

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


def found_database() -> str | None:
    """Return the URL of the service's database that is named, or is in the current folder."""
    there = (Path() / DEFAULT_DATABASE.removeprefix("sqlite:///")).exists()
    return os.environ.get(DATABASE_VARIABLE) or (DEFAULT_DATABASE if there else None)


@contextmanager
def needing_server() -> Iterator[None]:
    """Answer a library of the extra `server` that is missing with how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "orchestify":
            raise
        raise MissingExtraError(
            f'the service needs {error.name}: pip install "orchestify[server]"'
        ) from None


def named_database(url: str) -> str:
    """Name a service's database, and say whether it is about to be made; no password."""
    with needing_server():
        from orchestify.server.storage.opening import missing, shown_url  # noqa: PLC0415 - it is slow

    is_new = missing(url, Path()) is not None
    return f"the service's database {'is new' if is_new else 'is'}: {shown_url(url, Path())}"


@contextmanager
def service_database(url: str, *, new: bool = False) -> Iterator[Database]:
    """Open the service's database; one that may be `new` is made where there is none."""
    with needing_server():
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


def this_user() -> Actor:
    """Return who the audit log says runs a command."""
    from orchestify.server.storage.audit import Actor  # noqa: PLC0415 - as above

    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        name = "unknown"
    return Actor(f"cli:{name}", "local")
