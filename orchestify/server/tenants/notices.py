"""How processes tell each other that a tenant changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Notices(Protocol):
    """Takes the name of a changed tenant to the other processes, as fast as it can.

    A notice may be lost: the registries look at the database from time to time anyway.
    """

    async def publish(self, tenant_id: str) -> None:
        """Tell that the tenant changed; never raises where nobody can be told."""

    async def listen(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change` with each tenant that is told of, until the task is cancelled.

        `*` stands for every tenant: notices may have been missed.
        """

    async def aclose(self) -> None:
        """Close what is open."""


class LocalNotices:
    """The notices of one process: they reach all who listen to this object."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []

    async def publish(self, tenant_id: str) -> None:
        """Tell every listener here."""
        for on_change in tuple(self._listeners):
            on_change(tenant_id)

    async def listen(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change` with each tenant that is told of, until the task is cancelled."""
        self._listeners.append(on_change)
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.remove(on_change)

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""
