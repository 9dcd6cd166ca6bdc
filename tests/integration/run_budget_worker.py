"""A process that makes calls under the budgets of many runs, all at once.

    run_budget_worker.py URL FOLDER RUNS CALLS LIMIT_USD [hang]

Each run has `CALLS` calls. A call may cost 0.01 USD and 100 tokens and costs 0.004 to 0.01. It
says `ready` and begins when it is sent a line; at the end it prints, as JSON, what each run paid
here. With `hang` it says `held` once its calls hold and have opened their records, and then
waits to be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from pathlib import Path

from orchestify.errors import BudgetExceededError
from orchestify.ledger.record import new_id
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.policy.budget import Amount, Budget
from tests.ledgers import database, opened

WORST_USD, WORST_TOKENS = Decimal("0.01"), 100


def budget_of(run: int, limit_usd: str) -> Budget:
    """The budget of one run, which all the processes share."""
    per_run = Budget("run", Decimal(limit_usd), period="ever", per="run", limit_tokens=10_000)
    found = per_run.in_scope({"run": str(run)})
    assert found is not None
    return found


async def main(url: str, folder: Path, runs: int, calls: int, limit_usd: str, hangs: bool) -> None:
    ledger = SqlLedger(database(url, folder), lease_s=1.0 if hangs else 30.0)
    book = ledger.budget_book()

    async def call(run: int, number: int) -> tuple[int, Decimal]:
        record = opened(id=new_id(), cost_at_most_usd=WORST_USD)
        budgets = [budget_of(run, limit_usd)]
        try:
            hold = await book.reserve(budgets, WORST_USD, record_id=record.id, tokens=WORST_TOKENS)
        except BudgetExceededError:
            return run, Decimal(0)
        if hangs:
            await ledger.open(record)
            return run, Decimal(0)
        await asyncio.sleep(0.001 * (number % 5))
        cost_usd = Decimal(4 + (run + number) % 7) / 1000
        book.settle(hold, Amount(cost_usd, 50, 1))
        return run, cost_usd

    book.state(budget_of(0, limit_usd))  # connected, and all that is slow imported
    say("ready")
    sys.stdin.readline()
    made = [call(run, number) for number in range(calls) for run in range(runs)]
    paid = await asyncio.gather(*made)
    if hangs:
        say("held")
        await asyncio.sleep(600)
    await ledger.aclose()
    sums = dict.fromkeys(range(runs), Decimal(0))
    for run, cost_usd in paid:
        sums[run] += cost_usd
    say(json.dumps([str(sums[run]) for run in range(runs)]))


def say(line: str) -> None:
    """Print a line, now."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(
            arguments[0],
            Path(arguments[1]),
            int(arguments[2]),
            int(arguments[3]),
            arguments[4],
            "hang" in arguments,
        )
    )
