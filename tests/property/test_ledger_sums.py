"""The sums are the sums of the records, however they came."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from hypothesis import given, settings, strategies as st

from orchestify.ledger.base import UsageReport
from orchestify.ledger.memory import Total, Totals
from orchestify.ledger.record import Record, new_id
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.values import Usage
from tests.ledgers import answered, database, opened

Span: TypeAlias = tuple[datetime | None, datetime | None]

EVER: Span = (None, None)
START = datetime(2026, 3, 14, tzinfo=UTC)
moments = st.integers(0, 72 * 60).map(lambda minutes: START + timedelta(minutes=minutes))
counts = st.integers(0, 10**9)
money = st.none() | st.integers(0, 10**15).map(lambda pico: Decimal(pico).scaleb(-12))
usages = st.builds(
    Usage,
    input_tokens=counts,
    output_tokens=counts,
    cache_read=counts,
    cache_write=counts,
    reasoning=counts,
    source=st.sampled_from(["reported", "estimated", "unknown"]),
    invalid=st.sampled_from([(), ("cache_read",)]),
)
records = st.builds(
    Record,
    id=st.builds(new_id),
    call_id=st.just("c"),
    started_at=moments,
    provider=st.sampled_from(["p1", "p2"]),
    agent=st.sampled_from(["", "a1"]),
    model=st.sampled_from(["m1", "m2"]),
    outcome=st.sampled_from(["ok", "failed", "cancelled", "interrupted"]),
    usage=usages,
    cost_usd=money,
    cost_source=st.sampled_from(["provider", "config", "none"]),
    latency_s=st.none() | st.integers(0, 600).map(float),
    labels=st.dictionaries(st.sampled_from(["run", "task"]), st.sampled_from(["x", "y"])),
)
hits = st.builds(
    replace,
    records,
    outcome=st.just("cached"),
    usage=st.just(Usage()),
    cost_usd=st.just(Decimal(0)),
    cost_source=st.just("cache"),
    saved_usd=money,
)
batches = st.lists(records | hits, max_size=12)


def reports(
    batch: Sequence[Record], *spans: Span, again: Sequence[Record] = ()
) -> list[UsageReport]:
    """Book a batch, and some of it again, in a new database; report on each span."""
    with tempfile.TemporaryDirectory() as folder:
        there = database("sqlite:///usage.db", Path(folder))
        journal = Journal(there)
        journal.book([replace(record, outcome="open") for record in batch], [])
        journal.book([], batch)
        journal.book([replace(record, outcome="open") for record in again], again)
        journal.close()
        return asyncio.run(read(SqlLedger(there), spans))


async def read(ledger: SqlLedger, spans: Sequence[Span]) -> list[UsageReport]:
    found = [await ledger.usage("model", since=since, until=until) for since, until in spans]
    await ledger.aclose()
    return found


def merged(totals: Sequence[Total]) -> Total:
    result = Total()
    for total in totals:
        result.merge(total)
    return result


@settings(max_examples=40, deadline=None)
@given(batch=batches)
def test_the_database_sums_what_the_records_say(batch: list[Record]) -> None:
    total = reports(batch, EVER)[0].total
    sent = [record for record in batch if record.outcome != "cached"]
    assert total.attempts == len(sent)
    assert total.cached == len(batch) - len(sent)
    assert total.saved_usd == sum(record.saved_usd or 0 for record in batch)
    assert total.calls == len([record for record in batch if record.outcome == "ok"])
    assert total.input_tokens == sum(record.usage.input_tokens for record in batch)
    assert total.reasoning == sum(record.usage.reasoning for record in batch)
    assert total.cost_usd == sum(record.cost_usd or 0 for record in batch)
    assert total.unpriced_calls == len([record for record in batch if record.unpriced])
    assert total.invalid_usage == len([record for record in batch if record.usage.invalid])
    assert total.latency_s == sum(record.latency_s or 0 for record in sent)


@settings(max_examples=40, deadline=None)
@given(batch=batches)
def test_memory_and_database_agree(batch: list[Record]) -> None:
    totals = Totals()
    for record in batch:
        totals.add(record)
    assert reports(batch, EVER)[0].total == totals.total()


@settings(max_examples=40, deadline=None)
@given(batch=batches, repeats=st.data())
def test_what_is_booked_again_changes_nothing(batch: list[Record], repeats: st.DataObject) -> None:
    again = repeats.draw(st.lists(st.sampled_from(batch))) if batch else []
    once = reports(batch, EVER)[0]
    assert reports(batch, EVER, again=again)[0].rows == once.rows


@settings(max_examples=40, deadline=None)
@given(batch=batches, first=moments, second=moments)
def test_spans_cut_anywhere_add_up_to_the_whole(
    batch: list[Record], first: datetime, second: datetime
) -> None:
    early, late = sorted((first, second))
    whole, *parts = reports(batch, EVER, (None, early), (early, late), (late, None))
    assert merged([part.total for part in parts]) == whole.total
    within = [record for record in batch if early <= record.started_at < late]
    assert parts[1].total.attempts + parts[1].total.cached == len(within)


@given(batch=batches)
def test_every_axis_sums_to_the_total(batch: list[Record]) -> None:
    totals = Totals()
    for record in batch:
        totals.add(record)
    whole = totals.total()
    assert merged(list(totals.by("provider").values())) == whole
    assert merged(list(totals.by("agent").values())) == whole
    assert merged(list(totals.by("model").values())) == whole
    assert merged(list(totals.by("day").values())) == whole


def test_an_empty_span_has_no_usage() -> None:
    noon = START + timedelta(hours=12)
    backwards, empty = reports([answered(opened())], (noon, START), (noon, noon))
    assert (backwards.rows, empty.rows) == ((), ())
