"""Checks between parts: names of providers and agents, chains, budgets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlsplit

from orchestify.core.addresses import exposure
from orchestify.core.agents import AgentConfig
from orchestify.core.aliases import alias_problems
from orchestify.core.error_messages import Finding
from orchestify.core.policies import Settings
from orchestify.core.problems import KeyPath, did_you_mean
from orchestify.core.providers import PLAIN_HTTP, ProviderConfig

_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/messages")


def cross_checks(
    settings: Settings,
    providers: Mapping[str, ProviderConfig],
    agents: Mapping[str, AgentConfig],
    known: Mapping[str, Collection[str]],
    reported: Collection[KeyPath] = (),
) -> Iterator[Finding]:
    """Iterate the mistakes between parts, but for those that follow from one at `reported`.

    `known` holds all names of `providers` and of `agents` as written, also of those that are not
    valid: a reference to them is right.
    """
    names = known["providers"]
    if settings.default_provider is not None and settings.default_provider not in names:
        yield ("default_provider",), _no_such("provider", settings.default_provider, names)
    yield from alias_problems(settings.models)
    for alias, each in settings.models.items():
        if each.provider not in names:
            yield ("models", alias, "provider"), _no_such("provider", each.provider, names)
    yield from _check_budgets(settings, known)
    yield from check_names(agents, names)
    default = settings.default_provider
    lacks_default = default is None and not any(_may_be_default_provider(path) for path in reported)
    for name, agent in agents.items():
        here: KeyPath = ("agents", name)
        own = agent.provider or default
        if not agent.enabled:
            continue
        if own is None and lacks_default and (*here, "provider") not in reported:
            yield (*here, "provider"), "missing; name one here or as default_provider"
        for path, what in _check_chain(agent, own, providers, names):
            yield (*here, *path), what


def check_names(agents: Mapping[str, AgentConfig], names: Collection[str]) -> Iterator[Finding]:
    """Iterate which providers the agents name are not among `names`, those of all providers."""
    for name, agent in agents.items():
        for path, provider in _named_by(agent) if agent.enabled else ():
            if provider not in names:
                yield ("agents", name, *path), _no_such("provider", provider, names)


def check_sendable(
    providers: Mapping[str, ProviderConfig],
    agents: Mapping[str, AgentConfig],
    default_provider: str | None,
) -> Iterator[Finding]:
    """Iterate what every call would be refused for: an address too long, a temperature too high."""
    for name, provider in providers.items():
        what = _endpoint_problem(provider)
        if what is not None:
            yield ("providers", name, "base_url"), what
    for name, agent in agents.items():
        own = providers.get(agent.provider or default_provider or "")
        if own is None or agent.temperature is None or not agent.enabled:
            continue
        limit = own.max_temperature(agent.model or own.default_model or "")
        if limit is not None and agent.temperature > limit:
            what = f"expected at most {limit:g}, the most that this provider takes"
            yield ("agents", name, "temperature"), what


def _endpoint_problem(provider: ProviderConfig) -> str | None:
    """Say that an address ends in a path which the lane itself adds to it, or None."""
    path = urlsplit(provider.base_url or "").path.rstrip("/")
    end = next((each for each in _ENDPOINTS if path.endswith(each)), None)
    if end is None or provider.type not in {"openai", "anthropic"}:
        return None
    return f"the address goes too far; leave out {end}, which is added to each request"


def _named_by(agent: AgentConfig) -> Iterator[Finding]:
    if agent.provider is not None:
        yield ("provider",), agent.provider
    yield from ((("fallback", index), each.provider) for index, each in enumerate(agent.fallback))


def _may_be_default_provider(path: KeyPath) -> bool:
    """Whether a key is `default_provider`, or was meant to be."""
    return len(path) == 1 and bool(did_you_mean(path[0], ("default_provider",)))


def _check_budgets(settings: Settings, known: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, budget in enumerate(settings.budgets):
        if budget.name in seen:
            yield ("budgets", index, "name"), "another budget has this name"
        seen.add(budget.name)
        for kind, name in (("provider", budget.match.provider), ("agent", budget.match.agent)):
            if name is not None and name not in known[f"{kind}s"]:
                yield ("budgets", index, "match", kind), _no_such(kind, name, known[f"{kind}s"])


def _check_chain(
    agent: AgentConfig,
    own: str | None,
    providers: Mapping[str, ProviderConfig],
    names: Collection[str],
) -> Iterator[Finding]:
    if own is not None and own in providers:
        yield from _check_own(agent, providers[own])
    seen = {_target(own, agent.model, providers)}
    for index, entry in enumerate(agent.fallback):
        target = _target(entry.provider, entry.model, providers)
        if entry.provider in names and target in seen:
            yield ("fallback", index), "the same provider and model stand earlier in the chain"
        seen.add(target)


def _check_own(agent: AgentConfig, provider: ProviderConfig) -> Iterator[Finding]:
    if provider.off_reason is not None:
        yield ("provider",), f"this provider is off ({provider.off_reason})"
    exposed = agent.api_key is not None and exposure(provider.base_url) == "public"
    if exposed and not provider.allow_http:
        yield ("api_key",), PLAIN_HTTP


def _target(
    name: str | None, model: str | None, providers: Mapping[str, ProviderConfig]
) -> tuple[str | None, str | None]:
    provider = providers.get(name) if name is not None else None
    return name, model or (provider.default_model if provider else None)


def _no_such(kind: str, name: str, names: Collection[str]) -> str:
    return f"no such {kind}{did_you_mean(name, names)}"
