"""Budgets of a thousand runs, two processes: none overspends, none dies with money.

`pytest -s` shows the figures.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.policy.budget import BudgetState
from tests.integration.run_budget_worker import WORST_TOKENS, WORST_USD, budget_of
from tests.ledgers import ROOT, database, postgres_schema, until

RUNS, CALLS, LIMIT_USD = 1000, 3, "0.025"
WORKER = [sys.executable, "-m", "tests.integration.run_budget_worker"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield "sqlite:///usage.db"


def start(*arguments: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603  (our own module)
        [*WORKER, *map(str, arguments)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
    )


def begin(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def said(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline()


async def states_of(url: str, folder: Path, runs: int) -> list[BudgetState]:
    ledger = SqlLedger(database(url, folder))
    book = ledger.budget_book()
    states = [book.state(budget_of(run, LIMIT_USD)) for run in range(runs)]
    await ledger.aclose()
    return states


def test_two_processes_and_a_thousand_runs_spend_no_budget_beyond_its_end(
    url: str, tmp_path: Path
) -> None:
    workers = [start(url, tmp_path, RUNS, CALLS, LIMIT_USD) for _ in range(2)]
    assert [said(worker) for worker in workers] == ["ready\n"] * 2
    began = time.perf_counter()
    for worker in workers:
        begin(worker)
    paid = [json.loads(worker.communicate(timeout=300)[0]) for worker in workers]
    took_s = time.perf_counter() - began
    states = asyncio.run(states_of(url, tmp_path, RUNS))
    sums = [sum(map(Decimal, of_run), Decimal(0)) for of_run in zip(*paid, strict=True)]
    print(  # noqa: T201
        f"\n{url.partition(':')[0]}: 2 processes, {RUNS} runs, {2 * RUNS * CALLS} calls: "
        f"most spent of {LIMIT_USD} USD {max(sums)}, {took_s:.1f} s"
    )
    assert [each.spent_usd for each in states] == sums
    assert {each.held_usd for each in states} == {0}
    assert max(sums) <= Decimal(LIMIT_USD)
    assert min(sums) > Decimal(LIMIT_USD) - WORST_USD


async def test_what_the_runs_of_a_killed_process_may_have_cost_is_possible_not_held(
    url: str, tmp_path: Path
) -> None:
    runs = 50
    with start(url, tmp_path, runs, 1, LIMIT_USD, "hang") as worker:
        begin(worker)
        assert [said(worker) for _ in range(2)] == ["ready\n", "held\n"]
        worker.kill()
    heir = SqlLedger(database(url, tmp_path), lease_s=0.3)
    heir.start()
    book = heir.budget_book()
    await until(lambda: book.state(budget_of(runs - 1, LIMIT_USD)).held_usd == 0)
    states = [book.state(budget_of(run, LIMIT_USD)) for run in range(runs)]
    await heir.aclose()
    assert {each.possible for each in states} == {(WORST_USD, WORST_TOKENS, 1)}
    assert {(each.spent_usd, each.held_tokens, each.held_calls) for each in states} == {(0, 0, 0)}
