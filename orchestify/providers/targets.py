"""From the configuration to targets: a provider and a model with the policies in force."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pydantic import SecretStr

from orchestify.calls.request import Defaults, is_off, thinking_of
from orchestify.calls.runtime import LimiterKey, Runtime
from orchestify.calls.target import Target
from orchestify.core.agents import AgentConfig, ThinkingBudget
from orchestify.core.config import Config
from orchestify.core.policies import EffectivePolicies, Policies, RateLimitConfig, policies_for
from orchestify.core.providers import ProviderConfig
from orchestify.lanes.lane import DEFAULT_URLS, Lane
from orchestify.policy.breaker import BreakerSettings
from orchestify.policy.rate_limit import Limiter, RateLimiter
from orchestify.policy.retry import RetryPolicy

NO_AGENT = AgentConfig()
_SALT = secrets.token_bytes(16)  # a digest means nothing outside this process


def target_of(
    runtime: Runtime,
    lane: Lane,
    provider_id: str,
    provider_type: str,
    config: ProviderConfig,
    *,
    model: str | None = None,
    weight: float | None = None,
    agent_id: str = "",
    agent: AgentConfig = NO_AGENT,
    top: Policies | None = None,
    keyed_lanes: Sequence[tuple[SecretStr, Lane]] = (),
) -> Target:
    """Return the target that an agent, or a caller without one, reaches at a provider.

    `keyed_lanes` has what sends with each of the provider's `api_keys`.
    """
    policies = policies_for(top, config, agent)
    chosen = config.full_model(model or config.default_model or config.type)
    base_url = config.base_url or DEFAULT_URLS.get(config.type)
    target = Target(
        lane=lane,
        provider_id=provider_id,
        model=chosen,
        provider_type=provider_type,
        endpoint=runtime.prices.model_map.provider_of(config.type, chosen, config.base_url),
        base_url=None if config.engine == "mock" else base_url,
        defaults=_defaults(config, agent, policies),
        retry=RetryPolicy(**dict(policies.retry)),
        breaker=BreakerSettings(**dict(policies.circuit_breaker)),
        limiters=_limiters(runtime, provider_id, config, agent_id, agent, top),
        credential=_digest(config.api_key),
        key=key_fingerprint(config.api_key),
        rate_limit=policies_for(top, config).rate_limit,
        options=config.options,
        weight=1.0 if weight is None else float(weight),
        response_cache=runtime.caches.of(policies.response_cache),
    )
    keys = tuple(
        replace(target, lane=lane, credential=_digest(key), key=key_fingerprint(key))
        for key, lane in keyed_lanes
    )
    if len(keys) < 2:
        return keys[0] if keys else target
    return replace(
        target,
        keys=tuple(replace(each, is_of_pool=True) for each in keys),
        spread=config.spread,
        sticky_by=(config.sticky_by or "").removeprefix("label:"),
    )


def limiter_keys(config: Config) -> set[LimiterKey]:
    """Return the keys of the limiters that the configured providers and agents have."""
    top = config.providers.settings
    limits = [
        *(
            ("provider", name, policies_for(top, each).rate_limit)
            for name, each in config.providers.enabled.items()
        ),
        *(("agent", name, each.rate_limit) for name, each in config.agents.agents.items()),
    ]
    return {(kind, name, repr(limit)) for kind, name, limit in limits if limit is not None}


def key_fingerprint(key: SecretStr | None) -> str:
    """Return what tells a key from others in reports, the same everywhere; "" without a key.

    12 hexadecimal digits of a hash: nothing of the key can be read from them.
    """
    if key is None:
        return ""
    text = key.get_secret_value().encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=6, person=b"orchestify-key").hexdigest()


def _defaults(config: ProviderConfig, agent: AgentConfig, policies: EffectivePolicies) -> Defaults:
    thinking = agent.thinking
    given = thinking.model_dump() if isinstance(thinking, ThinkingBudget) else thinking
    return Defaults(
        temperature=agent.temperature,
        max_tokens=agent.max_tokens or config.max_tokens,
        top_p=agent.top_p,
        stop=agent.stop,
        thinking=thinking_of(given),
        thinking_off=is_off(given),
        cache=agent.cache,
        timeout_s=policies.timeout_s,
        provider_timeout_s=config.timeout_s,
        first_output_timeout_s=policies.first_output_timeout_s,
        attempt_timeout_s=policies.attempt_timeout_s,
        connect_timeout_s=policies.connect_timeout_s,
        idle_timeout_s=policies.idle_timeout_s,
        stream_timeout_s=policies.stream_timeout_s,
    )


def _digest(key: SecretStr | None) -> str:
    """Return what stands for a key wherever something is remembered by it."""
    if key is None:
        return ""
    text = key.get_secret_value().encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=8, key=_SALT).hexdigest()


def _limiters(
    runtime: Runtime,
    provider_id: str,
    config: ProviderConfig,
    agent_id: str,
    agent: AgentConfig,
    top: Policies | None,
) -> tuple[Limiter, ...]:
    """The limiters a call passes: its provider's and its agent's.

    An agent's limit holds beside its provider's: both are bounds.
    """
    limiters = []
    for key, limit in (
        (("provider", provider_id), policies_for(top, config).rate_limit),
        (("agent", agent_id), agent.rate_limit),
    ):
        if limit is not None:
            runtime.estimates |= bool(limit.tokens_per_minute or limit.tokens_per_day)
            known_as = (*key, repr(limit))
            make = partial(_limiter, runtime, known_as, limit)
            limiters.append(runtime.limiter(known_as, make))
    return tuple(limiters)


def _limiter(runtime: Runtime, key: LimiterKey, limit: RateLimitConfig) -> Limiter:
    if runtime.make_limiter is not None:
        return runtime.make_limiter(key, limit)
    return RateLimiter(**dict(limit), clock=runtime.clock)
