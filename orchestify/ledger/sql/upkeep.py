"""Upkeep: leases of processes, open records of dead ones, deletion of old records and answers.

A process that dies leaves open records. They are closed as interrupted once its lease has run
out; their `cost_at_most_usd`, set when they were opened, says what they may have cost. Deleted
records stay in the daily sums.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, tuple_, update

from orchestify.ledger.sql.booking import settle
from orchestify.ledger.sql.rows import record_of
from orchestify.ledger.sql.schema import (
    IS_OPEN,
    RECORD_COLUMNS,
    database_now,
    kept_answers,
    leases,
    read_setting,
    usage_records,
    write_setting,
)

LEASE_EXPIRED = "LeaseExpired"
PRUNE_CHUNK = 5000
STEADY_S = 3600.0
_DRIFT_S = 60.0
_IDLE = timedelta(days=7)
_PRUNED_BEFORE = "pruned_before"
_SEEN_AT = "seen_at"


class ClockWatch:
    """Says whether the clock can be trusted with deleting what is old.

    A clock that jumps weeks ahead, and back, would make the present look old. A jump is a
    difference of more than a minute to the monotonic clock, or, at the first look, of more than
    a week to the time that was last noted in the database; for an hour after it nothing is to
    be deleted.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset_s: float | None = None
        self._steady_since = -math.inf

    def is_steady(self, connection: Connection, now: datetime | None = None) -> bool:
        """Note the database's time, and return whether it has been steady for an hour."""
        now, monotonic_s = now or database_now(connection), self._monotonic()
        offset_s = now.timestamp() - monotonic_s
        if self._offset_s is None:
            noted = read_setting(connection, _SEEN_AT)
            is_jump = noted is not None and abs(now - datetime.fromisoformat(noted)) > _IDLE
        else:
            is_jump = abs(offset_s - self._offset_s) > _DRIFT_S
        if is_jump:
            self._steady_since = monotonic_s
        if is_jump or self._offset_s is None:
            self._offset_s = offset_s
        write_setting(connection, _SEEN_AT, now.isoformat())
        return monotonic_s - self._steady_since >= STEADY_S


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


def drop_answers(connection: Connection) -> int:
    """Delete at most 5,000 kept answers whose time is over; return how many."""
    answers = kept_answers.c
    at = tuple(kept_answers.primary_key)
    over = (
        select(*at)
        .where(answers.expires_at <= database_now(connection))
        .order_by(answers.expires_at, *at)
        .limit(PRUNE_CHUNK)
    )
    return connection.execute(delete(kept_answers).where(tuple_(*at).in_(over))).rowcount


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
