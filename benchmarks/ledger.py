"""What booking and reporting cost; prints a table, then the same as one line of JSON.

    python benchmarks/ledger.py [postgresql://user@host/database?options=-csearch_path%3Dscratch]

SQLite is measured in a temporary directory (TMPDIR chooses the disk). A database that is given
is written to: give a scratch one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

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
    return round(per_s)


async def memory_us() -> float:
    """Return the CPU time of booking a call in memory, making its records left out."""
    ledger = MemoryLedger()
    calls = [call(number) for number in range(50_000)]
    began = time.process_time()
    for record, done in calls:
        await ledger.open(record)
        ledger.complete(done)
    return round((time.process_time() - began) / len(calls) * 1e6, 2)


MILLION = """
INSERT INTO usage_records
  (id, call_id, attempt, started_at, day, provider, agent, model, outcome, input_tokens,
   output_tokens, cost_picousd, cost_source, latency_s, labels)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999)
SELECT printf('%032x', i), printf('%032x', i), 1,
       strftime('%Y-%m-%d %H:%M:%f000', '2025-01-01', (i * 31) || ' seconds'),
       strftime('%Y-%m-%d', '2025-01-01', (i * 31) || ' seconds'),
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


async def summary_ms() -> dict[str, float]:
    """Return the times of summaries of 1,000,000 records of a year, medians of nine."""
    broken = datetime(2025, 3, 14, 12, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        there = ledger_database(database_url("sqlite:///usage.db", Path(folder)))
        there.run(lambda connection: connection.execute(text(MILLION)))
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
        assert report.total.calls > 500_000
    return round(sorted(times)[4] * 1e3, 2)


async def growth_mb(calls: int = 200_000) -> float:
    """Return by how much the process has grown after 200,000 calls in SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger("sqlite:///usage.db", base_dir=Path(folder))
        await book(ledger, 20_000, 64)
        before = resident_mb()
        await book(ledger, calls, 64)
        grown = resident_mb() - before
        await ledger.aclose()
    return round(grown, 2)


def resident_mb() -> float:
    """Return the memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def main(postgres: str | None) -> None:
    """Measure, and print."""
    file = "sqlite:///usage.db"
    figures: dict[str, float] = {
        "memory: µs of CPU a call": await memory_us(),
        "SQLite, 64 at once: calls/s": await booked_per_s(file, "process", 50_000, 64),
        "SQLite, one at a time: calls/s": await booked_per_s(file, "process", 5_000, 1),
        "SQLite, power, 64 at once: calls/s": await booked_per_s(file, "power", 10_000, 64),
        "SQLite, power, one at a time: calls/s": await booked_per_s(file, "power", 1_000, 1),
    }
    if postgres:
        figures |= {
            "PostgreSQL, 64 at once: calls/s": await booked_per_s(postgres, "process", 20_000, 64),
            "PostgreSQL, one at a time: calls/s": await booked_per_s(postgres, "process", 2_000, 1),
        }
    for name, ms in (await summary_ms()).items():
        figures[f"1,000,000 records {name}: ms"] = ms
    figures["growth over 200,000 calls in SQLite: MB"] = await growth_mb()
    table = Table("ledger", "measured")
    for name, value in figures.items():
        table.add_row(name, f"{value:,}")
    Console().print(table)
    sys.stdout.write(json.dumps(figures, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
