"""What a call costs, and who says so; None when nobody knows, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, TypeAlias

from orchestify.values import MOST_USD, Usage

PriceSource: TypeAlias = Literal["provider", "config", "litellm", "genai-prices", "none"]

STANDARD_TIERS = frozenset({None, "", "standard", "default", "auto", "on_demand"})
"""What providers call the service tier that the plain price is for."""

_MILLION = Decimal(1_000_000)
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens, by kind of token.

    None is a rate that the source does not give: reads and writes of a cache then cost what
    input costs, a write kept for an hour what one kept for five minutes, reasoning what
    output costs.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs.

    `tiers` holds (tokens, rates), ascending: a call whose whole input is above `tokens` is
    priced at those rates, all of it. `service_tiers` holds the prices of `batch`, `priority`,
    `flex`... that the source knows. `request_usd` is for each call, `search_usd` for each of
    the provider's own web searches. `priced_at` is the day the price came into force, where
    the source dates it. `assumed` marks a price found by the model's name alone, at an
    endpoint nobody knows, or under the name without its date.
    """

    rates: Rates
    source: PriceSource
    tiers: tuple[tuple[int, Rates], ...] = ()
    service_tiers: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
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


@dataclass(slots=True)  # not frozen: made for every call, and read only
class Cost:
    """What one call cost: `usd`, None where nobody knows, and where the figure comes from.

    `assumed` says that the price was: see `Price.assumed`; or that the call ran at a service
    tier without a price of its own and was booked at the standard one.
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
    price = price.at_tier(usage.service_tier)
    if not (usage.cache_read or usage.cache_write or usage.reasoning or usage.searches):
        return plain_cost_usd(price, usage.input_tokens, usage.output_tokens)
    rates = price.rates_for(usage.input_tokens)
    read = _part(usage.cache_read, usage.input_tokens)
    write = _part(usage.cache_write, usage.input_tokens - read)
    reasoning = _part(usage.reasoning, usage.output_tokens)
    plain_input = max(usage.input_tokens - read - write, 0)
    plain_output = max(usage.output_tokens - reasoning, 0)
    per_million = plain_input * rates.input + plain_output * rates.output
    if read:
        per_million += read * _given(rates.cache_read, rates.input)
    if write:
        write_1h = _part(usage.cache_write_1h, write)
        write_rate = _given(rates.cache_write, rates.input)
        per_million += (write - write_1h) * write_rate
        per_million += write_1h * _given(rates.cache_write_1h, write_rate)
    if reasoning:
        per_million += reasoning * _given(rates.reasoning, rates.output)
    cost = per_million / _MILLION + price.request_usd
    return cost + usage.searches * price.search_usd if usage.searches > 0 else cost


def plain_cost_usd(price: Price, input_tokens: int, output_tokens: int) -> Decimal:
    """Return what tokens without a cache, reasoning or searches cost; never below 0."""
    rates = price.rates_for(input_tokens)
    per_million = max(input_tokens, 0) * rates.input + max(output_tokens, 0) * rates.output
    return per_million / _MILLION + price.request_usd


def cost_of(usage: Usage, reported_usd: Decimal | None, price: Price | None) -> Cost:
    """Return a call's cost: the provider's own figure, else the price applied to the usage.

    Usage that nobody knows has no cost, whatever the price.
    """
    if reported_usd is not None:
        return Cost(reported_usd, "provider")
    if price is None or usage.source == "unknown":
        return UNPRICED
    tier = usage.service_tier
    assumed = price.assumed or (tier not in STANDARD_TIERS and tier not in price.service_tiers)
    usd = min(cost_usd(price, usage), MOST_USD)
    return Cost(usd, price.source, price.priced_at, assumed)


def _given(rate: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if rate is None else rate


def _part(count: int, whole: int) -> int:
    return max(0, min(count, whole)) if count else 0
