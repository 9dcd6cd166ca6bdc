"""A database that version 1 wrote is used by this one, and nothing in it is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, inspect, text

from orchestify.ledger.opening import open_ledger
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.spool import Spool
from orchestify.policy.budget import Amount, Budget
from tests.ledger_version_1 import RECORDS, SUMS, make_postgres, make_sqlite
from tests.ledgers import answered, database, opened, postgres_schema, until

TOTAL = Budget("total", Decimal(5), period="ever", alert_at=(0.5,))
FILE = "sqlite:///usage.db"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            found = stack.enter_context(postgres_schema())
            make_postgres(found, RECORDS + SUMS)
            yield found
        else:
            make_sqlite(tmp_path / "usage.db", RECORDS + SUMS)
            yield FILE


async def test_the_sums_stand_and_grow(url: str, tmp_path: Path) -> None:
    ledger = open_ledger(url, base_dir=tmp_path)
    await ledger.open(record := opened(labels={"run": "r1"}))
    ledger.complete(answered(record))
    by_run = await ledger.usage("label:run")
    by_tenant = await ledger.usage(("tenant", "model"))
    await ledger.aclose()
    assert [(row.key, row.total.calls) for row in by_run.rows] == [(("r1",), 2)]
    assert [row.key for row in by_tenant.rows] == [("", "claude-sonnet-4-5")]
    assert (by_tenant.total.calls, by_tenant.total.input_tokens) == (2, 200)
    assert (by_tenant.total.cost_usd, by_tenant.total.latency_s) == (Decimal("0.0006"), 0.5)
    assert by_tenant.open == 1


async def test_the_records_stand(url: str, tmp_path: Path) -> None:
    ledger = open_ledger(url, base_dir=tmp_path)
    report = await ledger.usage(("agent", "label:run"), since=datetime(2026, 3, 14, 11, tzinfo=UTC))
    await ledger.aclose()
    assert [(row.key, row.total.cost_usd) for row in report.rows] == [
        (("reviewer", "r1"), Decimal("0.0003"))
    ]


async def test_an_open_record_is_still_completed_once(url: str, tmp_path: Path) -> None:
    ledger = open_ledger(url, base_dir=tmp_path)
    await ledger.open(opened())
    record = opened(id="open", call_id="call-2")
    ledger.complete(answered(record))
    ledger.complete(answered(record))
    report = await ledger.usage()
    await ledger.aclose()
    assert (report.total.calls, report.open) == (2, 1)


async def test_a_running_budget_goes_on(url: str, tmp_path: Path) -> None:
    ledger = SqlLedger(database(url, tmp_path))
    book = ledger.budget_book()
    before = book.state(TOTAL)
    book.settle(await book.reserve([TOTAL], Decimal("0.5")), Amount(Decimal("0.25")))
    await until(lambda: book.state(TOTAL).spent_usd == Decimal("4.25"))
    of_a_tenant = ledger.for_tenant("acme").budget_book().state(TOTAL)
    await ledger.aclose()
    assert (before.spent_usd, before.held_usd) == (4, Decimal("0.5"))
    assert (before.overrun_usd, before.alerted) == (1, 1)
    assert (of_a_tenant.spent_usd, of_a_tenant.held_usd) == (0, 0)


async def test_the_health_stands(url: str, tmp_path: Path) -> None:
    ledger = open_ledger(url, base_dir=tmp_path)
    history = await ledger.health_history("claude_main")
    await ledger.aclose()
    assert history == [{"provider": "claude_main", "status": "healthy"}]


async def test_tenants_share_its_tables(url: str, tmp_path: Path) -> None:
    ledger = open_ledger(url, base_dir=tmp_path)
    await ledger.for_tenant("acme").open(record := opened(labels={"run": "r1"}))
    ledger.for_tenant("acme").complete(answered(record))
    by_tenant = await ledger.usage("tenant", where={"label:run": "r1"})
    await ledger.aclose()
    assert [(row.key, row.total.calls) for row in by_tenant.rows] == [(("",), 1), (("acme",), 1)]


def test_it_has_the_same_tables_as_a_new_one(url: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        new_url = FILE if url == FILE else stack.enter_context(postgres_schema())
        (tmp_path / "new").mkdir()
        upgraded, new = database(url, tmp_path), database(new_url, tmp_path / "new")
        tables = upgraded.run(shape), new.run(shape)
        upgraded.dispose()
        new.dispose()
    assert tables[0] == tables[1]


def test_readers_of_the_tables_find_dollars(url: str, tmp_path: Path) -> None:
    there = database(url, tmp_path)
    found = there.run(lambda c: c.execute(text("SELECT cost_usd FROM usage_days")).all())
    there.dispose()
    assert found == [(0.0003,), (0.0003,)]


def test_views_of_the_tables_still_lead_there(url: str, tmp_path: Path) -> None:
    with there_before(url, tmp_path) as run:
        run("CREATE VIEW costs AS SELECT cost_usd FROM usage_days")
    there = database(url, tmp_path)
    found = there.run(lambda c: c.execute(text("SELECT cost_usd FROM costs")).all())
    there.dispose()
    assert found == [(0.0003,), (0.0003,)]


async def test_records_that_wait_in_an_older_spool_are_moved(tmp_path: Path) -> None:
    make_sqlite(tmp_path / "spool.db", RECORDS)
    spool = Spool(tmp_path / "spool.db")
    with postgres_schema() as url:
        ledger = SqlLedger(database(url, tmp_path), spool)
        behind = (await ledger.usage()).behind
        await ledger.open(opened(started_at=datetime(2026, 3, 15, tzinfo=UTC)))
        await until(lambda: spool.count() == 0)
        report = await ledger.usage("tenant", until=datetime(2026, 3, 15, tzinfo=UTC))
        await ledger.aclose()
    spool.dispose()
    assert behind == 2
    assert [(row.key, row.total.calls) for row in report.rows] == [(("",), 1)]


def test_an_older_spool_takes_records_of_tenants(tmp_path: Path) -> None:
    make_sqlite(tmp_path / "spool.db", RECORDS)
    spool = Spool(tmp_path / "spool.db")
    spool.add("v2", [], [answered(opened(id="new", tenant="acme"))])
    counts = (spool.count(), spool.count("acme"), spool.count(""))
    opens, done = spool.first()
    spool.dispose()
    assert counts == (3, 1, 2)
    assert [row["id"] for row in opens] == ["open"]
    assert {record.id: record.tenant for record in done} == {"done": "", "new": "acme"}


@contextmanager
def there_before(url: str, folder: Path) -> Iterator[Callable[[str], object]]:
    """What runs a statement in the database before it is upgraded."""
    if url == FILE:
        with closing(sqlite3.connect(folder / "usage.db")) as connection:
            yield connection.execute
    else:
        with psycopg.connect(url) as server:
            yield lambda statement: server.execute(statement.encode())


def shape(connection: Connection) -> dict[str, Any]:
    """Tables with their columns, keys and indexes, in no order."""
    there = inspect(connection)
    return {
        table: (
            sorted(
                (each["name"], str(each["type"]), each["nullable"], str(each["default"]))
                for each in there.get_columns(table)
            ),
            there.get_pk_constraint(table)["constrained_columns"],
            sorted(str(each["column_names"]) for each in there.get_indexes(table)),
        )
        for table in there.get_table_names()
    }
