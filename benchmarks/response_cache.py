"""A miss and a hit of the response cache beside a plain call, wherever answers are kept.

    python benchmarks/response_cache.py [--rounds 15] [--calls 100] [--redis URL]

One process against a loopback stub server in a process of its own; the ways are interleaved round
by round. Milliseconds of this process's CPU and of time a call, medians over rounds, and their
ratio to the plain call of the same run, whose ledger is of the same kind. Machines differ, and
noise too: read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from orchestify import LLMProvider, ProviderRegistry
from orchestify.core.config import parse_config

PROMPT = "Say something about the weather in three cities, and be brief about it. " * 10
_numbers = count()


def server() -> tuple[subprocess.Popen[str], str]:
    """Start the stub server and return it with its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestify.testing", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{process.stdout.readline().split()[1]}"


def registry_at(url: str, **top: Any) -> ProviderRegistry:
    """Return a registry whose provider is the stub server."""
    provider = {"type": "openai", "api_key": "sk", "default_model": "gpt-4o", "base_url": url}
    return ProviderRegistry.from_config(
        parse_config(json.dumps({"providers": {"it": provider}, **top}))
    )


async def new(provider: LLMProvider) -> None:
    """Ask what nobody has asked."""
    await provider.complete(f"{PROMPT}{next(_numbers)}")


async def same(provider: LLMProvider) -> None:
    """Ask what has been asked."""
    await provider.complete(PROMPT)


async def timed(call: Callable[[], Awaitable[None]], calls: int) -> tuple[float, float]:
    """Return the milliseconds of CPU and of time that a call takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        await call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / calls * 1000, wall / calls * 1000


async def measure(url: str, folder: Path, given: argparse.Namespace) -> None:
    """Measure all ways, and print a row of each."""
    ledger = {"url": f"sqlite:///{folder}/usage.db"}
    plain_ledger = {"url": f"sqlite:///{folder}/plain.db"}
    kinds: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "memory": ({}, {"response_cache": True}),
        "ledger": (
            {"ledger": plain_ledger},
            {"response_cache": {"at": "ledger"}, "ledger": ledger},
        ),
    }
    if given.redis:
        kinds["redis"] = ({}, {"response_cache": {"at": "redis", "url": given.redis}})
    ways: dict[tuple[str, str], Callable[[], Awaitable[None]]] = {}
    async with AsyncExitStack() as stack:
        for name, tops in kinds.items():
            registries = [await stack.enter_async_context(registry_at(url, **top)) for top in tops]
            plain, cached = (registry.get("it") for registry in registries)
            ways[name, "plain"] = partial(new, plain)
            ways[name, "miss"] = partial(new, cached)
            ways[name, "hit"] = partial(same, cached)
        for way in ways.values():
            await timed(way, 20)
        found: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for _ in range(given.rounds):
            for name, way in ways.items():
                found[name].append(await timed(way, given.calls))
    medians = {
        name: tuple(statistics.median(column) for column in zip(*rows, strict=True))
        for name, rows in found.items()
    }
    print("kept at  call   CPU ms  of plain  time ms  of plain")
    for (at, what), (cpu, wall) in medians.items():
        base = medians[at, "plain"]
        print(f"{at:8} {what:6} {cpu:6.3f} {cpu / base[0]:9.2f} {wall:8.3f} {wall / base[1]:9.2f}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--redis", help="redis://host:port/number, where answers are kept as well")
    given = parser.parse_args()
    process, url = server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(f"{url}/v1", Path(folder), given))
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
