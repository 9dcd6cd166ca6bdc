from __future__ import annotations

import pytest

from orchestify.core.config import Config, ProviderConfig, parse_config
from orchestify.core.provider_types import PROVIDER_TYPES
from orchestify.core.schema import config_schema
from orchestify.core.warnings import config_warnings
from orchestify.errors import ConfigError


def load(text: str) -> Config:
    return parse_config(text, name="c.yaml", environ={})


def provider(text: str) -> ProviderConfig:
    return load(f"providers: {{p: {{{text}}}}}").providers.providers["p"]


@pytest.mark.parametrize(
    ("name", "lane", "base_url", "model"),
    [
        ("claude", "anthropic", None, "claude-sonnet-4-6"),
        ("google", "litellm", None, "gemini/gemini-2.5-flash"),
        ("gemini", "litellm", None, "gemini/gemini-2.5-flash"),
        ("ollama", "litellm", "http://localhost:11434", "ollama_chat/llama3"),
        ("deepseek", "openai", "https://api.deepseek.com/v1", "deepseek-v4-flash"),
        ("groq", "openai", "https://api.groq.com/openai/v1", "openai/gpt-oss-120b"),
        ("mistral", "openai", "https://api.mistral.ai/v1", "mistral-large-latest"),
        ("xai", "openai", "https://api.x.ai/v1", "grok-4.5"),
        ("openrouter", "openai", "https://openrouter.ai/api/v1", "anthropic/claude-sonnet-4.6"),
        (
            "together",
            "openai",
            "https://api.together.xyz/v1",
            "openai/gpt-oss-120b",
        ),
    ],
)
def test_a_companys_name_stands_for_lane_address_and_model(
    name: str, lane: str, base_url: str | None, model: str
) -> None:
    made = provider(f"type: {name}, api_key: made-up")
    assert (made.type, made.base_url, made.default_model) == (lane, base_url, model)


def test_what_is_written_wins_over_what_a_name_stands_for() -> None:
    made = provider(
        "type: groq, api_key: made-up, base_url: 'https://groq.example.com/v1', default_model: m"
    )
    assert (made.base_url, made.default_model) == ("https://groq.example.com/v1", "m")


def test_a_name_means_the_same_in_code() -> None:
    assert ProviderConfig(type="xai", api_key="made-up").base_url == "https://api.x.ai/v1"


def test_azure_needs_an_address_and_a_model_and_gets_its_prefix() -> None:
    with pytest.raises(ConfigError) as raised:
        provider("type: azure, api_key: made-up")
    assert raised.value.problems == (
        "c.yaml:1:13: providers.p.default_model: missing; a provider of type azure needs one",
        "c.yaml:1:13: providers.p.base_url: missing; a provider of type azure needs one",
    )
    made = provider(
        "type: azure, api_key: made-up, base_url: 'https://a.openai.azure.com', "
        "default_model: gpt-4o"
    )
    assert (made.type, made.default_model) == ("litellm", "azure/gpt-4o")


def test_models_at_a_prefixed_company_are_named_with_the_prefix_once() -> None:
    config = load(
        "providers:\n"
        "  g:\n"
        "    type: gemini\n"
        "    api_key: made-up\n"
        "    price: {gemini-2.5-pro: {input_usd_per_mtok: 1}}\n"
        "  m: {type: mock}\n"
        "default_provider: g\n"
        "agents:\n"
        "  a: {model: gemini-2.5-pro, fallback: [{provider: g, model: gemini/gemini-2.0-flash}]}\n"
        "  b: {provider: m, model: x, fallback: [g, {provider: g, model: gemini-2.5-pro}]}\n"
    )
    assert config.agents.agents["a"].model == "gemini/gemini-2.5-pro"
    assert config.agents.agents["a"].fallback[0].model == "gemini/gemini-2.0-flash"
    assert config.agents.agents["b"].model == "x"
    assert [each.model for each in config.agents.agents["b"].fallback] == [
        None,
        "gemini/gemini-2.5-pro",
    ]
    price = config.providers.providers["g"].price
    assert isinstance(price, dict)
    assert list(price) == ["gemini/gemini-2.5-pro"]


def test_a_budget_of_a_prefixed_companys_model_matches_its_calls() -> None:
    config = load(
        "providers: {g: {type: gemini, api_key: made-up}}\n"
        "budgets:\n"
        "  - {name: a, limit_usd: 1, period: day, match: {provider: g, model: gemini-2.5-pro}}\n"
        "  - {name: b, limit_usd: 1, period: day, match: {model: gemini-2.5-pro}}\n"
    )
    assert [each.match.model for each in config.budgets] == [
        "gemini/gemini-2.5-pro",
        "gemini-2.5-pro",
    ]


def test_the_same_target_is_found_twice_in_a_chain_whatever_its_prefix() -> None:
    text = (
        "providers: {g: {type: gemini, api_key: made-up}}\n"
        "agents: {a: {provider: g, fallback: [{provider: g, model: gemini-2.5-flash}]}}\n"
    )
    with pytest.raises(ConfigError, match="stand earlier in the chain"):
        load(text)


@pytest.mark.parametrize(
    ("written", "meant"), [("grok", "groq"), ("gemni", "gemini"), ("antropic", "anthropic")]
)
def test_a_name_misspelled_is_answered_with_the_one_that_is_meant(written: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        provider(f"type: {written}")


@pytest.mark.parametrize(("name", "count"), [("groq", 1), ("gemini", 1), ("ollama", 0)])
def test_a_company_that_wants_a_key_and_gets_none_is_told(name: str, count: int) -> None:
    assert len(config_warnings(load(f"providers: {{p: {{type: {name}}}}}"))) == count


def test_editors_know_every_name() -> None:
    (words, _variable) = config_schema()["$defs"]["ProviderConfig"]["properties"]["type"]["anyOf"]
    assert set(words["enum"]) == {*PROVIDER_TYPES, "litellm", "mock", "external"}
