"""The service's tables, made and brought up to date by Alembic on a connection that is given."""

from __future__ import annotations

import threading

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from orchestify.errors import StoreError
from orchestify.ledger.sql import schema

VERSION_TABLE = "orchestify_service_version"
_LOCK = 7_203_051_118_943  # any number, the same in every version
_UPGRADING = threading.Lock()  # what a migration calls, `alembic.op`, is one for all threads


def migrate(connection: Connection) -> None:
    """Make the tables, the ledger's among them, or bring older ones up to date.

    Runs in the caller's transaction. Where several processes start at once, one migrates and the
    others wait: for PostgreSQL's lock here, on SQLite because the transaction writes.

    Raises:
        StoreError: a newer version of orchestify has made these tables.
        LedgerError: the same, of the ledger's.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    schema.migrate(connection)
    config = _config(connection)
    found = _version(connection)
    scripts = ScriptDirectory.from_config(config)
    if found == scripts.get_current_head():
        return
    if found is not None and found not in {each.revision for each in scripts.walk_revisions()}:
        raise StoreError(
            f"the service's tables are of version {found}, which this orchestify does not know; "
            "upgrade it"
        )
    with _UPGRADING:
        command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "orchestify.server.storage:migrations")
    return config
