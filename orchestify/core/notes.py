"""What a configuration may say, and what is still worth telling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from orchestify.core.agents import AgentConfig
from orchestify.core.endpoints import exposure
from orchestify.core.policies import Policies
from orchestify.core.problems import Path, Problem, in_file_order
from orchestify.core.providers import ProviderConfig

if TYPE_CHECKING:
    from orchestify.core.config import Config

# keys that are read and checked and do not act yet, at whatever level they stand
NOT_YET = (
    "retry",
    "circuit_breaker",
    "rate_limit",
    "budgets",
    "ledger",
    "alerts",
    "strategy",
    "fallback",
)

_IN_THE_CLEAR = "the key goes over plain http, and whoever is on the network can read it"


def notes(config: Config) -> tuple[str, ...]:
    """Return one line for each thing that is allowed but worth telling, in file order."""
    found = [_note(config, path, what) for path, what in _found(config)]
    return tuple(in_file_order(found, config.files))


def _found(config: Config) -> Iterator[tuple[Path, str]]:
    yield from _not_yet((), config)
    for name, provider in config.providers.providers.items():
        yield from _not_yet(("providers", name), provider)
        if provider.sends_key and _is_exposed(provider):
            yield ("providers", name, "base_url"), _IN_THE_CLEAR
    for name, agent in config.agents.agents.items():
        yield from _not_yet(("agents", name), agent)
        if agent.api_key is not None and _is_exposed(_provider_of(config, agent)):
            yield ("agents", name, "api_key"), _IN_THE_CLEAR


def _not_yet(path: Path, level: Policies) -> Iterable[tuple[Path, str]]:
    written = level.model_fields_set
    return [((*path, key), "does not act yet") for key in NOT_YET if key in written]


def _is_exposed(provider: ProviderConfig | None) -> bool:
    return provider is not None and exposure(provider.base_url) != "none"


def _provider_of(config: Config, agent: AgentConfig) -> ProviderConfig | None:
    return config.providers.providers.get(agent.provider or config.default_provider or "")


def _note(config: Config, path: Path, what: str) -> Problem:
    origin = config.origin(path)
    if origin is None:
        return Problem("configuration", path, what)
    return Problem(origin.file, path, what, origin.line, origin.column)
