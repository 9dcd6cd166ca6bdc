from __future__ import annotations

from datetime import date

import pytest

from orchestify.core.config import parse_config
from orchestify.models.model_map import ModelMap
from orchestify.models.retirement import is_ending, retirement_notes

MODELS = ModelMap(
    {
        "old-1": {"litellm_provider": "openai", "deprecation_date": "2026-07-24"},
        "going-2": {"litellm_provider": "openai", "deprecation_date": "2026-11-30"},
        "new-3": {"litellm_provider": "openai"},
        "grok-4.5": {"litellm_provider": "xai", "deprecation_date": "2026-11-30"},
    }
)
TODAY = date(2026, 11, 29)
CONFIG = """\
providers:
  one: {type: openai, default_model: old-1, api_key: made-up}
  two: {type: openai, default_model: new-3, api_key: made-up}
  off: {type: openai, default_model: old-1, enabled: false}
agents:
  a: {provider: two, model: going-2}
  b: {provider: one, fallback: [{provider: two, model: going-2}, off]}
"""


def test_a_model_whose_end_is_known_is_noted_once_at_its_first_place() -> None:
    config = parse_config(CONFIG, name="config.yaml")
    assert retirement_notes(config, TODAY, MODELS) == (
        "config.yaml:2:23: providers.one.default_model: "
        "the provider's service of one/old-1 ended on 2026-07-24",
        "config.yaml:6:22: agents.a.model: "
        "the provider's service of two/going-2 ends on 2026-11-30",
    )


def test_a_companys_own_default_is_noted_at_the_provider() -> None:
    config = parse_config("providers: {x: {type: xai}}", name="config.yaml")
    (line,) = retirement_notes(config, TODAY, MODELS)
    assert line.startswith("config.yaml:1:13: providers.x.default_model: the provider's service")


def test_a_model_without_an_end_is_not_ending() -> None:
    assert not is_ending("nobody-knows-it", "openai", TODAY)


@pytest.mark.data_of("litellm")
def test_a_model_ends_for_us_sixty_days_before_its_day() -> None:
    entry = ModelMap.load().entry("gpt-5.1", "openai")
    assert entry is not None
    assert entry.deprecated_on is not None
    first = date.fromordinal(entry.deprecated_on.toordinal() - 60)
    before = date.fromordinal(entry.deprecated_on.toordinal() - 61)
    assert (is_ending("gpt-5.1", "openai", before), is_ending("gpt-5.1", "openai", first)) == (
        False,
        True,
    )
