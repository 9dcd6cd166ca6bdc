"""Turns at the event loop: of each tenant's work one piece begins in each of the loop's passes."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Gives each tenant one turn in each pass of the event loop, to its calls as they came.

    What hundreds of one tenant's calls did in one pass, every other tenant would wait for.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Who waits for a tenant's next turn, for tenants that had one in this pass."""

    async def take(self, tenant: str) -> None:
        """Wait for the tenant's next turn; one that had none in this pass has it at once."""
        loop, waiting = asyncio.get_running_loop(), self._waiting.get(tenant)
        if waiting is None:
            self._waiting[tenant] = deque()
            loop.call_soon(self._give_next, loop, tenant)
        else:
            waiting.append(turn := loop.create_future())
            await turn

    def _give_next(self, loop: asyncio.AbstractEventLoop, tenant: str) -> None:
        waiting = self._waiting[tenant]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():  # or its call was cancelled
                turn.set_result(None)
                loop.call_soon(self._give_next, loop, tenant)
                return
        del self._waiting[tenant]
