"""Booked costs beside other prices: which prices, and the comparison as table, JSON, CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import lru_cache

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from orchestify.core.config import Config
from orchestify.ledger.record import Record
from orchestify.ledger.sql.repricing import Comparison, PriceOf, Repricing
from orchestify.models.price_book import PriceBook
from orchestify.models.pricing import BATCH, Price, batch_price
from orchestify.report.caveats import coverage, unpriced_caveat
from orchestify.report.data import Cell, csv_text, json_text, write_exact
from orchestify.report.formatting import (
    display_name,
    known_usd,
    plural,
    write_cost,
    write_count,
    write_usd,
)
from orchestify.report.table import bullet_list, plain_table


@dataclass(frozen=True, slots=True)
class RepricingTable:
    """A comparison that `rich` prints; `prices` says which prices it is with."""

    repricing: Repricing
    prices: str

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        found = self.repricing
        covers = coverage(found.by, found.since, found.until, found.where)
        yield Text.assemble((f"Booked, and at {self.prices} ", "bold"), (covers, "dim"))
        yield ""
        yield _table(found)
        yield ""
        yield bullet_list(repricing_caveats(found), options)


def repricing_caveats(repricing: Repricing) -> list[str]:
    """Return what a reader must know to believe the comparison, one sentence each."""
    total = repricing.total
    said = [f"at these prices, {unpriced_caveat(total.repriced_unpriced, repricing.unpriced)}"]
    if total.booked_unpriced:
        said.append(f"{plural(total.booked_unpriced, 'record')} had no price when booked")
    if total.provider_cost:
        said.append(
            f"{plural(total.provider_cost, 'record')} had a cost by the provider itself, "
            "which a price can only approach"
        )
    if repricing.pruned_before:
        said.append(f"records from before {repricing.pruned_before:%Y-%m-%d} were pruned")
    return said


def repricing_json(repricing: Repricing) -> str:
    """Return a comparison as one JSON object, money as exact text, null where none is known."""
    return json_text(
        {
            "by": repricing.by,
            "since": repricing.since,
            "until": repricing.until,
            "where": dict(repricing.where),
            "rows": [
                {**dict(zip(repricing.by, key, strict=True)), **_sums(row)}
                for key, row in repricing.rows.items()
            ],
            "total": _sums(repricing.total),
            "unpriced": dict(repricing.unpriced),
            "pruned_before": repricing.pruned_before,
        }
    )


def repricing_csv(repricing: Repricing) -> str:
    """Return a comparison's rows as CSV: the axes, then the sums."""
    lines = [(*key, *_sums(row).values()) for key, row in repricing.rows.items()]
    return csv_text((*repricing.by, *_sums(repricing.total)), lines)


def _sums(row: Comparison) -> dict[str, Cell]:
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    values["booked_usd"] = known_usd(row.booked_usd, row.booked_unpriced)
    values["repriced_usd"] = known_usd(row.repriced_usd, row.repriced_unpriced)
    return {
        name: write_exact(value) if isinstance(value, Decimal) else value
        for name, value in values.items()
    }


def _table(repricing: Repricing) -> Table:
    table = plain_table()
    for axis in repricing.by:
        table.add_column(Text(display_name(axis.removeprefix("label:"))), overflow="fold")
    table.columns[0].footer = "total"
    names = ("records", "booked", "repriced", "difference")
    for name, value in zip(names, _cells(repricing.total), strict=True):
        table.add_column(name, value, justify="right", no_wrap=True)
    for key, row in repricing.rows.items():
        table.add_row(*(Text(display_name(each)) for each in key), *_cells(row))
    return table


def _cells(row: Comparison) -> tuple[str, ...]:
    # with other calls left out on each side, a difference would say nothing
    change = (row.repriced_usd - row.booked_usd) * (row.booked_unpriced == row.repriced_unpriced)
    return (
        write_count(row.attempts),
        write_cost(known_usd(row.booked_usd, row.booked_unpriced), row.booked_unpriced),
        write_cost(known_usd(row.repriced_usd, row.repriced_unpriced), row.repriced_unpriced),
        f"{'+' if change > 0 else ''}{write_usd(change)}" if change else "",
    )


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
    if price is not None and record.usage.service_tier == BATCH:
        return batch_price(price)
    return price


def _endpoint(book: PriceBook, config: Config | None, provider: str, model: str) -> str | None:
    own = config.providers.providers.get(provider) if config else None
    if own is None:
        return book.model_map.provider_of("litellm", model)
    return book.model_map.provider_of(own.type, model, own.base_url)
