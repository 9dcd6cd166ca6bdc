"""What budgets of runs cost: opening, using and closing them; prints a table.

    python benchmarks/run_budgets.py [RUNS [postgresql://user@host/database?options=...]]

10,000 runs where nothing is said. Each is opened by a call's reservation and its settlement, used
by a second one, and closed: dropped once it has ended. 64 calls go at once. SQLite is measured in
a temporary directory. A database that is given is written to: give a scratch one.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

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


@contextmanager
def timed(row: list[str], runs: int) -> Iterator[None]:
    """Add the wall time and the CPU of one run in the block, in microseconds."""
    began, cpu = time.perf_counter(), time.process_time()
    yield
    wall_us = (time.perf_counter() - began) * 1e6 / runs
    row.append(f"{wall_us:.0f} ({(time.process_time() - cpu) * 1e6 / runs:.0f})")


async def use(book: BudgetBook, runs: int, first: int = 0) -> None:
    """Reserve and settle once in each run's budget."""
    names = iter(range(first, first + runs))

    async def work() -> None:
        for name in names:
            budget = RUN.in_scope({"run": f"run {name}"})
            assert budget is not None
            book.settle(await book.reserve([budget], WORST_USD, tokens=4000), TAKEN)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def in_memory(runs: int) -> list[str]:
    """Measure budgets in memory; they are dropped as another one is opened."""
    later = timedelta()

    def now() -> datetime:
        return utc_now() + later

    book, row = BudgetBook(MemoryStore(now)), ["memory"]
    for _ in range(2):
        with timed(row, runs):
            await use(book, runs)
    later = timedelta(days=8)
    with timed(row, runs):
        await use(book, 1, first=runs)
    return row


async def in_sql(name: str, url: str, folder: Path, runs: int) -> list[str]:
    """Measure budgets in a database; they are deleted by its upkeep."""
    there, row = ledger_database(database_url(url, folder)), [name]
    ledger = SqlLedger(ledger_database(database_url(url, folder)))
    book = ledger.budget_book()
    for _ in range(2):
        with timed(row, runs):
            await use(book, runs)
    await ledger.aclose()
    over = text("UPDATE budget_periods SET ends_at = '2020-01-01' WHERE value IS NOT NULL")
    await asyncio.to_thread(there.run, lambda connection: connection.execute(over))
    with timed(row, runs):
        await asyncio.to_thread(there.run, prune)
    there.dispose()
    return row


async def main(runs: int, url: str | None) -> None:
    """Measure every store."""
    table = Table("store", "opening", "using", "closing", title=f"{runs} runs, us each (CPU)")
    with tempfile.TemporaryDirectory() as folder:
        table.add_row(*await in_memory(runs))
        table.add_row(*await in_sql("SQLite", "sqlite:///usage.db", Path(folder), runs))
        if url is not None:
            table.add_row(*await in_sql("PostgreSQL", url, Path(folder), runs))
    Console().print(table)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(int(arguments[0]) if arguments else 10_000, arguments[1] if arguments[1:] else None)
    )
