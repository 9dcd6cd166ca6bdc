"""Where prices come from: the configuration, LiteLLM's map, genai-prices, in that order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from orchestify.core.providers import PriceConfig, ProviderConfig
from orchestify.models.model_map import Entry, ModelEntry, ModelMap
from orchestify.models.pricing import Price, PriceSource, Rates
from orchestify.resources.bounded import bounded_setdefault

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

ConfiguredPrice: TypeAlias = Price | Mapping[str, Price]
ConfiguredPrices: TypeAlias = Mapping[str, ConfiguredPrice]
"""By provider id: one price for all of its models, or prices by model."""

_PER_MILLION = Decimal(1_000_000)
_THOUSAND = Decimal(1000)

# LiteLLM's fields; a threshold ("_above_200k_tokens") and a service tier may follow each.
_LITELLM_RATES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_read_audio": "cache_read_input_audio_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "reasoning": "output_cost_per_reasoning_token",
    "input_audio": "input_cost_per_audio_token",
    "input_image": "input_cost_per_image_token",
    "output_audio": "output_cost_per_audio_token",
    "output_image": "output_cost_per_image_token",
}
_LITELLM_TIER = re.compile(r"input_cost_per_token(_[a-z]+)")
_TIER_NAMES = {"batches": "batch"}  # LiteLLM's word for a service tier, and the providers'
_OPENAI_REGION = re.compile(r"([a-z]{2})\.api\.openai\.com")
_THRESHOLD = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")

_GENAI_RATES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_read_audio": "cache_audio_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "input_image": "input_image_mtok",
    "output_audio": "output_audio_mtok",
    "output_image": "output_image_mtok",
}
_GENAI_TIERS = {
    "batch": {"processing": "batch"},
    "priority": {"service_tier": "priority"},
    "flex": {"service_tier": "flex"},
    "fast": {"service_tier": "fast"},
}
_GENAI_MODIFIERS = {"fast": {"speed": "fast"}}
# Where genai-prices does not know LiteLLM's name of a provider.
_GENAI_PROVIDERS = {"fireworks_ai": "fireworks", "azure_ai": "azure"}


@dataclass(slots=True)
class PriceBook:
    """The price of every model, looked up once and kept.

    A price is the one in force when it was first asked for, in this process. genai-prices is
    imported at the first model that the other sources lack: 0.4 s and 60 MB, so ask for the
    configured models before the event loop runs, or in a thread. `uplifts` holds, by provider, the
    field of LiteLLM's map that says how much dearer the provider's region is. `found` are the
    prices that were asked for, by what `price` takes.
    """

    config_prices: dict[str, ConfiguredPrice] = field(default_factory=dict)
    uplifts: dict[str, str] = field(default_factory=dict)
    model_map: ModelMap = field(default_factory=ModelMap.load)
    use_genai: bool = True
    found: dict[tuple[str, str, str | None], Price | None] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def of(cls, providers: Mapping[str, ProviderConfig]) -> PriceBook:
        """Return a book that knows what the configuration says of these providers."""
        book = cls()
        book.configure(providers)
        return book

    def configure(self, providers: Mapping[str, ProviderConfig]) -> None:
        """Take what the configuration says of further providers."""
        self.config_prices |= prices_of(providers)
        for name, config in providers.items():
            if uplift := uplift_of(config):
                self.uplifts[name] = uplift
        self.found.clear()

    def price(self, provider_id: str, model: str, endpoint: str | None = None) -> Price | None:
        """Return a model's price at a configured provider, None where nobody knows it.

        `endpoint` is LiteLLM's name of the company (`ModelMap.provider_of`), None where no map
        knows the address: a price found by the model's name alone is then marked as assumed.
        """
        key = (provider_id, model, endpoint)
        try:
            return self.found[key]
        except KeyError:
            return bounded_setdefault(self.found, key, self._find(provider_id, model, endpoint))

    def compare(self, provider_id: str, model: str, endpoint: str | None = None) -> list[Price]:
        """Return every source's price: configuration, LiteLLM's map, genai-prices."""
        sources = self._sources(provider_id, model, endpoint)
        return [price for ask in sources if (price := ask())]

    def price_at(self, model: str, at: datetime, endpoint: str | None = None) -> Price | None:
        """Return the price at a moment in the past, as genai-prices has it; not kept."""
        return genai_price(model, endpoint, at) if self.use_genai else None

    def _find(self, provider_id: str, model: str, endpoint: str | None) -> Price | None:
        assumed = None
        for ask in self._sources(provider_id, model, endpoint):
            price = ask()
            # At a known address a later source may know what an earlier one assumes.
            if price and (endpoint is None or not price.assumed):
                return price
            assumed = assumed or price
        return assumed

    def _sources(
        self, provider_id: str, model: str, endpoint: str | None
    ) -> list[Callable[[], Price | None]]:
        def mapped() -> Price | None:
            entry = self.model_map.entry(model, endpoint)
            return litellm_price(entry, self.uplifts.get(provider_id)) if entry else None

        def dated() -> Price | None:
            return genai_price(model, endpoint, datetime.now(UTC)) if self.use_genai else None

        return [lambda: self._configured(provider_id, model), mapped, dated]

    def _configured(self, provider_id: str, model: str) -> Price | None:
        prices = self.config_prices.get(provider_id)
        return prices if prices is None or isinstance(prices, Price) else prices.get(model)


def configured_price(values: Mapping[str, Decimal | float | None]) -> Price:
    """Return the price that `price:` in the configuration says.

    Keys are `input_usd_per_mtok` and so on, after the fields of `Rates`, and `request_usd` and
    `search_usd`. What is missing costs nothing where it is a fee, and see `Rates` for tokens.
    """
    given = {key: Decimal(str(value)) for key, value in values.items() if value is not None}
    rates = {kind.name: given.get(f"{kind.name}_usd_per_mtok") for kind in fields(Rates)}
    return Price(
        _rates({"input": Decimal(0), "output": Decimal(0)}, rates),
        "config",
        request_usd=given.get("request_usd", Decimal(0)),
        search_usd=given.get("search_usd", Decimal(0)),
    )


def prices_of(providers: Mapping[str, ProviderConfig]) -> dict[str, ConfiguredPrice]:
    """Return the prices that the configuration says, by provider, or by provider and model.

    A scripted provider is free where nothing else is said.
    """
    prices: dict[str, ConfiguredPrice] = {}
    for name, config in providers.items():
        if isinstance(config.price, PriceConfig):
            prices[name] = configured_price(config.price.model_dump())
        elif config.price is None and config.type == "mock":
            prices[name] = FREE
        elif config.price is not None:
            prices[name] = {
                model: configured_price(price.model_dump()) for model, price in config.price.items()
            }
    return prices


def uplift_of(config: ProviderConfig) -> str | None:
    """Return the field of LiteLLM's map for the region a provider is asked in, None for none.

    Sources: OpenAI, "Data residency" (the regions' own hosts); Google, "Vertex AI pricing"
    (regional endpoints); LiteLLM's `vertex_location`, whose default is a region.
    """
    host = urlsplit(config.base_url or "").hostname or ""
    region = _OPENAI_REGION.fullmatch(host)
    if region:
        return f"regional_processing_uplift_multiplier_{region[1]}"
    is_vertex = config.type == "litellm" and (config.default_model or "").startswith("vertex_ai/")
    if is_vertex and config.options.get("vertex_location") != "global":
        return "regional_endpoint_uplift_multiplier"
    return None


def litellm_price(entry: ModelEntry, uplift: str | None = None) -> Price | None:
    """Return the price in an entry of LiteLLM's map, None where it has none or only zeros.

    `uplift` names the entry's field that all its rates are multiplied with. Cheaper hours
    (`off_peak_pricing`) are left out: the figure is then too high, never low.
    """
    bands = entry.raw.get("tiered_pricing") or []
    raw: Entry = {**entry.raw, **bands[0]} if bands else entry.raw
    factor = Decimal(repr(raw.get(uplift, 1))) if uplift else Decimal(1)
    if factor != 1:
        raw = {name: _lifted(name, value, factor) for name, value in raw.items()}
    standard = _litellm_rates(raw, "")
    if not any(standard.values()):
        return None
    request_usd, search_usd = _litellm_fees(entry)

    def build(suffix: str) -> Price:
        own = _at_tier(standard, _litellm_rates(raw, suffix))
        steps = {
            int(found[1]) * 1000: _litellm_rates(raw, f"_above_{found[1]}k_tokens{suffix}")
            for name in raw
            if (found := _THRESHOLD.fullmatch(name))
        }
        steps |= {int(band["range"][0]): _litellm_rates(band, "") for band in bands[1:]}
        return _price("litellm", own, steps, request_usd, search_usd)

    multipliers = _litellm_multipliers(raw)
    suffixes = [found[1] for name in raw if (found := _LITELLM_TIER.fullmatch(name))]
    tiers = {
        _TIER_NAMES.get(suffix[1:], suffix[1:]): replace(build(suffix), multipliers=multipliers)
        for suffix in suffixes
    }
    price = build("")
    return replace(price, service_tiers=tiers, multipliers=multipliers, assumed=entry.assumed)


def genai_price(model: str, endpoint: str | None, at: datetime) -> Price | None:
    """Return genai-prices' price at a moment, None where it has none.

    A price that changes with the hour is the one of that moment.
    """
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - slow; often not needed

    provider_id = _GENAI_PROVIDERS.get(endpoint, endpoint) if endpoint else None
    bare = model.removeprefix(f"{endpoint}/") if endpoint else model
    try:
        provider, info = get_snapshot().find_provider_model(bare, None, provider_id, None)
    except LookupError:
        return None
    price = _genai_variant(info.get_prices(at))
    if price is None:
        return None
    whens = [variant.when for variant in info.price_variants or ()]
    own = any(info is listed for listed in provider.models)

    def variants(known: Mapping[str, dict[str, str]]) -> dict[str, Price]:
        return {
            name: variant
            for name, when in known.items()
            if own and when in whens and (variant := _genai_variant(info.get_prices(at, when)))
        }

    plain = price.rates.input
    modified = variants(_GENAI_MODIFIERS) if plain else {}
    return replace(
        price,
        service_tiers=variants(_GENAI_TIERS),
        multipliers={name: each.rates.input / plain for name, each in modified.items()},
        priced_at=_since(info, at),
        assumed=endpoint is None,
    )


def _litellm_rates(raw: Entry, suffix: str) -> dict[str, Decimal]:
    """The rates under one suffix, those that are there."""
    found = {kind: raw.get(name + suffix) for kind, name in _LITELLM_RATES.items()}
    return {
        kind: Decimal(str(usd)) * _PER_MILLION
        for kind, usd in found.items()
        if isinstance(usd, (int, float, Decimal))
    }


def _lifted(name: str, value: Any, factor: Decimal) -> Any:
    """The value of an entry's field, multiplied where it is a rate of tokens."""
    is_rate = "token" in name and "cost" in name and isinstance(value, (int, float))
    return Decimal(str(value)) * factor if is_rate else value


def _at_tier(standard: Mapping[str, Decimal], own: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The rates at a service tier; a kind that it does not name is as much dearer as input.

    A cache for an hour, which only Anthropic has, is as much dearer or cheaper as one for minutes.
    """
    factor = Decimal(1)
    if own.get("input") and standard.get("input"):
        factor = max(factor, own["input"] / standard["input"])
    rates = {**{kind: rate * factor for kind, rate in standard.items()}, **own}
    if own.get("cache_write") and standard.get("cache_write") and "cache_write_1h" in standard:
        for_an_hour = standard["cache_write_1h"] * own["cache_write"] / standard["cache_write"]
        rates["cache_write_1h"] = own.get("cache_write_1h", for_an_hour)
    return rates


def _litellm_multipliers(raw: Entry) -> dict[str, Decimal]:
    """What `provider_specific_entry` multiplies all rates with, by the provider's word for it.

    Anthropic's `speed` and `inference_geo`; other entries there are texts.
    """
    given = raw.get("provider_specific_entry")
    return {
        word: Decimal(repr(factor))
        for word, factor in (given.items() if isinstance(given, dict) else ())
        if isinstance(factor, (int, float)) and not isinstance(factor, bool)
    }


def _litellm_fees(entry: ModelEntry) -> tuple[Decimal, Decimal]:
    """What a request and what a web search costs.

    Perplexity's fee by context size is for the request, at its default size, low; where its
    sizes cost the same (deep research) it is for each search. Source: docs.perplexity.ai.
    """
    request = Decimal(repr(entry.raw.get("input_cost_per_request", 0)))
    sizes = entry.raw.get("search_context_cost_per_query") or {}
    low, medium = (
        Decimal(repr(sizes.get(f"search_context_size_{size}", 0))) for size in ("low", "medium")
    )
    if entry.provider == "perplexity" and low != medium:
        return request + low, Decimal(0)
    return request, medium


def _genai_variant(prices: ModelPrice) -> Price | None:
    stated: dict[str, Any] = {name: value for name, value in vars(prices).items() if value}
    own: dict[str, Decimal] = {}
    steps: dict[int, dict[str, Decimal]] = {}
    for kind, name in _GENAI_RATES.items():
        value = getattr(prices, name)
        if value is None:
            continue
        own[kind] = getattr(value, "base", value)
        for step in getattr(value, "tiers", ()):
            steps.setdefault(step.start, {})[kind] = step.price
    if not {"input", "output"} & own.keys():
        return None
    request = stated.get("requests_kcount", Decimal(0)) / _THOUSAND
    search = stated.get("web_searches_kcount", Decimal(0)) / _THOUSAND
    return _price("genai-prices", own, steps, request, search)


def _since(info: ModelInfo, at: datetime) -> date | None:
    """The day the price in force at `at` came into force, None where it is not dated."""
    conditional = info.prices if isinstance(info.prices, list) else []
    days = [getattr(price.constraint, "start_date", None) for price in conditional]
    return max((day for day in days if day and day <= at.date()), default=None)


def _price(
    source: PriceSource,
    own: Mapping[str, Decimal],
    steps: Mapping[int, Mapping[str, Decimal]],
    request_usd: Decimal,
    search_usd: Decimal,
) -> Price:
    tiers = []
    reached = dict(own)
    for tokens, step in sorted(steps.items()):
        reached |= step
        if step:
            tiers.append((tokens, _rates(reached)))
    return Price(_rates(own), source, tuple(tiers), request_usd=request_usd, search_usd=search_usd)


def _rates(*layers: Mapping[str, Decimal | None]) -> Rates:
    given = {kind: rate for layer in layers for kind, rate in layer.items() if rate is not None}
    zero = Decimal(0)
    return Rates(given.pop("input", zero), given.pop("output", zero), **given)


FREE = configured_price({"input_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0})
