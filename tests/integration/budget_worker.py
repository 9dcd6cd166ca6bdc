"""A process that makes calls under one hard budget, all at once.

    budget_worker.py URL FOLDER CALLS LIMIT_USD [hang]

Each call may cost 0.01 USD and costs 0.004 to 0.01. It says `ready` and begins when it is sent
a line; at the end it prints, as JSON, how many were answered and refused, and what they cost.
With `hang` it says `held` once all its calls hold, of which those with an even number have
opened a record, and then waits to be killed.
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

WORST_USD = Decimal("0.01")


def budget(limit_usd: str) -> Budget:
    """The budget that all the processes share."""
    return Budget("shared", Decimal(limit_usd), period="ever")


async def main(url: str, folder: Path, calls: int, limit_usd: str, hangs: bool) -> None:
    ledger = SqlLedger(database(url, folder), lease_s=1.0 if hangs else 30.0)
    book, shared = ledger.budget_book(), budget(limit_usd)

    async def call(number: int) -> Decimal | None:
        record = opened(id=new_id(), cost_at_most_usd=WORST_USD)
        try:
            hold = await book.reserve([shared], WORST_USD, record_id=record.id)
        except BudgetExceededError:
            return None
        if hangs:
            if number % 2 == 0:
                await ledger.open(record)
            return None
        await asyncio.sleep(0.002 * (number % 5))
        cost_usd = Decimal(4 + number % 7) / 1000
        book.settle(hold, Amount(cost_usd))
        return cost_usd

    book.state(shared)  # connected, and all that is slow imported
    say("ready")
    sys.stdin.readline()
    costs_usd = await asyncio.gather(*(call(number) for number in range(calls)))
    if hangs:
        say("held")
        await asyncio.sleep(600)
    await ledger.aclose()
    paid_usd = [cost_usd for cost_usd in costs_usd if cost_usd is not None]
    refused = calls - len(paid_usd)
    say(json.dumps({"answered": len(paid_usd), "refused": refused, "usd": str(sum(paid_usd))}))


def say(line: str) -> None:
    """Print a line, now."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], "hang" in sys.argv)
    )
