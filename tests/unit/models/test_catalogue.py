"""What is known of models, without a request."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.errors import InvalidParameterError
from orchestify.models.model_map import ModelMap
from orchestify.models.price_book import PriceBook, configured_price
from orchestify.providers.catalogue import (
    CAPABILITIES,
    ModelInfo,
    capable,
    cost_of_tokens,
    model_info,
    models_of,
)
from tests.calls import Scripted

KNOWN = {
    "litellm_provider": "openai",
    "mode": "chat",
    "max_input_tokens": 1000,
    "max_output_tokens": 100,
    "input_cost_per_token": 1e-6,
    "output_cost_per_token": 2e-6,
    "supports_function_calling": True,
    "supports_vision": False,
    "supports_reasoning": True,
    "deprecation_date": "2027-01-02",
}
MAP = ModelMap({"known": KNOWN, "other": {"litellm_provider": "openai", "mode": "chat"}})


def runtime() -> Runtime:
    return Runtime(prices=PriceBook(model_map=MAP, use_genai=False))


def target(model: str = "known", endpoint: str | None = "openai") -> Target:
    return Target(Scripted(), "one", model, endpoint=endpoint)


def test_what_the_map_knows() -> None:
    assert model_info(target(), runtime()) == ModelInfo(
        provider="one",
        model="known",
        context_window=1000,
        max_output_tokens=100,
        input_usd_per_mtok=Decimal(1),
        output_usd_per_mtok=Decimal(2),
        price_source="litellm",
        price_assumed=False,
        tools=True,
        images=False,
        thinking=True,
        structured_output=None,
        deprecated_on=date(2027, 1, 2),
    )


def test_what_nobody_knows_is_none() -> None:
    assert model_info(target("new"), runtime()) == ModelInfo(provider="one", model="new")


def test_a_configured_price_wins() -> None:
    book = PriceBook(
        {"one": configured_price({"input_usd_per_mtok": 5})}, model_map=MAP, use_genai=False
    )
    known = model_info(target(), Runtime(prices=book))
    assert (known.input_usd_per_mtok, known.price_source) == (Decimal(5), "config")


def test_prices_for_a_thousand_tokens() -> None:
    known = model_info(target(), runtime())
    assert known.cost_per_1k_input_tokens == Decimal("0.001")
    assert known.cost_per_1k_output_tokens == Decimal("0.002")
    unknown = ModelInfo(provider="one", model="new")
    assert unknown.cost_per_1k_input_tokens is None
    assert unknown.cost_per_1k_output_tokens is None


def test_what_so_many_tokens_cost() -> None:
    assert cost_of_tokens(target(), runtime(), 10**6, 10**6) == Decimal(3)
    assert cost_of_tokens(target("new"), runtime(), 10**6, 10**6) is None


@pytest.mark.parametrize(
    ("capability", "able"),
    [
        ("tools", True),
        ("function_calling", True),
        ("images", False),
        ("vision", False),
        ("thinking", True),
        ("structured_output", None),
        ("json_mode", None),
        ("streaming", True),
    ],
)
def test_capabilities_by_our_words_and_the_seeds(capability: str, able: bool | None) -> None:
    assert capable(capability, target(), runtime()) is able


def test_those_are_all_the_words() -> None:
    assert len(CAPABILITIES) == 8


def test_another_word_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="capability is one of tools, "):
        capable("flying", target(), runtime())


def test_thinking_is_unknown_of_an_unknown_model_but_not_of_the_first_claudes() -> None:
    assert capable("thinking", target("new", None), runtime()) is None
    assert capable("thinking", target("claude-3-opus-20240229", None), runtime()) is False


def test_the_models_of_a_company_and_the_targets_own() -> None:
    assert models_of(target("new"), runtime()) == ["known", "new", "other"]
    assert models_of(target("new", None), runtime()) == ["new"]
    assert models_of(replace(target(), model=""), runtime()) == ["known", "other"]
