"""A process that books calls until it is done or killed: `ledger_worker.py URL FOLDER CALLS`.

Each call is opened, then "sent": its id is appended to the file `sent` (which, as a server
would, outlives a SIGKILL), then completed. 64 calls are under way at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path

from orchestify.ledger.record import utc_now
from orchestify.ledger.sql.ledger import SqlLedger
from tests.ledgers import answered, database, opened

AT_ONCE = 64


async def main(url: str, folder: Path, calls: int) -> None:
    ledger = SqlLedger(database(url, folder), lease_s=1.0)
    sent = os.open(folder / "sent", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def work() -> None:
        for _ in range(calls // AT_ONCE):
            record = opened(started_at=utc_now(), labels={"run": "r1"})
            await ledger.open(record)
            os.write(sent, f"{record.id}\n".encode())
            await asyncio.sleep(0)
            ledger.complete(answered(record, cost_usd=Decimal("0.000000000003")))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    await ledger.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
