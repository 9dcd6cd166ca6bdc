"""Warnings: what is allowed in a configuration and deserves a note in `check`."""

from __future__ import annotations

from collections.abc import Iterator

from orchestify.core.addresses import exposure
from orchestify.core.agents import AgentConfig
from orchestify.core.config import Config
from orchestify.core.problems import KeyPath, Problem, in_file_order
from orchestify.core.providers import ProviderConfig

_IN_THE_CLEAR = "the key goes over plain http, and whoever is on the network can read it"


def config_warnings(config: Config) -> tuple[str, ...]:
    """Return one line for each thing that is allowed but worth telling, in file order."""
    found = [_problem_at(config, path, what) for path, what in _found(config)]
    found += [
        Problem(file, (), f"not read; the name is {name}") for file, name in config.misnamed.items()
    ]
    return tuple(in_file_order(found, config.files))


def _found(config: Config) -> Iterator[tuple[KeyPath, str]]:
    for name, provider in config.providers.providers.items():
        if provider.sends_key and _is_exposed(provider):
            yield ("providers", name, "base_url"), _IN_THE_CLEAR
        if _lacks_key(provider):
            yield ("providers", name), "no api_key; the provider will refuse every call"
    for name, agent in config.agents.agents.items():
        if agent.api_key is not None and _is_exposed(_provider_of(config, agent)):
            yield ("agents", name, "api_key"), _IN_THE_CLEAR


def _is_exposed(provider: ProviderConfig | None) -> bool:
    return provider is not None and exposure(provider.base_url) != "none"


def _lacks_key(provider: ProviderConfig) -> bool:
    """Whether a provider goes to its company's own address, which wants a key, without one."""
    direct = provider.engine in {None, "direct"} and provider.type in {"anthropic", "openai"}
    return direct and provider.is_enabled and provider.base_url is None and not provider.sends_key


def _provider_of(config: Config, agent: AgentConfig) -> ProviderConfig | None:
    return config.providers.providers.get(agent.provider or config.default_provider or "")


def _problem_at(config: Config, path: KeyPath, what: str) -> Problem:
    origin = config.origin(path)
    if origin is None:
        return Problem("configuration", path, what)
    return Problem(origin.file, path, what, origin.line, origin.column)
