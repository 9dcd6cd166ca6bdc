"""One state for all who look on: computed at most once a second, and only while somebody does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from orchestify.errors import AccessError, ConfigError, OrchestifyError

EVERY_S = 1.0
PING_S = 10.0  # a silent stream says that it lives
STREAM_S = 60.0  # after that the reader comes again, with a token that still holds
MOST_READERS = 50

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Of a stream of events: nginx would hold them back."""

MEDIA_TYPE = "text/event-stream"

Compute = Callable[[], Awaitable[Mapping[str, Any]]]
"""Returns the present state, ready for JSON; `at` is its time."""


class Feed:
    """The states of one account, as JSON and as server-sent events.

    However many read, at most one state is computed in `every_s` seconds, and none while nobody
    asks. A reader that is slow misses states and holds none back. What fails is told in the
    state's `problem`, beside what was known before.
    """

    def __init__(
        self,
        compute: Compute,
        *,
        every_s: float = EVERY_S,
        stream_s: float = STREAM_S,
        most_readers: int = MOST_READERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.readers = 0
        self.computed = 0
        self._compute = compute
        self._every_s = every_s
        self._stream_s = stream_s
        self._most_readers = most_readers
        self._clock = clock
        self._last: Mapping[str, Any] = {}
        self._body = b""
        self._read_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    async def state(self) -> bytes:
        """Return the present state as JSON; at most `every_s` old."""
        if self._clock() - self._read_at >= self._every_s:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._renew(), name="orchestify-live")
            # a reader that leaves must not end what others wait for
            await asyncio.shield(self._task)
        return self._body

    def events(self) -> AsyncIterator[bytes]:
        """Return the states as they change, as events, for `stream_s` seconds at most.

        Raises:
            AccessError: 429, `most_readers` are reading.
        """
        if self.readers >= self._most_readers:
            raise AccessError(
                f"{self._most_readers} readers look at this live view already; close one",
                status=429,
                retry_after_s=PING_S,
            )
        return self._events()

    async def _events(self) -> AsyncIterator[bytes]:
        self.readers += 1
        try:
            end, sent, sent_at = self._clock() + self._stream_s, b"", self._clock()
            while not self._closed.is_set() and self._clock() < end:
                body = await self.state()
                if body != sent:
                    yield b"data: " + body + b"\n\n"
                    sent, sent_at = body, self._clock()
                elif self._clock() - sent_at >= PING_S:
                    yield b": all is as it was\n\n"
                    sent_at = self._clock()
                await self._pause()
        finally:
            self.readers -= 1

    def close(self) -> None:
        """End all streams, at their next look."""
        self._closed.set()

    async def aclose(self) -> None:
        """End all streams, and what is being computed."""
        self.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._every_s):
                await self._closed.wait()
        except TimeoutError:
            return

    async def _renew(self) -> None:
        try:
            found = await self._compute()
        except ConfigError as error:
            found = {**self._last, "problem": "; ".join(error.problems)}
        except OrchestifyError as error:
            found = {**self._last, "problem": str(error)}
        self.computed += 1
        # the time alone is no news
        if {**found, "at": ""} != {**self._last, "at": ""} or not self._body:
            self._body = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
            self._last = found
        self._read_at = self._clock()
