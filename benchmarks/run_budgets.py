"""What budgets of runs cost: opening, using and closing them.

Each of 10,000 runs is opened by a call's reservation and its settlement, used by a second one, and
closed: dropped once it has ended. 64 calls go at once. SQLite is measured in a temporary directory.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from sqlalchemy import text

from benchmarks.results import Cell, Table
from benchmarks.settings import Settings
from orchestify.database.sql import database_url
from orchestify.ledger.budgets.memory_store import MemoryStore
from orchestify.ledger.budgets.sql_store import prune
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.record import utc_now
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.schema import ledger_database
from orchestify.policy.budget import Amount, Budget

RUN = Budget("run", Decimal(2), period="ever", per="run", limit_calls=1000)
WORST_USD, TAKEN = Decimal("0.05"), Amount(Decimal("0.01"), 1500, 1)
AT_ONCE = 64


def measure(settings: Settings) -> Iterator[Table]:
    """Measure every store, in microseconds a run."""
    runs, notes = settings.sized(10_000, 500), ()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {"memory": asyncio.run(in_memory(runs))}
        rows["SQLite"] = asyncio.run(in_sql("sqlite:///usage.db", folder, runs))
        if settings.postgres:
            rows["PostgreSQL"] = asyncio.run(in_sql(settings.postgres, folder, runs))
        else:
            notes = ("PostgreSQL left out: give a scratch database with --postgres",)
    yield Table(f"Budgets of {runs:,} runs, a run", "us", rows, notes)


@contextmanager
def timed(row: dict[str, Cell], what: str, runs: int) -> Iterator[None]:
    """Add the wall time and the CPU of one run in the block, in microseconds."""
    began, cpu = time.perf_counter(), time.process_time()
    yield
    row[what] = (time.perf_counter() - began) * 1e6 / runs
    row[f"{what}: CPU"] = (time.process_time() - cpu) * 1e6 / runs


async def use(book: BudgetBook, runs: int, first: int = 0) -> None:
    """Reserve and settle once in each run's budget."""
    names = iter(range(first, first + runs))

    async def work() -> None:
        for name in names:
            budget = RUN.in_scope({"run": f"run {name}"})
            assert budget is not None
            book.settle(await book.reserve([budget], WORST_USD, tokens=4000), TAKEN)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def in_memory(runs: int) -> dict[str, Cell]:
    """Measure budgets in memory; they are dropped as another one is opened."""
    later = timedelta()

    def now() -> datetime:
        return utc_now() + later

    book, row = BudgetBook(MemoryStore(now)), dict[str, Cell]()
    for what in ("opening", "using"):
        with timed(row, what, runs):
            await use(book, runs)
    later = timedelta(days=8)
    with timed(row, "closing", runs):
        await use(book, 1, first=runs)
    return row


async def in_sql(url: str, folder: Path, runs: int) -> dict[str, Cell]:
    """Measure budgets in a database; they are deleted by its upkeep."""
    there, row = ledger_database(database_url(url, folder)), dict[str, Cell]()
    ledger = SqlLedger(ledger_database(database_url(url, folder)))
    book = ledger.budget_book()
    for what in ("opening", "using"):
        with timed(row, what, runs):
            await use(book, runs)
    await ledger.aclose()
    over = text("UPDATE budget_periods SET ends_at = '2020-01-01' WHERE value IS NOT NULL")
    await asyncio.to_thread(there.run, lambda connection: connection.execute(over))
    with timed(row, "closing", runs):
        await asyncio.to_thread(there.run, prune)
    there.dispose()
    return row
