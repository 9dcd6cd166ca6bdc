"""The ledger's database: its tables in SQLite or PostgreSQL."""

from __future__ import annotations

from sqlalchemy import URL

from orchestify.database.sql import Database
from orchestify.database.sqlite import Durability
from orchestify.errors import LedgerError
from orchestify.ledger.sql.schema import migrate


def ledger_database(url: URL, durability: Durability = "process") -> Database:
    """Return the database at `url`, with the ledger's tables from its first use on."""
    return Database(
        url, durability, migrate=migrate, name="the ledger's database", error=LedgerError
    )
