"""Old records are deleted; what they added up to stays."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select

from orchestify.ledger.sql.lease import database_now
from orchestify.ledger.sql.schema import IS_OPEN, read_setting, usage_records, write_setting

PRUNE_CHUNK = 5000
_PRUNED_BEFORE = "pruned_before"


def prune(connection: Connection, keep_days: int) -> int:
    """Delete at most 5,000 completed records from before the last `keep_days` whole days.

    Returns how many it deleted. The daily sums stay.
    """
    midnight = database_now(connection).replace(hour=0, minute=0, second=0, microsecond=0)
    before = midnight - timedelta(days=keep_days)
    records = usage_records.c
    old = select(records.id).where(records.started_at < before, ~IS_OPEN).limit(PRUNE_CHUNK)
    deleted = connection.execute(delete(usage_records).where(records.id.in_(old))).rowcount
    known = pruned_before(connection)
    if deleted and (known is None or known < before):
        write_setting(connection, _PRUNED_BEFORE, before.isoformat())
    return deleted


def pruned_before(connection: Connection) -> datetime | None:
    """Return the midnight before which records may be missing, None where none are."""
    stored = read_setting(connection, _PRUNED_BEFORE)
    return datetime.fromisoformat(stored) if stored else None
