"""Work for a client that may go: its disconnection cancels it at once."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive


class Attended:
    """Cancels the task that is inside when the client goes, and lets it go on after the block.

        async with Attended(receive) as client:
            ...                 # a call that nobody waits for any more is cancelled
        if client.has_gone: ...

    The request's body must have been read. A cancellation by anybody else passes.
    """

    def __init__(self, receive: Receive) -> None:
        self.has_gone = False
        self._receive = receive

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one
        self._task = task
        self._watch = asyncio.create_task(self._wait())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._watch.cancel()
        return self.has_gone and self._task.uncancel() == 0 and kind is asyncio.CancelledError

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_gone = True
        self._task.cancel()
