"""A target: a lane and a model, with the policies in force there."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestify.calls.request import Defaults
from orchestify.lanes.lane import Lane
from orchestify.policy.breaker import BreakerSettings
from orchestify.policy.rate_limit import Limiter
from orchestify.policy.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Target:
    """A lane and a model, with the policies in force there.

    `provider_id` is the provider's name in the configuration, `provider_type` its `type` or a
    host's own word. `endpoint` is LiteLLM's name of the company at the other end, None where no
    map knows it; `base_url` is where requests go, None where only LiteLLM or the host knows.
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
    weight: float = 1.0
