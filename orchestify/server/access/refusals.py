"""Refused accesses in the audit log: each kind at once, its repetitions as a number a minute."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection

from orchestify.database.sql import Database
from orchestify.errors import StoreError
from orchestify.resources.thread_pools import ThreadPools
from orchestify.server.storage.audit import Actor, write_audit

WINDOW_S = 60.0
_KINDS = 100
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An access that was refused: of whom and from where, to what, and why."""

    actor: str
    remote: str
    target: str
    reason: str
    tenant: str | None = None


_OTHERS = "more than 100 kinds of refusals in a minute"


class Refusals:
    """Writes refusals so that who is refused again and again cannot fill the disk.

    The first of its kind in a minute is written at once. What repeats it is counted, and the
    number written when the minute is over; so are all kinds beyond 100 a minute, together: of
    each tenant's own, of those that only aim at it, and of those at nobody. One who fills the log
    of one of these hides nothing in another's.
    """

    def __init__(self, database: Database, window_s: float = WINDOW_S) -> None:
        self._database = database
        self._window_s = window_s
        self._counts: Counter[Refusal] = Counter()
        self._written: defaultdict[tuple[str | None, bool], set[Refusal]] = defaultdict(set)
        self._crew = ThreadPools(1, "refusals")
        self._task: asyncio.Task[None] | None = None

    async def note(self, refusal: Refusal) -> None:
        """Write or count a refusal; where the database is away it stays counted."""
        if self._task is None:
            self._task = asyncio.create_task(self._end_windows(), name="orchestify-refusals")
        written = self._written[refusal.tenant, refusal.actor == _UNKNOWN]
        if refusal not in written and len(written) >= _KINDS:
            refusal = Refusal(_UNKNOWN, "", "", _OTHERS, refusal.tenant)
        is_first = refusal not in written
        written.add(refusal)
        self._counts[refusal] += 1
        if is_first:
            await self._write({refusal: 1})

    async def flush(self) -> None:
        """Write what was counted, and begin a new minute."""
        self._written.clear()
        await self._write(dict(self._counts))

    async def aclose(self) -> None:
        """Write what was counted, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self.flush()

    async def _end_windows(self) -> None:
        while True:
            await asyncio.sleep(self._window_s)
            await self.flush()

    async def _write(self, counts: dict[Refusal, int]) -> None:
        """Write refusals with their number, and take it off what is still to be written."""
        if not counts:
            return
        self._counts -= Counter(counts)
        try:
            await self._crew.run("", self._insert, counts)
        except StoreError:
            self._counts += Counter(counts)  # for the next minute's end

    def _insert(self, counts: dict[Refusal, int]) -> None:
        def write(connection: Connection) -> None:
            for refusal, times in counts.items():
                write_audit(
                    connection,
                    Actor(refusal.actor, refusal.remote),
                    "access",
                    refusal.target,
                    tenant=refusal.tenant,
                    outcome="refused",
                    detail={"reason": refusal.reason, "times": times},
                )

        self._database.run(write)
