"""The rate limits of every tenant of a service, shared between its machines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from orchestify.core.policies import RateLimitConfig
from orchestify.policy.rate_limit import DAY_S, MINUTE_S, Limiter, RateLimiter
from orchestify.shared_limits.limiter import SharedRateLimiter
from orchestify.shared_limits.link import RedisLink, State
from orchestify.shared_limits.window import SharedWindow

Key: TypeAlias = tuple[str, str, str]  # `provider` or `agent`, its name, its limit as text


class RedisLimits:
    """Makes limiters whose requests and tokens, a minute and a day, count in one Redis.

    They count in sliding windows whatever `algorithm` says; that, `burst` and `concurrency`
    hold for each process by itself. While Redis is away, each process goes on with its share of
    a limit: the limit divided by `machines`, the number of processes that use this Redis. Keys
    hold the tenant and the name of a provider or agent, never a secret; they expire.
    """

    def __init__(self, url: str, prefix: str = "orchestify", machines: int = 1) -> None:
        """Prepare; nothing is sent before the first call.

        Raises:
            MissingExtraError: the extra `redis` is not installed.
            InvalidParameterError: `url` is not one of Redis.
        """
        self._link = RedisLink(url, prefix)
        self._machines = max(1, machines)

    @property
    def state(self) -> State:
        """`shared`, or `local` while Redis is away."""
        return self._link.state

    async def check(self) -> State:
        """Ask Redis anything, unless it was found away just now, and return the state."""
        return await self._link.check()

    def for_tenant(self, tenant_id: str) -> Callable[[Key, RateLimitConfig], Limiter]:
        """Return what makes the limiters of a tenant's registry (a `MakeLimiter`)."""
        return partial(self._make, tenant_id)

    async def aclose(self) -> None:
        """Wait for what is being sent, and close the connections."""
        await self._link.aclose()

    def _make(self, tenant_id: str, key: Key, limit: RateLimitConfig) -> Limiter:
        kind, name, _ = key
        local = RateLimiter(**limit.model_dump())

        def windows(unit: str, per_minute: int | None, per_day: int | None) -> list[SharedWindow]:
            where = f"limit/{tenant_id}/{kind}/{name}/{unit}"
            return [
                SharedWindow(
                    self._link, where, most, int(window_s), share=max(1, most // self._machines)
                )
                for most, window_s in ((per_minute, MINUTE_S), (per_day, DAY_S))
                if most is not None
            ]

        requests = windows("requests", limit.requests_per_minute, limit.requests_per_day)
        tokens = windows("tokens", limit.tokens_per_minute, limit.tokens_per_day)
        if not requests and not tokens:
            return local
        return SharedRateLimiter(self._link, local, requests=requests, tokens=tokens)
