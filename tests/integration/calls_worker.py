"""A host that makes calls until it is killed: `calls_worker.py LEDGER OPENAI_URL ANTHROPIC_URL`.

16 calls are under way at once, whole and streamed, each with an id of its own in its prompt and
in its label `call`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import count

from orchestify import LLMProvider, ProviderRegistry, scope
from orchestify.core.config import parse_config
from orchestify.ledger.record import new_id

AT_ONCE = 16


async def main(ledger: str, openai_url: str, anthropic_url: str) -> None:
    price = {"input_usd_per_mtok": 3, "output_usd_per_mtok": 15}
    common = {"api_key": "key-of-the-tests-0123456789", "price": price, "max_tokens": 100}
    slow = "stub;words=12;chunk_delay_s=0.004;slow_headers_s=0.002"
    written = {
        "providers": {
            "gpt": {"type": "openai", "base_url": openai_url, "default_model": "stub"} | common,
            "claude": {"type": "anthropic", "base_url": anthropic_url, "default_model": slow}
            | common,
        },
        "ledger": {"url": ledger},
    }
    async with ProviderRegistry.from_config(parse_config(json.dumps(written))) as registry:
        await asyncio.gather(
            *(work(registry.get(name)) for name in ("gpt", "claude") * (AT_ONCE // 2))
        )


async def work(provider: LLMProvider) -> None:
    for number in count():
        call = new_id()
        with scope(call=call):
            if number % 2:
                await provider.complete(f"call {call}")
            else:
                async for _ in provider.stream(f"call {call}"):
                    pass


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
