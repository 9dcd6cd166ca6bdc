"""An agent's fallback chain: its providers and models in the order they are tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from orchestify.core.agents import AgentConfig
from orchestify.core.config import Config
from orchestify.core.problems import KeyPath
from orchestify.core.providers import ProviderConfig


class ChainEntry(NamedTuple):
    """One entry of an agent's chain; `model` is "" where nothing names one.

    `provider_at` and `model_at` are the key paths of what was written; None: a default holds.
    """

    provider: str
    model: str
    provider_at: KeyPath | None
    model_at: KeyPath | None


def chain_of(config: Config, agent_id: str, agent: AgentConfig) -> list[ChainEntry]:
    """Return the agent's chain: its own provider, then its fallbacks, also those that are off."""
    providers, here = config.providers.providers, ("agents", agent_id)
    if agent.provider is not None:
        own = _entry(providers, agent.provider, agent.model, here, (*here, "provider"))
    else:
        default = config.default_provider
        written = ("default_provider",) if default else None
        own = _entry(providers, default or "", agent.model, here, written)
    entries = [own]
    for index, entry in enumerate(agent.fallback):
        at = (*here, "fallback", index)
        written_at = (*at, "provider") if config.origin((*at, "provider")) else at
        entries.append(_entry(providers, entry.provider, entry.model, at, written_at))
    return entries


def configured_models(config: Config) -> list[tuple[str, str]]:
    """Return (provider, model) of all that agents and providers which are on may call.

    In the providers' order; a provider's default model comes first.
    """
    providers = config.providers.providers.items()
    found: dict[str, dict[str, None]] = {
        name: dict.fromkeys([each.default_model] if each.default_model else [])
        for name, each in providers
        if each.is_enabled
    }
    for name, agent in config.agents.agents.items():
        for entry in chain_of(config, name, agent) if agent.enabled else ():
            if entry.model and entry.provider in found:
                found[entry.provider][entry.model] = None
    return [(provider, model) for provider, models in found.items() for model in models]


def _entry(
    providers: Mapping[str, ProviderConfig],
    name: str,
    model: str | None,
    at: KeyPath,
    provider_at: KeyPath | None,
) -> ChainEntry:
    if model:
        return ChainEntry(name, model, provider_at, (*at, "model"))
    default = providers[name].default_model if name in providers else None
    model_at = ("providers", name, "default_model") if default else None
    return ChainEntry(name, default or "", provider_at, model_at)
