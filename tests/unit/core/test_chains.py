from __future__ import annotations

from orchestify.core.chains import (
    ChainEntry,
    ModelUse,
    chain_of,
    configured_models,
    model_uses,
)
from orchestify.core.config import parse_config

CONFIG = parse_config(
    """\
default_provider: main
providers:
  main: {type: openai, api_key: made-up, default_model: gpt-4o}
  other: {type: openai, api_key: made-up, default_model: gpt-4.1}
  off: {type: openai, enabled: false, default_model: gpt-4}
agents:
  plain: {}
  chained:
    provider: other
    model: o3
    fallback: [main, {provider: main, model: gpt-5.1}, off]
  absent: {provider: main, model: gpt-3.5-turbo, enabled: false}
""",
    name="config.yaml",
)


def test_an_agent_without_a_provider_takes_the_default_one_and_its_model() -> None:
    assert chain_of(CONFIG, "plain", CONFIG.agents.agents["plain"]) == [
        ChainEntry("main", "gpt-4o", ("default_provider",), ("providers", "main", "default_model"))
    ]


def test_a_chain_holds_the_fallbacks_and_where_each_is_written() -> None:
    here = ("agents", "chained")
    assert chain_of(CONFIG, "chained", CONFIG.agents.agents["chained"]) == [
        ChainEntry("other", "o3", (*here, "provider"), (*here, "model")),
        ChainEntry(
            "main", "gpt-4o", (*here, "fallback", 0), ("providers", "main", "default_model")
        ),
        ChainEntry(
            "main",
            "gpt-5.1",
            (*here, "fallback", 1, "provider"),
            (*here, "fallback", 1, "model"),
        ),
        ChainEntry("off", "gpt-4", (*here, "fallback", 2), ("providers", "off", "default_model")),
    ]


def test_configured_models_are_those_that_are_on_without_repetition() -> None:
    assert configured_models(CONFIG) == [
        ("main", "gpt-4o"),
        ("main", "gpt-5.1"),
        ("other", "gpt-4.1"),
        ("other", "o3"),
    ]


def test_every_use_of_a_model_has_the_place_of_its_name() -> None:
    text = (
        "providers:\n"
        "  g: {type: groq}\n"
        "  off: {type: xai, enabled: false}\n"
        "agents:\n"
        "  a: {provider: g, fallback: [{provider: g, model: m}, off]}\n"
        "  b: {provider: g, model: m, enabled: false}\n"
    )
    default = ("providers", "g", "default_model")
    assert list(model_uses(parse_config(text, environ={}))) == [
        ModelUse("", "g", "openai/gpt-oss-120b", default),
        ModelUse("a", "g", "openai/gpt-oss-120b", default),
        ModelUse("a", "g", "m", ("agents", "a", "fallback", 0, "model")),
    ]
