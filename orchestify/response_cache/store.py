"""What a place for kept answers can do."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """Where an answer is kept: whose it is, among which settings' answers, under which digest."""

    tenant: str
    cache: str
    key: str


class Bounds(NamedTuple):
    """How long each answer is kept, and how many there are of one tenant and cache.

    With `is_over_all` that is how many there are of one tenant, in all of its caches.
    """

    ttl_s: float
    max_entries: int
    is_over_all: bool = False


class Found(NamedTuple):
    """What a look brings: the text that is kept, or whether the asker is now the one to ask.

    Without a text and unless `is_ours`, another process has said that it asks.
    """

    text: str | None
    is_ours: bool = True


class Store(Protocol):
    """Texts by place, each for its time; the oldest make room.

    Each method raises OrchestifyError where the store is away. An `owner` is one flight's id.
    """

    async def find(self, place: Place, owner: str, lease_s: float) -> Found:
        """Return what is kept; where nothing is, note for `lease_s` that the owner asks for it."""

    async def keep(self, place: Place, owner: str, text: str, bounds: Bounds) -> None:
        """Keep a text in place of an older one, and end the owner's note."""

    async def give_up(self, place: Place, owner: str) -> None:
        """End the owner's note without a text."""

    async def clear(self, tenant: str | None) -> int:
        """Drop all texts of a tenant, or of all where that is None; return how many."""

    async def aclose(self) -> None:
        """Close what is the store's own."""
