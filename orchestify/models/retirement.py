"""Models that their provider takes out of service, by the dates that LiteLLM's map knows."""

from __future__ import annotations

from datetime import date, timedelta

from orchestify.core.chains import model_uses
from orchestify.core.config import Config
from orchestify.core.warnings import warning_at
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
    for _, name, model, at in model_uses(config):
        provider = config.providers.providers[name]
        endpoint = known.provider_of(provider.type, model, provider.base_url)
        ends_on = _ends_on(known, model, endpoint)
        if ends_on is not None and (name, model) not in lines:
            when = f"ended on {ends_on}" if ends_on < today else f"ends on {ends_on}"
            what = f"the provider's service of {name}/{model} {when}"
            lines[name, model] = str(warning_at(config, at, what))
    return tuple(lines.values())


def _ends_on(models: ModelMap, model: str, endpoint: str | None) -> date | None:
    entry = models.entry(model, endpoint)
    return None if entry is None else entry.deprecated_on
