"""`orchestify tokens`: the tokens of tenants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from orchestify.cli.options import (
    current_actor,
    database_option,
    describe_database,
    json_option,
    service_database,
)
from orchestify.cli.output import plural, print_json, show_table
from orchestify.server.access.tokens import SCOPES
from orchestify.server.settings import OPEN_TENANT

if TYPE_CHECKING:
    from orchestify.database.sql import Database
    from orchestify.server.access.tokens import TokenRow, Tokens

_PAGE = 200
_MOST_NAMED = 10


@click.group()
def command() -> None:
    """Make, list and revoke the tokens with which tenants reach the service.

    A scope says what a token may do: `call` models through the gateway, `read` rows and usage,
    `write` rows; `admin` includes them, and makes and revokes the tenant's tokens.
    """


@command.command("create", short_help="Make a token and print it, this once.")
@click.option("--tenant", required=True, metavar="NAME", help="Whose; made where it is new.")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="Repeatable."
)
@click.option("--name", default="", help="What it is for.")
@click.option("--expires-days", "days", type=click.IntRange(1, 36_500), metavar="N")
@database_option
def create(tenant: str, scopes: tuple[str, ...], name: str, days: int | None, url: str) -> None:
    """Make a token and print it, alone on the last line; it is shown this once.

    A service knows it only where it uses the same database, which is told on stderr.
    """
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    told = describe_database(url)
    with service_database(url, new=True) as database:
        notes = list(_notes(database, tenant))
        row, token = _tokens(database).create(
            tenant, scopes, name=name, expires_at=expires_at, actor=current_actor()
        )
    for note in (told, *notes):
        click.echo(note, err=True)
    until = "until it is revoked" if days is None else f"until {_day(row.expires_at)}"
    click.echo(f"token {row.id} of {tenant}: {', '.join(row.scopes)}; it holds {until}")
    click.echo("send it as `Authorization: Bearer TOKEN`; it is shown this once:")
    click.echo(token.get_secret_value())


@command.command("list")
@click.option("--tenant", metavar="NAME", help="Only this one's.")
@json_option
@database_option
def list_(tenant: str | None, as_json: bool, url: str) -> None:
    """List the tokens, without their secrets, in the order they were made."""
    with service_database(url) as database:
        rows = _all(_tokens(database), tenant)
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    columns = ("id", "tenant", "name", "scopes", "made", "last used", "state")
    show_table("", columns, [_cells(row) for row in rows], spare=_SPARE)


@command.command("revoke")
@click.argument("token_id", metavar="ID")
@database_option
def revoke(token_id: str, url: str) -> None:
    """Revoke the token with this ID, for good; running services follow within a second."""
    with service_database(url) as database:
        row = _tokens(database).revoke(token_id, actor=current_actor())
    click.echo(f"token {row.id} of {row.tenant_id} is revoked")


def _tokens(database: Database) -> Tokens:
    from orchestify.server.access.tokens import Tokens  # noqa: PLC0415 - SQLAlchemy is slow to import

    return Tokens(database)


def _all(tokens: Tokens, tenant: str | None) -> list[TokenRow]:
    rows: list[TokenRow] = []
    after = None
    while True:
        page = tokens.list(tenant, limit=_PAGE, after=after)
        rows += page.rows
        after = page.next
        if after is None:
            return rows


_SPARE = ("made", "last used", "name", "scopes", "tenant")


def _cells(row: TokenRow) -> tuple[str, ...]:
    state = row.invalid_reason(datetime.now(UTC)) or "holds"
    used = _day(row.last_used_at) or "never"
    made, scopes = _day(row.created_at), ", ".join(row.scopes)
    return (row.id, row.tenant_id, row.name, scopes, made, used, state)


def _notes(database: Database, tenant: str) -> Iterator[str]:
    """Say of a tenant that is about to get a token what may be a slip."""
    from orchestify.server.storage import queries  # noqa: PLC0415 - as above

    there = sorted(database.run(lambda each: queries.revisions(each, None), read_only=True))
    if tenant in there:
        return
    names = ", ".join(there[:_MOST_NAMED]) + (", ..." if len(there) > _MOST_NAMED else "")
    yield f"tenant {tenant} is new; " + (f"there are: {names}" if there else "it is the first")
    if OPEN_TENANT in there and not _tokens(database).exist():
        rows = database.run(lambda each: queries.snapshot(each, OPEN_TENANT), read_only=True)
        made = [
            plural(len(each), noun)
            for each, noun in ((rows.providers, "provider"), (rows.agents, "agent"))
            if each
        ]
        if made:
            yield (
                f"{' and '.join(made)} made while the service was open to all: they are tenant "
                f"{OPEN_TENANT}'s, and a token of `--tenant {OPEN_TENANT}` reaches them"
            )


def _plain(row: TokenRow) -> dict[str, Any]:
    names = ("id", "tenant_id", "name", "scopes", "created_at", "expires_at", "revoked_at")
    return {name: getattr(row, name) for name in (*names, "last_used_at")}


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
