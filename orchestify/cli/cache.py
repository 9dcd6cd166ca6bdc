"""`orchestify cache`: the answers that are kept for equal requests."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestify.cli.options import config_option, load
from orchestify.cli.output import plural
from orchestify.errors import OrchestifyError

if TYPE_CHECKING:
    from orchestify.core.config import Config


@click.group()
def command() -> None:
    """Look after the answers that `response_cache` keeps."""


@command.command("clear", short_help="Drop all kept answers.")
@config_option
@click.option(
    "--ledger",
    "ledger_url",
    metavar="URL",
    help="Only those in this ledger's database, as the service's, without a configuration.",
)
@click.option(
    "--redis", "redis_url", metavar="URL", help="Only those in this Redis, without a configuration."
)
@click.option("--tenant", metavar="NAME", help="Only this tenant's, of a service.")
def clear_command(
    path: Path, ledger_url: str | None, redis_url: str | None, tenant: str | None
) -> None:
    """Drop the kept answers in the configuration's ledger and its Redis, or where URLs say.

    Those in the memory of a process end with it, or by `registry.clear_response_cache()`.
    """
    ledgers, servers = [ledger_url] if ledger_url else [], [redis_url] if redis_url else []
    if not (ledgers or servers):
        ledgers, servers = _configured(load(path))
    if not (ledgers or servers):
        click.echo("no answers are kept beyond the memory of a process")
    for url in ledgers:
        dropped = _in_ledger(url, tenant)
        click.echo(f"dropped {plural(dropped, 'answer')} from the ledger's database")
    for url in servers:
        try:
            dropped = asyncio.run(_in_redis(url, tenant))
        except OrchestifyError as error:
            raise click.ClickException(str(error)) from None
        click.echo(f"dropped {plural(dropped, 'answer')} from Redis")


def _configured(config: Config) -> tuple[list[str], list[str]]:
    """Return the URLs of the databases and of the Redis where a configuration keeps answers."""
    levels = (config, *config.providers.providers.values(), *config.agents.agents.values())
    caches = [each.response_cache for each in levels if each.response_cache is not None]
    is_in_ledger = any(each.at == "ledger" for each in caches)
    ledger = config.ledger.url if config.ledger is not None and is_in_ledger else None
    servers = {each.url.get_secret_value() for each in caches if each.url is not None}
    return [] if ledger is None else [ledger.get_secret_value()], sorted(servers)


def _in_ledger(url: str, tenant: str | None) -> int:
    from orchestify.database.sql import database_url  # noqa: PLC0415 - SQLAlchemy is slow to import
    from orchestify.ledger.sql.schema import ledger_database  # noqa: PLC0415
    from orchestify.response_cache.sql_store import SqlStore  # noqa: PLC0415

    found = database_url(url, Path())
    if found.get_backend_name() == "sqlite" and not Path(str(found.database)).exists():
        return 0
    database = ledger_database(found)
    try:
        return asyncio.run(SqlStore(database).clear(tenant))
    finally:
        database.dispose()


async def _in_redis(url: str, tenant: str | None) -> int:
    from orchestify.response_cache.caches import connection_to  # noqa: PLC0415 - an extra
    from orchestify.response_cache.redis_store import RedisStore  # noqa: PLC0415

    async with aclosing(RedisStore(lambda: connection_to(url), is_own=True)) as store:
        return await store.clear(tenant)
