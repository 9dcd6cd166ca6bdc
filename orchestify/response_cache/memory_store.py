"""Kept answers in this process's memory: the library cachetools, bounded by bytes as well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from cachetools import TTLCache  # type: ignore[import-untyped,unused-ignore] # before 8

from orchestify.response_cache.store import Bounds, Found, Place

MEMORY_BYTES = 256 << 20
"""The characters that are kept at most, whatever `max_entries` says."""

SWEEP_S = 60.0  # between two looks for what is over, in caches that nobody writes to


class MemoryStore:
    """Texts by tenant and cache, those of a cache as its bounds say.

    A tenant has `tenant_bytes`, and all have `all_bytes`, in characters; who has too much loses
    what was used least recently, first in the largest cache. Safe across threads. No other process
    asks here, so who finds nothing asks.
    """

    def __init__(
        self,
        tenant_bytes: int = MEMORY_BYTES,
        all_bytes: int = MEMORY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant_bytes = tenant_bytes
        self._all_bytes = all_bytes
        self._clock = clock
        self._caches: dict[tuple[str, str], TTLCache[str, str]] = {}
        self._swept_at = clock()
        self._lock = threading.Lock()

    async def find(self, place: Place, owner: str, lease_s: float) -> Found:
        """Return what is kept."""
        with self._lock:
            cache = self._caches.get(place[:2])
            return Found(None if cache is None else cache.get(place.key))

    async def keep(self, place: Place, owner: str, text: str, bounds: Bounds) -> None:
        """Keep a text; one that is larger than a tenant's may be is not kept."""
        if len(text) > self._tenant_bytes:
            return
        with self._lock:
            self._sweep()
            cache = self._caches.get(place[:2])
            if cache is None:
                made = TTLCache[str, str](
                    self._tenant_bytes, bounds.ttl_s, timer=self._clock, getsizeof=len
                )
                cache = self._caches[place[:2]] = made
            cache.pop(place.key, None)
            while len(cache) >= bounds.max_entries:
                cache.popitem()
            cache[place.key] = text
            its = [each for (whose, _), each in self._caches.items() if whose == place.tenant]
            _make_room(its, self._tenant_bytes)
            _make_room(self._caches.values(), self._all_bytes)

    async def give_up(self, place: Place, owner: str) -> None:
        """Do nothing: nothing was noted."""

    async def clear(self, tenant: str | None) -> int:
        """Drop all texts of a tenant, or of all."""
        with self._lock:
            names = [each for each in self._caches if tenant in (None, each[0])]
            return sum(len(self._caches.pop(each)) for each in names)

    async def aclose(self) -> None:
        """Do nothing: memory ends with its process."""

    def _sweep(self) -> None:
        """Drop what is over, now and then."""
        if self._clock() - self._swept_at < SWEEP_S:
            return
        self._swept_at = self._clock()
        for cache in self._caches.values():
            cache.expire()
        self._caches = {name: each for name, each in self._caches.items() if each}


def _make_room(caches: Iterable[TTLCache[str, str]], most: int) -> None:
    known = list(caches)
    while sum(each.currsize for each in known) > most:
        max(known, key=lambda each: each.currsize).popitem()
