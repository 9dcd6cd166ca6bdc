"""A SQLite ledger whose file is deleted, replaced or cut while it is in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify.errors import BudgetExceededError
from orchestify.ledger.budgets.reservation import Reservation
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.record import Record
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.policy.budget import Amount, Budget
from tests.ledgers import answered, database, opened, sqlite_rows, until

DAY = Budget("day", Decimal(10))
NOTICED_S = 1.5  # a second, and what a loaded machine adds


class InUse:
    """A ledger with one call that has ended and one that is open, both under a budget."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "usage.db"
        self.ledger = SqlLedger(database("sqlite:///usage.db", folder))
        self.book: BudgetBook = self.ledger.budget_book()

    async def begin(self) -> tuple[Record, Reservation]:
        """Begin a call that may cost 3 USD."""
        record = opened()
        held = await self.book.reserve([DAY], Decimal(3), record_id=record.id)
        await self.ledger.open(record)
        return record, held

    async def end(self, record: Record, held: Reservation) -> None:
        """End a call, at 2 USD."""
        self.book.settle(held, Amount(Decimal(2)))
        self.ledger.complete(answered(record, cost_usd=Decimal(2)))
        await self.settled(held)

    async def settled(self, held: Reservation) -> None:
        """Return when the reservation is no more in the file."""
        query = f"SELECT count(*) FROM budget_holds WHERE id = '{held.id}'"  # noqa: S608
        await until(lambda: sqlite_rows(self.path, query) == [(0,)])
        await self.ledger.usage()

    def figures(self) -> tuple[Decimal, Decimal]:
        """What is spent and reserved of the budget."""
        state = self.book.state(DAY)
        return state.spent_usd, state.held_usd


@pytest.fixture
async def used(tmp_path: Path) -> AsyncIterator[InUse]:
    used = InUse(tmp_path)
    await used.end(*await used.begin())
    yield used
    await used.ledger.aclose()


async def noticed(used: InUse, loss: str) -> None:
    await until(lambda: f"the ledger's file was {loss} at" in used.ledger.problem, NOTICED_S)


async def test_a_deleted_file_is_made_anew_with_open_calls_and_present_spend(
    used: InUse, caplog: pytest.LogCaptureFixture
) -> None:
    record, held = await used.begin()
    used.path.unlink()
    await noticed(used, "deleted")
    assert sqlite_rows(used.path, "SELECT id, outcome FROM usage_records") == [(record.id, "open")]
    assert used.figures() == (2, 3)
    await used.end(record, held)
    report = await used.ledger.usage()
    assert (report.total.calls, report.total.cost_usd, report.open) == (1, 2, 0)
    assert used.figures() == (4, 0)
    assert "what was booked before is gone, but for open calls" in caplog.text
    assert "1 calls were open" in caplog.text


async def test_a_call_right_after_the_loss_is_in_the_new_file(used: InUse) -> None:
    used.path.unlink()
    record, held = await used.begin()
    assert sqlite_rows(used.path, "SELECT id FROM usage_records") == [(record.id,)]
    assert used.figures() == (2, 3)
    used.book.release(held)


async def test_an_older_copy_in_its_place_does_not_give_spent_money_back(
    used: InUse, tmp_path: Path
) -> None:
    with (
        closing(sqlite3.connect(used.path)) as there,
        closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
    ):
        there.backup(copy)
    record, held = await used.begin()
    await used.end(record, held)
    shutil.move(tmp_path / "copy.db", used.path)
    await noticed(used, "replaced")
    assert used.figures() == (4, 0)
    assert (await used.ledger.usage()).total.calls == 1


async def test_a_file_that_was_cut_is_set_aside(used: InUse, tmp_path: Path) -> None:
    record, held = await used.begin()
    with closing(sqlite3.connect(used.path)) as there:
        there.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await used.end(record, held)
    record, _ = await used.begin()
    with used.path.open("r+b") as file:
        file.truncate(8192)
    await noticed(used, "cut")
    assert used.figures() == (4, 3)
    assert sqlite_rows(used.path, "SELECT id FROM usage_records") == [(record.id,)]
    assert any(".lost-" in name for name in os.listdir(tmp_path))


async def test_a_file_that_was_compacted_is_no_loss(used: InUse) -> None:
    for _ in range(300):
        await used.ledger.open(record := opened(labels={"run": "x" * 150}))
        used.ledger.complete(answered(record))
    await used.ledger.usage()
    with closing(sqlite3.connect(used.path)) as there:
        there.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = used.path.stat().st_size
        await used.ledger.usage()
        used.ledger._backend.journal.check_file()
        there.execute("DELETE FROM usage_records")
        there.commit()
        there.execute("VACUUM")
        there.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert used.path.stat().st_size < before
    await used.end(*await used.begin())
    assert used.ledger.problem == ""
    assert (await used.ledger.usage()).total.calls == 302


async def test_hard_budgets_refuse_until_what_is_known_is_written(used: InUse) -> None:
    used.path.unlink()
    used.path.mkdir()
    with pytest.raises(BudgetExceededError, match="the ledger's database is away") as caught:
        await used.book.reserve([DAY], Decimal(1))
    assert caught.value.is_ledger_away
    assert used.ledger.is_behind
    used.path.rmdir()
    await until(lambda: not used.ledger.is_behind)
    with pytest.raises(BudgetExceededError, match=r"8 of 10 USD left"):
        await used.book.reserve([DAY], Decimal(9))
    assert used.figures() == (2, 0)
