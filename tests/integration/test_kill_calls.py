"""A host is killed in the middle of its calls; the ledger knows every call the server received.

6 kills; 50 with ORCHESTIFY_LONG=1.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.testing import StubRequest, StubServer
from tests.ledgers import ROOT, database, opened, sqlite_rows, until

KILLS = 50 if os.environ.get("ORCHESTIFY_LONG") == "1" else 6
WORKER = [sys.executable, "-m", "tests.integration.calls_worker"]
ROWS = """SELECT labels ->> 'call', outcome, error, cost_usd, cost_at_most_usd, input_tokens,
output_tokens FROM usage_records WHERE id <> 'heir'"""


async def test_no_call_that_reached_the_server_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = random.Random(5)  # noqa: S311  (moments, no secrets)
    url = f"sqlite:///{tmp_path}/usage.db"
    with StubServer.in_thread(StubServer(history=1_000_000)) as server:
        for _ in range(KILLS):
            await asyncio.to_thread(run_and_kill, server, url, moments.uniform(0.0, 0.25))
        await server.wait_idle()
    received = {call_of(request): request for request in server.requests}
    before = sqlite_rows(tmp_path / "usage.db", ROWS)
    await let_leases_run_out(url, tmp_path)
    rows = sqlite_rows(tmp_path / "usage.db", ROWS)
    outcomes = {call: outcome for call, outcome, *_ in rows}
    left_open = {call for call, outcome, *_ in before if outcome == "open"}
    interrupted = [row for row in rows if row[1] == "interrupted"]

    with capsys.disabled():
        print(f"\n{KILLS} kills, {len(received)} requests, {len(left_open)} open")  # noqa: T201
    assert len(received) == len(server.requests)
    assert received.keys() - outcomes.keys() == set()
    assert len(outcomes) == len(rows)
    assert len(left_open) > 0
    assert len(interrupted) >= KILLS  # a later host closes them as well, once the lease is over
    assert left_open <= {row[0] for row in interrupted}
    assert {(row[2], row[3]) for row in interrupted} == {("LeaseExpired", None)}
    assert min(row[4] for row in interrupted) > 0.0015  # the cap of 100 tokens at 15 USD a million
    assert set(outcomes.values()) == {"ok", "interrupted"}
    assert [row for row in rows if row[1] == "ok" and not is_as_reported(row, received)] == []


def run_and_kill(server: StubServer, url: str, after_s: float) -> None:
    """Start a host, and kill it `after_s` seconds after its first request."""
    before = server.account.received
    command = [*WORKER, url, server.openai_url, server.anthropic_url]
    with subprocess.Popen(command, cwd=ROOT) as host:  # noqa: S603
        while server.account.received == before:
            assert host.poll() is None
            time.sleep(0.005)
        time.sleep(after_s)
        host.kill()


def call_of(request: StubRequest) -> str:
    """The id of the call that a request was sent for."""
    found = re.search(rb"call ([0-9a-f]{32})", request.raw_body)
    assert found is not None
    return found[1].decode()


async def let_leases_run_out(url: str, folder: Path) -> None:
    """Let time pass for those that were killed, and a new host close what they left."""
    with closing(sqlite3.connect(folder / "usage.db", isolation_level=None)) as connection:
        connection.execute("UPDATE ledger_leases SET expires_at = '2026-01-01 00:00:00.000000'")
    heir = SqlLedger(database(url, folder))
    await heir.open(opened(id="heir"))
    await until(lambda: "open" not in {row[1] for row in sqlite_rows(folder / "usage.db", ROWS)})
    await heir.aclose()


def is_as_reported(row: tuple[object, ...], received: dict[str, StubRequest]) -> bool:
    """Whether an answered call's tokens are those that the server reported."""
    reported = received[str(row[0])].reported
    return reported is not None and row[5:] == (reported.input_tokens, reported.output_tokens)
