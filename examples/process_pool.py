"""Four processes that work through a list: `python examples/process_pool.py`.

A configuration may hold keys and is never pickled: each process loads it. Their budgets are one,
because they book in one database (`ledger.url`).
"""

import asyncio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import orchestify
from orchestify import BudgetExceededError, ProviderRegistry, load_config

CONFIG = Path(__file__).with_name("config")
TEXTS = [f"Text number {number} of a long list." for number in range(20)]


async def summarize_all(texts: list[str]) -> list[str]:
    """Summarize texts at once; each is booked to the run `nightly`."""
    async with ProviderRegistry.from_config(load_config(CONFIG)) as registry:
        assistant = registry.get_for_agent("assistant")

        async def summarize(text: str) -> str:
            try:
                return (await assistant.complete(f"Summarize: {text}")).content
            except BudgetExceededError:
                return "(no budget left)"

        with orchestify.scope(run="nightly"):
            return list(await asyncio.gather(*map(summarize, texts)))


def work(texts: list[str]) -> list[str]:
    """Do a process's part."""
    return asyncio.run(summarize_all(texts))


async def spent() -> list[tuple[str, str]]:
    """Return what each run has cost, over all processes."""
    async with ProviderRegistry.from_config(load_config(CONFIG)) as registry:
        report = await registry.usage(by="label:run")
        return [(row.key[0], f"{row.total.cost_usd} USD") for row in report.rows]


if __name__ == "__main__":
    parts = [TEXTS[first::4] for first in range(4)]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        done = [text for part in pool.map(work, parts) for text in part]
    print(len(done), "texts summarized")
    print(asyncio.run(spent()))
