"""`orchestify audit`: who changed what, and what was refused."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from orchestify.cli.output import console, print_json, table
from orchestify.cli.query import moment
from orchestify.cli.serving import database_option, service_database

if TYPE_CHECKING:
    from orchestify.server.storage.audit_reading import AuditEntry


@click.command()
@click.option("--tenant", metavar="NAME", help="Only this one's entries.")
@click.option("--since", callback=moment, metavar="TIME", help="24h ago, 7d, a date, or ISO 8601.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=200, show_default=True, metavar="N"
)
@click.option(
    "--format", "kind", type=click.Choice(["table", "json"]), default="table", show_default=True
)
@database_option
def command(tenant: str | None, since: datetime | None, limit: int, kind: str, url: str) -> None:
    """Show the latest N entries of the service's audit log, the newest first.

    It holds every change of a provider, a key, an agent or a token, and every refused access.
    """
    with service_database(url) as database:
        from orchestify.server.storage.audit_reading import audit_entries  # noqa: PLC0415 - slow

        read = partial(audit_entries, tenant=tenant, since=since, limit=limit)
        page = database.run(read, read_only=True)
    if kind == "json":
        print_json(page.rows)
        return
    made = table("", "at (UTC)", "tenant", "who", "from", "what", "outcome", "detail")
    for entry in page.rows:
        made.add_row(*_cells(entry))
    console().print(made)
    if page.next is not None:
        click.echo(f"note: there are more; --limit is {limit}", err=True)


def _cells(entry: AuditEntry) -> tuple[str, ...]:
    at = f"{entry.at:%Y-%m-%d %H:%M:%S}"
    detail = json.dumps(dict(entry.detail), ensure_ascii=True) if entry.detail else ""
    what = f"{entry.action} {entry.target}"
    return (at, entry.tenant_id or "", entry.actor, entry.remote, what, entry.outcome, detail)
