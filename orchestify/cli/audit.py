"""`orchestify audit`: who changed what, and what was refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from orchestify.cli.options import database_option, moment, service_database
from orchestify.cli.output import console, least_width, note, print_json, show_table

if TYPE_CHECKING:
    from orchestify.server.storage.audit import AuditEntry


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
        from orchestify.server.storage.audit import audit_entries  # noqa: PLC0415 - slow

        read = partial(audit_entries, tenant=tenant, since=since, limit=limit)
        page = database.run(read, read_only=True)
    if kind == "json":
        print_json(page.rows)
        return
    columns, rows = _COLUMNS, [_cells(each) for each in page.rows]
    if least_width(columns, rows, whole=True) > console().width:
        columns, rows = ("at (UTC)", "what"), [_folded(*cells) for cells in rows]
    show_table("", columns, rows)
    if page.next is not None:
        note(f"there are more; --limit is {limit}")


_COLUMNS: tuple[str, ...] = (
    *("at (UTC)", "tenant", "who", "from", "what", "to what", "outcome", "detail"),
)


def _cells(entry: AuditEntry) -> tuple[str, ...]:
    at, detail = f"{entry.at:%Y-%m-%d %H:%M:%S}", " ".join(_written(entry.detail))
    tenant, what = entry.tenant_id or "", (entry.action, entry.target, entry.outcome)
    return (at, tenant, entry.actor, entry.remote, *what, detail)


def _folded(
    at: str, tenant: str, who: str, remote: str, action: str, target: str, outcome: str, detail: str
) -> tuple[str, ...]:
    """Return an entry's cells where they have no room side by side: lines of one cell."""
    by = f"by {who}" + (f" from {remote}" if remote else "")
    of = f"{action} {outcome}" + (f" tenant={tenant}" if tenant else "")
    return (at, "\n".join(filter(None, (of, target, by, detail))))


def _written(detail: Mapping[str, Any]) -> Iterator[str]:
    """Yield what there is to tell as `name=value`."""
    for name, value in detail.items():
        if value not in (None, "", []):
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            yield f"{name}={text}"
