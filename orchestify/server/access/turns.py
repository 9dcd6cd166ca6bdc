"""Turns at the event loop: a few pieces of each tenant's work begin in each of its passes."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

_AT_ONCE = 8
"""Few enough that another tenant waits for milliseconds, and enough to be booked together."""


class Turns:
    """Gives each tenant `at_once` turns in a pass of the event loop, to its calls as they came.

    What hundreds of one tenant's calls did in one pass, every other tenant would wait for.
    """

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._at_once = at_once
        self._taking: dict[str, _Taking] = {}

    async def take(self, tenant: str) -> None:
        """Wait for the tenant's next turn; where one is left in this pass, it is had at once."""
        loop, taking = asyncio.get_running_loop(), self._taking.get(tenant)
        if taking is None:
            taking = self._taking[tenant] = _Taking(self._at_once)
            loop.call_soon(self._begin_pass, loop, tenant)
        if taking.left:
            taking.left -= 1
        else:
            taking.waiting.append(turn := loop.create_future())
            await turn

    def _begin_pass(self, loop: asyncio.AbstractEventLoop, tenant: str) -> None:
        taking = self._taking[tenant]
        if not taking.waiting:
            del self._taking[tenant]
            return
        taking.left = self._at_once
        while taking.waiting and taking.left:
            turn = taking.waiting.popleft()
            if not turn.done():  # or its call was cancelled
                turn.set_result(None)
                taking.left -= 1
        loop.call_soon(self._begin_pass, loop, tenant)


@dataclass(slots=True)
class _Taking:
    """A tenant's turns in this pass that are left, and who waits for those of the next ones."""

    left: int
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
