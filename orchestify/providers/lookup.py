"""The providers of a registry by name, and the targets and routes that lead to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pydantic import SecretStr

from orchestify.calls.route import Route
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.core.agents import AgentConfig
from orchestify.core.config import Config
from orchestify.core.providers import ProviderConfig, ProvidersConfig
from orchestify.errors import (
    AgentNotFoundError,
    ConfigError,
    InvalidParameterError,
    ProviderNotFoundError,
)
from orchestify.lanes.lane import Lane
from orchestify.models.price_book import PriceBook
from orchestify.policy.strategy import Strategy
from orchestify.providers.base import LLMProvider
from orchestify.providers.building import provider_of, providers_of
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.external import ExternalLane
from orchestify.providers.routed import RoutedProvider
from orchestify.providers.shared import NOTHING_SHARED, SharedParts
from orchestify.providers.targets import NO_AGENT, target_of
from orchestify.resources.bounded import bounded_setdefault
from orchestify.values import NOTHING, Priority

if TYPE_CHECKING:
    from orchestify.tools.functions import FunctionTool

FALLBACK_ERRORS = {
    "content_filter": "ContentFilterError",
    "invalid_request": "InvalidRequestError",
}
DEFAULT_ORDER = ("azure", "openai", "anthropic", "deepseek", "ollama")
EXTERNAL = ProviderConfig(type="external")


class ProviderLookup:
    """Finds providers by name, and makes targets and routes of them.

    `providers` holds those that were configured or registered, by name in that order; `off`
    says why others are not to be had. `functions` are the registered tools, by name.
    """

    def __init__(
        self,
        runtime: Runtime,
        config: ProvidersConfig,
        shared: SharedParts = NOTHING_SHARED,
        agents: Mapping[str, AgentConfig] = NOTHING,
    ) -> None:
        self.runtime = runtime
        self._shared = shared
        self._agents = agents
        self.settings = config.settings
        self.off = dict(config.off)
        self.providers: dict[str, LLMProvider] = {}
        self.functions: dict[str, FunctionTool] = {}
        self._external: dict[str, Lane] = {}  # of the hosts' own providers
        self._routed: dict[str, RoutedProvider] = {}
        self._keyed: dict[tuple[str, str], ConfiguredProvider] = {}
        self._in_code: set[str] = set()  # registered by the host, not configured
        self._named: dict[tuple[str, str | None, str], tuple[AgentConfig, Target]] = {}
        self._written = config.enabled
        self._configs = dict(self._written)
        for name, each in self._written.items():
            if each.type != "external":
                self._add(name, provider_of(name, each, shared))

    @property
    def sends(self) -> bool:
        """Whether requests leave the process; they do not where a recording answers."""
        return self._shared.sends

    def register(self, provider_id: str, provider: LLMProvider) -> None:
        """Register a provider; its calls take this registry's path from now on.

        Raises:
            InvalidParameterError: it is no provider, or defines none of the methods it needs; or
                its calls are another registry's, or another name's, already.
        """
        if not isinstance(provider, LLMProvider):
            raise InvalidParameterError(f"{type(provider).__name__} is no LLMProvider")
        if not isinstance(provider_id, str) or not provider_id:
            raise InvalidParameterError(
                "a provider is registered by a name, a text that is not empty"
            )
        self._check_free(provider_id, provider)
        self._in_code.add(provider_id)
        if isinstance(provider, ConfiguredProvider):
            provider.send_by(partial(self._shared.lane, provider_id, config=provider.config))
        self._add(provider_id, provider)

    def holds(self, provider: LLMProvider) -> bool:
        """Whether calls of the provider are this registry's now."""
        return not self.runtime.is_closed and any(
            each is provider for each in self.providers.values()
        )

    def made(self, config: Config) -> dict[str, ConfiguredProvider]:
        """Return the providers of another configuration; those that stay as they are, themselves.

        Nothing changes by that. What the host registered in code is not among them.

        Raises:
            ConfigError: providers cannot be built.
        """
        known = {
            name: each
            for name, each in self.providers.items()
            if isinstance(each, ConfiguredProvider) and name not in self._in_code
        }
        made = providers_of(config, self._shared, known)
        return {name: each for name, each in made.items() if name not in self._in_code}

    def change(
        self, config: Config, made: Mapping[str, ConfiguredProvider]
    ) -> tuple[set[str], list[ConfiguredProvider]]:
        """Put another configuration in force, with the providers `made` for it.

        Return the names whose provider is another now, and the providers that are no more. What
        the host registered in code stays. Objects that callers hold find what is in force now.
        """
        before, keyed, configured = self.providers, self._keyed, self._configs
        is_same_top = self.settings == config.providers.settings
        own = {name: each for name, each in before.items() if name in self._in_code}
        self.settings, self._agents = config.providers.settings, config.agents.agents
        self.off = {name: why for name, why in config.providers.off.items() if name not in own}
        self._written = config.providers.enabled
        providers: dict[str, LLMProvider] = {**made, **own}
        configs = {name: self._config_of(name, each) for name, each in providers.items()}
        self._configs = self._written | configs
        self.providers = providers
        self._keyed = {at: each for at, each in keyed.items() if self._is_in_force(*at, each)}
        self.runtime.prices = PriceBook.of(self._configs)
        for name, provider in providers.items():
            is_same = before.get(name) is provider and configured.get(name) == configs[name]
            if not (is_same_top and is_same):
                self._join(name, provider)
        self._named = {}  # last: what another thread made meanwhile goes as well
        names = before.keys() | providers.keys()
        kept = {id(each) for each in (*providers.values(), *self._keyed.values())}
        over = [
            each
            for each in (*before.values(), *keyed.values())
            if isinstance(each, ConfiguredProvider) and id(each) not in kept
        ]
        return {name for name in names if before.get(name) is not providers.get(name)}, over

    def _add(self, provider_id: str, provider: LLMProvider) -> None:
        self.off.pop(provider_id, None)
        config = self._config_of(provider_id, provider)
        self._configs[provider_id] = config
        self.runtime.prices.configure({provider_id: config})
        self._routed.pop(provider_id, None)
        if isinstance(provider, ConfiguredProvider):
            provider.provider_id = provider_id
        else:
            lane = ExternalLane(provider_id, provider)
            self._external[provider_id] = self._shared.lane(provider_id, lane, config)
            provider.provider_id = provider.provider_id or provider_id
        self.providers[provider_id] = provider
        self._join(provider_id, provider)
        self._named = {}

    def _check_free(self, provider_id: str, provider: LLMProvider) -> None:
        """Refuse a provider whose calls are booked elsewhere, which would end."""
        what, holder = f"the {type(provider).__name__} for {provider_id!r}", provider.holder
        if isinstance(provider, RoutedProvider):
            raise InvalidParameterError(
                f"{what} is what a registry returned; register the provider that it leads to"
            )
        if holder is not None and holder is not self and holder.holds(provider):
            raise InvalidParameterError(
                f"{what} is registered in another registry, which would book its calls no more; "
                "make one for each registry, or close the other first"
            )
        names = [name for name, each in self.providers.items() if each is provider]
        if isinstance(provider, ConfiguredProvider) and names not in ([], [provider_id]):
            raise InvalidParameterError(
                f"{what} is registered as {names[0]!r}, which would lose its calls; make another"
            )

    def _join(self, provider_id: str, provider: LLMProvider) -> None:
        """Let a provider's own calls take the way that its configuration says."""
        target = self.target(provider_id)
        provider.holder = self
        if isinstance(provider, ConfiguredProvider):
            provider.join(self.route([target]), self.functions)
        else:
            routed = self._routed[provider_id] = self.routed([target])
            provider.join(routed.route, self.functions)

    def _config_of(self, provider_id: str, provider: LLMProvider) -> ProviderConfig:
        """The configuration of a provider that is there: its own, but for a host's class."""
        config = provider.config
        if isinstance(provider, ConfiguredProvider):
            return provider.config
        known = self._written.get(provider_id)
        return known or (config if isinstance(config, ProviderConfig) else EXTERNAL)

    def _is_in_force(self, provider_id: str, agent_id: str, keyed: ConfiguredProvider) -> bool:
        """Whether the agent still calls the provider with the key of its own that is in `keyed`."""
        agent, provider = self._agents.get(agent_id), self.providers.get(provider_id)
        if agent is None or agent.api_key is None or not isinstance(provider, ConfiguredProvider):
            return False
        is_own = provider_id == (agent.provider or self.settings.default_provider)
        return is_own and keyed.config == provider.config.with_key(agent.api_key)

    def provider(self, provider_id: str) -> LLMProvider:
        """Return what callers get for a name: the provider, or what stands before a host's own.

        Raises:
            ProviderNotFoundError: no such provider, or it is off.
        """
        provider = self._find(provider_id)
        return self._routed.get(provider_id, provider)

    def target(
        self,
        provider_id: str,
        model: str | None = None,
        *,
        agent_id: str = "",
        agent: AgentConfig = NO_AGENT,
        weight: float | None = None,
    ) -> Target:
        """Return a provider as a target, with the policies of the agent in force there.

        Raises:
            ProviderNotFoundError: no such provider, or it is off.
        """
        provider = self._provider_for(provider_id, agent_id, agent)
        keyed_lanes: tuple[tuple[SecretStr, Lane], ...] = ()
        if isinstance(provider, ConfiguredProvider):
            lane, config, keyed_lanes = provider.lane, provider.config, provider.keyed_lanes
        else:
            lane, config = self._external[provider_id], self._configs[provider_id]
        return target_of(
            self.runtime,
            lane,
            provider_id,
            provider.provider_type,
            config,
            model=model,
            weight=weight,
            agent_id=agent_id,
            agent=agent,
            top=self.settings,
            keyed_lanes=keyed_lanes,
        )

    def named_target(
        self,
        provider_id: str,
        model: str | None = None,
        *,
        agent_id: str = "",
        agent: AgentConfig = NO_AGENT,
    ) -> Target:
        """Return the target that a caller names, as `target` does: made once, not for each call."""
        named, key = self._named, (provider_id, model, agent_id)
        known = named.get(key)
        if known is None or known[0] is not agent:
            known = agent, self.target(provider_id, model, agent_id=agent_id, agent=agent)
            named.pop(key, None)
            bounded_setdefault(named, key, known)
        return known[1]

    def full_model(self, provider_id: str, model: str) -> str:
        """Return a model's name as a provider's lane takes it."""
        return self._configs[provider_id].full_model(model)

    def listed(self) -> dict[str, frozenset[str]]:
        """Return by provider the models that it listed when it was last asked."""
        return {
            name: each.listed
            for name, each in self.providers.items()
            if isinstance(each, ConfiguredProvider)
        }

    def route(self, targets: Sequence[Target]) -> Route:
        """Return a route over targets, for callers that are no agent."""
        return Route(self.runtime, targets, resolve=self.named_target, chain_of=self.chain_of)

    def routed(self, targets: Sequence[Target]) -> RoutedProvider:
        """Return a provider over targets, for callers that are no agent."""
        return self._joined(self.route(targets), self.providers[targets[0].provider_id])

    def agent_provider(
        self, agent_id: str, agent: AgentConfig, priority: Priority = "normal"
    ) -> RoutedProvider:
        """Return an agent's chain; targets that are off are left out.

        Its calls have this `priority` at rate limits, where they name none.

        Raises:
            ProviderNotFoundError: one of its providers is not registered, or its own is off.
        """
        targets = self._targets_of(agent_id, agent)
        route = Route(
            self.runtime,
            targets,
            agent=agent_id,
            strategy=self._strategy(agent, targets),
            fallback_on=frozenset(FALLBACK_ERRORS[name] for name in agent.fallback_on),
            resolve=partial(self.named_target, agent_id=agent_id, agent=agent),
            priority=priority,
            chain_of=self.chain_of,
        )
        first = self._provider_for(targets[0].provider_id, agent_id, agent)
        return self._joined(route, first, agent.tools)

    def chain_of(self, agent_id: str) -> list[Target]:
        """Return the targets of a configured agent, with its parameters.

        Raises:
            AgentNotFoundError: no such agent is configured, or it is off.
            ProviderNotFoundError: one of its providers is not registered, or its own is off.
        """
        agent = self._agents.get(agent_id)
        if agent is None or not agent.enabled:
            known = ", ".join(name for name, each in self._agents.items() if each.enabled)
            error = AgentNotFoundError(
                f"agent {agent_id!r} is {'off' if agent else 'not configured'}; there are: "
                f"{known or 'none'}"
            )
            error.is_off = agent is not None
            raise error
        return self._targets_of(agent_id, agent)

    def batch_target(self, provider_id: str, model: str, agent_id: str) -> Target:
        """Return the target that has a batch of an agent, "" for none, as it is configured now.

        Raises:
            ProviderNotFoundError: the provider is not registered any more, or is off.
        """
        agent = self._agents.get(agent_id, NO_AGENT)
        return self.target(provider_id, model, agent_id=agent_id, agent=agent)

    def _targets_of(self, agent_id: str, agent: AgentConfig) -> list[Target]:
        first = agent.provider or self.settings.default_provider
        if first is None:
            raise ProviderNotFoundError(f"agent {agent_id!r} names no provider, and no default is")
        target = partial(self.target, agent_id=agent_id, agent=agent)
        fallback = (each for each in agent.fallback if each.provider not in self.off)
        return [
            target(first, agent.model, weight=agent.weight),
            *(target(each.provider, each.model, weight=each.weight) for each in fallback),
        ]

    def default_provider(self, preferred: str | None) -> RoutedProvider:
        """Return a chain over all providers: the preferred, then `DEFAULT_ORDER`, then the rest.

        Raises:
            ProviderNotFoundError: the preferred one is not registered, or nothing is.
        """
        first = preferred or self.settings.default_provider
        if first is not None:
            self._find(first)
        names = sorted(self.providers, key=lambda name: (name != first, self._rank(name)))
        if not names:
            raise ProviderNotFoundError("no provider is registered")
        return self.routed([self.target(name) for name in names])

    def score(self, target: Target) -> float:
        """Return how healthy a target is, from 0 to 1."""
        return self.runtime.health.score(target.provider_id, target.model)

    async def aclose(self) -> None:
        """Close all connections."""
        for provider in (*self.providers.values(), *self._keyed.values()):
            await provider.aclose()

    def _joined(
        self, route: Route, first: LLMProvider, tool_names: tuple[str, ...] = ()
    ) -> RoutedProvider:
        routed = RoutedProvider(route, first)
        routed.join(route, self.functions, tool_names)
        return routed

    def _find(self, provider_id: str) -> LLMProvider:
        provider = self.providers.get(provider_id)
        if provider is not None:
            return provider
        if provider_id in self.off:
            why = f"is off: {self.off[provider_id]}"
        elif provider_id in self._configs:
            why = "is external; register it in code first"
        else:
            why = "is not registered"
        known = ", ".join(self.providers) or "none"
        error = ProviderNotFoundError(f"provider {provider_id!r} {why}; there are: {known}")
        error.is_off = provider_id in self.off or provider_id in self._configs
        raise error

    def _provider_for(self, provider_id: str, agent_id: str, agent: AgentConfig) -> LLMProvider:
        """The provider by name; an agent with a key of its own has its own instance of its own."""
        provider = self._find(provider_id)
        if agent.api_key is None or provider_id != (
            agent.provider or self.settings.default_provider
        ):
            return provider
        if not isinstance(provider, ConfiguredProvider):
            problem = f"agents.{agent_id}.api_key: {provider_id} is external and takes no key"
            raise ConfigError(problem)
        config = provider.config.with_key(agent.api_key)
        keyed = self._keyed.get((provider_id, agent_id))
        if keyed is None or keyed.config != config:
            keyed = provider_of(provider_id, config, self._shared)
            self._keyed[provider_id, agent_id] = keyed
        return keyed

    def _strategy(self, agent: AgentConfig, targets: Sequence[Target]) -> Strategy[Target] | None:
        if agent.strategy is None or agent.strategy == "priority":
            return None
        return Strategy(
            agent.strategy,
            weights=[target.weight for target in targets],
            score=self.score,
            random=self.runtime.chance,
        )

    def _rank(self, provider_id: str) -> int:
        names = (provider_id, self.target(provider_id).endpoint)
        ranks = [DEFAULT_ORDER.index(name) for name in names if name in DEFAULT_ORDER]
        return min(ranks, default=len(DEFAULT_ORDER))
