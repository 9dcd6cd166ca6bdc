"""From the configuration's `ledger` to a ledger."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from orchestify.ledger.base import Ledger
from orchestify.ledger.memory import MemoryLedger


def open_ledger(
    url: str | None,
    *,
    base_dir: Path,
    keep_days: int | None = None,
    durability: Literal["process", "power"] = "process",
) -> Ledger:
    """Return the ledger at `url`, in memory where that is None; it connects when first used.

    A relative SQLite path starts at `base_dir`. There, in `.orchestify`, also stands the file
    in which records wait while PostgreSQL is away. Records older than `keep_days` days are
    deleted, their sums stay. With SQLite, what is booked survives the end of the process, or
    with `durability="power"` also of the machine's power.

    Raises:
        LedgerError: a URL that names no SQLite file and no PostgreSQL database.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    if url is None:
        return MemoryLedger()
    # SQLAlchemy takes a quarter of a second to import
    from orchestify.database.sql import database_url  # noqa: PLC0415
    from orchestify.ledger.sql.ledger import SqlLedger  # noqa: PLC0415
    from orchestify.ledger.sql.schema import ledger_database  # noqa: PLC0415
    from orchestify.ledger.sql.spool import Spool  # noqa: PLC0415

    found = database_url(url, base_dir)
    spool = None
    if found.get_backend_name() == "postgresql":
        key = hashlib.sha256(found.set(password=None).render_as_string().encode()).hexdigest()
        spool = Spool(base_dir / ".orchestify" / f"spool-{key[:12]}.db", durability)
    return SqlLedger(ledger_database(found, durability), spool, keep_days=keep_days)
