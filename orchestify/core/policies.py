"""Models of policies, budgets, ledger and alerts: all keys of `policies.yaml`.

Policies may stand at the top, at a provider and at an agent; the nearest wins, key by key. The
defaults of retry, breaker and rate limit stand in `orchestify.policy`, where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from orchestify.core.addresses import address_problem, exposure
from orchestify.core.aliases import ModelAlias
from orchestify.core.error_messages import refuse
from orchestify.core.fields import (
    Count,
    Flag,
    LabelAxis,
    Model,
    Number,
    Positive,
    Seconds,
    Share,
    Text,
    Usd,
)
from orchestify.core.scalars import reread
from orchestify.events.signatures import secret_bytes
from orchestify.policy.breaker import BreakerSettings
from orchestify.policy.budget import Period
from orchestify.policy.limit_algorithms import DEFAULT_ALGORITHM, Algorithm
from orchestify.policy.retry import RetryPolicy

Level: TypeAlias = Literal["agent", "provider", "top", "default"]

DEFAULT_TIMEOUT_S = 600.0
FAIR_AT_LEAST_S = 60.0  # what a stream has until its first output while other targets remain
DEFAULT_CONNECT_TIMEOUT_S = 10.0
DEFAULT_IDLE_TIMEOUT_S = 300.0
_RETRY = RetryPolicy()
_BREAKER = BreakerSettings()
_LARGEST_SHARE = 10


class RetryConfig(Model):
    """How often a target is tried, and how long between; a provider's Retry-After wins."""

    max_attempts: Count = Field(
        default=_RETRY.max_attempts, description="Attempts at one target; 1: no retry"
    )
    first_delay_s: Number = Field(
        default=_RETRY.first_delay_s, description="Longest wait after the first failure"
    )
    max_delay_s: Number = Field(
        default=_RETRY.max_delay_s, description="Longest wait after any failure"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first_delay_s > self.max_delay_s:
            refuse([(("max_delay_s",), "expected no less than first_delay_s")])
        return self


class CircuitBreakerConfig(Model):
    """When a failing target is left alone, and for how long."""

    failures: Count = Field(
        default=_BREAKER.failures, description="Failures within window_s that open it"
    )
    window_s: Seconds = Field(default=_BREAKER.window_s, description="How long a failure counts")
    open_s: Seconds = Field(
        default=_BREAKER.open_s, description="Seconds until one probe goes through"
    )
    max_open_s: Seconds = Field(
        default=_BREAKER.max_open_s, description="Longest after probes that failed"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.open_s > self.max_open_s:
            refuse([(("max_open_s",), "expected no less than open_s")])
        return self


class RateLimitConfig(Model):
    """How much may be sent; what is not written is not limited."""

    requests_per_minute: Count | None = Field(
        default=None, description="Attempts sent, retries included"
    )
    requests_per_day: Count | None = Field(default=None, description="Attempts sent in 24 hours")
    tokens_per_minute: Count | None = Field(
        default=None, description="Input and output: estimated before, then as reported"
    )
    tokens_per_day: Count | None = Field(default=None, description="The same, in 24 hours")
    burst: Count | None = Field(default=None, description="Requests that may go at once")
    concurrency: Count | None = Field(default=None, description="Calls in flight at once")
    algorithm: Algorithm = Field(
        default=DEFAULT_ALGORITHM, description="How a minute or a day is counted"
    )


def _known_redis(url: SecretStr) -> SecretStr:
    if url.get_secret_value().partition("://")[0] not in {"redis", "rediss", "unix"}:
        raise ValueError("expected redis://host:port/number")
    return url


class ResponseCacheConfig(Model):
    """Whether answers are kept for equal requests, where and how long; true or false alone."""

    enabled: Flag = Field(default=True, description="False: none of an outer level's either")
    ttl_s: Seconds = Field(default=3600.0, description="How long an answer is kept")
    max_entries: Count = Field(
        default=100_000, description="How many are kept; the oldest make room"
    )
    at: Literal["memory", "ledger", "redis"] = Field(
        default="memory",
        description="In each process by itself, in the ledger's database, or in Redis",
    )
    url: Annotated[SecretStr, Field(min_length=1), AfterValidator(_known_redis)] | None = Field(
        default=None, description="Of Redis, as redis://host:port/number; a service has its own"
    )

    @model_validator(mode="after")
    def _url_is_of_redis(self) -> Self:
        if self.url is not None and self.at != "redis":
            refuse([(("url",), "only with at: redis")])
        return self


def _cache_setting(value: object) -> object:
    value = reread(value)
    return {"enabled": value} if isinstance(value, bool) else value


ResponseCacheEntry: TypeAlias = Annotated[
    ResponseCacheConfig,
    BeforeValidator(_cache_setting, json_schema_input_type=bool | ResponseCacheConfig),
]


class Policies(Model):
    """The policies of one level; None where the level sets none."""

    retry: RetryConfig | None = None
    circuit_breaker: CircuitBreakerConfig | None = None
    rate_limit: RateLimitConfig | None = None
    timeout_s: Seconds | None = Field(
        default=None,
        description="A whole call, or until a stream's first output; at a provider, what is "
        "spent there",
    )
    first_output_timeout_s: Seconds | None = Field(
        default=None, description="One attempt at a stream, until its first output"
    )
    attempt_timeout_s: Seconds | None = Field(
        default=None, description="One attempt, or until a stream's first output"
    )
    connect_timeout_s: Seconds | None = Field(
        default=None, description="Until a connection is there"
    )
    idle_timeout_s: Seconds | None = Field(default=None, description="Between a stream's chunks")
    stream_timeout_s: Seconds | None = Field(default=None, description="A whole stream")
    response_cache: ResponseCacheEntry | None = Field(
        default=None, description="Answers kept for equal requests; true, or how"
    )


@dataclass(frozen=True, slots=True)
class EffectivePolicies:
    """The policies in force; `levels` holds by policy the level where it is written."""

    retry: RetryConfig
    circuit_breaker: CircuitBreakerConfig
    rate_limit: RateLimitConfig | None
    timeout_s: float
    first_output_timeout_s: float | None
    attempt_timeout_s: float | None
    connect_timeout_s: float
    idle_timeout_s: float
    stream_timeout_s: float | None
    response_cache: ResponseCacheConfig | None
    levels: Mapping[str, Level]


def policies_for(
    top: Policies | None, provider: Policies | None = None, agent: Policies | None = None
) -> EffectivePolicies:
    """Return the policies in force: for each key the agent's, else the provider's, else the top's.

    A `retry` at the agent replaces the whole `retry` of the provider; fields are not mixed.
    `timeout_s` is the call's, the agent's or else the top's: a provider's bounds its own part.
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
            if level == "provider" and name == "timeout_s":
                continue
            if value is not None:
                values[name], levels[name] = value, level
    return EffectivePolicies(**values, levels=levels)


_DEFAULTS: Mapping[str, Any] = {
    "retry": RetryConfig(),
    "circuit_breaker": CircuitBreakerConfig(),
    "rate_limit": None,
    "timeout_s": DEFAULT_TIMEOUT_S,
    "first_output_timeout_s": None,
    "attempt_timeout_s": None,
    "connect_timeout_s": DEFAULT_CONNECT_TIMEOUT_S,
    "idle_timeout_s": DEFAULT_IDLE_TIMEOUT_S,
    "stream_timeout_s": None,
    "response_cache": None,
}


class BudgetMatch(Model):
    """The calls that a budget counts: those that have all that is written here."""

    provider: Text | None = Field(default=None, description="Of this provider")
    agent: Text | None = Field(default=None, description="Of this agent")
    model: Text | None = Field(default=None, description="Of this model")
    label: dict[str, str] = Field(default_factory=dict, description="Labels of a scope")


class StepDownConfig(Model):
    """From a share of a budget on, its calls go to this target, or these targets, first."""

    at: Share = Field(description="The share of the limit, as 0.7")
    provider: Text | None = Field(default=None, description="Where calls go then")
    model: Text | None = Field(default=None, description="Unwritten: the provider's default_model")
    agent: Text | None = Field(
        default=None, description="In place of a provider: to the targets of this agent"
    )

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if (self.provider is None) == (self.agent is None):
            refuse([((), "expected provider or agent")])
        if self.model is not None and self.provider is None:
            refuse([(("model",), "only beside provider")])
        return self


def _share(share: float) -> float:
    if share > _LARGEST_SHARE:
        raise ValueError("expected a share of the limit; 0.8 is 80 %")
    return share


class BudgetConfig(Model):
    """A limit on money, tokens or calls. Without `match` it counts every call.

    With `per` it holds for every value of a label by itself, `ever` where no period is written.
    """

    name: Text = Field(description="Told in refusals, events and metrics")
    match: BudgetMatch = BudgetMatch()
    per: LabelAxis | None = Field(
        default=None, description="label:NAME: a budget for every value of that label by itself"
    )
    limit_usd: Usd | None = Field(default=None, description="What may be spent in a period")
    limit_tokens: Count | None = Field(default=None, description="Input and output in a period")
    limit_calls: Count | None = Field(default=None, description="Calls in a period")
    period: Period | None = Field(
        default=None,
        description="Calendar, UTC; rolling_24h looks back; ever: one that does not end",
    )
    keep_days: Count | None = Field(
        default=None, description="With per and ever: how long after its last use; 7"
    )
    mode: Literal["hard", "warn"] = Field(default="hard", description="hard: refuses calls")
    alert_at: tuple[Annotated[Positive, AfterValidator(_share)], ...] = Field(
        default=(), description="Shares of the limit, as 0.8"
    )
    on_unpriced: Literal["block", "warn", "allow"] = Field(
        default="block", description="What to do with a call whose price nobody knows"
    )
    fit_output: Flag = Field(
        default=False, description="Lower a call's max_tokens to what is left, in place of refusal"
    )

    step_down: tuple[StepDownConfig, ...] = Field(
        default=(), description="Where its calls go first, from which share on"
    )

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if (self.limit_usd, self.limit_tokens, self.limit_calls) == (None, None, None):
            refuse([((), "expected limit_usd, limit_tokens or limit_calls")])
        if self.period is None and self.per is None:
            refuse([(("period",), "missing")])
        if self.keep_days is not None and (self.per is None or self.period not in (None, "ever")):
            refuse([(("keep_days",), "only for a budget with per, whose period is ever")])
        for index, (step, following) in enumerate(pairwise(self.step_down), 1):
            if following.at <= step.at:
                refuse([(("step_down", index, "at"), "expected more than at the step before")])
        return self


def _known_database(url: SecretStr) -> SecretStr:
    scheme, _, place = url.get_secret_value().partition("://")
    kind = scheme.partition("+")[0]
    if kind not in {"sqlite", "postgresql", "postgres"}:
        raise ValueError("expected sqlite:///path or postgresql://host/database")
    file = place.partition("?")[0].partition("/")
    if kind == "sqlite" and (file[0] or file[2] in {"", ":memory:"}):
        raise ValueError("names no file; write sqlite:///path, with three slashes")
    return url


class LedgerConfig(Model):
    """Where usage is booked; in memory where there is no `url`.

    `url` may hold a password. A relative SQLite path has been resolved from the
    configuration's folder. `keep_days` None keeps all. What is booked with `durability: process`
    survives the process, with `power` also a power cut.
    """

    url: Annotated[SecretStr, Field(min_length=1), AfterValidator(_known_database)] | None = Field(
        default=None, description="sqlite:///path or postgresql://user:password@host/database"
    )
    keep_days: Count | None = Field(
        default=None, description="How long single records stay; daily sums stay for good"
    )
    durability: Literal["process", "power"] = Field(
        default="process", description="What a booking survives: the process, or a power cut too"
    )


def _reachable(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    problem = address_problem(text)
    if problem is not None:
        raise ValueError(problem.partition(";")[0])
    if exposure(text) == "public":
        raise ValueError("expected https: others could read what goes there in clear")
    return url


def _signing(secret: SecretStr) -> SecretStr:
    secret_bytes(secret.get_secret_value())
    return secret


class WebhookConfig(Model):
    """Where alerts are sent, signed as the Standard Webhooks specification says."""

    url: Annotated[SecretStr, Field(min_length=1), AfterValidator(_reachable)] = Field(
        description="https, or http within this machine or a private network"
    )
    secret: Annotated[SecretStr, Field(min_length=1), AfterValidator(_signing)] = Field(
        description="whsec_ and 24 to 64 bytes in base64; the receiver has the same"
    )


class AlertsConfig(Model):
    """Thresholds of alert events, and where they are sent beside the log and the handlers."""

    error_rate: Share | None = Field(default=None, description="Share of failed calls, as 0.1")
    slow_s: Seconds | None = Field(default=None, description="A call that takes as long is told")
    daily_cost_usd: Usd | None = Field(default=None, description="Of all calls of a day, UTC")
    forecast_usd: Usd | None = Field(
        default=None, description="Of all calls of a month, as it is forecast"
    )
    webhook: WebhookConfig | None = Field(default=None, description="Told of every alert")


class TaskConfig(Model):
    """A task that a host names in place of an agent: who does it, and with which priority."""

    agent: Text = Field(description="A name among the agents; the text alone means it")
    priority: Literal["critical", "high", "medium", "normal", "low"] = Field(
        default="normal", description="At rate limits, of calls that name none; medium: normal"
    )


def _task(value: object) -> object:
    return {"agent": value} if isinstance(value, str) else value


TaskEntry: TypeAlias = Annotated[
    TaskConfig, BeforeValidator(_task, json_schema_input_type=str | TaskConfig)
]


class Settings(Policies):
    """The top level of a configuration: policies, and keys that stand nowhere else."""

    default_provider: Text | None = Field(
        default=None, description="The provider of agents that name none"
    )
    tasks: dict[str, TaskEntry] = Field(
        default_factory=dict, description="Tasks by name, each an agent's"
    )
    models: dict[str, ModelAlias] = Field(
        default_factory=dict,
        description="Names for models; `claude-*` is every name that begins so",
    )
    budgets: tuple[BudgetConfig, ...] = ()
    ledger: LedgerConfig | None = None
    alerts: AlertsConfig | None = None
    health_check_interval_s: Seconds | None = Field(
        default=None, description="Between the checks of a monitor; unwritten: 30"
    )
