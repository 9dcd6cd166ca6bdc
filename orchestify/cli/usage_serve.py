"""`orchestify usage serve`: the live view of a ledger, as a page."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import cast

import click

from orchestify.cli.options import server_extra_needed
from orchestify.cli.usage_query import LedgerQuery, budget_states, query_options_of_all


@click.command("serve", short_help="Show what is spent as it comes, as a page.")
@query_options_of_all
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="The port; unwritten: a free one."
)
def serve_command(query: Callable[..., LedgerQuery], host: str, port: int) -> None:
    """Serve one page of what a ledger books: sums, budgets, forecast and errors, each second.

    Whoever has the printed address may read it: behind its # is a token made for this run, which
    a browser sends nowhere by itself. On another host than this machine's the token goes over
    the network as it is; put a proxy with TLS before it.
    """
    asked = query()
    if asked.is_new:
        raise click.ClickException("there is nothing to show yet: nothing was booked")
    with server_extra_needed():
        from orchestify.server.live.feed import Feed  # noqa: PLC0415 - an extra, and slow
        from orchestify.server.live.standalone import LedgerSource, live_app  # noqa: PLC0415
        from orchestify.server.live.state import LiveState  # noqa: PLC0415 - as above
        from orchestify.server.running import address, listen, run_app  # noqa: PLC0415
    from orchestify.ledger.opening import open_ledger  # noqa: PLC0415 - SQLAlchemy is slow
    from orchestify.ledger.sql.ledger import SqlLedger  # noqa: PLC0415 - as above

    ledger = cast("SqlLedger", open_ledger(asked.url, base_dir=Path()))
    feed = Feed(LiveState(LedgerSource(ledger, lambda: budget_states(asked.config, ledger))))
    token = secrets.token_urlsafe(24)
    sockets = listen(host, port)
    where = click.style(f"{address(host, sockets[0])}/#token={token}", bold=True)
    click.echo(f"the live view is at {where}  (Ctrl-C ends it)")
    try:
        run_app(live_app(feed, token), sockets, feed.close)
    finally:
        asyncio.run(ledger.aclose())
