"""Kept answers in the ledger's database, for all processes that share it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from orchestify.database.sql import Database
from orchestify.ledger.sql.schema import UtcTime, database_now, kept_answers
from orchestify.resources.thread_pools import ThreadPools
from orchestify.response_cache.store import Bounds, Found, Place

THREADS = 2  # for each tenant

_ROW = kept_answers.c


class SqlStore:
    """Rows of `kept_answers`, read and written in threads of each tenant's.

    A row without an answer notes who asks. Where many are kept, the oldest are counted and
    deleted once in a hundredth of `max_entries` writes, so that there may be 1 % more. What is over
    is deleted by the ledger's upkeep, too.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads = ThreadPools(THREADS, "answers")
        self._writes = count()

    async def find(self, place: Place, owner: str, lease_s: float) -> Found:
        """Return what is kept, or note that the owner asks."""
        return await self._threads.run(place.tenant, self._find, place, owner, lease_s)

    async def keep(self, place: Place, owner: str, text: str, bounds: Bounds) -> None:
        """Keep a text; the oldest of its cache make room."""
        prunes = next(self._writes) % max(1, bounds.max_entries // 100) == 0
        await self._threads.run(place.tenant, self._keep, place, owner, text, bounds, prunes)

    async def give_up(self, place: Place, owner: str) -> None:
        """End the owner's note."""
        given = {**_at(place), "mine": owner}
        await self._threads.run(
            place.tenant, self._database.run, lambda connection: connection.execute(_END, given)
        )

    async def clear(self, tenant: str | None) -> int:
        """Drop all texts of a tenant, or of all."""

        def drop(connection: Connection) -> int:
            whose = [] if tenant is None else [_ROW.tenant == tenant]
            texts = connection.execute(delete(kept_answers).where(_ROW.answer.is_not(None), *whose))
            return texts.rowcount

        return await self._threads.run(tenant or "", self._database.run, drop)

    async def aclose(self) -> None:
        """Do nothing: the database is the ledger's."""

    def _find(self, place: Place, owner: str, lease_s: float) -> Found:
        kept = self._database.run(lambda connection: _read(connection, place), read_only=True)
        if kept is not None:
            return Found(kept)

        def claim(connection: Connection) -> bool:
            now = database_now(connection)
            row = _row(place, owner, now, now + timedelta(seconds=lease_s))
            connection.execute(_CLAIM[connection.dialect.name], {**row, "now": now})
            return connection.scalar(_OWNER, _at(place)) == owner

        return Found(None, self._database.run(claim))

    def _keep(self, place: Place, owner: str, text: str, bounds: Bounds, prunes: bool) -> None:
        def keep(connection: Connection) -> None:
            now = database_now(connection)
            row = _row(place, owner, now, now + timedelta(seconds=bounds.ttl_s), text)
            connection.execute(_KEEP[connection.dialect.name], row)
            if prunes:
                _prune(connection, place, bounds)

        self._database.run(keep)


def _read(connection: Connection, place: Place) -> str | None:
    found: str | None = connection.scalar(_READ, {**_at(place), "now": database_now(connection)})
    return found


def _at(place: Place) -> dict[str, Any]:
    return {"at_tenant": place.tenant, "at_cache": place.cache, "at_key": place.key}


def _row(
    place: Place, owner: str, now: datetime, until: datetime, answer: str | None = None
) -> dict[str, Any]:
    row = {"answer": answer, "owner": owner, "kept_at": now, "expires_at": until}
    return {**place._asdict(), **row}


def _upsert(dialect: Any, *, only_over: bool) -> Any:
    """The INSERT in a database's dialect that replaces a row, or only one whose time is over."""
    added = dialect.insert(kept_answers)
    return added.on_conflict_do_update(
        index_elements=list(kept_answers.primary_key),
        set_={name: added.excluded[name] for name in ("answer", "owner", "kept_at", "expires_at")},
        where=_ROW.expires_at <= bindparam("now", type_=UtcTime) if only_over else None,
    )


# made once: to put a statement together takes longer than to run it
_DIALECTS = {"sqlite": sqlite, "postgresql": postgresql}
_CLAIM = {name: _upsert(each, only_over=True) for name, each in _DIALECTS.items()}
_KEEP = {name: _upsert(each, only_over=False) for name, each in _DIALECTS.items()}
_IS_AT = and_(
    _ROW.tenant == bindparam("at_tenant"),
    _ROW.cache == bindparam("at_cache"),
    _ROW.key == bindparam("at_key"),
)
_READ = select(_ROW.answer).where(_IS_AT, _ROW.expires_at > bindparam("now", type_=UtcTime))
_OWNER = select(_ROW.owner).where(_IS_AT)
_END = delete(kept_answers).where(_IS_AT, _ROW.owner == bindparam("mine"), _ROW.answer.is_(None))


def _prune(connection: Connection, place: Place, bounds: Bounds) -> None:
    """Delete the oldest answers beyond the bounds, of a cache or of all that the tenant has."""
    its = [_ROW.tenant == place.tenant, _ROW.answer.is_not(None)]
    its += [] if bounds.is_over_all else [_ROW.cache == place.cache]
    total = connection.scalar(select(func.count()).where(*its)) or 0
    if total > bounds.max_entries:
        at = (_ROW.cache, _ROW.key)
        oldest = select(*at).where(*its).order_by(_ROW.kept_at, *at)
        over = oldest.limit(total - bounds.max_entries)
        connection.execute(delete(kept_answers).where(*its, tuple_(*at).in_(over)))
