"""A miss and a hit of the response cache beside a plain call, wherever answers are kept.

The ways are interleaved round by round: milliseconds of this process's CPU and of time a call,
medians over rounds, and their ratio to the plain call of the same run, whose ledger is of the same
kind. Answers are kept in Redis as well where one is given.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.processes import stub_server
from benchmarks.results import Cell, Table
from benchmarks.settings import Settings
from orchestify import LLMProvider, ProviderRegistry
from orchestify.core.config import parse_config

PROMPT = "Say something about the weather in three cities, and be brief about it. " * 10
ROUNDS = 15
Timed = tuple[float, float]
_numbers = count()


def measure(settings: Settings) -> Iterator[Table]:
    """Measure a plain call, a miss and a hit for each place where answers are kept."""
    with stub_server() as url, tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(medians(f"{url}/v1", Path(folder), settings))
    rows: dict[str, dict[str, Cell]] = {}
    for (at, what), (cpu, wall) in found.items():
        plain = found[at, "plain"]
        rows[f"{at}: {what}"] = {
            "CPU": cpu,
            "CPU / plain": cpu / plain[0],
            "time": wall,
            "time / plain": wall / plain[1],
        }
    yield Table("A call where answers are kept", "ms", rows)


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


async def medians(url: str, folder: Path, settings: Settings) -> dict[tuple[str, str], Timed]:
    """Return the milliseconds of CPU and of time that each way takes."""
    calls = settings.sized(100, 20)
    found: defaultdict[tuple[str, str], list[Timed]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        ways = await ways_in(stack, url, folder, settings.redis)
        for way in ways.values():
            await timed(way, 20)
        for _ in range(settings.repeated(ROUNDS)):
            for name, way in ways.items():
                found[name].append(await timed(way, calls))
    return {
        name: (statistics.median(cpu for cpu, _ in each), statistics.median(s for _, s in each))
        for name, each in found.items()
    }


async def ways_in(
    stack: AsyncExitStack, url: str, folder: Path, redis: str | None
) -> dict[tuple[str, str], Callable[[], Awaitable[None]]]:
    """Open a registry with a cache and one without, for each place; return what is timed."""
    plain, kept = ({"ledger": {"url": f"sqlite:///{folder}/{name}.db"}} for name in ("a", "b"))
    kinds: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "memory": ({}, {"response_cache": True}),
        "ledger": (plain, {"response_cache": {"at": "ledger"}, **kept}),
    }
    if redis is not None:
        kinds["redis"] = ({}, {"response_cache": {"at": "redis", "url": redis}})
    ways: dict[tuple[str, str], Callable[[], Awaitable[None]]] = {}
    for name, tops in kinds.items():
        made = [await stack.enter_async_context(registry_at(url, **top)) for top in tops]
        without, cached = (registry.get("it") for registry in made)
        ways[name, "plain"] = partial(new, without)
        ways[name, "miss"] = partial(new, cached)
        ways[name, "hit"] = partial(same, cached)
    return ways
