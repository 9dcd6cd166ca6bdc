"""Models that their provider takes out of service, by the dates that LiteLLM's map knows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from orchestify.core.chains import chain_of
from orchestify.core.config import Config
from orchestify.core.problems import KeyPath
from orchestify.models.model_map import ModelMap

NOTICE = timedelta(days=60)
"""How long before its end a model is no longer proposed."""


def is_ending(model: str, endpoint: str | None, today: date) -> bool:
    """Whether a model has ended, or ends within `NOTICE`, as far as the map knows."""
    ends_on = _ends_on(ModelMap.load(), model, endpoint)
    return ends_on is not None and ends_on <= today + NOTICE


def retirement_notes(
    config: Config, today: date, models: ModelMap | None = None
) -> tuple[str, ...]:
    """Return one line for each configured model whose end is known, at its first place."""
    known, lines = models or ModelMap.load(), {}
    for name, model, path in _configured(config):
        provider = config.providers.providers[name]
        endpoint = known.provider_of(provider.type, model, provider.base_url)
        ends_on = _ends_on(known, model, endpoint)
        if ends_on is not None and (name, model) not in lines:
            when = f"ended on {ends_on}" if ends_on < today else f"ends on {ends_on}"
            where = f"{config.origin(path)}: {'.'.join(map(str, path))}"
            lines[name, model] = f"{where}: the provider's service of {name}/{model} {when}"
    return tuple(lines.values())


def _configured(config: Config) -> Iterator[tuple[str, str, KeyPath]]:
    """Each provider, model and place that calls may reach, as written."""
    providers = config.providers.providers
    for name, each in providers.items():
        if each.is_enabled and each.default_model:
            yield name, each.default_model, ("providers", name, "default_model")
    for name, agent in config.agents.agents.items():
        for link in chain_of(config, name, agent) if agent.enabled else ():
            provider = providers.get(link.provider)
            if link.model and link.model_at and provider and provider.is_enabled:
                yield link.provider, link.model, link.model_at


def _ends_on(models: ModelMap, model: str, endpoint: str | None) -> date | None:
    entry = models.entry(model, endpoint)
    return None if entry is None else entry.deprecated_on
