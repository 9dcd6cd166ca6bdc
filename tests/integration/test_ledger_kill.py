"""A process is killed at any moment; no call that was sent is missing afterwards.

8 kills a database; 50 with ORCHESTIFY_LONG=1.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestify.ledger.sql.ledger import SqlLedger
from tests.ledgers import ROOT, database, opened, postgres_rows, postgres_schema, sqlite_rows, until

KILLS = 50 if os.environ.get("ORCHESTIFY_LONG") == "1" else 8
WORKER = [sys.executable, "-m", "tests.integration.ledger_worker"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield "sqlite:///usage.db"


def run_and_kill(url: str, folder: Path, after_s: float) -> None:
    """Start a worker, and kill it `after_s` seconds after it has sent something."""
    sent = folder / "sent"
    before = sent.stat().st_size if sent.exists() else 0
    with subprocess.Popen([*WORKER, url, str(folder), "6400000"], cwd=ROOT) as worker:  # noqa: S603
        while not sent.exists() or sent.stat().st_size == before:
            assert worker.poll() is None
            time.sleep(0.005)
        time.sleep(after_s)
        worker.kill()


def outcomes(url: str, folder: Path) -> dict[str, str]:
    query = "SELECT id, outcome FROM usage_records"
    if url.startswith("sqlite"):
        return dict(sqlite_rows(folder / "usage.db", query))
    return dict(postgres_rows(url, query))


async def test_no_call_that_was_sent_is_missing(url: str, tmp_path: Path) -> None:
    moments = random.Random(4)  # noqa: S311  (moments, no secrets)
    for _ in range(KILLS):
        await asyncio.to_thread(run_and_kill, url, tmp_path, moments.uniform(0.0, 0.3))
    sent = set((tmp_path / "sent").read_text().split())
    heir = SqlLedger(database(url, tmp_path), lease_s=0.3)
    await heir.open(opened(id="heir"))
    await until(lambda: list(outcomes(url, tmp_path).values()).count("open") == 1)
    total = (await heir.usage()).total
    await heir.aclose()
    recorded = outcomes(url, tmp_path)
    assert len(sent) > KILLS
    assert sent - recorded.keys() == set()
    assert total.attempts == len(recorded) - 1
    assert total.calls == list(recorded.values()).count("ok")
    assert total.calls + total.interrupted == total.attempts
