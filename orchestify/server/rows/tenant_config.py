"""A tenant's rows merged over the operator's configuration into one configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from orchestify.core.addresses import AddressRule
from orchestify.core.agents import AgentConfig, AgentsConfig
from orchestify.core.chains import configured_models
from orchestify.core.config import Config
from orchestify.core.error_messages import Finding
from orchestify.core.policies import Settings
from orchestify.core.problems import MOST_SHOWN, KeyPath, dotted
from orchestify.core.providers import PriceConfig, ProviderConfig, ProvidersConfig
from orchestify.core.references import cross_checks
from orchestify.errors import ConfigError, VaultError
from orchestify.server.rows.agent_rows import row_agent, row_price
from orchestify.server.rows.provider_rows import OpenKey, prefix_of, row_provider
from orchestify.server.rows.stored_rows import AgentRow, TenantRows


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """A tenant's configuration, and what stands beside it.

    `listed` holds the models that rows list, `named` those that may be named whatever their
    prefix, both by provider. `guarded` are the providers that strangers wrote. `locked` says why
    a provider is off, `locked_agents` why an agent is, whose stored key cannot be opened.
    """

    config: Config
    listed: Mapping[str, tuple[str, ...]]
    named: Mapping[str, frozenset[str]]
    guarded: frozenset[str]
    locked: Mapping[str, str] = field(default_factory=dict)
    locked_agents: Mapping[str, str] = field(default_factory=dict)

    def model_at(self, provider: str, model: str) -> str | None:
        """Return a model's name at a provider, or None: it may not be named there."""
        config = self.config.providers.providers.get(provider)
        return None if config is None else _model_at(config, model, self.named.get(provider, ()))

    def short_name(self, provider: str, model: str) -> str:
        """Return a model's name without LiteLLM's prefix, where that leads to the same model."""
        config = self.config.providers.providers.get(provider)
        prefix = None if config is None else prefix_of(config)
        short = model.removeprefix(prefix or "")
        return short if self.model_at(provider, short) == model else model


def config_of(base: Config, rows: TenantRows, rule: AddressRule, open_key: OpenKey) -> TenantConfig:
    """Return the configuration that a tenant's rows make.

    The operator's providers and agents are every tenant's, and so are budgets and limits, each
    tenant by itself; a row of the same name takes a provider's or an agent's place. Nothing in
    it is shared with another tenant's. A row whose key cannot be opened is off, by itself.

    Raises:
        ConfigError: every problem of the rows, and of what they refer to.
    """
    settings = _settings(base, rows)
    draft = _Draft(base, settings, rule, open_key)
    draft.add_providers(rows)
    draft.add_agents(rows.agents)
    draft.add_prices(rows.agents)
    known = {
        "providers": {*draft.providers, *(each.name for each in rows.providers)},
        "agents": {*draft.agents, *(each.agent_id for each in rows.agents)},
    }
    draft.found += cross_checks(settings, draft.providers, draft.agents, known)
    if draft.found:
        raise ConfigError(_lines(draft.found))
    written = {name: getattr(settings, name) for name in settings.model_fields_set}
    config = Config(
        **written,
        providers=ProvidersConfig(providers=draft.providers, settings=settings),
        agents=AgentsConfig(agents=draft.agents),
    )
    guarded = frozenset(draft.guarded)
    return TenantConfig(
        config, draft.listed, draft.named, guarded, draft.locked, draft.locked_agents
    )


def users_of(provider: str, rows: TenantRows) -> list[str]:
    """Return the agents among the rows that name a provider, also as a fallback."""
    return [each.agent_id for each in rows.agents if provider in set(_named_by(each))]


def _named_by(row: AgentRow) -> Iterator[str]:
    fallback = row.config.get("fallback")
    for each in (row.provider, row.fallback_provider, *(fallback or ())):
        name = each.get("provider") if isinstance(each, Mapping) else each
        if isinstance(name, str):
            yield name


def problems_of(build: Callable[[], object]) -> list[str]:
    """Return the problems that building a configuration meets."""
    try:
        build()
    except ConfigError as error:
        return list(error.problems)
    return []


@dataclass(slots=True)
class _Draft:
    """A configuration that is being made; `found` is what is wrong with it so far."""

    base: Config
    settings: Settings
    rule: AddressRule
    open_key: OpenKey
    found: list[Finding] = field(default_factory=list)
    providers: dict[str, ProviderConfig] = field(default_factory=dict)
    agents: dict[str, AgentConfig] = field(default_factory=dict)
    listed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    named: dict[str, frozenset[str]] = field(default_factory=dict)
    guarded: set[str] = field(default_factory=set)
    locked: dict[str, str] = field(default_factory=dict)
    locked_agents: dict[str, str] = field(default_factory=dict)

    def add_providers(self, rows: TenantRows) -> None:
        theirs = self.base.providers.providers
        self.providers = deepcopy(dict(theirs))
        configured = configured_models(self.base)
        self.named = {
            name: frozenset(model for at, model in configured if at == name) for name in theirs
        }
        for row in rows.providers:
            self.providers.pop(row.name, None)
            namesake = deepcopy(theirs.get(row.name))
            try:
                made, found = row_provider(row, namesake, self.rule, self.open_key)
            except VaultError as error:
                self.locked[row.name] = f"its key cannot be opened: {error}"
                continue
            self._note(("providers", row.name), found)
            if made is None:
                continue
            self.providers[row.name] = made.config
            self.listed[row.name] = made.models
            if not made.inherits:
                self.guarded.add(row.name)
                self.named.pop(row.name, None)

    def add_agents(self, rows: Iterable[AgentRow]) -> None:
        theirs = self.base.agents.agents.items()
        self.agents = {name: self._theirs(deepcopy(each)) for name, each in theirs}
        for row in rows:
            self.agents.pop(row.agent_id, None)
            try:
                agent, found = row_agent(row, self._model_at, self.open_key)
            except VaultError as error:
                self.locked_agents[row.agent_id] = f"its key cannot be opened: {error}"
                continue
            self._note(("agents", row.agent_id), found)
            if agent is not None:
                self.agents[row.agent_id] = agent

    def _theirs(self, agent: AgentConfig) -> AgentConfig:
        """Take the operator's key from an agent of theirs that calls a provider of the tenant's.

        Or one that is the tenant's default. It calls with that provider's key.
        """
        own = agent.provider or self.settings.default_provider
        is_theirs = own == (agent.provider or self.base.default_provider)
        if agent.api_key is None or (is_theirs and own not in self.guarded):
            return agent
        return agent.model_copy(update={"api_key": None})

    def add_prices(self, rows: Iterable[AgentRow]) -> None:
        """Make the costs that agents name the price of their model at its provider."""
        for row in rows:
            agent = self.agents.get(row.agent_id)
            if agent is None:  # it was refused
                continue
            price, found = row_price(row)
            if price is not None:
                found += self._price(agent, price)
            self._note(("agents", row.agent_id), found)

    def _price(self, agent: AgentConfig, price: PriceConfig) -> list[Finding]:
        at: KeyPath = ("cost_per_1k_input_tokens",)
        name = agent.provider or self.settings.default_provider or ""
        provider = self.providers.get(name)
        if provider is None:
            return []
        if name not in self.guarded:
            return [(at, "the price of an operator's provider is the operator's")]
        model = agent.model or provider.default_model or ""
        if isinstance(provider.price, PriceConfig):
            same = provider.price == price
            return [] if same else [(at, "the provider has one price for all of its models")]
        if (provider.price or {}).get(model, price) != price:
            return [(at, "the provider or another agent has another price for this model")]
        prices = {**(provider.price or {}), model: price}
        self.providers[name] = provider.model_copy(update={"price": prices})
        return []

    def _model_at(self, provider: str | None, model: str) -> str | None:
        name = provider or self.settings.default_provider or ""
        config = self.providers.get(name)
        return model if config is None else _model_at(config, model, self.named.get(name, ()))

    def _note(self, at: KeyPath, found: Iterable[Finding]) -> None:
        self.found += [((*at, *path), what) for path, what in found]


def _model_at(config: ProviderConfig, model: str, named: Iterable[str]) -> str | None:
    if model in named:
        return model
    prefix = prefix_of(config)
    if prefix is None:
        return None
    return prefix + model.removeprefix(prefix)


def _settings(base: Config, rows: TenantRows) -> Settings:
    """The operator's settings but for the ledger, with the tenant's own default."""
    written: dict[str, Any] = {
        name: deepcopy(getattr(base, name))
        for name in base.model_fields_set & Settings.model_fields.keys() - {"ledger"}
    }
    default = next(
        (each.name for each in rows.providers if each.is_default and each.is_active), None
    )
    if default is not None:
        written["default_provider"] = default
    return Settings(**written)


def _lines(found: Iterable[Finding]) -> list[str]:
    lines = [f"{dotted(path)}: {what}" for path, what in dict.fromkeys(found)]
    if len(lines) > MOST_SHOWN:
        lines = [*lines[:MOST_SHOWN], f"and more; these are the first {MOST_SHOWN:,}"]
    return lines
