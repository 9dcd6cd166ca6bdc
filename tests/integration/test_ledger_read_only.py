"""Reports from a ledger whose folder this user may not write."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from orchestify import ProviderRegistry
from orchestify.errors import BudgetExceededError, LedgerError
from orchestify.ledger.memory import Total
from orchestify.ledger.opening import open_ledger
from tests.ledger_version_1 import RECORDS, SUMS, make_sqlite
from tests.ledgers import answered, opened

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user reaches; the user may write in it as long as it is 0o755."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


@pytest.fixture
def reader(folder: Path) -> Iterator[None]:
    """From here on a user without rights of its own; root may write everywhere."""
    is_root = os.geteuid() == 0
    for each in folder.iterdir():
        each.chmod(0o444)
    folder.chmod(0o555)
    if is_root:
        os.seteuid(NOBODY)
    yield
    if is_root:
        os.seteuid(0)


@pytest.fixture
def ledger_file(folder: Path) -> Path:
    async def book() -> None:
        ledger = open_ledger("sqlite:///usage.db", base_dir=folder)
        await ledger.open(record := opened())
        ledger.complete(answered(record))
        await ledger.aclose()

    asyncio.run(book())
    return folder / "usage.db"


@pytest.fixture
def old_file(folder: Path) -> Path:
    make_sqlite(folder / "usage.db", RECORDS + SUMS)
    return folder / "usage.db"


def make_writable(path: Path) -> None:
    if os.getuid() == 0:
        os.seteuid(0)
    path.parent.chmod(0o755)
    path.chmod(0o644)


async def total_of(path: Path) -> Total:
    async with aclosing(open_ledger(f"sqlite:///{path}", base_dir=path.parent)) as ledger:
        return (await ledger.usage()).total


async def test_it_is_reported_and_left_as_it_is(ledger_file: Path, reader: None) -> None:
    assert (await total_of(ledger_file)).calls == 1
    assert [each.name for each in ledger_file.parent.iterdir()] == ["usage.db"]


async def test_calls_that_a_budget_refused_count_nowhere(
    ledger_file: Path, reader: None, caplog: pytest.LogCaptureFixture
) -> None:
    config = {
        "providers": {"m": {"type": "mock", "price": {"input_usd_per_mtok": 1}}},
        "budgets": [{"name": "day", "limit_usd": 5, "period": "day"}],
        "ledger": {"url": f"sqlite:///{ledger_file}"},
    }
    async with ProviderRegistry.from_config(config) as registry:
        for _ in range(3):
            with pytest.raises(BudgetExceededError, match="the ledger's database is away"):
                await registry.get("m").complete("hi")
    assert [each for each in caplog.messages if "count against" in each] == []


async def test_once_it_can_be_written_calls_go_on(ledger_file: Path, reader: None) -> None:
    async with aclosing(open_ledger(f"sqlite:///{ledger_file}", base_dir=Path())) as ledger:
        with pytest.raises(LedgerError, match="readonly database"):
            await ledger.open(opened())
        make_writable(ledger_file)
        await ledger.open(record := opened())
        ledger.complete(answered(record))
        assert (await ledger.usage()).total.calls == 2


async def test_nothing_is_booked_in_it(ledger_file: Path, reader: None) -> None:
    async with aclosing(open_ledger(f"sqlite:///{ledger_file}", base_dir=Path())) as ledger:
        with pytest.raises(LedgerError, match="readonly database"):
            await ledger.open(opened())


async def test_an_older_one_is_not_upgraded(old_file: Path, reader: None) -> None:
    with pytest.raises(LedgerError, match="readonly database"):
        await total_of(old_file)
