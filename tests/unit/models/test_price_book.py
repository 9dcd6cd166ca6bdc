from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestify.core.config import ProviderConfig
from orchestify.models.model_map import ModelMap
from orchestify.models.price_book import (
    PriceBook,
    configured_price,
    genai_price,
    litellm_price,
    uplift_of,
)
from orchestify.models.pricing import Price, Rates, cost_usd
from orchestify.values import Usage

FREE = configured_price({"input_usd_per_mtok": 0, "output_usd_per_mtok": 0})
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def mapped(provider: str = "openai", **fields: Any) -> Price | None:
    entry = ModelMap({"m": {"litellm_provider": provider, **fields}}).entry("m", provider)
    assert entry is not None
    return litellm_price(entry)


def price(**fields: Any) -> Price:
    found = mapped(**fields)
    assert found is not None
    return found


def test_configuration_stands_above_litellms_map():
    book = PriceBook({"local": FREE}, use_genai=False)
    found = book.price("local", "gpt-4o", "openai")
    assert found is not None
    assert (found.source, found.rates) == ("config", Rates(Decimal(0), Decimal(0)))


@pytest.mark.data_of("litellm")
def test_a_price_configured_for_one_model_leaves_the_others_alone():
    book = PriceBook({"main": {"mine": FREE}}, use_genai=False)
    found = book.price("main", "gpt-4o", "openai")
    assert found is not None
    assert found.source == "litellm"


@pytest.mark.data_of("litellm")
def test_litellms_map_stands_above_genai_prices():
    found = PriceBook().price("main", "gpt-4o", "openai")
    assert found is not None
    assert (found.source, found.rates.input, found.rates.output) == (
        "litellm",
        Decimal("2.5"),
        Decimal(10),
    )


@pytest.mark.data_of("litellm")
@pytest.mark.data_of("genai-prices")
def test_genai_prices_answers_what_litellm_lacks():
    found = PriceBook().price("router", "openai/gpt-4o-mini", "openrouter")
    assert found is not None
    assert (found.source, found.rates.input) == ("genai-prices", Decimal("0.15"))


def test_nobodys_model_has_no_price():
    assert PriceBook().price("main", "a-name-nobody-knows", "openai") is None


@pytest.mark.data_of("litellm")
def test_at_an_unknown_endpoint_a_price_by_name_is_assumed():
    found = PriceBook(use_genai=False).price("gateway", "gpt-4o", None)
    assert found is not None
    assert found.assumed


@pytest.mark.data_of("genai-prices")
def test_a_dated_price_that_a_later_source_knows_stands_above_one_assumed():
    entries = {"claude-sonnet-4": {"litellm_provider": "anthropic", "input_cost_per_token": 1.0}}
    book = PriceBook(model_map=ModelMap(entries))
    found = book.price("main", "claude-sonnet-4-20250514", "anthropic")
    assert found is not None
    assert (found.source, found.rates.input, found.assumed) == ("genai-prices", Decimal(3), False)


@pytest.mark.data_of("litellm")
def test_local_models_that_the_map_lists_at_zero_are_unpriced_not_free():
    assert PriceBook().price("local", "llama3", "ollama") is None


def test_a_price_is_looked_up_once():
    book = PriceBook()
    assert book.price("main", "gpt-4o", "openai") is book.price("main", "gpt-4o", "openai")


@pytest.mark.data_of("litellm")
@pytest.mark.data_of("genai-prices")
def test_sources_are_compared_side_by_side():
    book = PriceBook({"main": FREE})
    found = book.compare("main", "gpt-4o", "openai")
    assert [price.source for price in found] == ["config", "litellm", "genai-prices"]


@pytest.mark.data_of("litellm")
def test_genai_prices_is_not_imported_while_the_map_knows():
    code = (
        "import sys; from orchestify.models.price_book import PriceBook;"
        "PriceBook().price('main', 'gpt-4o', 'openai'); print('genai_prices' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.strip() == "False"


def test_configured_rates_and_fees_are_read():
    found = configured_price(
        {
            "input_usd_per_mtok": 1.1,
            "output_usd_per_mtok": Decimal("4.4"),
            "cache_read_usd_per_mtok": 0.275,
            "request_usd": 0.01,
            "search_usd": None,
        }
    )
    assert found == Price(
        Rates(Decimal("1.1"), Decimal("4.4"), cache_read=Decimal("0.275")),
        "config",
        request_usd=Decimal("0.01"),
    )


@pytest.mark.parametrize(
    "fields",
    [{}, {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0}, {"input_cost_per_pixel": 1}],
)
def test_an_entry_without_prices_or_with_zeros_has_none(fields: dict[str, Any]):
    assert mapped(**fields) is None


def test_an_entrys_rates_are_turned_into_dollars_per_million():
    found = price(
        input_cost_per_token=3e-06,
        output_cost_per_token=1.5e-05,
        cache_read_input_token_cost=3e-07,
        cache_creation_input_token_cost=3.75e-06,
        cache_creation_input_token_cost_above_1hr=6e-06,
        output_cost_per_reasoning_token=2e-05,
    )
    assert found.rates == Rates(
        Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"), Decimal(6), Decimal(20)
    )


def test_an_entrys_thresholds_become_tiers_that_keep_what_they_do_not_change():
    found = price(
        input_cost_per_token=1e-06,
        output_cost_per_token=4e-06,
        cache_read_input_token_cost=1e-07,
        input_cost_per_token_above_200k_tokens=2e-06,
        output_cost_per_token_above_200k_tokens=6e-06,
    )
    assert found.tiers == ((200_000, Rates(Decimal(2), Decimal(6), Decimal("0.1"))),)


def test_an_entrys_bands_become_tiers():
    found = price(
        tiered_pricing=[
            {"input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07, "range": [0, 256000.0]},
            {
                "input_cost_per_token": 2.5e-07,
                "output_cost_per_token": 2e-06,
                "range": [256000.0, 1000000.0],
            },
        ]
    )
    assert found.rates == Rates(Decimal("0.05"), Decimal("0.4"))
    assert found.tiers == ((256_000, Rates(Decimal("0.25"), Decimal(2))),)


def test_an_entrys_service_tiers_have_prices_and_thresholds_of_their_own():
    found = price(
        input_cost_per_token=2.5e-06,
        output_cost_per_token=1.5e-05,
        cache_read_input_token_cost=2.5e-07,
        input_cost_per_token_batches=1.25e-06,
        output_cost_per_token_batches=7.5e-06,
        input_cost_per_token_above_272k_tokens=5e-06,
        input_cost_per_token_above_272k_tokens_batches=2.5e-06,
    ).at_tier("batch")
    assert found.rates == Rates(Decimal("1.25"), Decimal("7.5"), Decimal("0.25"))
    assert found.tiers == ((272_000, Rates(Decimal("2.5"), Decimal("7.5"), Decimal("0.25"))),)


def test_a_cache_for_an_hour_has_the_share_of_one_for_minutes_in_a_batch():
    found = price(
        input_cost_per_token=3e-06,
        output_cost_per_token=1.5e-05,
        cache_creation_input_token_cost=3.75e-06,
        cache_creation_input_token_cost_above_1hr=6e-06,
        input_cost_per_token_batches=1.5e-06,
        output_cost_per_token_batches=7.5e-06,
        cache_creation_input_token_cost_batches=1.875e-06,
    ).at_tier("batch")
    assert found.rates == Rates(
        Decimal("1.5"),
        Decimal("7.5"),
        cache_write=Decimal("1.875"),
        cache_write_1h=Decimal(3),
    )


def test_a_kind_without_a_rate_at_a_dearer_tier_is_as_much_dearer_as_input():
    found = price(
        input_cost_per_token=1e-06,
        output_cost_per_token=4e-06,
        input_cost_per_audio_token=1e-05,
        input_cost_per_token_priority=2e-06,
        output_cost_per_token_priority=8e-06,
    ).at_tier("priority")
    assert found.rates == Rates(Decimal(2), Decimal(8), input_audio=Decimal(20))


def test_any_tier_that_the_map_names_has_its_price():
    found = price(
        input_cost_per_token=1e-06,
        output_cost_per_token=1e-06,
        input_cost_per_token_ultrafast=6e-05,
    )
    assert found.at_tier("ultrafast").rates.input == Decimal(60)


def test_audio_and_images_have_rates_of_their_own():
    found = price(
        input_cost_per_token=2.5e-06,
        output_cost_per_token=1e-05,
        input_cost_per_audio_token=4e-05,
        output_cost_per_audio_token=8e-05,
        input_cost_per_image_token=5e-06,
        output_cost_per_image_token=3e-05,
        cache_read_input_audio_token_cost=5e-07,
    )
    assert found.rates == Rates(
        Decimal("2.5"),
        Decimal(10),
        input_audio=Decimal(40),
        output_audio=Decimal(80),
        input_image=Decimal(5),
        output_image=Decimal(30),
        cache_read_audio=Decimal("0.5"),
    )


def test_a_providers_words_multiply_and_other_entries_beside_them_do_not():
    found = price(
        input_cost_per_token=5e-06,
        output_cost_per_token=2.5e-05,
        provider_specific_entry={"us": 1.1, "fast": 2.0, "schema": "titan_v2"},
    )
    assert found.multipliers == {"us": Decimal("1.1"), "fast": Decimal(2)}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"base_url": "https://eu.api.openai.com/v1"}, "regional_processing_uplift_multiplier_eu"),
        ({"base_url": "https://api.openai.com/v1"}, None),
        ({}, None),
        (
            {"type": "litellm", "default_model": "vertex_ai/gemini-3.5-flash"},
            "regional_endpoint_uplift_multiplier",
        ),
        (
            {
                "type": "litellm",
                "default_model": "vertex_ai/gemini-3.5-flash",
                "options": {"vertex_location": "global"},
            },
            None,
        ),
    ],
)
def test_a_region_may_be_dearer(given: dict[str, Any], field: str | None):
    config = ProviderConfig.model_validate(
        {"type": "openai", "api_key": "k", "default_model": "gpt-5", **given}
    )
    assert uplift_of(config) == field


def test_a_regions_uplift_is_on_every_rate_of_tokens():
    uplift = "regional_processing_uplift_multiplier_eu"
    fields = {"input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05, uplift: 1.1}
    models = ModelMap({"m": {"litellm_provider": "openai", **fields}})
    book = PriceBook(model_map=models, uplifts={"eu": uplift})
    found = book.price("eu", "m", "openai")
    assert found is not None
    assert found.rates == Rates(Decimal("2.2"), Decimal(11))


def test_searches_cost_the_medium_context():
    sizes = {"search_context_size_low": 0.03, "search_context_size_medium": 0.035}
    found = price(input_cost_per_token=1e-06, search_context_cost_per_query=sizes)
    assert (found.search_usd, found.request_usd) == (Decimal("0.035"), Decimal(0))


def test_perplexity_charges_each_request_for_a_low_context():
    sizes = {"search_context_size_low": 0.005, "search_context_size_medium": 0.008}
    found = price(
        provider="perplexity",
        input_cost_per_token=1e-06,
        output_cost_per_token=1e-06,
        search_context_cost_per_query=sizes,
    )
    assert cost_usd(found, Usage(11, 62)) == Decimal("0.005073")


@pytest.mark.data_of("genai-prices")
def test_genai_prices_knows_yesterdays_price():
    before, after = (
        genai_price("o3", "openai", day)
        for day in (datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC))
    )
    assert before is not None
    assert after is not None
    assert (before.rates.input, after.rates.input) == (Decimal(10), Decimal(2))
    assert (before.priced_at, after.priced_at) == (None, date(2025, 6, 10))


@pytest.mark.data_of("genai-prices")
def test_genai_prices_tiers_and_fees_are_read():
    found = genai_price("gemini-2.5-pro", "gemini", NOW)
    assert found is not None
    assert found.rates.input == Decimal("1.25")
    assert found.rates_for(200_001).input == Decimal("2.5")
    assert found.search_usd == Decimal("0.035")


@pytest.mark.data_of("genai-prices")
def test_genai_prices_batches_are_read():
    found = genai_price("gpt-5.4", "openai", NOW)
    assert found is not None
    assert found.at_tier("batch").rates.input == Decimal("1.25")


def test_a_provider_that_genai_prices_does_not_know_has_no_price():
    assert genai_price("gpt-4o", "nobodys-provider", NOW) is None


def test_without_genai_prices_there_is_no_history():
    assert PriceBook(use_genai=False).price_at("o3", NOW, "openai") is None
