"""Prices afresh: the ones that records are compared with."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from orchestify.core.config import Config
from orchestify.ledger.record import Record
from orchestify.ledger.sql.repricing import PriceOf
from orchestify.models.price_book import PriceBook
from orchestify.models.pricing import Price

_PRICES_KEPT = 4096


def todays_prices(config: Config | None = None) -> PriceOf:
    """Return the prices in force now, from the sources that calls are booked by.

    A provider that is not in `config` is taken for the company that LiteLLM's map has for the
    model.
    """
    book = PriceBook.of({} if config is None else config.providers.providers)

    @lru_cache(_PRICES_KEPT)
    def find(provider: str, model: str) -> Price | None:
        return book.price(provider, model, _endpoint(book, config, provider, model))

    return lambda record: _first(record, lambda model: find(record.provider, model))


def dated_prices(config: Config | None = None) -> PriceOf:
    """Return the prices at each record's own time, as genai-prices has them.

    What the configuration says is left out: it has no dates.
    """
    book = PriceBook()

    @lru_cache(_PRICES_KEPT)
    def endpoint(provider: str, model: str) -> str | None:
        return _endpoint(book, config, provider, model)

    def find(record: Record, model: str) -> Price | None:
        return book.price_at(model, record.started_at, endpoint(record.provider, model))

    return lambda record: _first(record, lambda model: find(record, model))


def _first(record: Record, find: Callable[[str], Price | None]) -> Price | None:
    """The price of the model asked for, else of the one that answered, as calls are booked."""
    price = find(record.model)
    if price is None and record.model_answered not in ("", record.model):
        price = find(record.model_answered)
    return price


def _endpoint(book: PriceBook, config: Config | None, provider: str, model: str) -> str | None:
    own = config.providers.providers.get(provider) if config else None
    if own is None:
        return book.model_map.provider_of("litellm", model)
    return book.model_map.provider_of(own.type, model, own.base_url)
