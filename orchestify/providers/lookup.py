"""The providers of a registry by name, and the targets and routes that lead to them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestify.calls.route import Route
from orchestify.calls.runtime import Runtime, Target
from orchestify.core.agents import AgentConfig
from orchestify.core.providers import ProviderConfig, ProvidersConfig
from orchestify.errors import ConfigError, InvalidParameterError, ProviderNotFoundError
from orchestify.policy.strategy import Strategy
from orchestify.providers.base import LLMProvider
from orchestify.providers.building import provider_of
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.external import ExternalProvider
from orchestify.providers.shared import ALONE, Surroundings
from orchestify.providers.targets import NO_AGENT, target_of

FALLBACK_ERRORS = {
    "content_filter": "ContentFilterError",
    "invalid_request": "InvalidRequestError",
}
DEFAULT_ORDER = ("azure", "openai", "anthropic", "deepseek", "ollama")
EXTERNAL = ProviderConfig(type="external")


class Directory:
    """Finds providers by name and makes the routes that callers get.

    `providers` holds what sends, `faces` what stands before a host's own provider, both by name
    in order of registration.
    """

    def __init__(
        self, runtime: Runtime, config: ProvidersConfig, around: Surroundings = ALONE
    ) -> None:
        self.runtime = runtime
        self._around = around
        self.settings = config.settings
        self.off = dict(config.off)
        self.providers: dict[str, LLMProvider] = {}
        self._faces: dict[str, Route] = {}
        self._keyed: dict[tuple[str, str], ConfiguredProvider] = {}
        self._configs = {name: each for name, each in config.providers.items() if each.is_enabled}
        for name, each in self._configs.items():
            if each.type != "external":
                self.register(name, provider_of(name, each, around))

    def register(self, provider_id: str, provider: LLMProvider) -> None:
        """Register a provider; its calls take this registry's path from now on.

        Raises:
            InvalidParameterError: it is no provider, or defines none of the methods it needs.
        """
        if not isinstance(provider, LLMProvider):
            raise InvalidParameterError(f"{type(provider).__name__} is no LLMProvider")
        self.off.pop(provider_id, None)
        if isinstance(provider, ConfiguredProvider):
            provider.provider_id = provider_id
            self._configs[provider_id] = provider.config
            self.runtime.prices.configure({provider_id: provider.config})
            self.providers[provider_id] = provider
            self._faces.pop(provider_id, None)
            provider.join(self.route([self.target(provider_id)]))
        else:
            self._configs.setdefault(provider_id, EXTERNAL)
            self.providers[provider_id] = ExternalProvider(provider_id, provider)
            self._faces[provider_id] = self.route([self.target(provider_id)])

    def face(self, provider_id: str) -> LLMProvider:
        """Return what callers get for a name.

        Raises:
            ProviderNotFoundError: no such provider, or it is off.
        """
        provider = self._find(provider_id)
        return self._faces.get(provider_id, provider)

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
        provider = self._find(provider_id)
        own = agent.provider or self.settings.default_provider
        if agent.api_key is not None and provider_id == own:
            provider = self._with_key(provider_id, agent_id, agent)
        return target_of(
            self.runtime,
            provider,
            self._configs[provider_id],
            model=model,
            weight=weight,
            agent_id=agent_id,
            agent=agent,
            top=self.settings,
        )

    def route(self, targets: Sequence[Target]) -> Route:
        """Return a route over targets, for callers that are no agent."""
        return Route(self.runtime, targets, resolve=self.target)

    def agent_route(self, agent_id: str, agent: AgentConfig) -> Route:
        """Return an agent's chain; targets that are off are left out.

        Raises:
            ProviderNotFoundError: one of its providers is not registered, or its own is off.
        """
        first = agent.provider or self.settings.default_provider
        if first is None:
            raise ProviderNotFoundError(f"agent {agent_id!r} names no provider, and no default is")

        def target(name: str, model: str | None, weight: float | None = None) -> Target:
            return self.target(name, model, agent_id=agent_id, agent=agent, weight=weight)

        targets = [target(first, agent.model, agent.weight)]
        targets += [
            target(each.provider, each.model, each.weight)
            for each in agent.fallback
            if each.provider not in self.off
        ]
        return Route(
            self.runtime,
            targets,
            agent=agent_id,
            strategy=self._strategy(agent, targets),
            fallback_on=frozenset(FALLBACK_ERRORS[name] for name in agent.fallback_on),
            resolve=target,
        )

    def default_route(self, preferred: str | None) -> Route:
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
        return self.route([self.target(name) for name in names])

    def score(self, target: Target) -> float:
        """Return how healthy a target is, from 0 to 1."""
        return self.runtime.health.score(target.provider_id, target.model)

    async def aclose(self) -> None:
        """Close all connections."""
        for provider in (*self.providers.values(), *self._keyed.values()):
            await provider.aclose()

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
        raise ProviderNotFoundError(f"provider {provider_id!r} {why}; there are: {known}")

    def _with_key(self, provider_id: str, agent_id: str, agent: AgentConfig) -> LLMProvider:
        """The agent's own instance of a provider, with the agent's key."""
        config = self._configs[provider_id].model_copy(update={"api_key": agent.api_key})
        if config.type == "external":
            problem = f"agents.{agent_id}.api_key: {provider_id} is external and takes no key"
            raise ConfigError(problem)
        provider = self._keyed.get((provider_id, agent_id))
        if provider is None or provider.config != config:
            provider = provider_of(provider_id, config, self._around)
            self._keyed[provider_id, agent_id] = provider
        return provider

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
