"""The prices of a configuration's models, and where their sources disagree."""

from __future__ import annotations

from dataclasses import dataclass

from orchestify.core.chains import configured_models
from orchestify.core.config import Config
from orchestify.models.price_book import PriceBook
from orchestify.models.pricing import Price


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """What each source says a model costs; `sources` are in the order they are asked.

    `in_force` is the price that calls are booked at, None where nobody knows one.
    """

    provider: str
    model: str
    in_force: Price | None
    sources: tuple[Price, ...]

    @property
    def disagree(self) -> bool:
        """Whether two sources have other rates for input or output."""
        return len({(each.rates.input, each.rates.output) for each in self.sources}) > 1


def check_prices(config: Config) -> list[ModelPrices]:
    """Return the prices of every model that the configuration may call; sends nothing."""
    providers = config.providers.providers
    book = PriceBook.of(providers)
    found = []
    for name, model in configured_models(config):
        each = providers[name]
        endpoint = book.model_map.provider_of(each.type, model, each.base_url)
        in_force = book.price(name, model, endpoint)
        sources = tuple(book.compare(name, model, endpoint))
        found.append(ModelPrices(name, model, in_force, sources))
    return found
