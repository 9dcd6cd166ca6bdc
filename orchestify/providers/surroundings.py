"""What a host of many registries gives each of them, in place of what it would make itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from orchestify.core.policies import RateLimitConfig
from orchestify.ledger.base import Ledger
from orchestify.ledger.record import Record
from orchestify.policy.rate_limit import RateLimiter

LimiterKey: TypeAlias = tuple[str, str, str]
"""`provider` or `agent`, its name, and the limit as it is configured, as text."""

MakeLimiter: TypeAlias = Callable[[LimiterKey, RateLimitConfig], RateLimiter]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts that outlive a registry, or that several share; None where it makes its own.

    `ledger` stands in place of the configured one. `make_limiter` is asked once a registry for
    each limit. `observers` are told of every attempt that has ended, on the loop or thread
    where it ended; they must be quick and raise nothing.
    """

    ledger: Ledger | None = None
    make_limiter: MakeLimiter | None = None
    observers: tuple[Callable[[Record], None], ...] = ()


ALONE = Surroundings()
