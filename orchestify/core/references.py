"""Checks between parts: names of providers and agents, chains, budgets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from orchestify.core.addresses import exposure
from orchestify.core.agents import AgentConfig
from orchestify.core.aliases import alias_problems
from orchestify.core.error_messages import Finding
from orchestify.core.policies import Settings
from orchestify.core.problems import KeyPath, did_you_mean, dotted
from orchestify.core.providers import PLAIN_HTTP, ProviderConfig
from orchestify.core.scalars import reread

_MOST_NAMED = 10
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
    yield from _check_tasks(settings, agents, known["agents"])
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


def unused_providers(values: Mapping[str, Any]) -> frozenset[str]:
    """Return the providers, as written, that no agent which is on can reach.

    `values` are those of the files, before variables are filled in. None is unused where no agent
    is on, since a host then asks for providers by name, or where a name may hold a variable.
    """
    providers, agents = values.get("providers"), values.get("agents")
    if not isinstance(providers, Mapping) or not isinstance(agents, Mapping):
        return frozenset()
    default = values.get("default_provider")
    used: list[Any] = [default]
    on = [each for each in agents.values() if _is_on(each)]
    for agent in on:
        chain = agent.get("fallback") or ()
        used.append(agent.get("provider", default))
        used += chain if isinstance(chain, (list, tuple)) else [chain]
    names = [each.get("provider") if isinstance(each, Mapping) else each for each in used]
    plain = all(name is None or (isinstance(name, str) and name in providers) for name in names)
    return frozenset(providers).difference(names) if on and plain else frozenset()


def _is_on(agent: object) -> bool:
    return isinstance(agent, Mapping) and reread(agent.get("enabled")) is not False


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
        for number, step in enumerate(budget.step_down):
            kind, name = (
                ("provider", step.provider) if step.agent is None else ("agent", step.agent)
            )
            if name is not None and name not in known[f"{kind}s"]:
                at = ("budgets", index, "step_down", number, kind)
                yield at, _no_such(kind, name, known[f"{kind}s"])


def _check_tasks(
    settings: Settings, agents: Mapping[str, AgentConfig], names: Collection[str]
) -> Iterator[Finding]:
    for name, task in settings.tasks.items():
        agent = agents.get(task.agent)
        if task.agent not in names:
            yield ("tasks", name, "agent"), _no_such("agent", task.agent, names)
        elif agent is not None and not agent.enabled:
            yield ("tasks", name, "agent"), "this agent is off (enabled: false)"


def _check_chain(
    agent: AgentConfig,
    own: str | None,
    providers: Mapping[str, ProviderConfig],
    names: Collection[str],
) -> Iterator[Finding]:
    if own is not None and own in providers:
        yield from _check_own(agent, providers[own])
    seen = {_target(own, agent.model, providers)}
    yield from _check_model(("model",), own, agent.model, providers)
    for index, entry in enumerate(agent.fallback):
        at: KeyPath = ("fallback", index, "model")
        yield from _check_model(at, entry.provider, entry.model, providers)
        target = _target(entry.provider, entry.model, providers)
        if entry.provider in names and target in seen:
            yield ("fallback", index), "the same provider and model stand earlier in the chain"
        seen.add(target)


def _check_model(
    at: KeyPath, name: str | None, model: str | None, providers: Mapping[str, ProviderConfig]
) -> Iterator[Finding]:
    provider = providers.get(name or "")
    what = provider.model_problem(model) if provider is not None and model else None
    if what is not None:
        yield at, what


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
    """Say that nothing has a name: which is meant, or else which there are."""
    meant = did_you_mean(name, names)
    if meant or not names:
        return f"no such {kind}{meant}"
    listed = ", ".join(dotted((each,)) for each in sorted(names)[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return f"no such {kind}; there are: {listed}{more}"
