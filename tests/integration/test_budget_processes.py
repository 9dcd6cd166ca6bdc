"""One hard budget, several processes: none overspends, none starves, none dies with money.

100 calls a process; 1,000 with ORCHESTIFY_LONG=1. `pytest -s` shows the figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify.errors import BudgetExceededError
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.policy.budget import BudgetState
from tests.integration.budget_worker import WORST_USD, budget
from tests.ledgers import ROOT, database, postgres_schema

CALLS = 1000 if os.environ.get("ORCHESTIFY_LONG") == "1" else 100
WORKER = [sys.executable, "-m", "tests.integration.budget_worker"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield "sqlite:///usage.db"


@dataclass
class Outcome:
    """What the processes say together, and what the database does."""

    answered: list[int]
    refused: int
    paid_usd: Decimal
    state: BudgetState
    took_s: float


def start(*arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603  (our own module)
        [*WORKER, *arguments], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
    )


async def state_of(url: str, folder: Path, limit_usd: str) -> BudgetState:
    ledger = SqlLedger(database(url, folder))
    state = ledger.budget_book().state(budget(limit_usd))
    await ledger.aclose()
    return state


def four_processes(url: str, folder: Path, limit_usd: str) -> Outcome:
    workers = [start(url, str(folder), str(CALLS), limit_usd) for _ in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    said = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    took_s = time.perf_counter() - began
    return Outcome(
        [each["answered"] for each in said],
        sum(each["refused"] for each in said),
        sum((Decimal(each["usd"]) for each in said), Decimal(0)),
        asyncio.run(state_of(url, folder, limit_usd)),
        took_s,
    )


def test_four_processes_spend_a_budget_to_its_end_and_no_further(url: str, tmp_path: Path) -> None:
    limit_usd = str(Decimal("0.0101") * CALLS)
    outcome = four_processes(url, tmp_path, limit_usd)
    over_usd = max(Decimal(0), outcome.paid_usd - Decimal(limit_usd))
    unspent_usd = Decimal(limit_usd) - outcome.paid_usd
    print(  # noqa: T201
        f"\n{url.partition(':')[0]}: 4 x {CALLS} calls at once, limit {limit_usd} USD: "
        f"overspent {over_usd}, unspent {unspent_usd} (a call: at most {WORST_USD}), "
        f"answered {outcome.answered}, refused {outcome.refused}, {outcome.took_s:.1f} s"
    )
    assert over_usd == 0
    assert 0 <= unspent_usd < WORST_USD
    assert outcome.state.spent_usd == outcome.paid_usd
    assert outcome.state.held_usd == 0
    assert sum(outcome.answered) + outcome.refused == 4 * CALLS


def test_where_all_fit_one_after_the_other_all_processes_get_their_turn(
    url: str, tmp_path: Path
) -> None:
    limit_usd = str(Decimal("0.03") * CALLS)
    outcome = four_processes(url, tmp_path, limit_usd)
    assert outcome.answered == [CALLS] * 4
    assert outcome.state.spent_usd == outcome.paid_usd
    assert outcome.state.held_usd == 0


async def test_what_the_sent_calls_of_a_killed_process_may_have_cost_is_possible_not_held(
    url: str, tmp_path: Path
) -> None:
    limit_usd = "0.1"
    with start(url, str(tmp_path), "10", limit_usd, "hang") as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
        assert [worker.stdout.readline() for _ in range(2)] == ["ready\n", "held\n"]
        before = await state_of(url, tmp_path, limit_usd)
        worker.kill()
    heir = SqlLedger(database(url, tmp_path), lease_s=0.3)
    book, shared = heir.budget_book(), budget(limit_usd)
    waiting = asyncio.create_task(book.reserve([shared], Decimal("0.05")))
    async with asyncio.timeout(30):
        hold = await waiting
    after = book.state(shared)
    with pytest.raises(BudgetExceededError):
        await book.reserve([shared], Decimal("0.06"))
    book.release(hold)
    await heir.aclose()
    assert (before.spent_usd, before.held_usd) == (0, Decimal("0.1"))
    assert (after.spent_usd, after.held_usd) == (0, Decimal("0.05"))
    assert after.possible_usd == Decimal("0.05")
