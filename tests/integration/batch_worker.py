"""A process that is killed at a batch: `batch_worker.py SERVER_URL LEDGER_URL KIND COUNT [BATCH]`.

It submits a batch of so many requests, or fetches the one named, and ends.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing

from tests.batches import batch_registry, prompts


async def main(server: str, ledger: str, kind: str, count: int, batch_id: str) -> None:
    async with batch_registry(server, ledger, kind) as registry:
        if not batch_id:
            await registry.get_for_agent("writer").batch(prompts(count))
            return
        async with aclosing(registry.batches.fetch(batch_id)) as results:
            async for _ in results:
                pass


if __name__ == "__main__":
    given = [*sys.argv[1:], ""]
    asyncio.run(main(given[0], given[1], given[2], int(given[3]), given[4]))
