"""The SQL ledger: its tables, leases, reports, and what it does when things go wrong."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from orchestify.database.sql import Database, database_url
from orchestify.errors import InvalidParameterError, LedgerError, MissingExtraError
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import Record, utc_now
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.schema import migrate
from orchestify.values import Usage
from tests.ledgers import (
    NOON,
    ROOT,
    answered,
    database,
    opened,
    postgres_schema,
    sqlite_rows,
    until,
)
from tests.servers import holds
from tests.unit.ledger.test_writer import DeadlyWriter

FILE = "sqlite:///usage.db"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield FILE


async def book(ledger: SqlLedger, *records: Record) -> None:
    for record in records:
        await ledger.open(replace(record, outcome="open"))
        ledger.complete(record)


def ledger_at(url: str, folder: Path, lease_s: float = 30.0) -> SqlLedger:
    return SqlLedger(database(url, folder), lease_s=lease_s)


def journal_at(url: str, folder: Path, lease_s: float = 30.0) -> Journal:
    """An owner whose thread has stopped: it renews no lease."""
    return Journal(database(url, folder), lease_s=lease_s)


async def test_a_record_is_a_row_to_read_by_hand(tmp_path: Path) -> None:
    ledger = ledger_at(FILE, tmp_path)
    usage = Usage(
        input_tokens=100,
        output_tokens=20,
        cache_read=40,
        cache_write=30,
        cache_write_1h=10,
        reasoning=5,
        searches=2,
        service_tier="priority",
        invalid=("cache_read", "reasoning"),
    )
    record = opened(id="a1", call_id="c1", attempt=3, labels={"run": "r1"})
    await book(
        ledger,
        answered(
            record,
            usage=usage,
            cost_usd=Decimal("0.000123456789"),
            price_date=date(2026, 3, 1),
            assumed_price=True,
            first_chunk_s=0.125,
        ),
    )
    await ledger.aclose()
    rows = sqlite_rows(
        tmp_path / "usage.db",
        "SELECT id, call_id, attempt, started_at, provider, agent, model, model_answered, outcome,"
        " input_tokens, output_tokens, cache_read, cache_write, cache_write_1h, reasoning,"
        " searches, service_tier, usage_source, usage_invalid, cost_picousd, cost_usd,"
        " cost_source, price_date, assumed_price, cost_at_most_usd, latency_s, first_chunk_s,"
        " error, labels FROM usage_records",
    )
    assert rows == [
        (
            *("a1", "c1", 3, "2026-03-14 12:00:00.000000"),
            *("claude_main", "reviewer", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "ok"),
            *(100, 20, 40, 30, 10, 5, 2, "priority", "reported", "cache_read,reasoning"),
            *(123456789, 0.000123456789, "config", "2026-03-01", 1, 0.5, 0.25, 0.125),
            *("", '{"run": "r1"}'),
        )
    ]


async def test_the_row_stands_there_before_the_call_is_sent(tmp_path: Path) -> None:
    ledger = ledger_at(FILE, tmp_path)
    await ledger.open(opened())
    rows = sqlite_rows(
        tmp_path / "usage.db", "SELECT outcome, cost_usd, cost_at_most_usd FROM usage_records"
    )
    await ledger.aclose()
    assert rows == [("open", None, 0.5)]


async def test_a_new_database_says_its_version(tmp_path: Path) -> None:
    ledger = open_ledger("sqlite:///.orchestify/usage.db", base_dir=tmp_path)
    await ledger.usage()
    await ledger.aclose()
    path = tmp_path / ".orchestify" / "usage.db"
    assert sqlite_rows(path, "SELECT name, value FROM ledger_settings") == [("schema_version", "6")]
    assert sqlite_rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_an_older_database_is_upgraded_step_by_step_and_once(url: str, tmp_path: Path) -> None:
    def skipped(connection: Connection) -> None:
        raise AssertionError

    def sixth(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE usage_records ADD COLUMN team VARCHAR"))

    def seventh(connection: Connection) -> None:
        connection.execute(text("UPDATE usage_records SET team = 'core'"))

    journal = journal_at(url, tmp_path)
    journal.book([opened()], [])
    there = database(url, tmp_path)
    there.run(lambda connection: migrate(connection, 8, (*[skipped] * 5, sixth, seventh)))
    there.run(lambda connection: migrate(connection, 8, (*[skipped] * 5, sixth, seventh)))
    found = there.run(lambda c: c.execute(text("SELECT team FROM usage_records")).all())
    there.dispose()
    journal.close()
    assert found == [("core",)]


def test_a_newer_database_is_left_alone(url: str, tmp_path: Path) -> None:
    there = database(url, tmp_path)
    there.run(lambda connection: migrate(connection, 9, (lambda _: None,) * 8))
    ledger = journal_at(url, tmp_path)
    with pytest.raises(LedgerError, match="are of version 9, this orchestify knows 6; upgrade it"):
        ledger.book([opened()], [])
    there.dispose()
    ledger.close()


async def test_records_of_the_dead_are_closed_as_interrupted(url: str, tmp_path: Path) -> None:
    dead = journal_at(url, tmp_path, lease_s=0.2)
    dead.book([opened(labels={"run": "r1"}), opened()], [])
    heir = ledger_at(url, tmp_path, lease_s=0.3)
    await heir.open(opened(agent="planner"))
    await asyncio.sleep(1.0)
    report = await heir.usage("agent")
    by_run = await heir.usage("label:run")
    await heir.aclose()
    dead.close()
    assert [(row.key, row.total.interrupted) for row in report.rows] == [(("reviewer",), 2)]
    assert report.open == 1
    assert by_run.total.interrupted == 1


async def test_the_worst_case_of_the_dead_is_kept(tmp_path: Path) -> None:
    dead = journal_at(FILE, tmp_path, lease_s=0.0)
    dead.book([opened(cost_at_most_usd=Decimal("0.75"))], [])
    heir = journal_at(FILE, tmp_path)
    heir.upkeep()
    dead.close()
    heir.close()
    rows = sqlite_rows(
        tmp_path / "usage.db",
        "SELECT outcome, cost_usd, cost_at_most_usd, error FROM usage_records",
    )
    assert rows == [("interrupted", None, 0.75, "LeaseExpired")]


async def test_a_ledger_that_was_started_closes_the_records_of_the_dead_without_a_call(
    url: str, tmp_path: Path
) -> None:
    dead = Journal(database(url, tmp_path), lease_s=0.2)
    dead.book([opened(id="a")], [])
    ledger = SqlLedger(database(url, tmp_path), lease_s=0.3)
    ledger.start()
    reader = SqlLedger(database(url, tmp_path))

    async def is_closed() -> bool:
        return (await reader.usage()).total.interrupted == 1

    await holds(is_closed)
    await ledger.aclose()
    dead.close()


async def test_a_record_of_wrong_types_is_booked_as_far_as_it_can_be(
    url: str, tmp_path: Path
) -> None:
    ledger = SqlLedger(database(url, tmp_path))
    await ledger.open(record := opened())
    ledger.complete(answered(record, model_answered=True, latency_s="soon"))
    await ledger.open(record := opened(model=["m"]))
    ledger.complete(answered(record))
    await ledger.open(record := opened())
    ledger.complete(answered(record))
    report = await ledger.usage("model")
    assert {row.key: row.total.calls for row in report.rows} == {
        ("",): 1,
        ("claude-sonnet-4-5",): 2,
    }
    assert (ledger.problem, ledger.is_behind, report.open) == ("", False, 0)
    await ledger.aclose()


async def test_a_dead_writer_thread_is_a_problem_until_the_next_record(tmp_path: Path) -> None:
    ledger = ledger_at(FILE, tmp_path)
    backend = ledger._backend
    backend.writer = DeadlyWriter(backend.journal)
    backend.writer.start()
    await until(lambda: backend.writer.has_died)
    assert ledger.problem == "the ledger's writer thread has died: records wait for another one"
    assert (ledger.is_behind, ledger.is_failing) == (True, True)
    await ledger.open(opened())
    assert (ledger.problem, ledger.is_behind, ledger.is_failing) == ("", False, False)
    await ledger.aclose()


def test_two_processes_that_start_at_once_upgrade_one_database_once(
    url: str, tmp_path: Path
) -> None:
    steps: list[str] = []

    def step(connection: Connection) -> None:
        time.sleep(0.2)
        steps.append("step")

    def begin(_: int) -> None:
        newer = partial(migrate, version=7, upgrades=(step,) * 6)
        there = Database(database_url(url, tmp_path), migrate=newer)
        there.run(lambda connection: None)
        there.dispose()

    there = database(url, tmp_path)
    there.run(lambda connection: None)
    there.dispose()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(begin, range(4)))
    assert steps == ["step"]


async def test_a_living_sibling_keeps_its_records(url: str, tmp_path: Path) -> None:
    sibling = ledger_at(url, tmp_path, lease_s=0.6)
    record = opened()
    await sibling.open(record)
    ledger = ledger_at(url, tmp_path, lease_s=0.3)
    await ledger.open(opened())
    await asyncio.sleep(1.5)
    assert (await ledger.usage()).open == 2
    sibling.complete(answered(record))
    assert (await sibling.usage()).total.calls == 1
    await sibling.aclose()
    await ledger.aclose()


def test_an_owner_that_comes_back_corrects_its_record(url: str, tmp_path: Path) -> None:
    asleep = journal_at(url, tmp_path, lease_s=0.0)
    record = opened(labels={"run": "r1"})
    asleep.book([record], [])
    heir = journal_at(url, tmp_path)
    heir.upkeep()
    asleep.book([], [answered(record)])
    asleep.book([], [answered(record)])
    asleep.close()
    heir.close()
    ledger = ledger_at(url, tmp_path)
    total = asyncio.run(ledger.usage()).total
    by_run = asyncio.run(ledger.usage("label:run")).total
    asyncio.run(ledger.aclose())
    assert (total.calls, total.attempts, total.interrupted) == (1, 1, 0)
    assert (by_run.calls, by_run.attempts, by_run.interrupted) == (1, 1, 0)


def test_what_is_booked_twice_counts_once(url: str, tmp_path: Path) -> None:
    journal = journal_at(url, tmp_path)
    first, second = opened(), opened()
    done = [answered(first), replace(second, outcome="interrupted")]
    journal.book([first, second], [])
    journal.book([], done)
    journal.book([first, second], done)
    journal.close()
    ledger = ledger_at(url, tmp_path)
    report = asyncio.run(ledger.usage())
    asyncio.run(ledger.aclose())
    assert (report.total.calls, report.total.interrupted, report.total.attempts) == (1, 1, 2)
    assert report.open == 0


def test_a_record_that_was_never_opened_is_booked_whole(url: str, tmp_path: Path) -> None:
    journal = journal_at(url, tmp_path)
    journal.book([], [answered(opened())])
    journal.close()
    ledger = ledger_at(url, tmp_path)
    report = asyncio.run(ledger.usage())
    asyncio.run(ledger.aclose())
    assert (report.total.calls, report.total.cost_usd) == (1, Decimal("0.0003"))


async def test_broken_days_are_read_from_the_records(url: str, tmp_path: Path) -> None:
    ledger = ledger_at(url, tmp_path)
    estimated = Usage(input_tokens=7, source="estimated", invalid=("reasoning",))
    for hour in range(48):
        started = datetime(2026, 3, 14, tzinfo=UTC) + timedelta(hours=hour)
        await book(ledger, answered(opened(started_at=started, labels={"half": str(hour % 2)})))
    await book(
        ledger,
        answered(opened(usage=estimated), usage=estimated, cost_usd=Decimal("0.5")),
        answered(opened(model="new"), cost_usd=None, cost_source="none"),
        replace(opened(), outcome="failed", error="ServerError"),
        replace(opened(), outcome="cancelled"),
        replace(opened(), outcome="interrupted"),
    )
    await ledger.open(opened())
    noon = await ledger.usage("day", since=NOON, until=NOON + timedelta(hours=30))
    five = await ledger.usage(since=NOON + timedelta(minutes=1), until=NOON + timedelta(hours=5))
    odd = await ledger.usage("label:half", since=NOON + timedelta(hours=1))
    await ledger.aclose()
    assert [(row.key, row.total.calls) for row in noon.rows] == [
        (("2026-03-14",), 14),
        (("2026-03-15",), 18),
    ]
    assert noon.total.attempts == 35
    assert (noon.total.failed, noon.total.cancelled, noon.total.interrupted) == (1, 1, 1)
    assert (noon.total.estimated_calls, noon.total.invalid_usage) == (1, 1)
    assert noon.total.cost_usd == Decimal("0.5090")
    assert noon.total.estimated_cost_usd == Decimal("0.5")
    assert noon.total.unpriced_calls == 1
    assert noon.unpriced == {"claude_main/new": 1}
    assert five.total.calls == 4
    assert [(row.key, row.total.calls) for row in odd.rows] == [(("0",), 17), (("1",), 18)]


async def test_a_zone_of_ones_own_is_turned_into_utc(url: str, tmp_path: Path) -> None:
    ledger = ledger_at(url, tmp_path)
    await book(ledger, answered(opened(started_at=datetime(2026, 3, 14, 23, 30, tzinfo=UTC))))
    berlin = datetime.fromisoformat("2026-03-15T00:00:00+01:00")
    report = await ledger.usage("day", since=berlin)
    naive = await ledger.usage("day", since=datetime(2026, 3, 15))
    await ledger.aclose()
    assert [row.key for row in report.rows] == [("2026-03-14",)]
    assert naive.rows == ()


async def test_two_labels_are_crossed(url: str, tmp_path: Path) -> None:
    ledger = ledger_at(url, tmp_path)
    await book(
        ledger,
        answered(opened(labels={"run": "r1", "task": "t1"})),
        answered(opened(labels={"run": "r1", "task": "t2"})),
        answered(opened(labels={"run": "r2", "task": "t1"})),
        answered(opened(labels={"run": "r1"})),
    )
    crossed = await ledger.usage(["label:run", "label:task"])
    one = await ledger.usage("agent", where={"label:run": "r1", "label:task": "t2"})
    by_agent = await ledger.usage(["label:run", "agent"])
    await ledger.aclose()
    assert [(row.key, row.total.calls) for row in crossed.rows] == [
        (("r1", "t1"), 1),
        (("r1", "t2"), 1),
        (("r2", "t1"), 1),
    ]
    assert one.total.calls == 1
    assert [(row.key, row.total.calls) for row in by_agent.rows] == [
        (("r1", "reviewer"), 3),
        (("r2", "reviewer"), 1),
    ]


async def test_pruned_records_leave_their_sums(url: str, tmp_path: Path) -> None:
    ledger = ledger_at(url, tmp_path)
    old = utc_now() - timedelta(days=10)
    await book(ledger, answered(opened(started_at=old)), answered(opened(started_at=utc_now())))
    await ledger.open(opened(started_at=old))
    assert (await ledger.usage()).total.calls == 2
    assert await ledger.prune(keep_days=7) == 1
    assert await ledger.prune(keep_days=7) == 0
    report = await ledger.usage()
    recent = await ledger.usage(since=utc_now() - timedelta(days=6, minutes=1))
    assert (report.total.calls, report.open) == (2, 1)
    assert recent.total.calls == 1
    with pytest.raises(InvalidParameterError, match="were pruned, only daily sums are left"):
        await ledger.usage(since=old)
    with pytest.raises(InvalidParameterError, match="were pruned, only daily sums are left"):
        await ledger.usage(["label:run", "label:task"])
    await ledger.aclose()


async def test_keep_days_prunes_by_itself(tmp_path: Path) -> None:
    first = ledger_at(FILE, tmp_path)
    await book(first, answered(opened(started_at=utc_now() - timedelta(days=10))))
    await first.aclose()
    second = open_ledger(FILE, base_dir=tmp_path, keep_days=7)
    await second.open(opened(started_at=utc_now()))
    await second.aclose()
    rows = sqlite_rows(tmp_path / "usage.db", "SELECT outcome FROM usage_records")
    assert rows == [("open",)]


async def test_what_no_database_takes_is_cut(url: str, tmp_path: Path) -> None:
    ledger = ledger_at(url, tmp_path)
    await book(
        ledger,
        answered(
            opened(model="a\0b\ud800", labels={"run": "x" * 5000}),
            usage=Usage(input_tokens=10**30),
            cost_usd=Decimal("1e40"),
        ),
        answered(opened(cost_at_most_usd=Decimal("NaN")), cost_usd=None),
    )
    report = await ledger.usage("model")
    await ledger.aclose()
    assert [row.key for row in report.rows] == [("ab?",), ("claude-sonnet-4-5",)]
    assert report.total.input_tokens == 10**12 + 100
    assert report.total.cost_usd == 10**6


async def test_a_report_of_more_than_64_bits_of_money_is_whole(url: str, tmp_path: Path) -> None:
    ledger = ledger_at(url, tmp_path)
    cost = Decimal("999999.5")
    await book(ledger, *(answered(opened(model=f"m{n}"), cost_usd=cost) for n in range(20)))
    whole = (await ledger.usage(())).total.cost_usd
    broken = (await ledger.usage((), since=NOON - timedelta(seconds=1))).total.cost_usd
    await ledger.aclose()
    assert (whole, broken) == (19_999_990, 19_999_990)


async def test_nothing_begins_within_the_last_day(url: str, tmp_path: Path) -> None:
    ledger = ledger_at(url, tmp_path)
    with pytest.raises(InvalidParameterError, match="lies in the last day there is"):
        await ledger.usage(since=datetime(9999, 12, 31, 23, 59, 59))
    report = await ledger.usage(until=datetime(9999, 12, 31, 23, 59, 59))
    await ledger.aclose()
    assert report.rows == ()


async def test_a_call_cancelled_while_it_is_recorded_cost_nothing(tmp_path: Path) -> None:
    ledger = ledger_at(FILE, tmp_path)
    await book(ledger, answered(opened()))
    await ledger.usage()
    with closing(sqlite3.connect(tmp_path / "usage.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        call = asyncio.create_task(ledger.open(opened()))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        other.execute("ROLLBACK")
    report = await ledger.usage()
    await ledger.aclose()
    assert (report.open, report.total.cancelled, report.total.attempts) == (0, 1, 2)
    assert report.total.unpriced_calls == 0


async def test_nothing_is_recorded_after_it_has_closed(tmp_path: Path) -> None:
    ledger = ledger_at(FILE, tmp_path)
    await ledger.aclose()
    with pytest.raises(LedgerError, match="the ledger is closed"):
        await ledger.open(opened())


async def test_a_file_that_is_no_database_fails_the_call(tmp_path: Path) -> None:
    (tmp_path / "usage.db").write_text("this is no database, and long enough to be read as one")
    ledger = ledger_at(FILE, tmp_path)
    with pytest.raises(LedgerError, match="file is not a database"):
        await ledger.open(opened())
    with pytest.raises(LedgerError, match="file is not a database"):
        await ledger.usage()
    assert ledger.is_behind
    await ledger.aclose()


async def test_a_file_that_can_be_written_again_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "usage.db").mkdir()
    ledger = ledger_at(FILE, tmp_path)
    with pytest.raises(LedgerError, match="it is a directory"):
        await ledger.open(opened())
    (tmp_path / "usage.db").rmdir()
    await book(ledger, answered(opened()))
    report = await ledger.usage()
    assert (report.total.calls, report.open) == (1, 0)
    assert not ledger.is_behind
    await ledger.aclose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://user:s3cret@host/db", "neither sqlite"),
        ("usage.db s3cret", "neither sqlite"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_url_that_names_no_ledger_is_refused(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=message) as caught:
        open_ledger(url, base_dir=tmp_path)
    assert "s3cret" not in str(caught.value)


def test_the_password_is_in_no_error(tmp_path: Path) -> None:
    ledger = open_ledger("postgresql://ann:s3cret@127.0.0.1:1/none", base_dir=tmp_path)
    with pytest.raises(LedgerError, match=r"//ann:\*\*\*@127.0.0.1:1/none") as caught:
        asyncio.run(ledger.usage())
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_missing_driver_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[postgres\]"):
        open_ledger("postgresql://127.0.0.1/test", base_dir=tmp_path)


def run_python(code: str, folder: Path) -> str:
    done = subprocess.run(  # noqa: S603  (our own code)
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_ledger_in_memory_needs_no_sqlalchemy(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from orchestify.ledger.opening import open_ledger;"
        "open_ledger(None, base_dir=pathlib.Path());"
        "print([name for name in sys.modules if name.startswith(('sqlalchemy', 'psycopg'))])"
    )
    assert run_python(code, tmp_path) == "[]\n"


SCRIPT = """
import asyncio, os, warnings
from dataclasses import replace
from pathlib import Path
from orchestify.errors import LedgerError
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import Record
from orchestify.ledger.record import new_id, utc_now

warnings.simplefilter("ignore")
ledger = open_ledger("sqlite:///usage.db", base_dir=Path())
def call(): return Record(id=new_id(), call_id="c", started_at=utc_now(), provider="p", model="m")
record = call()
"""


def test_what_is_pending_is_written_when_the_interpreter_ends(tmp_path: Path) -> None:
    run_python(
        SCRIPT + "asyncio.run(ledger.open(record)); ledger.complete(replace(record, outcome='ok'))",
        tmp_path,
    )
    rows = sqlite_rows(tmp_path / "usage.db", "SELECT outcome FROM usage_records")
    assert rows == [("ok",)]


def test_a_fork_may_not_use_its_parents_ledger(tmp_path: Path) -> None:
    code = """
asyncio.run(ledger.open(record))
if not os.fork():
    ledger.complete(replace(record, outcome="cancelled"))
    try:
        asyncio.run(ledger.open(call()))
    except LedgerError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
ledger.complete(replace(record, outcome="ok"))
asyncio.run(ledger.aclose())
"""
    printed = run_python(SCRIPT + code, tmp_path)
    assert printed == ("this ledger was in use when its process forked; open one in each process\n")
    rows = sqlite_rows(tmp_path / "usage.db", "SELECT outcome FROM usage_records")
    assert rows == [("ok",)]


def test_a_ledger_made_before_a_fork_works_in_both(tmp_path: Path) -> None:
    code = """
asyncio.run(ledger.usage())
child = os.fork()
record = call()
asyncio.run(ledger.open(record))
ledger.complete(replace(record, outcome="ok"))
asyncio.run(ledger.aclose())
if not child:
    os._exit(0)
os.wait()
"""
    run_python(SCRIPT + code, tmp_path)
    rows = sqlite_rows(tmp_path / "usage.db", "SELECT outcome FROM usage_records")
    assert rows == [("ok",), ("ok",)]
