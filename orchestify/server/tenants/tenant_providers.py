"""One tenant's registry: as any other, and a model's name alone finds its provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Self

from orchestify.calls.request import MODEL_CHARS
from orchestify.core.agents import AgentsConfig
from orchestify.errors import (
    AgentNotFoundError,
    ModelNotFoundError,
    ProviderNotFoundError,
    VaultError,
)
from orchestify.providers.base import LLMProvider
from orchestify.providers.registry import ProviderRegistry
from orchestify.providers.shared import SharedParts
from orchestify.resources.bounded import bounded_setdefault
from orchestify.server.rows.input_rules import model_problem
from orchestify.server.rows.tenant_config import TenantConfig

AGENT = "agent:"
MOST_TOLD = 10
"""How many models an error names."""


class TenantProviders(ProviderRegistry):
    """The providers and agents of one tenant, as its rows were at one revision."""

    _tenant: TenantConfig
    _found: dict[str, LLMProvider]
    _named: set[tuple[str, str]]
    _companies: dict[str, str | None]

    @classmethod
    def build(cls, tenant: TenantConfig, shared: SharedParts, older: Self | None = None) -> Self:
        """Build the registry of a tenant's configuration; `older` is the one whose place it takes.

        Raises:
            ConfigError: a provider cannot be built.
        """
        registry = cls.assemble(tenant.config, replace(shared, guarded=tenant.guarded))
        registry._tenant, registry._found = tenant, {}
        registry._named = registry.named_models()
        registry._companies = {}
        registry._lookup.off |= tenant.locked
        for target in map(registry._lookup.target, registry):
            registry._companies[target.provider_id] = target.endpoint
            registry._runtime.price(target)  # may read a file: better in this thread than in a call
        if older is not None:
            registry._runtime.adopt(older._runtime, registry._same_as_in(older))
        return registry

    def get_for_agent(
        self, agent_id: str, agents_config: AgentsConfig | None = None
    ) -> LLMProvider:
        """Return what answers for an agent; see `ProviderRegistry.get_for_agent`.

        Raises what that does, and:

        Raises:
            VaultError: its key, or its provider's, cannot be opened.
        """
        locked = self._tenant.locked_agents.get(agent_id)
        if locked is not None:
            raise VaultError(f"agent {agent_id}: {locked}")
        agent = (agents_config or self._config.agents).agents.get(agent_id)
        if agent is not None and agent.enabled:
            self._check_opens(agent.provider or self._config.default_provider)
        return super().get_for_agent(agent_id, agents_config)

    def find(self, model: str) -> LLMProvider:
        """Return what answers to a model's name, bound to it.

        `agent:planner` is an agent, `main/gpt-5.1` a model at a provider. A bare name is a
        provider's model that the configuration names, or else one that LiteLLM's map has of the
        company a provider leads to; the default provider goes first, then the order written.

        Raises:
            ModelNotFoundError: nothing answers to it.
            VaultError: the key of what would answer cannot be opened.
        """
        found = self._found.get(model)
        return bounded_setdefault(self._found, model, self._find(model)) if found is None else found

    def named_models(self) -> set[tuple[str, str]]:
        """Return the providers and models of the configuration, and those that rows list."""
        listed = self._tenant.listed.items()
        return super().named_models() | {(name, each) for name, models in listed for each in models}

    def listed_models(self) -> list[tuple[str, str]]:
        """Return the providers and models that a caller may name, in order, as it may name them."""
        short = self._tenant.short_name
        named = ((at, short(at, model)) for at, model in self.named_models() if at in self)
        return sorted({*named})

    def has_own_key(self, provider: str) -> bool:
        """Say whether a provider is called with the tenant's own key, which pays for it."""
        return provider in self._tenant.guarded

    async def disconnect(self) -> None:
        """Close all connections; what others share stays open."""
        await self._lookup.aclose()

    def _find(self, model: str) -> LLMProvider:
        if model.startswith(AGENT) and len(model) <= MODEL_CHARS:
            try:
                return self.get_for_agent(model.removeprefix(AGENT))
            except (AgentNotFoundError, ProviderNotFoundError) as error:
                raise ModelNotFoundError(str(error)) from error
        if model_problem(model) is None:
            for provider, name in self._places(model):
                return self._lookup.routed([self._lookup.target(provider, name)])
            self._check_opens(model.partition("/")[0])
        raise ModelNotFoundError(
            "no provider has this model; name it as PROVIDER/MODEL, or an agent as agent:NAME"
            + self._known(model.partition("/")[0])
            + "".join(f"; {name} is off: {why}" for name, why in self._tenant.locked.items())
        )

    def _check_opens(self, provider: str | None) -> None:
        if provider is not None and provider in self._tenant.locked:
            raise VaultError(f"provider {provider}: {self._tenant.locked[provider]}")

    def _known(self, provider: str) -> str:
        """Say what may be named: the provider's models, or all where there is none of that name."""
        names = [f"{at}/{model}" for at, model in self.listed_models() if at == provider]
        names = names or [f"{at}/{model}" for at, model in self.listed_models()]
        more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
        return f"; there are {', '.join(names[:MOST_TOLD])}{more}" if names else ""

    def _places(self, model: str) -> Iterator[tuple[str, str]]:
        """Iterate the providers that have the model, with its name there, the best first."""
        provider, _, name = model.partition("/")
        if name and provider in self:
            yield from self._names([provider], name)
        default = self._config.default_provider
        names = list(self._names(sorted(self, key=lambda each: each != default), model))
        yield from (each for each in names if each in self._named)
        entry = self._runtime.prices.model_map.entry
        for provider, name in names:
            company = self._companies.get(provider)
            if company is not None and entry(name, company) is not None:
                yield provider, name

    def _names(self, providers: Iterable[str], model: str) -> Iterator[tuple[str, str]]:
        for provider in providers:
            name = self._tenant.model_at(provider, model)
            if name is not None:
                yield provider, name

    def _same_as_in(self, older: Self) -> set[str]:
        """The providers that are what they were in an older registry of the tenant."""
        mine, theirs = self._tenant, older._tenant
        before = theirs.config.providers.providers
        return {
            name
            for name, each in mine.config.providers.providers.items()
            if each == before.get(name) and (name in mine.guarded) == (name in theirs.guarded)
        }
