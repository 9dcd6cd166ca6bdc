"""Repricing: what records would cost at other prices, beside what was booked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from sqlalchemy import Connection, select

from orchestify.database.sql import Database
from orchestify.ledger.axes import axes_of, is_label, label_key
from orchestify.ledger.base import as_utc
from orchestify.ledger.record import Record
from orchestify.ledger.sql.reading import record_axis
from orchestify.ledger.sql.rows import record_of
from orchestify.ledger.sql.schema import IS_OPEN, RECORD_COLUMNS, usage_records
from orchestify.ledger.sql.upkeep import pruned_before
from orchestify.models.pricing import Price, cost_of

PriceOf: TypeAlias = Callable[[Record], Price | None]
"""The price to apply to a record, None where nobody knows it."""

_ROWS_READ = 2000


@dataclass(slots=True)
class Comparison:
    """Sums over records: what was booked, and the same tokens at other prices.

    Both costs sum known ones only; `booked_unpriced` and `repriced_unpriced` count the records
    that each leaves out. `provider_cost` counts records whose booked cost is the provider's own
    figure, which a price can only approach.
    """

    attempts: int = 0
    provider_cost: int = 0
    booked_unpriced: int = 0
    repriced_unpriced: int = 0
    booked_usd: Decimal = Decimal(0)
    repriced_usd: Decimal = Decimal(0)

    def add(self, record: Record, price: Price | None) -> None:
        """Add a completed record and the price to compare it with."""
        self.attempts += 1
        self.provider_cost += record.cost_source == "provider"
        self.booked_unpriced += record.unpriced
        self.booked_usd += record.cost_usd or 0
        if record.outcome != "ok" and not record.usage.total_tokens:
            return  # nothing was used, so that not even a fee for the request is due
        usd = cost_of(record.usage, None, price).usd
        self.repriced_unpriced += usd is None
        self.repriced_usd += usd or 0

    def merge(self, other: Comparison) -> None:
        """Add another one to this."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(frozen=True, slots=True)
class Repricing:
    """Comparisons by one or more axes, in the order of their keys.

    `unpriced` names the models that have no other price ("provider/model"), with their records.
    `pruned_before` is the midnight before which records may be missing, None where none are.
    """

    by: tuple[str, ...]
    rows: Mapping[tuple[str, ...], Comparison]
    total: Comparison
    since: datetime | None = None
    until: datetime | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    unpriced: Mapping[str, int] = field(default_factory=dict)
    pruned_before: datetime | None = None


def reprice(
    database: Database,
    price_of: PriceOf,
    by: str | Sequence[str] = ("provider", "model"),
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    where: Mapping[str, str] | None = None,
) -> Repricing:
    """Compare the completed records that started in [since, until) and match `where`.

    It reads every record and changes none. Axes and times are as for `Ledger.usage`.

    Raises:
        InvalidParameterError: an axis that does not exist.
        LedgerError: the database could not be read.
    """
    axes = axes_of(by, where)
    span = (since and as_utc(since), until and as_utc(until))

    def read(connection: Connection) -> Repricing:
        rows, unpriced = _compare(_records(connection, span, where or {}), axes, price_of)
        total = Comparison()
        for row in rows.values():
            total.merge(row)
        pruned = pruned_before(connection)
        return Repricing(
            by=axes,
            rows=dict(sorted(rows.items())),
            total=total,
            since=since,
            until=until,
            where=dict(where or {}),
            unpriced=dict(sorted(unpriced.items())),
            pruned_before=pruned if pruned and (span[0] is None or span[0] < pruned) else None,
        )

    return database.run(read, read_only=True)


def _compare(
    records: Iterator[Record], axes: Sequence[str], price_of: PriceOf
) -> tuple[dict[tuple[str, ...], Comparison], dict[str, int]]:
    rows: dict[tuple[str, ...], Comparison] = {}
    unpriced: dict[str, int] = {}
    for record in records:
        key = tuple(value for axis in axes if (value := _value(record, axis)) is not None)
        if len(key) < len(axes):
            continue  # it has no such label
        row = rows.setdefault(key, Comparison())
        known = row.repriced_unpriced
        row.add(record, price_of(record))
        if row.repriced_unpriced > known:
            name = f"{record.provider}/{record.model}"
            unpriced[name] = unpriced.get(name, 0) + 1
    return rows, unpriced


def _records(
    connection: Connection,
    span: tuple[datetime | None, datetime | None],
    where: Mapping[str, str],
) -> Iterator[Record]:
    columns = usage_records.c
    query = select(*RECORD_COLUMNS).where(~IS_OPEN, columns.outcome != "cached")
    if span[0] is not None:
        query = query.where(columns.started_at >= span[0])
    if span[1] is not None:
        query = query.where(columns.started_at < span[1])
    query = query.where(*(record_axis(axis) == value for axis, value in where.items()))
    found = connection.execution_options(yield_per=_ROWS_READ).execute(query)
    return map(record_of, found.mappings())


def _value(record: Record, axis: str) -> str | None:
    if is_label(axis):
        return record.labels.get(label_key(axis))
    value: str = getattr(record, axis)
    return value
