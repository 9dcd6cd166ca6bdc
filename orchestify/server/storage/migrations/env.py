"""Runs the migrations on the connection of `orchestify.server.storage.migrations.migrate`."""

from alembic import context

from orchestify.server.storage.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    # the caller's transaction, with the lock, is the only one
    transactional_ddl=False,
)
context.run_migrations()
