"""Asks the same of an agent many times at once; a process of its own.

    python cache_worker.py CONFIG CALLS

It writes `ready`, waits for a line on its standard input, and writes, as JSON, how many answers
were whole, cached, and of which texts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from orchestify import ProviderRegistry
from orchestify.core.config import parse_config


async def main(config: str, calls: int) -> None:
    async with ProviderRegistry.from_config(parse_config(config)) as registry:
        provider = registry.get("it")
        print("ready", flush=True)  # noqa: T201 - all is imported
        await asyncio.to_thread(sys.stdin.readline)
        answers = await asyncio.gather(*(provider.complete("the same") for _ in range(calls)))
    told = {
        "answers": len(answers),
        "cached": sum(each.is_cached for each in answers),
        "texts": Counter(each.content for each in answers),
    }
    print(json.dumps(told))  # noqa: T201 - its answer


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
