from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orchestify.core.config import parse_config
from orchestify.models.pricing import Rates
from orchestify.report import dated_prices, todays_prices
from orchestify.values import Usage
from tests.ledgers import opened

CONFIG = parse_config("""
providers:
  own: {type: openai, base_url: http://127.0.0.1:1/v1, default_model: m, api_key: k,
        price: {input_usd_per_mtok: 3, output_usd_per_mtok: 4}}
  proxy: {type: openai, base_url: http://127.0.0.1:1/v1, default_model: gpt-4o, api_key: k}
""")


def test_todays_price_is_the_configurations_first() -> None:
    price = todays_prices(CONFIG)(opened(provider="own", model="m"))
    assert price is not None
    assert price.source == "config"
    assert price.rates == Rates(Decimal(3), Decimal(4))


def test_what_went_through_a_batch_api_has_the_price_of_batches() -> None:
    record = opened(provider="own", model="m", usage=Usage(10, 5, service_tier="batch"))
    price = todays_prices(CONFIG)(record)
    assert price is not None
    assert price.rates == Rates(Decimal("1.5"), Decimal(2))


def test_price_at_an_unknown_endpoint_is_assumed() -> None:
    price = todays_prices(CONFIG)(opened(provider="proxy", model="gpt-4o"))
    assert price is not None
    assert price.assumed


def test_provider_that_is_not_configured_is_known_by_its_models_name() -> None:
    price = todays_prices()(opened(provider="gone", model="gemini/gemini-2.5-flash"))
    assert price is not None
    assert not price.assumed


def test_model_that_answered_is_priced_where_the_one_asked_for_is_not() -> None:
    record = opened(provider="gone", model="my-alias", model_answered="gpt-4o")
    assert todays_prices()(record) is not None


@pytest.mark.data_of("genai-prices")
def test_dated_price_is_the_one_of_the_records_own_time() -> None:
    prices = dated_prices()
    before, after = (
        prices(opened(provider="x", model="o3", started_at=datetime(2025, month, 1, tzinfo=UTC)))
        for month in (6, 7)
    )
    assert before is not None
    assert after is not None
    assert before.rates.input == Decimal(10)
    assert after.rates.input == Decimal(2)


def test_dated_price_is_never_the_configurations() -> None:
    assert dated_prices(CONFIG)(opened(provider="own", model="m")) is None
