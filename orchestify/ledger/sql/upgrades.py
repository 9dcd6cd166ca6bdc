"""How a ledger's older tables become newer ones, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from sqlalchemy import Connection, text

Upgrade: TypeAlias = Callable[[Connection], None]

_TENANT = "tenant VARCHAR DEFAULT '' NOT NULL"


def add_tenants(connection: Connection) -> None:
    """Version 1 to 2: every row has a tenant; what is there is nobody's in particular, ""."""
    for table in ("usage_records", "budget_periods"):
        connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {_TENANT}"))
    days = "day, provider, agent, model, value"
    _add_to_key(connection, "usage_days", f"label, {days}", f"label, tenant, {days}")
    health = "provider, at, owner"
    _add_to_key(connection, "health_history", health, f"tenant, {health}")


UPGRADES: tuple[Upgrade, ...] = (add_tenants,)
"""The steps from version 1 to 2, from 2 to 3, and so on up to the present one."""


def _add_to_key(connection: Connection, table: str, key: str, new_key: str) -> None:
    if connection.dialect.name == "sqlite":
        _rebuild(connection, table, key, new_key)
        return
    connection.execute(
        text(
            f"ALTER TABLE {table} ADD COLUMN {_TENANT}, DROP CONSTRAINT {table}_pkey, "
            f"ADD PRIMARY KEY ({new_key})"
        )
    )


def _rebuild(connection: Connection, table: str, key: str, new_key: str) -> None:
    """Make the table anew from its own text: SQLite cannot change a primary key."""
    made = connection.execute(
        text("SELECT sql FROM sqlite_master WHERE name = :table"), {"table": table}
    ).scalar_one()
    # without the computed columns, which nobody may write
    found = connection.execute(text(f"PRAGMA table_info({table})")).mappings()
    columns = ", ".join(row["name"] for row in found)
    connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_before"))
    key_clause = f"{_TENANT}, PRIMARY KEY ({new_key})"
    connection.exec_driver_sql(made.replace(f"PRIMARY KEY ({key})", key_clause))
    connection.execute(
        text(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_before")  # noqa: S608
    )
    connection.execute(text(f"DROP TABLE {table}_before"))
