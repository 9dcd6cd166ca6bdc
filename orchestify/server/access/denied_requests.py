"""Denied requests in the audit log: a kind's first at once, its repetitions counted by minute."""

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
class DeniedRequest:
    """A denied request: of whom and from where, to what, and why."""

    actor: str
    remote: str
    target: str
    reason: str
    tenant: str | None = None


_OTHERS = "more than 100 kinds of refusals in a minute"


class DeniedRequests:
    """Writes denied requests to the audit log so that repetition cannot fill the disk.

    The first of its kind in a minute is written at once. What repeats it is counted, and the
    number written when the minute is over; so are all kinds beyond 100 a minute, together: of
    each tenant's own, of those that only aim at it, and of those at nobody. One who fills the log
    of one of these hides nothing in another's.
    """

    def __init__(self, database: Database, window_s: float = WINDOW_S) -> None:
        self._database = database
        self._window_s = window_s
        self._counts: Counter[DeniedRequest] = Counter()
        self._written: defaultdict[tuple[str | None, bool], set[DeniedRequest]] = defaultdict(set)
        self._threads = ThreadPools(1, "denied-requests")
        self._task: asyncio.Task[None] | None = None

    async def record(self, denied: DeniedRequest) -> None:
        """Write or count a denied request; where the database is away it stays counted."""
        if self._task is None:
            self._task = asyncio.create_task(self._end_windows(), name="orchestify-denied-requests")
        written = self._written[denied.tenant, denied.actor == _UNKNOWN]
        if denied not in written and len(written) >= _KINDS:
            denied = DeniedRequest(_UNKNOWN, "", "", _OTHERS, denied.tenant)
        is_first = denied not in written
        written.add(denied)
        self._counts[denied] += 1
        if is_first:
            await self._write({denied: 1})

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

    async def _write(self, counts: dict[DeniedRequest, int]) -> None:
        """Write denied requests with their number, and subtract it from what is to be written."""
        if not counts:
            return
        self._counts -= Counter(counts)
        try:
            await self._threads.run("", self._insert, counts)
        except StoreError:
            self._counts += Counter(counts)  # for the next minute's end

    def _insert(self, counts: dict[DeniedRequest, int]) -> None:
        def write(connection: Connection) -> None:
            for denied, times in counts.items():
                write_audit(
                    connection,
                    Actor(denied.actor, denied.remote),
                    "access",
                    denied.target,
                    tenant=denied.tenant,
                    outcome="refused",
                    detail={"reason": denied.reason, "times": times},
                )

        self._database.run(write)
