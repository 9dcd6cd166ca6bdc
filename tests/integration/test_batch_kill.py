"""A process is killed at every step of a batch; nothing is sent twice, and all is booked once."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestify.batches.provider_batches import ProviderBatches
from orchestify.errors import BatchStateError
from orchestify.ledger.record import utc_now
from orchestify.testing import Reply, StubServer
from tests.batches import batch_registry, fetched, prompts
from tests.ledgers import ROOT, postgres_rows, postgres_schema, sqlite_rows, until

WORKER = [sys.executable, "-m", "tests.integration.batch_worker"]
KINDS = ["openai", "anthropic"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield f"sqlite:///{tmp_path}/usage.db"


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


def rows(url: str, query: Any) -> list[tuple[Any, ...]]:
    if url.startswith("sqlite"):
        return sqlite_rows(Path(url.removeprefix("sqlite:///")), query)
    return postgres_rows(url, query)


def end_leases_of_processes(url: str) -> None:
    """Let the leases of processes run out, as half a minute would; those of batches stay."""
    change(url, "DELETE FROM ledger_leases WHERE owner NOT IN (SELECT id FROM provider_batches)")


def keep_leases_of_processes(url: str) -> None:
    """Let the leases of processes last, however slow the test is."""
    change(url, "UPDATE ledger_leases SET expires_at = '2100-01-01 00:00:00'")


def change(url: str, query: Any) -> None:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.execute(query)
            connection.commit()
    else:
        with psycopg.connect(url) as connection:
            connection.execute(query)


@asynccontextmanager
async def killed_when(holds: Callable[[], bool], *arguments: object) -> AsyncIterator[None]:
    """Run a worker, and kill it as soon as something holds."""
    command = [*WORKER, *map(str, arguments)]
    worker = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        await until(holds)
    finally:
        worker.kill()
        await worker.wait()
    yield


def asked_for(server: StubServer, path: str) -> Callable[[], bool]:
    return lambda: any(each.path.endswith(path) for each in server.requests)


async def test_one_killed_while_it_uploads_has_sent_nothing(server: StubServer, url: str) -> None:
    server.batches.script("upload", Reply(stall_after=0))
    async with killed_when(asked_for(server, "/files"), server.url, url, "openai", 3):
        keep_leases_of_processes(url)
    async with batch_registry(server.url, url) as on:
        (batch,) = await on.batches.all()
        assert (await on.batches.status(batch.id)).state == "submitting"  # its lease still runs
        with pytest.raises(BatchStateError, match="being submitted by another process"):
            await on.get_for_agent("writer").batch(prompts(3))
        end_leases_of_processes(url)
        assert (await on.batches.status(batch.id)).state == "not_sent"
        (state,) = on.budgets()
        assert (state.held_usd, state.possible_usd) == (0, 0)
        again = await on.get_for_agent("writer").batch(prompts(3))
        assert len(await fetched(on, again.id)) == 3
    assert (len(server.batches.batches), rows(url, "SELECT count(*) FROM usage_records")) == (
        1,
        [(3,)],
    )
    assert all("output" in name for name in server.batches.files)  # what was uploaded is deleted


@pytest.mark.parametrize("kind", KINDS)
async def test_one_killed_before_it_hears_that_the_batch_was_made_finds_it(
    server: StubServer, url: str, kind: str
) -> None:
    server.batches.script("create", Reply(stall_after=0))
    async with killed_when(asked_for(server, "/batches"), server.url, url, kind, 3):
        pass
    server.batches.end()
    end_leases_of_processes(url)
    async with batch_registry(server.url, url, kind) as on:
        again = await on.get_for_agent("writer").batch(prompts(3))
        assert again.state == "ended"
        assert len(await fetched(on, again.id)) == 3
        (state,) = on.budgets()
        assert (state.spent_usd, state.held_usd) == (Decimal("0.00009"), 0)
    assert len(server.batches.batches) == 1
    assert rows(url, "SELECT count(*) FROM usage_records") == [(3,)]


@pytest.mark.parametrize("kind", KINDS)
async def test_one_killed_before_the_batch_was_made_is_given_up_when_no_list_has_it(
    server: StubServer, url: str, kind: str
) -> None:
    server.batches.script("create", Reply(status=500, slow_headers_s=600))
    async with killed_when(asked_for(server, "/batches"), server.url, url, kind, 3):
        pass
    end_leases_of_processes(url)
    async with batch_registry(server.url, url, kind) as on:
        (batch,) = await on.batches.all()
        assert (await on.batches.status(batch.id)).state == "submitting"  # it may yet be listed
        later = ProviderBatches(
            on._runtime, on._lookup.batch_target, lambda: utc_now() + timedelta(minutes=6)
        )
        assert (await later.status(batch.id)).state == "not_sent"
        (state,) = on.budgets()
        assert (state.held_usd, state.possible_usd) == (0, 0)
    assert server.batches.files == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_one_killed_while_it_fetches_has_booked_a_part_and_the_next_books_the_rest(
    server: StubServer, url: str, kind: str
) -> None:
    async with batch_registry(server.url, url, kind) as on:
        batch = await on.get_for_agent("writer").batch(prompts(1100))
    server.batches.script("results", Reply(stall_after=0))

    def has_booked() -> bool:
        return rows(url, "SELECT count(*) FROM usage_records") == [(500,)]

    async with killed_when(has_booked, server.url, url, kind, 0, batch.id):
        pass
    async with batch_registry(server.url, url, kind) as on:
        (state,) = on.budgets()
        assert (state.spent_calls, state.held_calls) == (500, 600)
        assert len(await fetched(on, batch.id)) == 1100
        (state,) = on.budgets()
        assert (state.spent_calls, state.held_calls, state.held_usd) == (1100, 0, 0)
        assert (await on.usage()).total.calls == 1100
        assert (await on.usage()).total.cost_usd == state.spent_usd
    assert rows(url, "SELECT count(*) FROM usage_records") == [(1100,)]
