"""What a process keeps of a tenant while its rows change: ledger, limits, events, registry."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from orchestify.calls.runtime import LimiterKey, MakeLimiter
from orchestify.core.config import Config
from orchestify.core.policies import RateLimitConfig
from orchestify.events.events import Events
from orchestify.health.forecast_alert import ForecastAlert
from orchestify.health.health import Health
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.policy.rate_limit import Limiter, RateLimiter
from orchestify.resources.bounded import bounded_setdefault
from orchestify.response_cache.caches import ResponseCaches
from orchestify.server.tenants.tenant_providers import TenantProviders

MOST_LIMITERS = 20_000
"""Limits kept a tenant, also those of configurations that were: a tenant that writes a row and
takes it back finds its limit as far used as it was."""


class Limits:
    """A tenant's limiters by what they limit; a registry that is rebuilt goes on with them."""

    def __init__(self, make: MakeLimiter | None) -> None:
        self._make = make or _local
        self._kept: dict[LimiterKey, Limiter] = {}
        self.used_at = time.monotonic()

    def of(self, key: LimiterKey, limit: RateLimitConfig) -> Limiter:
        """Return the limiter of a key, made at its first use."""
        known = self._kept.get(key)
        if known is None:
            known = bounded_setdefault(self._kept, key, self._make(key, limit), limit=MOST_LIMITERS)
        return known

    def __bool__(self) -> bool:
        return bool(self._kept)


@dataclass(eq=False, slots=True)
class Generation:
    """A tenant's registry at one revision, with those who use it now.

    `is_handed_out` says that somebody may hold it beyond their lease: its connections are then
    closed when the last reference to it is gone, as those of any registry are.
    """

    registry: TenantProviders
    revision: int
    leases: int = 0
    is_handed_out: bool = False


@dataclass(eq=False, slots=True)
class TenantState:
    """One tenant that is in use.

    `told` counts how often it was said to have changed, `built` the last of these that the
    present generation knows of. `revision` and `base` are the rows and the operator's
    configuration that it was built from. `problems` stand where these make no registry.
    """

    tenant_id: str
    ledger: SqlLedger
    limits: Limits
    events: Events
    health: Health
    forecast: ForecastAlert
    caches: ResponseCaches
    used_at: float
    told: int = 1
    built: int = 0
    revision: int = -1
    base: Config | None = None
    generation: Generation | None = None
    problems: tuple[str, ...] = ()
    building: asyncio.Task[None] | None = None
    waiting: int = 0
    retired: list[Generation] = field(default_factory=list)

    @property
    def is_in_use(self) -> bool:
        """Whether a lease stands, or somebody waits for a registry."""
        generations = [*self.retired, *([self.generation] if self.generation else [])]
        is_awaited = self.waiting > 0 or self.building is not None
        return is_awaited or any(each.leases for each in generations)

    def take(self, generation: Generation, base: Config) -> None:
        """Go on with a newer generation, over the operator's configuration at present."""
        if self.generation is not None:
            self.retired.append(self.generation)
        self.generation, self.revision, self.problems = generation, generation.revision, ()
        self.base = base

    def refuse(self, problems: tuple[str, ...], revision: int, base: Config) -> None:
        """Have no registry until the tenant changes again."""
        if self.generation is not None:
            self.retired.append(self.generation)
        self.generation, self.revision, self.problems = None, revision, problems
        self.base = base

    async def close_retired(self, *, at_once: bool = False) -> None:
        """Close the connections of older generations that nobody uses any more, or of all."""
        over = [each for each in self.retired if at_once or not each.leases]
        self.retired = [each for each in self.retired if each not in over]
        for each in over:
            if at_once or not each.is_handed_out:
                await each.registry.disconnect()

    async def aclose(self, *, at_once: bool = False) -> None:
        """Close everything of the tenant; what somebody may still hold only where `at_once`."""
        if self.generation is not None:
            self.retired.append(self.generation)
            self.generation = None
        await self.close_retired(at_once=at_once)
        await self.forecast.aclose()
        try:
            await self.caches.aclose()
        finally:
            try:
                await self.ledger.aclose()
            finally:
                await asyncio.to_thread(self.events.close)


def _local(_key: LimiterKey, limit: RateLimitConfig) -> Limiter:
    return RateLimiter(**limit.model_dump())
