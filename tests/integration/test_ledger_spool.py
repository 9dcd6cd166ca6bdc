"""PostgreSQL goes away and comes back; nothing is lost and nothing is booked twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from orchestify.database.sql import Database, database_url
from orchestify.errors import LedgerError, OrchestifyError
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.schema import migrate
from orchestify.ledger.sql.spool import Spool
from tests.ledgers import answered, database, opened, postgres_rows, postgres_schema, until


class Line:
    """The line to PostgreSQL, which can be cut and mended, or fall silent: a proxy on loopback."""

    def __init__(self, url: str) -> None:
        self._there = make_url(url)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.flows = asyncio.Event()
        self.flows.set()

    @property
    def url(self) -> str:
        return self._there.set(host="127.0.0.1", port=self._port).render_as_string(False)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connect(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection(self._there.host, self._there.port or 5432)
        self._pump(here, writer)
        self._pump(reader, back)

    def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(copy(source, sink, self.flows))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, flows: asyncio.Event
) -> None:
    with closing(sink):
        while piece := await source.read(65536):
            await flows.wait()
            sink.write(piece)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    with postgres_schema() as url:
        line = Line(url)
        await line.mend()
        yield line
        await line.cut()


@pytest.fixture
def address() -> Iterator[str]:
    with postgres_schema() as url:
        yield url


def rows(line: Line) -> list[tuple[object, ...]]:
    return postgres_rows(
        line._there.set(drivername="postgresql").render_as_string(False),
        "SELECT call_id, outcome FROM usage_records ORDER BY call_id",
    )


async def back(ledger: object) -> None:
    await until(lambda: not ledger.is_behind)  # type: ignore[attr-defined]


async def test_calls_go_on_while_the_database_is_away(line: Line, tmp_path: Path) -> None:
    ledger = open_ledger(line.url, base_dir=tmp_path)
    before, during, at_the_end = opened(call_id="a"), opened(call_id="b"), opened(call_id="c")
    await ledger.open(before)
    assert not ledger.is_behind
    await line.cut()
    ledger.complete(answered(before))
    await ledger.open(during)
    ledger.complete(answered(during))
    await ledger.open(at_the_end)
    assert ledger.is_behind
    with pytest.raises(LedgerError, match="cannot be used"):
        await ledger.usage()
    await line.mend()
    await back(ledger)
    ledger.complete(answered(at_the_end))
    report = await ledger.usage()
    await ledger.aclose()
    assert (report.total.calls, report.total.attempts) == (3, 3)
    assert report.total.cost_usd == Decimal("0.0009")
    assert (report.open, report.behind) == (0, 0)
    assert rows(line) == [("a", "ok"), ("b", "ok"), ("c", "ok")]


async def test_a_database_that_is_away_at_the_start_is_caught_up(
    line: Line, tmp_path: Path
) -> None:
    await line.cut()
    ledger = open_ledger(line.url, base_dir=tmp_path)
    records = [opened(labels={"run": "r1"}) for _ in range(1200)]
    await asyncio.gather(*(ledger.open(record) for record in records))
    for record in records:
        ledger.complete(answered(record))
    assert ledger.is_behind
    await line.mend()
    await back(ledger)
    report = await ledger.usage("label:run")
    await ledger.aclose()
    assert (report.total.calls, report.open) == (1200, 0)
    assert report.total.cost_usd == Decimal("0.36")


async def test_a_report_says_how_many_records_are_behind(line: Line, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    spool.add("someone", [opened()], [answered(opened())])
    ledger = SqlLedger(database(line.url, tmp_path), spool)
    assert (await ledger.usage()).behind == 2
    await ledger.aclose()
    spool.dispose()


async def test_a_server_that_falls_silent_stops_no_call(line: Line, tmp_path: Path) -> None:
    there = Database(
        database_url(f"{line.url}&connect_timeout=2", tmp_path),
        migrate=migrate,
        error=LedgerError,
        silence_s=0.3,
    )
    ledger = SqlLedger(there, Spool(tmp_path / "spool.db"))
    await ledger.open(opened(call_id="a"))
    line.flows.clear()
    async with asyncio.timeout(30):
        await ledger.open(opened(call_id="b"))
    assert ledger.is_behind
    line.flows.set()
    await back(ledger)
    await ledger.aclose()
    assert rows(line) == [("a", "open"), ("b", "open")]


def test_a_server_that_is_slow_to_report_is_waited_for(address: str, tmp_path: Path) -> None:
    there = Database(database_url(address, tmp_path), migrate=migrate, silence_s=0.3)
    sleep = text("SELECT pg_sleep(0.6)")
    there.run(lambda connection: connection.execute(sleep), read_only=True)
    with pytest.raises(OrchestifyError, match="the server did not answer in"):
        there.run(lambda connection: connection.execute(sleep))
    there.dispose()


async def test_what_a_dead_process_left_in_the_spool_is_moved(line: Line, tmp_path: Path) -> None:
    await line.cut()
    dead = Journal(database(line.url, tmp_path), Spool(tmp_path / "spool.db"))
    done, under_way = opened(), opened()
    await asyncio.to_thread(dead.book, [done, under_way], [])
    await asyncio.to_thread(dead.book, [], [answered(done)])
    dead.close()
    await line.mend()
    heir = Journal(database(line.url, tmp_path), Spool(tmp_path / "spool.db"))
    await asyncio.to_thread(heir.upkeep)
    await asyncio.to_thread(heir.upkeep)
    assert heir.behind == 0
    await asyncio.to_thread(heir.close)
    ledger = SqlLedger(database(line.url, tmp_path))
    report = await ledger.usage()
    await ledger.aclose()
    assert (report.total.calls, report.total.interrupted, report.open) == (1, 1, 0)


async def test_what_is_moved_twice_counts_once(line: Line, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    record, other = opened(), opened()
    done = [answered(record), replace(other, outcome="interrupted")]
    journal = Journal(database(line.url, tmp_path), spool)
    spool.add("someone", [record, other], [])
    spool.add("someone", [], done)
    await asyncio.to_thread(journal.upkeep)
    spool.add("someone", [record, other], done)
    await asyncio.to_thread(journal.upkeep)
    await asyncio.to_thread(journal.close)
    ledger = SqlLedger(database(line.url, tmp_path))
    report = await ledger.usage()
    await ledger.aclose()
    assert (report.total.calls, report.total.interrupted, report.total.attempts) == (1, 1, 2)


async def test_two_processes_that_move_the_same_spool_book_it_once(
    line: Line, tmp_path: Path
) -> None:
    Spool(tmp_path / "spool.db").add("x", [], [answered(opened()) for _ in range(2000)])
    ledgers = [
        SqlLedger(database(line.url, tmp_path), Spool(tmp_path / "spool.db")) for _ in range(3)
    ]
    await asyncio.gather(*(ledger.open(opened()) for ledger in ledgers))
    waiting = Spool(tmp_path / "spool.db")
    await until(lambda: waiting.count() == 0)
    waiting.dispose()
    report = await ledgers[0].usage()
    await asyncio.gather(*(ledger.aclose() for ledger in ledgers))
    assert report.total.calls == 2000


async def test_a_connection_that_died_unnoticed_is_replaced(line: Line, tmp_path: Path) -> None:
    ledger = open_ledger(line.url, base_dir=tmp_path)
    await ledger.open(opened(call_id="a"))
    await line.cut()
    await line.mend()
    await ledger.open(opened(call_id="b"))
    assert not ledger.is_behind
    await ledger.aclose()
    assert rows(line) == [("a", "open"), ("b", "open")]
