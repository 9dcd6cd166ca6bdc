"""What booking and reporting cost, in memory and in SQL.

SQLite is measured in a temporary directory (TMPDIR chooses the disk).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from sqlalchemy import text

from benchmarks.results import Table
from benchmarks.settings import Settings
from orchestify.database.sql import database_url
from orchestify.ledger.base import Ledger
from orchestify.ledger.memory import MemoryLedger
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import Record, new_id, utc_now
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.schema import ledger_database
from orchestify.values import Usage

USAGE = Usage(input_tokens=1200, output_tokens=300, cache_read=800)
COST = Decimal("0.00642")


def measure(settings: Settings) -> Iterator[Table]:
    """Measure booking, reports and memory."""
    yield asyncio.run(booking(settings))
    records = settings.sized(1_000_000, 50_000)
    times = asyncio.run(summary_ms(records))
    rows = {name: {"a report": ms} for name, ms in times.items()}
    yield Table(f"Reports of {records:,} records in SQLite", "ms", rows)
    calls = settings.sized(200_000, 10_000)
    grown = asyncio.run(growth_mb(calls))
    title = f"Memory that the process has grown by in {calls:,} calls"
    yield Table(title, "MB", {"SQLite": {"growth": grown}})


async def booking(settings: Settings) -> Table:
    """Book calls in each store."""
    file, few = "sqlite:///usage.db", settings.sized(1, 20)
    rows = {
        "SQLite, 64 at once": await booked_per_s(file, "process", 50_000 // few, 64),
        "SQLite, one at a time": await booked_per_s(file, "process", 5_000 // few, 1),
        "SQLite, power, 64 at once": await booked_per_s(file, "power", 10_000 // few, 64),
        "SQLite, power, one at a time": await booked_per_s(file, "power", 1_000 // few, 1),
    }
    url, notes = settings.postgres, ()
    if url:
        rows["PostgreSQL, 64 at once"] = await booked_per_s(url, "process", 20_000 // few, 64)
        rows["PostgreSQL, one at a time"] = await booked_per_s(url, "process", 2_000 // few, 1)
    else:
        notes = ("PostgreSQL left out: give a scratch database with --postgres",)
    shown = {"memory": {"CPU of a call: us": await memory_us()}}
    return Table("Booking", "", shown | {name: {"calls/s": n} for name, n in rows.items()}, notes)


def call(number: int) -> tuple[Record, Record]:
    """Return an attempt's opened and completed record."""
    record = Record(
        id=new_id(),
        call_id=new_id(),
        started_at=utc_now(),
        provider="claude_main",
        agent=f"agent-{number % 5}",
        model="claude-sonnet-4-5",
        cost_at_most_usd=Decimal("0.05"),
    )
    done = replace(
        record, outcome="ok", usage=USAGE, cost_usd=COST, cost_source="litellm", latency_s=1.5
    )
    return record, done


async def book(ledger: Ledger, calls: int, at_once: int) -> float:
    """Book calls, wait until the last is committed, and return how many a second."""

    async def work() -> None:
        for number in range(calls // at_once):
            record, done = call(number)
            await ledger.open(record)
            ledger.complete(done)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    await ledger.usage()
    return calls / (time.perf_counter() - began)


async def booked_per_s(url: str, durability: str, calls: int, at_once: int) -> float:
    """Return the booked calls a second of a new ledger, its start left out."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(url, base_dir=Path(folder), durability=durability)  # type: ignore[arg-type]
        await book(ledger, at_once, at_once)
        per_s = await book(ledger, calls, at_once)
        await ledger.aclose()
    return per_s


async def memory_us() -> float:
    """Return the CPU time of booking a call in memory, making its records left out."""
    ledger = MemoryLedger()
    calls = [call(number) for number in range(50_000)]
    began = time.process_time()
    for record, done in calls:
        await ledger.open(record)
        ledger.complete(done)
    return (time.process_time() - began) / len(calls) * 1e6


RECORDS = """
INSERT INTO usage_records
  (id, call_id, attempt, started_at, day, provider, agent, model, outcome, input_tokens,
   output_tokens, cost_picousd, cost_source, latency_s, labels)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :last)
SELECT printf('%032x', i), printf('%032x', i), 1,
       strftime('%Y-%m-%d %H:%M:%f000', '2025-01-01', (i * :step) || ' seconds'),
       strftime('%Y-%m-%d', '2025-01-01', (i * :step) || ' seconds'),
       'provider-' || (i % 3), 'agent-' || (i % 4), 'model-' || (i % 6), 'ok', 1200, 300,
       6420000000, 'litellm', 1.5, '{}'
FROM n
"""
DAYS = """
INSERT INTO usage_days
  (label, day, provider, agent, model, value, calls, attempts, failed, cancelled, interrupted,
   unpriced_calls, estimated_calls, invalid_usage, input_tokens, output_tokens, cache_read,
   cache_write, reasoning, cost_picousd, estimated_cost_picousd, latency_s)
SELECT '', day, provider, agent, model, '', count(*), count(*), 0, 0, 0, 0, 0, 0,
       sum(input_tokens), sum(output_tokens), 0, 0, 0, sum(cost_picousd), 0, sum(latency_s)
FROM usage_records GROUP BY day, provider, agent, model
"""


async def summary_ms(records: int) -> dict[str, float]:
    """Return the times of summaries of so many records of 2025, medians of nine."""
    broken = datetime(2025, 3, 14, 12, tzinfo=UTC)
    spread = {"last": records - 1, "step": 31_000_000 // records}
    with tempfile.TemporaryDirectory() as folder:
        there = ledger_database(database_url("sqlite:///usage.db", Path(folder)))
        there.run(lambda connection: connection.execute(text(RECORDS), spread))
        there.run(lambda connection: connection.execute(text(DAYS)))
        ledger = SqlLedger(there)
        times = {
            "by provider": await median_ms(ledger, "provider"),
            "by day and model": await median_ms(ledger, "day", "model"),
            "by agent, from a noon on": await median_ms(ledger, "agent", since=broken),
        }
        await ledger.aclose()
    return times


async def median_ms(ledger: Ledger, *by: str, since: datetime | None = None) -> float:
    """Return how long a report takes, the median of nine."""
    times = []
    for _ in range(9):
        began = time.perf_counter()
        report = await ledger.usage(by, since=since)
        times.append(time.perf_counter() - began)
        assert report.total.calls
    return sorted(times)[4] * 1e3


async def growth_mb(calls: int) -> float:
    """Return by how much the process has grown after so many calls in SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger("sqlite:///usage.db", base_dir=Path(folder))
        await book(ledger, calls // 10, 64)
        before = resident_mb()
        await book(ledger, calls, 64)
        grown = resident_mb() - before
        await ledger.aclose()
    return grown


def resident_mb() -> float:
    """Return the memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
