"""`orchestify tokens`: the tokens of tenants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from orchestify.cli.configuration import json_option
from orchestify.cli.output import console, print_json, table
from orchestify.cli.serving import database_option, service_database, this_user
from orchestify.server.access.principal import SCOPES

if TYPE_CHECKING:
    from orchestify.server.access.tokens import TokenRow, Tokens
    from orchestify.sql import Database

_PAGE = 200


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
    """Make a token and print it, alone on the last line; it is shown this once."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with service_database(url, new=True) as database:
        row, token = _tokens(database).create(
            tenant, scopes, name=name, expires_at=expires_at, actor=this_user()
        )
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
    made = table("", "id", "tenant", "name", "scopes", "made", "last used", "state")
    for row in rows:
        state = row.why_not(datetime.now(UTC)) or "holds"
        used = _day(row.last_used_at) or "never"
        scopes = ", ".join(row.scopes)
        made.add_row(row.id, row.tenant_id, row.name, scopes, _day(row.created_at), used, state)
    console().print(made)


@command.command("revoke")
@click.argument("token_id", metavar="ID")
@database_option
def revoke(token_id: str, url: str) -> None:
    """Revoke the token with this ID, for good; running services follow within a second."""
    with service_database(url) as database:
        row = _tokens(database).revoke(token_id, actor=this_user())
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


def _plain(row: TokenRow) -> dict[str, Any]:
    names = ("id", "tenant_id", "name", "scopes", "created_at", "expires_at", "revoked_at")
    return {name: getattr(row, name) for name in (*names, "last_used_at")}


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
