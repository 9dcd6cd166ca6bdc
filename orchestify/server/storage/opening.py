"""Opening the service's database and its ledger, which stand in one place."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from sqlalchemy import URL

from orchestify.core.policies import LedgerConfig
from orchestify.database.sql import Database, database_url
from orchestify.errors import StoreError
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.resources.file_permissions import make_private
from orchestify.server.storage.migrations import migrate

_NAME = "the service's database"


def open_database(url: str, base_dir: Path) -> Database:
    """Return the service's database; a SQLite file is made so that only its owner reads it.

    Raises:
        StoreError: a URL of no SQLite file and no PostgreSQL, or the file cannot be made.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    found = database_url(url, base_dir, name="--database", error=StoreError)
    if found.get_backend_name() == "sqlite":
        _make_private(Path(str(found.database)))
    return Database(found, migrate=migrate, name=_NAME, error=StoreError)


def missing(url: str, base_dir: Path) -> Path | None:
    """Return where a SQLite file ought to be and is not.

    Raises:
        StoreError: a URL of no SQLite file and no PostgreSQL.
    """
    found = database_url(url, base_dir, name="--database", error=StoreError)
    path = Path(str(found.database))
    return path if found.get_backend_name() == "sqlite" and not path.exists() else None


def open_service_ledger(url: str, base_dir: Path, config: LedgerConfig | None) -> SqlLedger:
    """Return the ledger in the service's database; of its configuration all but the URL holds."""
    said = config or LedgerConfig()
    ledger = open_ledger(
        url, base_dir=base_dir, keep_days=said.keep_days, durability=said.durability
    )
    return cast("SqlLedger", ledger)  # a URL is never the memory's


def shown_url(url: str, base_dir: Path) -> str:
    """Return a database's URL without its password and parameters."""
    found: URL = database_url(url, base_dir, name="--database", error=StoreError)
    return found.set(query={}, drivername=found.get_backend_name()).render_as_string()


def _make_private(path: Path) -> None:
    try:
        make_private(path)
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise StoreError(f"{path} cannot be opened: {reason}") from None
