"""Sealed values in this process's memory, bounded by tenant and in sum."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class MemoryValues:
    """Values by tenant and key for `keep_s`; who keeps too much loses the oldest first.

    A tenant has `tenant_bytes`; where all have more than `all_bytes`, the largest makes room.
    """

    keep_s: float
    tenant_bytes: int
    all_bytes: int
    clock: Callable[[], float] = time.time
    _kept: dict[str, OrderedDict[str, tuple[float, str]]] = field(default_factory=dict, repr=False)
    _bytes: Counter[str] = field(default_factory=Counter, repr=False)

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._kept

    def put(self, tenant: str, key: str, value: str) -> None:
        """Keep a value; an older one of the key is gone."""
        kept = self._kept.setdefault(tenant, OrderedDict())
        if key in kept:
            self._drop(tenant, key)
        kept = self._kept.setdefault(tenant, kept)
        kept[key] = (self.clock(), value)
        self._bytes[tenant] += len(value)
        self._drop_old(tenant)
        while self._bytes[tenant] > self.tenant_bytes:
            self._drop(tenant, next(iter(kept)))
        while self._bytes.total() > self.all_bytes:
            largest, _ = self._bytes.most_common(1)[0]
            self._drop(largest, next(iter(self._kept[largest])))

    def get(self, tenant: str, key: str, since: float = 0.0) -> str | None:
        """Return a value that was kept after the moment `since`, None where there is none."""
        kept = self._kept.get(tenant)
        found = None if kept is None else kept.get(key)
        if found is None or found[0] <= max(since, self.clock() - self.keep_s):
            return None
        return found[1]

    def drop(self, tenant: str, key: str) -> None:
        """Drop the value of one key, if there is one."""
        if key in self._kept.get(tenant, ()):
            self._drop(tenant, key)

    def forget(self, tenant: str) -> None:
        """Drop all of a tenant's values."""
        self._kept.pop(tenant, None)
        del self._bytes[tenant]

    def _drop_old(self, tenant: str) -> None:
        kept, old = self._kept[tenant], self.clock() - self.keep_s
        for key in [key for key, (at, _) in kept.items() if at <= old]:
            self._drop(tenant, key)

    def _drop(self, tenant: str, key: str) -> None:
        _, value = self._kept[tenant].pop(key)
        self._bytes[tenant] -= len(value)
        if not self._kept[tenant]:
            self.forget(tenant)
