"""One tenant's registry: as any other, and a model's name alone finds its provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Self

from orchestify.bounds import keep
from orchestify.errors import AgentNotFoundError, ModelNotFoundError, ProviderNotFoundError
from orchestify.providers.base import LLMProvider
from orchestify.providers.registry import ProviderRegistry
from orchestify.providers.surroundings import Surroundings
from orchestify.server.rows.allowed import model_problem
from orchestify.server.rows.tenant_config import TenantConfig

AGENT = "agent:"


class TenantProviders(ProviderRegistry):
    """The providers and agents of one tenant, as its rows were at one revision."""

    _tenant: TenantConfig
    _found: dict[str, LLMProvider]
    _named: set[tuple[str, str]]
    _companies: dict[str, str | None]

    @classmethod
    def build(cls, tenant: TenantConfig, around: Surroundings, older: Self | None = None) -> Self:
        """Build the registry of a tenant's configuration; `older` is the one whose place it takes.

        Raises:
            ConfigError: a provider cannot be built.
        """
        registry = cls.assemble(tenant.config, replace(around, guarded=tenant.guarded))
        registry._tenant, registry._found = tenant, {}
        registry._named = registry.named_models()
        registry._companies = {}
        for target in map(registry._directory.target, registry):
            registry._companies[target.provider_id] = target.endpoint
            registry._runtime.price(target)  # may read a file: better in this thread than in a call
        if older is not None:
            registry._runtime.adopt(older._runtime, registry._same_as_in(older))
        return registry

    def find(self, model: str) -> LLMProvider:
        """Return what answers to a model's name, bound to it.

        `agent:planner` is an agent, `main/gpt-5.1` a model at a provider. A bare name is a
        provider's model that the configuration names, or else one that LiteLLM's map has of the
        company a provider leads to; the default provider goes first, then the order written.

        Raises:
            ModelNotFoundError: nothing answers to it.
        """
        found = self._found.get(model)
        return keep(self._found, model, self._find(model)) if found is None else found

    def named_models(self) -> set[tuple[str, str]]:
        """Return the providers and models of the configuration, and those that rows list."""
        listed = self._tenant.listed.items()
        return super().named_models() | {(name, each) for name, models in listed for each in models}

    async def disconnect(self) -> None:
        """Close all connections; what others share stays open."""
        await self._directory.aclose()

    def _find(self, model: str) -> LLMProvider:
        if model.startswith(AGENT):
            try:
                return self.get_for_agent(model.removeprefix(AGENT))
            except (AgentNotFoundError, ProviderNotFoundError) as error:
                raise ModelNotFoundError(str(error)) from error
        if model_problem(model) is None:
            for provider, name in self._places(model):
                return self._directory.route([self._directory.target(provider, name)])
        raise ModelNotFoundError(
            "no provider has this model; name it as PROVIDER/MODEL, or an agent as agent:NAME"
        )

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
