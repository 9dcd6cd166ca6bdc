"""What a call would take, before it is made."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest

from orchestify import InvalidParameterError, MockProvider, OpenAIProvider, ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.models.pricing import CostRange
from tests.calls import Bench, Scripted

WEATHER = {"name": "get_weather", "description": "Tells the weather", "input_schema": {}}

# 2 words, 3 tokens a request and 4 a message; a tenth of a cent a token, in and out
PROMPT = "hello there"


def usd(low: str, high: str) -> CostRange:
    return CostRange(Decimal(low), Decimal(high))


def test_tokens_are_counted_for_a_prompt():
    assert Bench().route(Scripted()).count_tokens(PROMPT) == 9


def test_tokens_are_counted_for_messages_of_any_form():
    messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": PROMPT}]
    assert Bench().route(Scripted()).count_tokens(messages) == 15


def test_tools_are_counted():
    route = Bench().route(Scripted())
    assert route.count_tokens(PROMPT, [WEATHER]) > route.count_tokens(PROMPT) + 60


def test_tokens_are_counted_as_the_asked_model_does():
    route = Bench().route(Scripted())
    assert route.count_tokens(PROMPT, model="gpt-oss-20b") == 69


def test_the_cost_is_between_the_least_input_and_the_worst_case():
    assert Bench().route(Scripted()).estimate_cost(PROMPT, max_tokens=50) == usd("0.006", "0.061")


def test_the_worst_case_has_the_configured_cap():
    assert Bench().route(Scripted()).estimate_cost(PROMPT) == usd("0.006", "0.111")


def test_a_cost_that_nobody_knows_has_no_range():
    route = Bench().route(Scripted("unpriced"))
    assert route.estimate_cost(PROMPT) == CostRange(None, None)


def test_nothing_is_sent():
    bench, one = Bench(), Scripted()
    bench.route(one).estimate_cost(PROMPT)
    assert one.sent == []
    assert bench.ledger.opened == []


def test_a_hosts_own_provider_counts_without_a_registry():
    assert Scripted().count_tokens(PROMPT) == 9
    assert Scripted().estimate_cost(PROMPT) == CostRange(None, None)


def test_an_argument_that_cannot_be_used_is_refused():
    with pytest.raises(InvalidParameterError, match="max_tokens"):
        Bench().route(Scripted()).estimate_cost(PROMPT, max_tokens=0)


@pytest.mark.data_of("litellm")
def test_a_configured_provider_knows_the_price_of_its_model():
    provider = OpenAIProvider("o", {"api_key": "k", "default_model": "gpt-4o"})
    estimated = provider.estimate_cost(PROMPT, max_tokens=100)
    # 10 tokens at 2.5 USD a million, a quarter less and a quarter more; 100 at 10 USD
    assert provider.count_tokens(PROMPT) == 9
    assert estimated == usd("0.000015", "0.0010275")


@pytest.mark.data_of("litellm")
def test_an_agent_has_its_own_model_and_cap():
    written = """
        providers:
          free: {type: mock, default_model: m}
          gpt: {type: openai, api_key: k, default_model: gpt-4o}
        agents:
          brief: {provider: gpt, model: gpt-4o-mini, max_tokens: 10}
    """
    registry = ProviderRegistry.from_config(parse_config(written))
    assert registry.get_for_agent("brief").estimate_cost(PROMPT) == usd("0.0000009", "0.00000765")
    assert registry.get("free").estimate_cost(PROMPT) == usd("0", "0")


def test_a_scripted_provider_is_free():
    assert MockProvider("m", {}).estimate_cost(PROMPT) == usd("0", "0")


def test_counting_does_not_import_litellm():
    code = (
        "import sys; from orchestify import LiteLLMProvider\n"
        "p = LiteLLMProvider('a', {'default_model': 'azure/gpt-4o', 'api_key': 'k'})\n"
        "assert p.count_tokens('hello there') == 9\n"
        "assert p.estimate_cost('hello there').high_usd\n"
        "assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603  (this very code)
