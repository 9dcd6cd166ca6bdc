from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from orchestify.models.pricing import UNPRICED, Cost, Price, Rates, cost_of, cost_usd
from orchestify.values import UNKNOWN_USAGE, Usage

SONNET = Rates(
    Decimal(3),
    Decimal(15),
    cache_read=Decimal("0.3"),
    cache_write=Decimal("3.75"),
    cache_write_1h=Decimal(6),
)
PRICE = Price(SONNET, "litellm")
PLAIN = Price(Rates(Decimal(2), Decimal(8)), "config")


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(1_000_000, 0), "3"),
        (Usage(0, 1_000_000), "15"),
        (Usage(1_000, 100), "0.0045"),
        (Usage(1_000, 0, cache_read=1_000), "0.0003"),
        (Usage(1_000, 0, cache_read=600, cache_write=400), "0.00168"),
        (Usage(1_000, 0, cache_write=1_000, cache_write_1h=1_000), "0.006"),
        (Usage(1_000, 0, cache_write=1_000, cache_write_1h=400), "0.00465"),
        (Usage(0, 100, reasoning=100), "0.0015"),
        (Usage(), "0"),
    ],
)
def test_each_kind_of_token_has_its_rate(usage: Usage, usd: str):
    assert cost_usd(PRICE, usage) == Decimal(usd)


def test_unknown_cache_rates_are_those_of_input():
    usage = Usage(1_000, 0, cache_read=500, cache_write=300, cache_write_1h=100)
    assert cost_usd(PLAIN, usage) == Decimal("0.002")


def test_an_unknown_hour_rate_is_that_of_five_minutes():
    price = Price(Rates(Decimal(2), Decimal(8), cache_write=Decimal("2.5")), "config")
    assert cost_usd(price, Usage(1_000, 0, cache_write=1_000, cache_write_1h=1_000)) == Decimal(
        "0.0025"
    )


def test_reasoning_has_its_own_rate_where_there_is_one():
    price = Price(Rates(Decimal(2), Decimal(8), reasoning=Decimal(3)), "config")
    assert cost_usd(price, Usage(0, 1_000, reasoning=600)) == Decimal("0.005")


@pytest.mark.parametrize(
    "usage",
    [
        Usage(100, 0, cache_read=5_000),
        Usage(100, 0, cache_read=60, cache_write=60, cache_write_1h=900),
        Usage(0, 10, reasoning=500),
        Usage(-5, -5, cache_read=-5, cache_write=-5, reasoning=-5, searches=-1),
    ],
)
def test_parts_above_their_whole_never_make_a_cost_negative_or_larger_than_the_whole(usage: Usage):
    assert 0 <= cost_usd(PLAIN, usage) <= Decimal("0.0002")


@pytest.mark.parametrize(("tokens", "usd"), [(200_000, "0.2"), (200_001, "0.400002")])
def test_above_a_threshold_the_whole_call_has_the_higher_rate(tokens: int, usd: str):
    price = Price(
        Rates(Decimal(1), Decimal(8)), "litellm", tiers=((200_000, Rates(Decimal(2), Decimal(9))),)
    )
    assert cost_usd(price, Usage(tokens, 0)) == Decimal(usd)


def test_cached_tokens_count_towards_the_threshold():
    above = Rates(Decimal(2), Decimal(9), cache_read=Decimal("0.2"))
    price = Price(Rates(Decimal(1), Decimal(8)), "litellm", tiers=((1_000, above),))
    assert cost_usd(price, Usage(2_000, 0, cache_read=2_000)) == Decimal("0.0004")


def test_the_highest_threshold_passed_holds():
    tiers = ((100, Rates(Decimal(2), Decimal(2))), (200, Rates(Decimal(3), Decimal(3))))
    price = Price(Rates(Decimal(1), Decimal(1)), "litellm", tiers=tiers)
    assert cost_usd(price, Usage(300, 0)) == Decimal("0.0009")


def test_a_service_tier_has_its_own_price():
    price = Price(
        SONNET, "litellm", service_tiers={"batch": Price(Rates(Decimal(1), Decimal(5)), "litellm")}
    )
    assert cost_usd(price, Usage(1_000, 0, service_tier="batch")) == Decimal("0.001")


def test_requests_and_searches_have_fees():
    price = Price(
        Rates(Decimal(0), Decimal(0)),
        "config",
        request_usd=Decimal("0.005"),
        search_usd=Decimal("0.01"),
    )
    assert cost_usd(price, Usage(searches=3)) == Decimal("0.035")


def test_the_providers_own_figure_stands_above_any_price():
    assert cost_of(Usage(1_000, 0), Decimal("0.9"), PRICE) == Cost(Decimal("0.9"), "provider")


def test_a_reported_zero_is_a_cost():
    assert cost_of(UNKNOWN_USAGE, Decimal(0), None) == Cost(Decimal(0), "provider")


def test_unknown_usage_has_no_cost():
    assert cost_of(UNKNOWN_USAGE, None, PRICE) == UNPRICED


def test_without_a_price_there_is_no_cost():
    assert cost_of(Usage(1_000, 100), None, None) == Cost(None, "none")


def test_a_cost_names_the_source_the_date_and_the_assumption_of_its_price():
    price = Price(
        Rates(Decimal(1), Decimal(1)), "genai-prices", priced_at=date(2026, 1, 2), assumed=True
    )
    assert cost_of(Usage(1_000, 0), None, price) == Cost(
        Decimal("0.001"), "genai-prices", date(2026, 1, 2), assumed=True
    )


@pytest.mark.parametrize(
    ("tier", "assumed"), [("standard", False), ("default", False), (None, False), ("scale", True)]
)
def test_a_service_tier_nobody_prices_is_booked_at_the_standard_price_and_marked(
    tier: str | None, assumed: bool
):
    cost = cost_of(Usage(1_000, 0, service_tier=tier), None, PRICE)
    assert (cost.usd, cost.assumed) == (Decimal("0.003"), assumed)
