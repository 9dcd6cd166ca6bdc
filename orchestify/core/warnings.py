"""Warnings: what is allowed in a configuration and deserves a note in `check`."""

from __future__ import annotations

from collections.abc import Iterator

from orchestify.core.addresses import exposure
from orchestify.core.agents import AgentConfig
from orchestify.core.chains import ChainEntry, chain_of
from orchestify.core.config import Config
from orchestify.core.policies import Policies
from orchestify.core.problems import KeyPath, Problem, in_file_order
from orchestify.core.providers import ProviderConfig

_IN_THE_CLEAR = "the key goes over plain http, and whoever is on the network can read it"


def config_warnings(config: Config) -> tuple[str, ...]:
    """Return one line for each warning, in file order."""
    found = [warning_at(config, path, what) for path, what in _found(config)]
    found += [
        Problem(file, (), f"not read; the name is {name}") for file, name in config.misnamed.items()
    ]
    return tuple(in_file_order(found, config.files))


def _found(config: Config) -> Iterator[tuple[KeyPath, str]]:
    for name, provider in config.providers.providers.items():
        if provider.off_reason and provider.enabled == "auto" and not _is_written(config, name):
            yield ("providers", name), f"{provider.off_reason}; no agent uses it, so it is off"
        if provider.sends_key and _is_exposed(provider):
            yield ("providers", name, "base_url"), _IN_THE_CLEAR
        if lacks_key(provider):
            yield ("providers", name), "no api_key; the provider will refuse every call"
    yield from _cache_places(config)
    yield from _lost_names(config)
    for name, agent in config.agents.agents.items():
        for index, entry in enumerate(chain_of(config, name, agent)[1:]):
            limit = _refused_above(config, entry, agent.temperature) if agent.enabled else None
            if limit is not None:
                what = f"{entry.provider} takes a temperature of at most {limit:g}"
                yield ("agents", name, "fallback", index), f"{what} and will refuse this agent's"
        if agent.api_key is not None and _is_exposed(_provider_of(config, agent)):
            yield ("agents", name, "api_key"), _IN_THE_CLEAR


def _cache_places(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield the response caches that are elsewhere than they say, outside the service."""
    levels: list[tuple[KeyPath, Policies]] = [((), config)]
    levels += [(("providers", name), each) for name, each in config.providers.providers.items()]
    levels += [(("agents", name), each) for name, each in config.agents.agents.items()]
    has_database = config.ledger is not None and config.ledger.url is not None
    for path, each in levels:
        cache = each.response_cache
        if cache is None or not cache.enabled:
            continue
        if cache.at == "ledger" and not has_database:
            what = "the ledger is in memory, so these answers are, too, but in the service"
            yield (*path, "response_cache", "at"), what
        if cache.at == "redis" and cache.url is None:
            what = "no url; only the service has a Redis of its own, elsewhere it is needed"
            yield (*path, "response_cache", "at"), what


def _lost_names(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield the names of models whose provider is off."""
    off = config.providers.off
    for alias, named in config.models.items():
        if named.provider in off:
            what = f"{named.provider} is off ({off[named.provider]}), so this name leads nowhere"
            yield ("models", alias, "provider"), what


def _refused_above(config: Config, entry: ChainEntry, temperature: float | None) -> float | None:
    """Return the provider's highest temperature where the agent's is higher, else None."""
    provider = config.providers.providers.get(entry.provider)
    if provider is None or not provider.is_enabled:
        return None
    limit = provider.max_temperature(entry.model)
    return limit if limit is not None and (temperature or 0.0) > limit else None


def _is_exposed(provider: ProviderConfig | None) -> bool:
    return provider is not None and exposure(provider.base_url) != "none"


def lacks_key(provider: ProviderConfig) -> bool:
    """Whether a provider goes to its company's own address, which wants a key, without one."""
    company = provider.company
    direct = provider.engine in {None, "direct"} and provider.type in {"anthropic", "openai"}
    wants = "api_key" in company.wants if company else direct
    own = provider.base_url == (company.base_url if company else None)
    return wants and own and provider.is_enabled and not provider.sends_key


def _is_written(config: Config, name: str) -> bool:
    """Whether `enabled` stands in the file; else an unset variable has turned the provider off."""
    return config.origin(("providers", name, "enabled")) is not None


def _provider_of(config: Config, agent: AgentConfig) -> ProviderConfig | None:
    return config.providers.providers.get(agent.provider or config.default_provider or "")


def warning_at(config: Config, path: KeyPath, what: str) -> Problem:
    """Return a warning about a key, at its place or at the innermost written key around it."""
    for depth in range(len(path), 0, -1):
        origin = config.origin(path[:depth])
        if origin is not None:
            return Problem(origin.file, path, what, origin.line, origin.column)
    return Problem("configuration", path, what)
