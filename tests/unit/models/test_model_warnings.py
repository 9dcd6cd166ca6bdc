from __future__ import annotations

from pathlib import Path

import pytest

from orchestify.core.config import load_config, parse_config
from orchestify.models.model_warnings import model_warnings

CONFIG = Path(__file__).parents[3] / "config"


def warnings(text: str) -> tuple[str, ...]:
    return model_warnings(parse_config(text, name="c.yaml", environ={}))


def of_model(provider: str, model: str) -> list[str]:
    found = warnings(f"providers: {{p: {{{provider}, default_model: {model}}}}}")
    return [each.partition("default_model: ")[2] for each in found]


def test_the_example_has_none() -> None:
    variables = {
        "ANTHROPIC_API_KEY": "made-up-1",
        "OPENAI_API_KEY": "made-up-2",
        "DEEPSEEK_API_KEY": "made-up-3",
        "AZURE_API_KEY": "made-up-4",
        "AZURE_ENDPOINT": "https://myorg.openai.azure.com",
    }
    assert model_warnings(load_config(CONFIG, environ=variables)) == ()


BLOCKED = (
    "so this budget refuses every call; write a price at the provider, or on_unpriced: warn here"
)
LOCAL = "type: openai, base_url: 'http://localhost:8000/v1'"


def test_a_budget_that_blocks_a_model_without_a_price_says_both_ways_out() -> None:
    text = (
        f"providers: {{p: {{{LOCAL}, default_model: made-up-9}}}}\n"
        "budgets:\n"
        "  - {name: day, limit_usd: 1, period: day}\n"
    )
    assert warnings(text) == (
        f"c.yaml:3:5: budgets.0: no price is known of p/made-up-9, {BLOCKED}",
    )


@pytest.mark.parametrize(
    "budget",
    [
        "on_unpriced: warn",
        "on_unpriced: allow",
        "mode: warn",
        "match: {model: another}",
        "match: {provider: q}",
        "match: {agent: a}",
    ],
)
def test_a_budget_that_blocks_no_such_call_says_nothing(budget: str) -> None:
    text = (
        f"providers: {{p: {{{LOCAL}, default_model: made-up-9}}, q: {{type: claude}}}}\n"
        "agents: {a: {provider: q}}\n"
        f"budgets: [{{name: day, limit_usd: 1, period: day, {budget}}}]\n"
    )
    assert warnings(text) == ()


def test_a_price_of_zero_is_a_price() -> None:
    text = (
        f"providers: {{p: {{{LOCAL}, default_model: made-up-9, price: {{request_usd: 0}}}}}}\n"
        "budgets: [{name: day, limit_usd: 1, period: day}]\n"
    )
    assert warnings(text) == ()


def test_many_models_without_a_price_are_one_line() -> None:
    models = ", ".join(f"{{provider: p, model: made-up-{n}}}" for n in range(5))
    text = (
        f"providers: {{p: {{{LOCAL}, default_model: made-up-9}}}}\n"
        f"agents: {{a: {{provider: p, fallback: [{models}]}}}}\n"
        "budgets: [{name: day, limit_usd: 1, period: day}]\n"
    )
    (line,) = warnings(text)
    assert "of p/made-up-9, p/made-up-0, p/made-up-1 and 3 more, so" in line


@pytest.mark.data_of("litellm")
@pytest.mark.parametrize(
    ("provider", "model", "known"),
    [
        ("type: openai", "gpt-4o-mimi", "gpt-4o-mini"),
        ("type: openai", "gpt4o", "gpt-4o"),
        ("type: anthropic", "claude-sonet-4-5", "claude-sonnet-4-5"),
        ("type: anthropic", "cluade-sonnet-4-5", "claude-sonnet-4-5"),
        ("type: litellm", "gemini/gemini-2.5-flush", "gemini-2.5-flash"),
    ],
)
def test_a_model_one_letter_from_a_known_one_is_told(provider: str, model: str, known: str) -> None:
    assert of_model(provider, model) == [f"no such model is known; did you mean '{known}'?"]


@pytest.mark.data_of("litellm")
@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("type: openai", "gpt-4o"),
        ("type: openai", "gpt-4.9"),
        ("type: anthropic", "claude-sonnet-9-5"),
        ("type: openai, base_url: 'http://localhost:8000/v1'", "gpt-4o-mimi"),
        ("type: openai, engine: mock", "gpt-4o-mimi"),
        ("type: mock", "gpt-4o-mimi"),
        ("type: litellm", "azure/my-own-deployment"),
        ("type: litellm", "gpt-4o"),
        ("type: openrouter", "anthropic/claude-sonnet-4.5"),
    ],
)
def test_a_model_that_may_well_be_one_is_not_told(provider: str, model: str) -> None:
    assert of_model(provider, model) == []


@pytest.mark.data_of("litellm")
def test_a_model_of_another_company_is_told_with_the_type_of_its_own() -> None:
    assert of_model("type: openai", "claude-sonnet-4-5") == [
        "no model of OpenAI's, where it goes; its own provider is type: anthropic"
    ]


def test_a_model_of_litellm_without_its_prefix_is_told() -> None:
    assert of_model("type: litellm", "my-deployment") == [
        "LiteLLM finds a backend by the model's prefix; write it, as in azure/..."
    ]
    azure = "type: litellm, base_url: 'https://myorg.openai.azure.com'"
    assert of_model(azure, "gpt-4o") == [
        "LiteLLM finds a backend by the model's prefix; write it, as in azure/..."
    ]


@pytest.mark.data_of("litellm")
def test_a_model_is_told_of_where_it_is_written_first() -> None:
    text = (
        "providers:\n"
        "  p:\n"
        "    type: openai\n"
        "    default_model: gpt-4o\n"
        "agents:\n"
        "  a: {provider: p, model: gpt-4o-mimi}\n"
        "  b: {provider: p, model: gpt-4o-mimi}\n"
    )
    assert warnings(text) == (
        "c.yaml:6:20: agents.a.model: no such model is known; did you mean 'gpt-4o-mini'?",
    )
