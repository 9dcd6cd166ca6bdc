"""Limits on what is sent here, and the headers on every answer: plain ASGI, no more."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestify.errors import AccessError

_MINUTE_S = 60.0
_KEYS = 10_000


@dataclass(slots=True)
class Throttle:
    """At most `per_minute` requests a minute for each key, all at once or spread; in this process.

    The 10,000 keys that asked last are remembered; who is forgotten starts anew.
    Source: the generic cell rate algorithm, ITU-T I.371.
    """

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    _free_at: OrderedDict[str, float] = field(default_factory=OrderedDict, repr=False)

    def take(self, key: str) -> float:
        """Take one request; return 0, or after how many seconds there is one again."""
        now, step_s = self.clock(), _MINUTE_S / self.per_minute
        free_at = max(self._free_at.get(key, 0.0), now) + step_s
        wait_s = free_at - now - _MINUTE_S
        if wait_s > step_s / 1000:  # more than rounding
            return wait_s
        self._free_at[key] = free_at
        self._free_at.move_to_end(key)
        if len(self._free_at) > _KEYS:
            self._free_at.popitem(last=False)
        return 0.0

    def wait_s(self, key: str) -> float:
        """Return after how many seconds there is a request again, and take none."""
        step_s = _MINUTE_S / self.per_minute
        return max(0.0, self._free_at.get(key, 0.0) + step_s - self.clock() - _MINUTE_S)


@dataclass(slots=True)
class CallSlots:
    """At most `most` calls of each tenant at a time, in this process: each holds connections."""

    most: int
    _taken: Counter[str] = field(default_factory=Counter, repr=False)

    @contextmanager
    def slot_of(self, tenant: str) -> Iterator[None]:
        """Hold one of a tenant's places until the block ends.

        Raises:
            AccessError: 429, all are taken.
        """
        if self._taken[tenant] >= self.most:
            raise AccessError(
                f"{self.most} calls of this tenant are under way here; come again when one has "
                "ended",
                status=429,
                retry_after_s=1.0,
            )
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]


def network_of(remote: str) -> str:
    """Return what one sender can vary no further: an IPv4 address, an IPv6 network of 64 bits."""
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
