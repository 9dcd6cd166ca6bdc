"""Who is alive: leases, and what becomes of the records of those who are not.

A process that dies leaves open records. They are closed as interrupted once its lease has run
out; their `cost_at_most_usd`, set when they were opened, says what they may have cost.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from orchestify.ledger.record import utc_now
from orchestify.ledger.sql.booking import settle
from orchestify.ledger.sql.rows import record_of
from orchestify.ledger.sql.schema import IS_OPEN, RECORD_COLUMNS, UtcTime, leases, usage_records

LEASE_EXPIRED = "LeaseExpired"


def database_now(connection: Connection) -> datetime:
    """Return the time that all owners share: the server's; a file's are on one machine."""
    if connection.dialect.name == "sqlite":
        return utc_now()
    return connection.execute(select(func.clock_timestamp(type_=UtcTime))).scalar_one()


def renew(connection: Connection, owner: str, lease_s: float) -> None:
    """Let the owner's lease run for `lease_s` seconds from now."""
    until = database_now(connection) + timedelta(seconds=lease_s)
    changed = connection.execute(
        update(leases).where(leases.c.owner == owner).values(expires_at=until)
    )
    if not changed.rowcount:
        connection.execute(insert(leases).values(owner=owner, expires_at=until))


def release(connection: Connection, owner: str) -> None:
    """End the owner's lease."""
    connection.execute(delete(leases).where(leases.c.owner == owner))


def close_expired(connection: Connection, limit: int) -> int:
    """Close at most `limit` open records whose owner has no valid lease; return how many.

    An owner that comes back later (its machine slept) still completes them.
    """
    now = database_now(connection)
    alive = select(leases.c.owner).where(leases.c.expires_at > now)
    abandoned = connection.execute(
        select(*RECORD_COLUMNS)
        .where(IS_OPEN, usage_records.c.owner.not_in(alive))
        .order_by(usage_records.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).mappings()
    records = [
        replace(record_of(row), outcome="interrupted", error=LEASE_EXPIRED) for row in abandoned
    ]
    settle(connection, records, owner=LEASE_EXPIRED)
    connection.execute(delete(leases).where(leases.c.expires_at <= now))
    return len(records)
