"""One tenant's registry: as any other, and a model's name alone finds its provider."""

from __future__ import annotations

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
from orchestify.providers.model_names import ModelNames
from orchestify.providers.registry import ProviderRegistry
from orchestify.providers.shared import SharedParts
from orchestify.resources.bounded import bounded_setdefault
from orchestify.server.rows.input_rules import model_problem
from orchestify.server.rows.tenant_config import TenantConfig

AGENT = "agent:"
_HOW = "; name it as PROVIDER/MODEL, or an agent as agent:NAME"


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

        `agent:planner` is an agent; all else is found as `ProviderRegistry.get_for_model` does.

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

    def model_names(self) -> ModelNames:
        """Return what finds the provider of a model's name; see `ProviderRegistry`."""
        return replace(
            super().model_names(),
            companies=self._companies,
            named=self._named,
            name_at=self._model_at,
        )

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
        names = self.model_names()
        place = names.place_of(model)
        if place is not None:
            return self._lookup.routed([self._lookup.target(*place)])
        self._check_opens(model.partition("/")[0])
        raise ModelNotFoundError(
            names.unknown(model if model_problem(model) is None else "", _HOW)
            + "".join(f"; {name} is off: {why}" for name, why in self._tenant.locked.items())
        )

    def _check_opens(self, provider: str | None) -> None:
        if provider is not None and provider in self._tenant.locked:
            raise VaultError(f"provider {provider}: {self._tenant.locked[provider]}")

    def _model_at(self, provider: str, model: str) -> str | None:
        """Return a model's name at a provider; one that begins with `/` is part of no address."""
        config = self._tenant.config.providers.providers.get(provider)
        if config is None or model_problem(model) is not None:
            return None
        if model.startswith("/") and config.type == "litellm":
            return None
        return self._tenant.model_at(provider, model)

    def _same_as_in(self, older: Self) -> set[str]:
        """The providers that are what they were in an older registry of the tenant."""
        mine, theirs = self._tenant, older._tenant
        before = theirs.config.providers.providers
        return {
            name
            for name, each in mine.config.providers.providers.items()
            if each == before.get(name) and (name in mine.guarded) == (name in theirs.guarded)
        }
