"""An agent's fallback chain: its providers and models in the order they are tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from orchestify.core.agents import AgentConfig
from orchestify.core.aliases import ANY
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
    """Return the agent's chain: its own provider, then its fallbacks, switched off or not."""
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


class ModelUse(NamedTuple):
    """A model that may be called: by an agent, or ("") as its provider's default or by an alias.

    `at` is the key path of its name, also where the name is a company's default and not written.
    """

    agent: str
    provider: str
    model: str
    at: KeyPath


def model_uses(config: Config) -> Iterator[ModelUse]:
    """Iterate what agents, aliases and providers which are on may call: first these' defaults.

    An alias whose model depends on the name that is asked for is left out.
    """
    on = {name: each for name, each in config.providers.providers.items() if each.is_enabled}
    for name, provider in on.items():
        if provider.default_model:
            default_at = ("providers", name, "default_model")
            yield ModelUse("", name, provider.default_model, default_at)
    for alias, named in config.models.items():
        if named.provider in on and ANY not in named.model:
            yield ModelUse("", named.provider, named.model, ("models", alias, "model"))
    for agent_id, agent in config.agents.agents.items():
        for entry in chain_of(config, agent_id, agent) if agent.enabled else ():
            if entry.model_at and entry.provider in on:
                yield ModelUse(agent_id, entry.provider, entry.model, entry.model_at)


def configured_models(config: Config) -> list[tuple[str, str]]:
    """Return (provider, model) of every `ModelUse` once, in the providers' order."""
    order = {name: index for index, name in enumerate(config.providers.providers)}
    found = dict.fromkeys((use.provider, use.model) for use in model_uses(config))
    return sorted(found, key=lambda each: order[each[0]])


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
