"""What a provider says a call cost is believed only where it can be true."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from orchestify import LLMProvider, LLMResponse
from orchestify.lanes.answers import openai_usage, reported_cost_usd
from orchestify.lanes.litellm.usage import answered_usage
from orchestify.models.pricing import Price, Rates, cost_of
from orchestify.providers.external import ExternalLane
from orchestify.values import MOST_USD, CompletionRequest, LLMMessage, Usage, bounded_usd
from tests.calls import answer

COUNTS = {"prompt_tokens": 9, "completion_tokens": 4}
BEYOND_BELIEF: list[dict[str, Any]] = [
    {"cost": "1e5000000"},
    {"cost": "1e999990"},
    {"cost": 1e1000},
    {"cost": 1e30},
    {"cost": 10**5000},
    {"cost": "NaN"},
    {"cost": "1e9999999999999999999"},
    {"cost": -0.01},
    {"cost": 1_000_000.01},
    {"cost": "a lot"},
    {"cost": True},
    {"cost": {"total_cost": "1e999990"}},
    {"cost": 1, "is_byok": True, "cost_details": {"upstream_inference_cost": "1e999990"}},
    {"cost": 999_999, "is_byok": True, "cost_details": {"upstream_inference_cost": 2}},
    {"cost_in_usd_ticks": "1e5000000"},
    {"cost_in_usd_ticks": 10**16 + 1},
]


@pytest.mark.parametrize("raw", BEYOND_BELIEF, ids=range(len(BEYOND_BELIEF)))
def test_a_cost_that_cannot_be_true_is_left_out_and_named(raw: dict[str, Any]) -> None:
    assert reported_cost_usd(raw) is None
    assert openai_usage({**COUNTS, **raw}) == Usage(9, 4, invalid=("cost",))


def test_litellms_reading_of_a_body_names_it_too() -> None:
    body = {"usage": {**COUNTS, "cost": "1e5000000"}}
    assert answered_usage({}, body, "openrouter") == Usage(9, 4, invalid=("cost",))


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        ({"cost": 0.0123}, "0.0123"),
        ({"cost": "0.0123"}, "0.0123"),
        ({"cost": 0}, "0"),
        ({"cost": "-0"}, "0"),
        ({"cost": 1_000_000}, "1000000"),
        ({"cost": "1e-999999"}, "0.000000000000"),
        ({"cost": "0.0000000000019"}, "0.0000000000019"),
        ({"cost": {"total_cost": 0.5}}, "0.5"),
        ({"cost": 1, "is_byok": True, "cost_details": {"upstream_inference_cost": 2}}, "3"),
        ({"cost": 1, "is_byok": True, "cost_details": "none"}, "1"),
        ({"cost_in_usd_ticks": 10**9}, "0.1"),
        ({"cost_in_usd_ticks": 1}, "0.0000000001"),
        ({"cost_in_usd_ticks": "1e-999999"}, "0.000000000000"),
    ],
)
def test_a_cost_that_can_be_true_is_short_to_write(raw: dict[str, Any], written: str) -> None:
    assert f"{reported_cost_usd(raw):f}" == written
    assert openai_usage({**COUNTS, **raw}) == Usage(9, 4)


@pytest.mark.parametrize("raw", [{}, {"cost": None}, {"cost": {}}, {"cost_in_usd_ticks": 0}])
def test_no_cost_is_nothing_to_doubt(raw: dict[str, Any]) -> None:
    assert reported_cost_usd(raw) is None
    assert openai_usage({**COUNTS, **raw}) == Usage(9, 4)


def test_counts_of_any_size_are_left_out_and_named() -> None:
    usage = openai_usage({"prompt_tokens": 1e30, "completion_tokens": 10**5000})
    assert usage == Usage(invalid=("prompt_tokens", "completion_tokens"))


def test_a_total_beyond_belief_adds_no_tokens_of_googles_tools() -> None:
    shown = {**COUNTS, "total_tokens": 10**30}
    usage = answered_usage(shown, {"usageMetadata": {}}, "gemini")
    assert usage == Usage(9, 4, invalid=("total_tokens",))


class Hosts(LLMProvider):
    """A host's own provider, that says what a call costs."""

    provider_type = "hosts"

    def __init__(self, cost_usd: Any) -> None:
        self.cost_usd = cost_usd

    async def complete(self, messages, model=None, **more) -> LLMResponse:
        return replace(answer(), cost_usd=self.cost_usd)


@pytest.mark.parametrize("cost_usd", [Decimal("1e999999"), Decimal("NaN"), "a lot", -1])
async def test_a_hosts_cost_is_doubted_as_well(cost_usd: Any) -> None:
    request = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="m")
    response = await ExternalLane("e", Hosts(cost_usd)).send(request)
    assert (response.cost_usd, response.cost_source) == (None, "none")
    assert response.usage.invalid == ("cost",)


def test_a_price_ends_where_belief_does() -> None:
    price = Price(Rates(Decimal(10), Decimal(10)), "config")
    assert cost_of(Usage(10**12 - 1, 10**12 - 1), None, price).usd == MOST_USD


@pytest.mark.parametrize(
    ("usd", "bounded"),
    [
        ("1e999999", Decimal(1_000_000)),
        ("Infinity", Decimal(1_000_000)),
        ("-1e999999", Decimal(0)),
        ("NaN", None),
        ("0.25", Decimal("0.25")),
    ],
)
def test_what_is_summed_and_stored_has_bounds(usd: str, bounded: Decimal | None) -> None:
    assert bounded_usd(Decimal(usd)) == bounded
