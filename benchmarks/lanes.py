"""CPU, latency and memory of a call and of a streamed chunk, beside raw aiohttp and other clients.

One process, the clients interleaved round by round against one loopback stub server in a process
of its own; medians over rounds, and ratios to raw aiohttp and to `litellm.acompletion` of the same
run. CPU is the client process's. Machines differ, and noise too: read the ratios.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp

from benchmarks.peers import CLAUDE, KEY, Client, installed, ours, raw, raw_messages
from benchmarks.processes import stub_server
from benchmarks.results import Table, with_ratios
from benchmarks.settings import Settings

CONFIG = """
x-key: &own {{api_key: {key}{policies}}}
providers:
  openai: {{<<: *own, type: openai, default_model: gpt-4o, base_url: "{url}/v1"}}
  claude: {{<<: *own, type: anthropic, default_model: claude-sonnet-4-5, base_url: "{url}"}}
  lite: {{<<: *own, type: litellm, default_model: openai/gpt-4o, base_url: "{url}/v1"}}
"""
POLICIES = ", rate_limit: {requests_per_minute: 100000000, tokens_per_minute: 100000000000}"
BUDGETS = """
budgets:
  - {name: all, limit_usd: 1000000, period: day, on_unpriced: allow}
  - {name: openai, match: {provider: openai}, limit_usd: 1000000, period: day, on_unpriced: allow}
  - {name: claude, match: {provider: claude}, limit_usd: 1000000, period: day, on_unpriced: allow}
  - {name: lite, match: {provider: lite}, limit_usd: 1000000, period: day, on_unpriced: allow}
"""
FLOORS = ("raw aiohttp", "litellm.acompletion")

Work = Callable[[Client], Awaitable[float]]


def measure(settings: Settings) -> Iterator[Table]:
    """Measure imports, a process after one call, then calls and streams of every client."""
    with stub_server() as url:
        yield with_ratios(
            "CPU of an import", "ms", imports(settings.repeated(9)), ["import litellm"]
        )
        yield after_a_call(url)
        with asyncio.Runner() as runner:
            yield from runner.run(_lanes(settings, url))


async def _lanes(settings: Settings, url: str) -> list[Table]:
    calls, streams = settings.sized(512, 32), settings.sized(1000, 100)
    rounds, tables = settings.repeated(9), []
    works: list[tuple[str, Work, bool]] = [
        ("CPU a call, one at a time", cpu_per_call(calls // 2, 1), False),
        (f"CPU a call, {min(calls, 64)} at once", cpu_per_call(calls, min(calls, 64)), True),
        ("CPU a chunk, streams of 100", cpu_per_chunk(100, settings.sized(10, 2)), True),
        ("CPU a chunk, streams of 1,000", cpu_per_chunk(1000, 1), False),
        ("time to the first chunk", first_chunk(settings.sized(10, 3)), False),
    ]
    async with clients(url) as (made, notes):
        for title, work, is_charted in works:
            found = await medians(made, rounds, work)
            tables.append(with_ratios(title, "us", found, FLOORS, is_charted=is_charted))
        few = {name: made[name] for name in made if name.startswith(("raw", "orchestify openai"))}
        found = await medians(few, rounds, many_streams(streams))
    title = f"{streams:,} streams of 20 chunks at once, CPU"
    return [replace(tables[0], notes=notes), *tables[1:], with_ratios(title, "ms", found, FLOORS)]


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[tuple[dict[str, Client], tuple[str, ...]]]:
    """All the clients that are installed, the floor first, and notes of those that are not."""
    from orchestify.core.config import parse_config
    from orchestify.providers.registry import ProviderRegistry

    plain = CONFIG.format(key=KEY, url=url, policies="")
    full = CONFIG.format(key=KEY, url=url, policies=POLICIES) + BUDGETS
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ProviderRegistry.from_config(parse_config(full)) as registry,
        ProviderRegistry.from_config(parse_config(plain)) as bare,
    ):
        made = {
            "raw aiohttp": raw(session, url),
            "raw aiohttp, Messages": raw_messages(session, url),
            "orchestify openai, policies on": ours(registry.get("openai")),
            "orchestify openai": ours(bare.get("openai")),
            "orchestify claude, policies on": ours(registry.get("claude"), model=CLAUDE),
            "orchestify litellm lane": ours(registry.get("lite"), "openai/"),
        }
        peers, notes = installed(url)
        for name, client in list(peers.items()):
            try:
                await client.call(client.model)
                await _drain(client, "stub;chunks=5")
            except Exception as error:  # its release may have changed what it takes
                del peers[name]
                notes += (f"{name} left out: {type(error).__name__}",)
        yield made | peers, notes


async def medians(made: dict[str, Client], rounds: int, work: Work) -> dict[str, float]:
    """Medians over rounds of what `work` returns, the clients taking turns."""
    found: dict[str, list[float]] = {name: [] for name in made}
    for client in made.values():
        await work(client)  # connections, imports, caches
    for _ in range(rounds):
        for name, client in made.items():
            gc.collect()
            found[name].append(await work(client))
    return {name: statistics.median(values) for name, values in found.items()}


def cpu_per_call(count: int, at_once: int) -> Work:
    """Microseconds of CPU a call."""

    async def batch(client: Client) -> None:
        await asyncio.gather(*(client.call(client.model) for _ in range(at_once)))

    async def work(client: Client) -> float:
        await batch(client)  # since its last turn, connections may have been closed
        started = time.process_time()
        for _ in range(count // at_once):
            await batch(client)
        return (time.process_time() - started) / count * 1e6

    return work


async def _drain(client: Client, model: str) -> tuple[int, float]:
    """Read a stream; return its number of chunks and the seconds until the first."""
    started, first, count = time.perf_counter(), 0.0, 0
    async for _ in client.stream(model):
        if not count:
            first = time.perf_counter() - started
        count += 1
    return count, first


def cpu_per_chunk(chunks: int, streams: int) -> Work:
    """Microseconds of CPU a chunk, of streams one after the other."""

    async def work(client: Client) -> float:
        started, seen = time.process_time(), 0
        for _ in range(streams):
            seen += (await _drain(client, f"stub;chunks={chunks}"))[0]
        return (time.process_time() - started) / seen * 1e6

    return work


def first_chunk(streams: int) -> Work:
    """Microseconds until the first chunk, the median of so many streams."""

    async def work(client: Client) -> float:
        times = [(await _drain(client, "stub;chunks=5"))[1] for _ in range(streams)]
        return statistics.median(times) * 1e6

    return work


def many_streams(count: int) -> Work:
    """Milliseconds of CPU for so many streams of 20 chunks at once."""

    async def work(client: Client) -> float:
        started = time.process_time()
        model = "stub;chunks=20;delay_s=0.2"
        await asyncio.gather(*(_drain(client, model) for _ in range(count)))
        return (time.process_time() - started) * 1e3

    return work


PROBES = {
    "import litellm": "import litellm",
    "import openai": "import openai",
    "import aiohttp": "import aiohttp",
    "the README's five lines": "from orchestify import ProviderRegistry, load_config;"
    "ProviderRegistry; load_config",
}
AFTER_A_CALL = """
import asyncio, sys, resource
from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
registry = ProviderRegistry.from_config(parse_config('''
providers:
  claude: {{type: anthropic, api_key: sk, default_model: claude-sonnet-4-5, base_url: "{url}"}}
'''))
asyncio.run(registry.get("claude").complete("hello"))
loaded = [name for name in ("litellm", "openai", "httpx") if name in sys.modules]
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * resource.getpagesize() / 2**20, ",".join(loaded) or "none")
"""


def _python(code: str) -> str:
    """Run code in an interpreter of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def after_a_call(url: str) -> Table:
    """What a process holds after one call on the Claude lane."""
    resident, loaded = _python(AFTER_A_CALL.format(url=url)).split()
    row = {"resident MiB": float(resident), "of litellm, openai, httpx loaded": loaded}
    return Table("A process after a Claude call", "", {"orchestify": row})


def imports(rounds: int) -> dict[str, float]:
    """Milliseconds of CPU of a process that only imports, less a bare interpreter's."""

    def cpu(code: str) -> float:
        before = os.times()
        _python(code)
        after = os.times()
        user = after.children_user - before.children_user
        return (user + after.children_system - before.children_system) * 1e3

    found: dict[str, list[float]] = {name: [] for name in PROBES}
    for _ in range(rounds):
        bare = cpu("pass")
        for name, code in PROBES.items():
            found[name].append(cpu(code) - bare)
    return {name: statistics.median(values) for name, values in found.items()}
