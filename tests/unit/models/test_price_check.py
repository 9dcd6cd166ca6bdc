from __future__ import annotations

from decimal import Decimal

import pytest

from orchestify.core.config import parse_config
from orchestify.models.price_check import check_prices

CONFIG = """\
providers:
  dear:
    type: openai
    api_key: made-up
    default_model: gpt-4o
    price: {input_usd_per_mtok: 99, output_usd_per_mtok: 100}
  plain: {type: openai, api_key: made-up, default_model: gpt-4o}
  own: {type: openai, base_url: "http://127.0.0.1:9/v1", default_model: nobody-knows-this-one}
agents: {}
"""


@pytest.mark.data_of("litellm")
@pytest.mark.data_of("genai-prices")
def test_the_configured_price_is_in_force_and_disagreement_is_told() -> None:
    dear, plain, own = check_prices(parse_config(CONFIG))
    assert dear.in_force is not None
    assert (dear.in_force.source, dear.in_force.rates.input) == ("config", Decimal(99))
    assert [price.source for price in dear.sources] == ["config", "litellm", "genai-prices"]
    assert dear.disagree is True
    assert plain.in_force is not None
    assert plain.in_force.source == "litellm"
    assert (own.model, own.in_force, own.sources) == ("nobody-knows-this-one", None, ())
