"""What may stand at the top, at a provider and at an agent; the nearest wins, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from orchestify.core.fields import Count, Model, Number, Seconds
from orchestify.core.validation import refuse

Level: TypeAlias = Literal["agent", "provider", "top", "default"]

DEFAULT_TIMEOUT_S = 600.0
DEFAULT_CONNECT_TIMEOUT_S = 10.0
DEFAULT_IDLE_TIMEOUT_S = 60.0


class RetryConfig(Model):
    """How often a target is tried, and how long between; a provider's Retry-After wins."""

    max_attempts: Count = Field(default=5, description="Attempts at one target; 1: no retry")
    first_delay_s: Number = Field(default=1.0, description="Longest wait after the first failure")
    max_delay_s: Number = Field(default=8.0, description="Longest wait after any failure")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first_delay_s > self.max_delay_s:
            refuse([(("max_delay_s",), "expected no less than first_delay_s")])
        return self


class CircuitBreakerConfig(Model):
    """When a failing target is left alone, and for how long."""

    failures: Count = Field(default=5, description="Failures within window_s that open it")
    window_s: Seconds = Field(default=60.0)
    open_s: Seconds = Field(default=30.0, description="Seconds until one probe goes through")
    max_open_s: Seconds = Field(default=300.0, description="Longest after probes that failed")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.open_s > self.max_open_s:
            refuse([(("max_open_s",), "expected no less than open_s")])
        return self


class RateLimitConfig(Model):
    """How much may be sent; what is not written is not limited."""

    requests_per_minute: Count | None = None
    requests_per_day: Count | None = None
    tokens_per_minute: Count | None = None
    tokens_per_day: Count | None = None
    burst: Count | None = Field(default=None, description="Requests that may go at once")
    concurrency: Count | None = Field(default=None, description="Calls in flight at once")
    algorithm: Literal["token_bucket", "sliding_window", "fixed_window"] = "token_bucket"


class Policies(Model):
    """The policies of one level; None means that the level does not say."""

    retry: RetryConfig | None = None
    circuit_breaker: CircuitBreakerConfig | None = None
    rate_limit: RateLimitConfig | None = None
    timeout_s: Seconds | None = Field(
        default=None, description="A whole call, or until a stream's first output"
    )
    connect_timeout_s: Seconds | None = None
    idle_timeout_s: Seconds | None = Field(default=None, description="Between a stream's chunks")


@dataclass(frozen=True, slots=True)
class EffectivePolicies:
    """The policies in force; `levels` says for each by its name where it was written."""

    retry: RetryConfig
    circuit_breaker: CircuitBreakerConfig
    rate_limit: RateLimitConfig | None
    timeout_s: float
    connect_timeout_s: float
    idle_timeout_s: float
    levels: Mapping[str, Level]


def policies_for(
    top: Policies | None, provider: Policies | None = None, agent: Policies | None = None
) -> EffectivePolicies:
    """Return the policies in force: for each key the agent's, else the provider's, else the top's.

    A `retry` at the agent replaces the whole `retry` of the provider; fields are not mixed.
    """
    values: dict[str, Any] = dict(_DEFAULTS)
    levels: dict[str, Level] = dict.fromkeys(_DEFAULTS, "default")
    written: tuple[tuple[Level, Policies | None], ...] = (
        ("top", top),
        ("provider", provider),
        ("agent", agent),
    )
    for level, policies in written:
        for name in _DEFAULTS:
            value = getattr(policies, name, None)
            if value is not None:
                values[name], levels[name] = value, level
    return EffectivePolicies(**values, levels=levels)


_DEFAULTS: Mapping[str, Any] = {
    "retry": RetryConfig(),
    "circuit_breaker": CircuitBreakerConfig(),
    "rate_limit": None,
    "timeout_s": DEFAULT_TIMEOUT_S,
    "connect_timeout_s": DEFAULT_CONNECT_TIMEOUT_S,
    "idle_timeout_s": DEFAULT_IDLE_TIMEOUT_S,
}
