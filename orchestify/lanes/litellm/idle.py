"""How long a stream may stay silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from orchestify.errors import RequestTimeoutError


class IdleWatch:
    """Takes a stream's chunks, and gives up on one that does not come within `idle_s`.

    One timer a stream, which is moved on as it fires; `asyncio.timeout` takes one a chunk.
    """

    __slots__ = ("_expired", "_idle_s", "_since", "_stream", "_task", "_timer")

    def __init__(self, stream: AsyncIterator[Any], idle_s: float | None) -> None:
        self._stream = stream
        self._idle_s = idle_s
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._since = 0.0
        self._expired = False

    async def next(self, *, limited: bool) -> Any:
        """Return the next chunk, None at the end; the wait is limited where that is said.

        Raises:
            RequestTimeoutError: it did not come in time.
        """
        if not limited or self._idle_s is None:
            return await anext(self._stream, None)
        loop = asyncio.get_running_loop()
        task = self._task = asyncio.current_task()
        self._since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._idle_s, self._check, loop, self._idle_s)
        try:
            return await anext(self._stream, None)
        except asyncio.CancelledError:
            if not self._expired or task is None or task.uncancel() > 0:
                raise
        finally:
            self._task = None
        raise RequestTimeoutError(f"nothing came for {self._idle_s:g} s")

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self, loop: asyncio.AbstractEventLoop, idle_s: float) -> None:
        left_s = idle_s
        if self._task is not None:
            left_s = self._since + idle_s - loop.time()
            if left_s <= 0:
                self._expired = True
                self._task.cancel()
                return
        self._timer = loop.call_later(left_s, self._check, loop, idle_s)
