"""A record as a row of `usage_records`, and back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from math import inf
from operator import attrgetter
from typing import Any, TypeAlias

from sqlalchemy import RowMapping

from orchestify.ledger.record import Record, repaired
from orchestify.values import MOST_USD, Usage, bounded_usd

Row: TypeAlias = dict[str, Any]

TEXT_KEPT = 200
COUNT_KEPT = 10**12
_MOST_ATTEMPTS = 2**31 - 1

COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "reasoning",
    "searches",
)
_counts = attrgetter(*COUNTS)


def opening_of(record: Record, owner: str) -> Row:
    """Return the part of the row that is known when it is opened; `owner` is to complete it."""
    return {
        "id": record.id,
        "call_id": record.call_id,
        "attempt": record.attempt,
        "started_at": record.started_at,
        "day": record.day,
        "provider": record.provider,
        "agent": record.agent,
        "model": record.model,
        "labels": dict(record.labels),
        "tenant": record.tenant,
        "key": record.key,
        "outcome": "open",
        "owner": owner,
        "cost_at_most_picousd": record.cost_at_most_usd,
    }


def completion_of(record: Record, owner: str | None = None) -> Row:
    """Return the part of the row that a completion changes; None for the owner settles it."""
    usage = record.usage
    return {
        "model_answered": record.model_answered,
        "outcome": record.outcome,
        "owner": owner,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "cache_write_1h": usage.cache_write_1h,
        "reasoning": usage.reasoning,
        "searches": usage.searches,
        "service_tier": usage.service_tier,
        "usage_source": usage.source,
        "usage_invalid": ",".join(usage.invalid),
        "cost_picousd": record.cost_usd,
        "cost_source": record.cost_source,
        "price_date": record.price_date,
        "assumed_price": record.assumed_price,
        "cost_at_most_picousd": record.cost_at_most_usd,
        "saved_picousd": record.saved_usd,
        "latency_s": record.latency_s,
        "first_chunk_s": record.first_chunk_s,
        "error": record.error,
    }


def record_of(row: RowMapping) -> Record:
    """Return the record of a row."""
    return Record(
        id=row["id"],
        call_id=row["call_id"],
        attempt=row["attempt"],
        started_at=row["started_at"],
        provider=row["provider"],
        agent=row["agent"],
        model=row["model"],
        model_answered=row["model_answered"],
        outcome=row["outcome"],
        usage=Usage(
            **{name: row[name] for name in COUNTS},
            service_tier=row["service_tier"],
            source=row["usage_source"],
            invalid=tuple(filter(None, row["usage_invalid"].split(","))),
        ),
        cost_usd=row["cost_picousd"],
        cost_source=row["cost_source"],
        price_date=row["price_date"],
        assumed_price=row["assumed_price"],
        cost_at_most_usd=row["cost_at_most_picousd"],
        latency_s=row["latency_s"],
        first_chunk_s=row["first_chunk_s"],
        error=row["error"],
        labels=row["labels"],
        tenant=row["tenant"],
        key=row["key"],
        saved_usd=row["saved_picousd"],
    )


def storable(record: Record) -> Record:
    """Return the record without values that no database accepts; mostly it is the same one.

    Texts lose NUL and lone surrogates and what is over 200 characters (an index has to hold
    them); counts end at 1e12, costs at 1e6 USD, and what is not of its type is replaced. One
    such record must not stop all others.
    """
    with suppress(TypeError, AttributeError, ArithmeticError):
        if _fits(record):
            return record
    record = repaired(record)
    return replace(
        record,
        id=cut_text(record.id),
        call_id=cut_text(record.call_id),
        provider=cut_text(record.provider),
        agent=cut_text(record.agent),
        model=cut_text(record.model),
        model_answered=cut_text(record.model_answered),
        error=cut_text(record.error),
        labels={cut_text(key): cut_text(value) for key, value in record.labels.items()},
        tenant=cut_text(record.tenant),
        key=cut_text(record.key),
        attempt=min(max(record.attempt, 0), _MOST_ATTEMPTS),
        usage=_counted(record.usage),
        latency_s=_finite(record.latency_s),
        first_chunk_s=_finite(record.first_chunk_s),
        cost_usd=bounded_usd(record.cost_usd),
        cost_at_most_usd=bounded_usd(record.cost_at_most_usd),
        saved_usd=bounded_usd(record.saved_usd),
    )


def _fits(record: Record) -> bool:
    usage, labels, counts = record.usage, record.labels, _counts(record.usage)
    texts = (
        *(record.id, record.call_id, record.provider, record.agent, record.model),
        *(record.model_answered, record.error, usage.service_tier or "", record.tenant, record.key),
        *(*labels.keys(), *labels.values()),
    )
    return bool(
        "".join(texts).isprintable()
        and max(map(len, texts)) <= TEXT_KEPT
        and max(counts) <= COUNT_KEPT
        and min(counts) >= 0
        and {*map(type, counts)} == {int}
        and isinstance(record.started_at, datetime)
        and type(record.assumed_price) is bool
        and 0 <= record.attempt <= _MOST_ATTEMPTS
        and 0 <= (record.latency_s or 0) < inf
        and 0 <= (record.first_chunk_s or 0) < inf
        and (record.price_date is None or isinstance(record.price_date, date))
        and ",".join((record.outcome, record.cost_source, usage.source, *usage.invalid))
        and _fits_usd(record.cost_usd)
        and _fits_usd(record.cost_at_most_usd)
        and _fits_usd(record.saved_usd)
    )


def _fits_usd(usd: Decimal | None) -> bool:
    return usd is None or (usd.is_finite() and 0 <= usd <= MOST_USD)


def _counted(usage: Usage) -> Usage:
    counts = (min(max(count, 0), COUNT_KEPT) for count in _counts(usage))
    cut: dict[str, Any] = dict(zip(COUNTS, counts, strict=True))
    return replace(usage, **cut, service_tier=usage.service_tier and cut_text(usage.service_tier))


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds < inf else None


def cut_text(text: str) -> str:
    """Return at most 200 characters of the text, without those that no database accepts."""
    return text[:TEXT_KEPT].replace("\0", "").encode("utf-8", "replace").decode()
