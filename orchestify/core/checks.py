"""What one part of a configuration says of another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from orchestify.core.agents import AgentConfig
from orchestify.core.endpoints import exposure
from orchestify.core.problems import did_you_mean
from orchestify.core.providers import PLAIN_HTTP, ProviderConfig
from orchestify.core.settings import Settings
from orchestify.core.validation import Found


def cross_checks(
    settings: Settings,
    providers: Mapping[str, ProviderConfig],
    agents: Mapping[str, AgentConfig],
    known: Mapping[str, Collection[str]],
) -> Iterator[Found]:
    """Iterate what is wrong between the parts.

    `known` holds all names of `providers` and of `agents` as written, also of those that are not
    valid: a reference to them is right.
    """
    names = known["providers"]
    if settings.default_provider is not None and settings.default_provider not in names:
        yield ("default_provider",), _no_such("provider", settings.default_provider, names)
    yield from _check_budgets(settings, known)
    for name, agent in agents.items():
        if agent.enabled:
            for path, what in _check_agent(agent, settings, providers, names):
                yield ("agents", name, *path), what


def _check_budgets(settings: Settings, known: Mapping[str, Collection[str]]) -> Iterator[Found]:
    seen: set[str] = set()
    for index, budget in enumerate(settings.budgets):
        if budget.name in seen:
            yield ("budgets", index, "name"), "another budget has this name"
        seen.add(budget.name)
        for kind, name in (("provider", budget.match.provider), ("agent", budget.match.agent)):
            if name is not None and name not in known[f"{kind}s"]:
                yield ("budgets", index, "match", kind), _no_such(kind, name, known[f"{kind}s"])


def _check_agent(
    agent: AgentConfig,
    settings: Settings,
    providers: Mapping[str, ProviderConfig],
    names: Collection[str],
) -> Iterator[Found]:
    own = agent.provider or settings.default_provider
    if own is None:
        yield ("provider",), "missing; name one here or as default_provider"
    elif agent.provider is not None and own not in names:
        yield ("provider",), _no_such("provider", own, names)
    elif own in providers:
        yield from _check_own(agent, providers[own])
    yield from _check_fallback(agent, own, providers, names)


def _check_own(agent: AgentConfig, provider: ProviderConfig) -> Iterator[Found]:
    if provider.off_reason is not None:
        yield ("provider",), f"this provider is off ({provider.off_reason})"
    exposed = agent.api_key is not None and exposure(provider.base_url) == "public"
    if exposed and not provider.allow_http:
        yield ("api_key",), PLAIN_HTTP


def _check_fallback(
    agent: AgentConfig,
    own: str | None,
    providers: Mapping[str, ProviderConfig],
    names: Collection[str],
) -> Iterator[Found]:
    seen = {_target(own, agent.model, providers)}
    for index, entry in enumerate(agent.fallback):
        target = _target(entry.provider, entry.model, providers)
        if entry.provider not in names:
            yield ("fallback", index), _no_such("provider", entry.provider, names)
        elif target in seen:
            yield ("fallback", index), "the same provider and model stand earlier in the chain"
        seen.add(target)


def _target(
    name: str | None, model: str | None, providers: Mapping[str, ProviderConfig]
) -> tuple[str | None, str | None]:
    provider = providers.get(name) if name is not None else None
    return name, model or (provider.default_model if provider else None)


def _no_such(kind: str, name: str, names: Collection[str]) -> str:
    return f"no such {kind}{did_you_mean(name, names)}"
