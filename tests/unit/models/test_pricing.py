from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from orchestify.models.pricing import (
    UNPRICED,
    Cost,
    Price,
    Rates,
    batch_price,
    cost_of,
    cost_usd,
    highest_cost_usd,
)
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


def test_a_price_that_the_operator_wrote_stands_above_a_reported_zero():
    assert cost_of(Usage(1_000_000, 0), Decimal(0), PLAIN) == Cost(Decimal(2), "config")
    assert cost_of(Usage(1_000_000, 0), Decimal(0), PRICE) == Cost(Decimal(0), "provider")


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


AUDIO = Price(
    Rates(
        Decimal("2.5"),
        Decimal(10),
        cache_read=Decimal("1.25"),
        input_audio=Decimal(40),
        output_audio=Decimal(80),
        output_image=Decimal(30),
        input_image=Decimal(5),
        cache_read_audio=Decimal("0.5"),
    ),
    "litellm",
)


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(81, 72, input_audio=69), "0.00351"),
        (Usage(10, 100, output_audio=90), "0.007325"),
        (Usage(10, 1_304, output_image=1_290), "0.038865"),
        (Usage(300, 10, input_image=256), "0.00149"),
        (Usage(100, 0, cache_read=40, cache_read_audio=30, input_audio=50), "0.0020525"),
        (Usage(10, 0, input_audio=99), "0.0004"),
    ],
)
def test_audio_and_images_have_rates_of_their_own(usage: Usage, usd: str):
    assert cost_of(usage, None, AUDIO) == Cost(Decimal(usd), "litellm")


@pytest.mark.parametrize(
    "usage",
    [
        Usage(81, 72, input_audio=69),
        Usage(81, 72, output_audio=69),
        Usage(81, 72, output_image=69),
        Usage(81, 72, cache_read=9, cache_read_audio=9),
        Usage(81, 72, modifiers=("fast",)),
        Usage(81, 72, service_tier="turbo"),
        Usage(81, 72, iterations=(("", Usage(80, 70)), ("unheard-of", Usage(1, 2)))),
    ],
)
def test_a_part_that_the_price_has_no_rate_for_makes_the_cost_assumed(usage: Usage):
    cost = cost_of(usage, None, PLAIN, lambda model: None)
    assert (cost.usd, cost.assumed) == (Decimal("0.000738"), True)


def test_an_image_that_is_read_costs_what_text_costs_where_nothing_else_is_said():
    assert not cost_of(Usage(300, 10, input_image=256), None, PLAIN).assumed


def test_modifiers_multiply_every_rate_of_the_tokens_and_no_fee():
    price = Price(
        Rates(Decimal(5), Decimal(25)),
        "litellm",
        multipliers={"fast": Decimal(2), "us": Decimal("1.1")},
        search_usd=Decimal("0.01"),
    )
    usage = Usage(10_000, 10_000, modifiers=("fast", "us"), searches=1)
    assert cost_of(usage, None, price) == Cost(Decimal("0.67"), "litellm")


def test_iterations_are_priced_each_at_its_own_models_rate():
    asked = Price(Rates(Decimal(2), Decimal(10)), "litellm")
    advisor = Price(Rates(Decimal(10), Decimal(50)), "litellm")
    usage = Usage(
        5_046,
        265,
        iterations=(
            ("", Usage(1_128, 155)),
            ("claude-fable-5", Usage(2_564, 99)),
            ("", Usage(1_354, 11)),
        ),
    )
    prices = {"claude-fable-5": advisor}
    assert cost_of(usage, None, asked, prices.get) == Cost(Decimal("0.037214"), "litellm")


def test_iterations_pass_a_threshold_each_by_itself():
    above = Rates(Decimal(2), Decimal(2))
    price = Price(Rates(Decimal(1), Decimal(1)), "litellm", tiers=((1_000, above),))
    usage = Usage(1_800, 0, iterations=(("", Usage(900, 0)), ("", Usage(900, 0))))
    assert cost_of(usage, None, price) == Cost(Decimal("0.0018"), "litellm")


def test_the_worst_case_takes_the_dearest_output():
    assert highest_cost_usd(AUDIO, 1_000_000, 1_000_000) == Decimal("82.5")


def test_a_batch_costs_half_where_the_source_does_not_say() -> None:
    rates = Rates(Decimal(4), Decimal(20), Decimal("0.4"), Decimal(5), Decimal(8))
    above = Rates(Decimal(8), Decimal(30))
    price = Price(rates, "config", tiers=((200_000, above),), request_usd=Decimal("0.01"))
    half = batch_price(price)
    cached = Usage(200_000, 0, 100_000, 100_000, 100_000, service_tier="batch")
    assert half.rates == Rates(Decimal(2), Decimal(10), Decimal("0.2"), Decimal("2.5"), Decimal(4))
    assert half.tiers == ((200_000, Rates(Decimal(4), Decimal(15))),)
    assert half.request_usd == Decimal("0.01")
    assert cost_usd(half, cached) == Decimal("0.43")


def test_a_batch_costs_what_the_source_says() -> None:
    own = Price(Rates(Decimal(3), Decimal(4)), "litellm")
    price = Price(SONNET, "litellm", service_tiers={"batch": own})
    found = batch_price(price)
    assert found.rates == own.rates
    cost = cost_of(Usage(1_000_000, 1_000_000, service_tier="batch"), None, found)
    assert (cost.usd, cost.assumed) == (Decimal(7), False)
