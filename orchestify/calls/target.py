"""A target: a lane and a model, with the policies in force there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestify.calls.request import Defaults
from orchestify.core.policies import RateLimitConfig
from orchestify.core.providers import Spread
from orchestify.lanes.lane import Lane
from orchestify.policy.breaker import BreakerSettings
from orchestify.policy.rate_limit import Limiter
from orchestify.policy.retry import RetryPolicy
from orchestify.response_cache.cache import ResponseCache
from orchestify.values import NOTHING


@dataclass(frozen=True, slots=True)
class Target:
    """A lane and a model, with the policies in force there.

    `provider_id` is the provider's name in the configuration, `provider_type` its `type` or a
    host's own word. `endpoint` is LiteLLM's name of the company at the other end, None where no
    map knows it; `base_url` is where requests go, None where only LiteLLM or the host knows.
    `credential` is a digest of the key that is sent, "" where none is configured; `key` is its
    fingerprint, the same in every process, for reports. `rate_limit` is the provider's, which its
    own 429s halve; `options` go into every body. `response_cache` has its kept answers, None where
    none are kept.

    With several keys `keys` has this target with each of them (`is_of_pool`), `spread` says which
    of them a call goes out with, and `sticky_by` is the label by which `sticky` knows
    conversations, "" where it is by how they begin.
    """

    lane: Lane
    provider_id: str
    model: str
    provider_type: str = ""
    endpoint: str | None = None
    base_url: str | None = None
    defaults: Defaults = field(default_factory=Defaults)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    limiters: tuple[Limiter, ...] = ()
    credential: str = ""
    key: str = ""
    keys: tuple[Target, ...] = field(default=(), repr=False)
    is_of_pool: bool = False
    spread: Spread = "sticky"
    sticky_by: str = ""
    rate_limit: RateLimitConfig | None = None
    options: Mapping[str, Any] = field(default=NOTHING, repr=False)
    weight: float = 1.0
    response_cache: ResponseCache | None = field(default=None, repr=False)

    def with_model(self, model: str) -> Target:
        """Return the same target with another model, with each of its keys."""
        return replace(self, model=model, keys=tuple(each.with_model(model) for each in self.keys))
