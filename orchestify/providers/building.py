"""From the configuration to what a registry is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from orchestify.calls.runtime import Runtime
from orchestify.core.config import Config
from orchestify.core.policies import AlertsConfig, BudgetConfig, LedgerConfig, Settings
from orchestify.core.providers import ProviderConfig
from orchestify.errors import ConfigError
from orchestify.events.events import ALERTS, BudgetThreshold, Events
from orchestify.events.webhook import Webhook
from orchestify.health.forecast_alert import ForecastAlert
from orchestify.health.health import Health
from orchestify.ledger.base import Ledger
from orchestify.ledger.memory import MemoryLedger
from orchestify.ledger.opening import open_ledger
from orchestify.models.price_book import PriceBook
from orchestify.policy.budget import KEEP_DAYS, Budget, BudgetState, CallFilter, StepDown
from orchestify.providers.claude import ClaudeProvider
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.litellm_provider import LiteLLMProvider
from orchestify.providers.mock import MockProvider
from orchestify.providers.openai_provider import OpenAIProvider
from orchestify.providers.shared import NOTHING_SHARED, SharedParts
from orchestify.response_cache.caches import ResponseCaches
from orchestify.values import NOTHING

PROVIDER_CLASSES: Mapping[str, type[ConfiguredProvider]] = {
    "anthropic": ClaudeProvider,
    "openai": OpenAIProvider,
    "litellm": LiteLLMProvider,
    "mock": MockProvider,
}


def provider_of(
    provider_id: str, config: ProviderConfig, shared: SharedParts = NOTHING_SHARED
) -> ConfiguredProvider:
    """Return the provider that a configuration of a built-in type asks for.

    Raises:
        ConfigError: the lane cannot use the configuration.
    """
    made = PROVIDER_CLASSES[config.type](
        provider_id,
        config,
        rule=shared.rule_for(provider_id),
        fetches=shared.fetches,
        takes_unbounded=shared.takes_unbounded,
    )
    made.send_by(partial(shared.lane, provider_id, config=config))
    return made


def providers_of(
    config: Config,
    shared: SharedParts = NOTHING_SHARED,
    known: Mapping[str, ConfiguredProvider] = NOTHING,
) -> dict[str, ConfiguredProvider]:
    """Return the built-in providers of a configuration that are on, by name.

    A `known` one of the same name whose configuration is the same is taken as it is.

    Raises:
        ConfigError: lanes cannot use their configuration; all of them, each at its place.
    """
    made, problems = dict[str, ConfiguredProvider](), list[str]()
    for name, each in config.providers.enabled.items():
        if each.type == "external":
            continue
        older = known.get(name)
        try:
            is_same = older is not None and older.config == each
            made[name] = older if older and is_same else provider_of(name, each, shared)
        except ConfigError as error:
            place = config.origin(("providers", name))
            at = "" if place is None else f"{place.file}:{place.line}:{place.column}: "
            problems += [at + what for what in error.problems]
    if problems:
        raise ConfigError(problems)
    return made


def events_of(alerts: AlertsConfig | None, tenant: str = "") -> Events:
    """Return what delivers events, to the webhook of the alerts as well where there is one."""
    return Events(tenant=tenant, webhook=_webhook(alerts, tenant))


def health_of(alerts: AlertsConfig | None, events: Events) -> Health:
    """Return what watches the health of providers, and emits the alerts' events."""
    return Health(
        error_rate=alerts.error_rate if alerts else None,
        slow_s=alerts.slow_s if alerts else None,
        emit=events.emit,
    )


def forecast_alert_of(alerts: AlertsConfig | None, events: Events, ledger: Ledger) -> ForecastAlert:
    """Return what tells when a month's forecast reaches the alert's sum."""
    return ForecastAlert(ledger, events.emit, alerts.forecast_usd if alerts else None)


async def change_alerts(
    alerts: AlertsConfig | None,
    events: Events,
    health: Health,
    forecast: ForecastAlert | None,
    tenant: str = "",
) -> None:
    """Put other alerts in force; what a webhook before has still to send is waited for, shortly."""
    health.alert_at(
        error_rate=alerts.error_rate if alerts else None, slow_s=alerts.slow_s if alerts else None
    )
    if forecast is not None:
        forecast.alert_at(alerts.forecast_usd if alerts else None)
    before = events.send_to(_webhook(alerts, tenant))
    if before is not None:
        await asyncio.to_thread(before.close)


def runtime_of(
    providers: Mapping[str, ProviderConfig],
    settings: Settings,
    shared: SharedParts = NOTHING_SHARED,
) -> Runtime:
    """Return the state that a registry's routes share: ledger, prices, budgets, health."""
    alerts = settings.alerts
    events = shared.events or events_of(alerts)
    budgets = configured_budgets(settings)

    def tell(state: BudgetState, share: float) -> None:
        budget, tokens, calls = state.budget, state.budget.limit_tokens, state.budget.limit_calls
        events.emit(
            BudgetThreshold(
                budget=budget.name,
                share=share,
                spent_usd=state.spent_usd,
                limit_usd=budget.limit_usd,
                value=budget.value,
                spent_tokens=None if tokens is None else state.spent_tokens,
                limit_tokens=tokens,
                spent_calls=None if calls is None else state.spent_calls,
                limit_calls=calls,
            )
        )

    ledger = shared.ledger or _ledger(settings.ledger)
    health = shared.health or health_of(alerts, events)
    forecast = shared.forecast_alert or forecast_alert_of(alerts, events, ledger)
    ledger.keep_health(lambda: [each.as_dict() for each in health.all().values()])
    return Runtime(
        ledger=ledger,
        prices=PriceBook.of(providers),
        budgets=budgets,
        book=shared.book or ledger.budget_book(tell),
        events=events,
        health=health,
        forecast=forecast,
        estimates=bool(budgets) or not isinstance(ledger, MemoryLedger),
        make_limiter=shared.make_limiter,
        observers=shared.observers,
        tracer=shared.tracer,
        caches=shared.caches or ResponseCaches(ledger),
    )


def open_caches(config: Config, caches: ResponseCaches) -> None:
    """Open every response cache of a configuration.

    Raises:
        ConfigError: one of them cannot be opened; and what `ResponseCaches.of` raises.
    """
    levels = (config, *config.providers.enabled.values(), *config.agents.agents.values())
    for each in levels:
        caches.of(each.response_cache)


def configured_budgets(settings: Settings) -> tuple[Budget, ...]:
    """Return the budgets of a configuration, in its order, and the one that only alerts."""
    return (*map(_budget, settings.budgets), *_daily_alert(settings.alerts))


def _webhook(alerts: AlertsConfig | None, tenant: str) -> Webhook | None:
    if alerts is None or alerts.webhook is None:
        return None
    url, secret = alerts.webhook.url, alerts.webhook.secret
    return Webhook(url.get_secret_value(), secret.get_secret_value(), ALERTS, tenant=tenant)


def _ledger(config: LedgerConfig | None) -> Ledger:
    if config is None:
        return MemoryLedger()
    return open_ledger(
        None if config.url is None else config.url.get_secret_value(),
        base_dir=Path(),
        keep_days=config.keep_days,
        durability=config.durability,
    )


def _daily_alert(alerts: AlertsConfig | None) -> tuple[Budget, ...]:
    """What `alerts.daily_cost_usd` says: a budget that only tells."""
    if alerts is None or alerts.daily_cost_usd is None:
        return ()
    return (
        Budget("alerts.daily_cost_usd", alerts.daily_cost_usd, mode="warn", on_unpriced="allow"),
    )


def _budget(config: BudgetConfig) -> Budget:
    match = config.match
    return Budget(
        name=config.name,
        limit_usd=config.limit_usd,
        period=config.period or "ever",
        match=CallFilter(match.provider, match.agent, match.model, match.label),
        mode=config.mode,
        alert_at=config.alert_at,
        on_unpriced=config.on_unpriced,
        limit_tokens=config.limit_tokens,
        limit_calls=config.limit_calls,
        per="" if config.per is None else config.per.removeprefix("label:"),
        keep_days=config.keep_days or KEEP_DAYS,
        fit_output=config.fit_output,
        step_down=tuple(StepDown(**dict(step)) for step in config.step_down),
    )
