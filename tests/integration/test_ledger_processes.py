"""Several processes write to one database at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify.ledger.opening import open_ledger
from tests.ledgers import ROOT, postgres_schema

WORKER = [sys.executable, "-m", "tests.integration.ledger_worker"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield "sqlite:///usage.db"


def test_four_processes_of_64_calls_at_once_lose_and_double_nothing(
    url: str, tmp_path: Path
) -> None:
    workers = [
        subprocess.Popen(  # noqa: S603  (our own module)
            [*WORKER, url, str(tmp_path), "1280"], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    ledger = open_ledger(url, base_dir=tmp_path)
    report = asyncio.run(ledger.usage())
    by_run = asyncio.run(ledger.usage("label:run"))
    asyncio.run(ledger.aclose())
    sent = (tmp_path / "sent").read_text().split()
    assert said == ["", "", "", ""]
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    assert len(set(sent)) == len(sent) == 5120
    assert (report.total.calls, report.total.attempts, report.open) == (5120, 5120, 0)
    assert report.total.cost_usd == Decimal("0.000000015360")
    assert by_run.total.calls == 5120
