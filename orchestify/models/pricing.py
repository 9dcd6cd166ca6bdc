"""What a call costs, and who says so; None when nobody knows, never 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from orchestify.values import MOST_USD, NOTHING, Usage

PriceSource: TypeAlias = Literal["provider", "config", "litellm", "genai-prices", "cache", "none"]

STANDARD_TIERS = frozenset({None, "", "standard", "default", "auto", "on_demand"})
"""What providers call the service tier that the plain price is for."""

_DEARER = ("service_tier", "speed", "inference_geo")
"""What a request may ask for that makes it dearer."""

BATCH = "batch"
"""The service tier of what goes through a provider's batch API."""

BATCH_SHARE = Decimal("0.5")
"""What a batch costs of the usual price, where the price's source does not say.

Sources, read in November 2026: OpenAI, "Batch API" and "Pricing"; Anthropic, "Batch processing" and
"Pricing" (the share is taken of cached and cache-writing tokens as well).
"""

_MILLION = Decimal(1_000_000)
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens, by kind of token.

    None is a rate that the source does not give: reads and writes of a cache then cost what
    input costs, a write kept for an hour what one kept for five minutes, reasoning what
    output costs; audio and images cost what text costs.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    input_image: Decimal | None = None
    output_audio: Decimal | None = None
    output_image: Decimal | None = None
    cache_read_audio: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs.

    `tiers` holds (tokens, rates), ascending: a call whose whole input is above `tokens` is
    priced at those rates, all of it. `service_tiers` holds the prices of `batch`, `priority`,
    `flex`... that the source knows. `multipliers` holds, by a provider's word (`fast`, `us`), what
    all rates are multiplied with. `request_usd` is for each call, `search_usd` for each of
    the provider's own web searches. `priced_at` is the day the price came into force, where
    the source dates it. `assumed` marks a price found by the model's name alone, at an
    endpoint nobody knows, or under the name without its date.
    """

    rates: Rates
    source: PriceSource
    tiers: tuple[tuple[int, Rates], ...] = ()
    service_tiers: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
    multipliers: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    request_usd: Decimal = _ZERO
    search_usd: Decimal = _ZERO
    priced_at: date | None = None
    assumed: bool = False

    def rates_for(self, input_tokens: int) -> Rates:
        """Return the rates of a call with so many input tokens, cached ones included."""
        found = self.rates
        for tokens, rates in self.tiers:
            if input_tokens > tokens:
                found = rates
        return found

    def at_tier(self, service_tier: str | None) -> Price:
        """Return the price at a service tier; the standard one where the source has none."""
        return self.service_tiers.get(service_tier or "", self)


def batch_price(price: Price) -> Price:
    """Return the price of what goes through a batch API: the source's own, else half of all rates.

    Fees for requests and searches stay.
    """
    own = price.service_tiers.get(BATCH)
    if own is not None:
        return replace(own, service_tiers={BATCH: own})
    tiers = tuple((tokens, _share(rates)) for tokens, rates in price.tiers)
    half = replace(price, rates=_share(price.rates), tiers=tiers, service_tiers={})
    return replace(half, service_tiers={BATCH: half})


def _share(rates: Rates) -> Rates:
    known = {each.name: getattr(rates, each.name) for each in fields(rates)}
    return Rates(**{name: rate and rate * BATCH_SHARE for name, rate in known.items()})


@dataclass(slots=True)  # not frozen: made for every call, and read only
class Cost:
    """What one call cost: `usd`, None where nobody knows, and where the figure comes from.

    `assumed` says that the price was: see `Price.assumed`; or that the source has no rate for a
    part of the usage (a service tier, a modifier, audio, images that were made, another model's
    iteration), which was booked at the standard rate.
    """

    usd: Decimal | None
    source: PriceSource
    priced_at: date | None = None
    assumed: bool = False


UNPRICED = Cost(None, "none")


@dataclass(frozen=True, slots=True)
class CostRange:
    """What a call may cost in USD, from `low_usd` to `high_usd`; None where nobody knows."""

    low_usd: Decimal | None = None
    high_usd: Decimal | None = None


def cost_usd(price: Price, usage: Usage) -> Decimal:
    """Return what a call with this usage costs at this price, exactly; never below 0.

    Parts that exceed their whole count as the whole.
    """
    if price.service_tiers:
        price = price.at_tier(usage.service_tier)
    searched_usd = usage.searches * price.search_usd if usage.searches > 0 else 0
    return _tokens_usd(price, usage) + price.request_usd + searched_usd


def highest_cost_usd(
    price: Price, input_tokens: int, output_tokens: int, options: Mapping[str, Any] = NOTHING
) -> Decimal:
    """Return what tokens cost where all is of the dearest kind; never below 0.

    `options` are a request's own: a service tier, a speed or a place that it asks for counts where
    that is dearer; the provider may answer at the standard price all the same. With a `cache_ttl`
    all input may be written to a cache.
    """
    highest, factor, prices = _ZERO, Decimal(1), [price]
    ttl = options.get("cache_ttl") if options else None
    for name in _DEARER if options else ():
        word = str(options.get(name) or "")
        factor *= max(price.multipliers.get(word, 1), 1)
        prices.append(price.at_tier(word))
    for each in prices:
        rates = each.rates_for(input_tokens) if each.tiers else each.rates
        output = rates.output
        for rate in (rates.reasoning, rates.output_audio, rates.output_image):
            if rate is not None and rate > output:
                output = rate
        given = rates.input
        if ttl is not None:
            written = rates.cache_write_1h if ttl == "1h" else rates.cache_write
            given = max(given, _given(written, given))
        per_million = input_tokens * given + output_tokens * output
        highest = max(highest, per_million / _MILLION * factor + each.request_usd)
    return highest


def cost_of(
    usage: Usage,
    reported_usd: Decimal | None,
    price: Price | None,
    price_of: Callable[[str], Price | None] | None = None,
) -> Cost:
    """Return a call's cost: the provider's own figure, else the price applied to the usage.

    A figure of zero counts less than a price that the operator wrote down.
    `price_of` finds the price of another model that an iteration of the call ran on. Usage that
    nobody knows has no cost, whatever the price.
    """
    if reported_usd is not None and (reported_usd or price is None or price.source != "config"):
        return Cost(reported_usd, "provider")
    if price is None or usage.source == "unknown":
        return UNPRICED
    usd, assumed = cost_usd(price, usage), price.assumed or not _covers(price, usage)
    if usage.iterations:
        usd -= _tokens_usd(price.at_tier(usage.service_tier), usage)
        for model, part in usage.iterations:
            other = price_of(model) if model and price_of is not None else price
            own = other or price
            assumed = assumed or other is None or own.assumed or not _covers(own, part)
            usd += _tokens_usd(own.at_tier(part.service_tier), part)
    return Cost(min(usd, MOST_USD), price.source, price.priced_at, assumed)


def _tokens_usd(price: Price, usage: Usage) -> Decimal:
    """What the tokens cost, without fees; `price` is that of the usage's service tier."""
    rates = price.rates_for(usage.input_tokens) if price.tiers else price.rates
    fresh, output = usage.input_tokens, max(usage.output_tokens, 0)
    per_million = output * rates.output
    if usage.cache_read or usage.cache_write:
        read = _part(usage.cache_read, fresh)
        write = _part(usage.cache_write, fresh - read)
        fresh -= read + write
        per_million += _cached_usd(rates, usage, read, write)
    fresh = max(fresh, 0)
    per_million += fresh * rates.input
    if usage.input_audio or usage.input_image:
        audio, image = (
            (usage.input_audio, rates.input_audio),
            (usage.input_image, rates.input_image),
        )
        per_million += _difference_usd(fresh, rates.input, audio, image)
    if usage.output_audio or usage.output_image or usage.reasoning:
        audio = (usage.output_audio, rates.output_audio)
        image = (usage.output_image, rates.output_image)
        thought = (usage.reasoning, rates.reasoning)
        per_million += _difference_usd(output, rates.output, audio, image, thought)
    for modifier in usage.modifiers:
        per_million *= price.multipliers.get(modifier, 1)
    return per_million / _MILLION


def _cached_usd(rates: Rates, usage: Usage, read: int, write: int) -> Decimal:
    """What reading from a cache and writing to it costs, a million times over."""
    read_rate = _given(rates.cache_read, rates.input)
    audio = (usage.cache_read_audio, rates.cache_read_audio or rates.input_audio)
    write_rate = _given(rates.cache_write, rates.input)
    write_1h = _part(usage.cache_write_1h, write)
    return (
        read * read_rate
        + _difference_usd(read, read_rate, audio)
        + (write - write_1h) * write_rate
        + write_1h * _given(rates.cache_write_1h, write_rate)
    )


def _difference_usd(whole: int, rate: Decimal, *parts: tuple[int, Decimal | None]) -> Decimal:
    """What parts of tokens, at rates of their own, cost more a million times over."""
    more = _ZERO
    for count, own in parts:
        if count and own is not None:
            part = _part(count, whole)
            more += part * (own - rate)
            whole -= part
    return more


def _covers(price: Price, usage: Usage) -> bool:
    """Whether the price has a rate for every part of the usage that is not priced as text."""
    tier, rates = usage.service_tier, price.rates
    return (
        (tier in STANDARD_TIERS or tier in price.service_tiers)
        and not ((usage.input_audio or usage.cache_read_audio) and rates.input_audio is None)
        and not (usage.output_audio and rates.output_audio is None)
        and not (usage.output_image and rates.output_image is None)
        and all(each in price.multipliers for each in usage.modifiers)
    )


def _given(rate: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if rate is None else rate


def _part(count: int, whole: int) -> int:
    return max(0, min(count, whole)) if count else 0
