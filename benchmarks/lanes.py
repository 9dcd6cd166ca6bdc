"""CPU, latency and memory of a call and of a streamed chunk, beside raw aiohttp and the peers.

    python benchmarks/lanes.py [--rounds 9] [--json results.json] [--quick]

One process, the clients interleaved round by round against one loopback stub server in a process
of its own; medians over rounds, and ratios to raw aiohttp and to `litellm.acompletion` of the same
run. CPU is the client process's. Peers that are not installed are left out. Machines differ, and
noise too: read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

PROMPT = "Say something about the weather in three cities, and be brief about it."
KEY = "sk-benchmark"
MESSAGES = [{"role": "user", "content": PROMPT}]
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_MODE", "PRODUCTION")

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


@dataclass
class Client:
    """A way to the server: `call(model)` waits for an answer, `stream(model)` counts chunks."""

    name: str
    call: Callable[[], Awaitable[Any]]
    stream: Callable[[str], Awaitable[tuple[int, float]]]


def server() -> tuple[subprocess.Popen[str], str]:
    """Start the stub server and return it with its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestify.testing", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{process.stdout.readline().split()[1]}"


async def _drain(opening: AsyncIterator[Any] | Awaitable[Any]) -> tuple[int, float]:
    """Read a stream; return its number of chunks and the seconds until the first."""
    started, first, count = time.perf_counter(), 0.0, 0
    chunks = opening if isinstance(opening, AsyncIterator) else await opening
    async for _ in chunks:
        if not count:
            first = time.perf_counter() - started
        count += 1
    return count, first


def raw_openai(session: aiohttp.ClientSession, url: str) -> Client:
    """The floor: aiohttp, a JSON body, lines of the stream read one by one."""
    headers = {"authorization": f"Bearer {KEY}"}

    async def call() -> Any:
        body = {"model": "gpt-4o", "messages": MESSAGES}
        async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
            return json.loads(await answer.read())

    async def chunks(model: str) -> AsyncIterator[str]:
        body = {"model": model, "messages": MESSAGES, "stream": True}
        body["stream_options"] = {"include_usage": True}
        async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
            async for line in answer.content:
                if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                    event = json.loads(line[6:])
                    if event["choices"] and event["choices"][0]["delta"].get("content"):
                        yield event["choices"][0]["delta"]["content"]

    return Client("raw aiohttp", call, lambda model: _drain(chunks(model)))


def raw_anthropic(session: aiohttp.ClientSession, url: str) -> Client:
    """The same floor for Anthropic's protocol."""
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}

    async def call() -> Any:
        body = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": MESSAGES}
        async with session.post(f"{url}/v1/messages", json=body, headers=headers) as answer:
            return json.loads(await answer.read())

    async def chunks(model: str) -> AsyncIterator[str]:
        body = {"model": model, "max_tokens": 8192, "messages": MESSAGES, "stream": True}
        async with session.post(f"{url}/v1/messages", json=body, headers=headers) as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if event["type"] == "content_block_delta":
                        yield event["delta"].get("text", "")

    return Client("raw aiohttp, Messages", call, lambda model: _drain(chunks(model)))


def ours(registry: Any, provider_id: str, label: str) -> Client:
    """A provider of a registry, the whole call path included."""
    provider = registry.get(provider_id)
    prefix = "openai/" if provider_id == "lite" else ""

    async def call() -> Any:
        return await provider.complete(PROMPT, max_tokens=100)

    def stream(model: str) -> Awaitable[tuple[int, float]]:
        return _drain(provider.stream(PROMPT, model=prefix + model))

    return Client(label, call, stream)


def litellm_client(url: str) -> Client:
    """Bare `litellm.acompletion`."""
    import litellm

    litellm.suppress_debug_info = True
    given = {"api_key": KEY, "api_base": f"{url}/v1", "max_retries": 0, "messages": MESSAGES}

    async def call() -> Any:
        return await litellm.acompletion(model="openai/gpt-4o", max_tokens=100, **given)

    async def stream(model: str) -> tuple[int, float]:
        return await _drain(
            litellm.acompletion(
                model=f"openai/{model}",
                stream=True,
                stream_options={"include_usage": True},
                **given,
            )
        )

    return Client("litellm.acompletion", call, stream)


def router_client(url: str) -> Client:
    """LiteLLM's Router."""
    from litellm import Router

    def deployment(name: str, model: str) -> dict[str, Any]:
        params = {"model": model, "api_key": KEY, "api_base": f"{url}/v1"}
        return {"model_name": name, "litellm_params": params}

    router = Router(
        [deployment("m", "openai/gpt-4o"), deployment("s", "openai/stub;chunks=100")],
        num_retries=0,
    )

    async def call() -> Any:
        return await router.acompletion(model="m", messages=MESSAGES, max_tokens=100)

    async def stream(_: str) -> tuple[int, float]:
        return await _drain(router.acompletion(model="s", messages=MESSAGES, stream=True))

    return Client("litellm.Router", call, stream)


def openai_sdk(url: str) -> Client:
    """OpenAI's own client."""
    from openai import AsyncOpenAI

    sdk = AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0)

    async def call() -> Any:
        return await sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=100)

    async def stream(model: str) -> tuple[int, float]:
        return await _drain(
            sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        )

    return Client("openai SDK", call, stream)


def anthropic_sdk(url: str) -> Client:
    """Anthropic's own client."""
    from anthropic import AsyncAnthropic

    sdk = AsyncAnthropic(api_key=KEY, base_url=url, max_retries=0)

    async def call() -> Any:
        return await sdk.messages.create(
            model="claude-sonnet-4-5", messages=MESSAGES, max_tokens=100
        )

    async def stream(model: str) -> tuple[int, float]:
        return await _drain(
            sdk.messages.create(model=model, messages=MESSAGES, max_tokens=8192, stream=True)
        )

    return Client("anthropic SDK", call, stream)


def any_llm_client(url: str) -> Client:
    """any-llm, with its OpenAI provider."""
    import any_llm

    given = {"api_key": KEY, "api_base": f"{url}/v1", "messages": MESSAGES}

    async def call() -> Any:
        return await any_llm.acompletion("gpt-4o", provider="openai", max_tokens=100, **given)

    async def stream(model: str) -> tuple[int, float]:
        return await _drain(any_llm.acompletion(model, provider="openai", stream=True, **given))

    return Client("any-llm", call, stream)


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[list[Client]]:
    """All the clients that are installed; the first is the floor."""
    from orchestify.core.config import parse_config
    from orchestify.providers.registry import ProviderRegistry

    plain = CONFIG.format(key=KEY, url=url, policies="")
    full = CONFIG.format(key=KEY, url=url, policies=POLICIES) + BUDGETS
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ProviderRegistry.from_config(parse_config(full)) as registry,
        ProviderRegistry.from_config(parse_config(plain)) as bare,
    ):
        made = [
            raw_openai(session, url),
            raw_anthropic(session, url),
            ours(registry, "openai", "orchestify openai, policies on"),
            ours(bare, "openai", "orchestify openai"),
            ours(registry, "claude", "orchestify claude, policies on"),
            ours(registry, "lite", "orchestify litellm lane"),
        ]
        for make in (litellm_client, router_client, openai_sdk, anthropic_sdk, any_llm_client):
            try:
                made.append(make(url))
            except ImportError as error:
                print(f"left out: {make.__name__} ({error.name} is not installed)")
        yield made


async def measure(
    made: list[Client], rounds: int, work: Callable[[Client], Awaitable[float]]
) -> dict[str, float]:
    """Medians over rounds of what `work` returns, the clients taking turns."""
    found: dict[str, list[float]] = {client.name: [] for client in made}
    for client in made:
        await work(client)  # connections, imports, caches
    for _ in range(rounds):
        for client in made:
            gc.collect()
            found[client.name].append(await work(client))
    return {name: statistics.median(values) for name, values in found.items()}


def cpu_per_call(count: int, at_once: int) -> Callable[[Client], Awaitable[float]]:
    """Microseconds of CPU a call."""

    async def work(client: Client) -> float:
        started = time.process_time()
        for _ in range(count // at_once):
            if at_once == 1:
                await client.call()
            else:
                await asyncio.gather(*(client.call() for _ in range(at_once)))
        return (time.process_time() - started) / count * 1e6

    return work


def cpu_per_chunk(chunks: int, streams: int) -> Callable[[Client], Awaitable[float]]:
    """Microseconds of CPU a chunk, of streams one after the other."""

    async def work(client: Client) -> float:
        started, seen = time.process_time(), 0
        for _ in range(streams):
            seen += (await client.stream(f"stub;chunks={chunks}"))[0]
        return (time.process_time() - started) / seen * 1e6

    return work


async def first_chunk(client: Client) -> float:
    """Microseconds until the first chunk, the median of ten streams."""
    times = [(await client.stream("stub;chunks=5"))[1] for _ in range(10)]
    return statistics.median(times) * 1e6


async def many_streams(client: Client) -> float:
    """Milliseconds of CPU for 1,000 streams of 20 chunks at once."""
    started = time.process_time()
    await asyncio.gather(*(client.stream("stub;chunks=20;delay_s=0.2") for _ in range(1000)))
    return (time.process_time() - started) * 1e3


PROBES = {
    "import litellm": "import litellm",
    "import openai": "import openai",
    "import anthropic": "import anthropic",
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


def imports(rounds: int) -> dict[str, float]:
    """Milliseconds of CPU of a process that only imports, less a bare interpreter's."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def cpu(code: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)
        after = os.times()
        return (
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        ) * 1e3

    found: dict[str, list[float]] = {name: [] for name in PROBES}
    for _ in range(rounds):
        bare = cpu("pass")
        for name, code in PROBES.items():
            found[name].append(cpu(code) - bare)
    return {name: statistics.median(values) for name, values in found.items()}


def show(title: str, unit: str, found: dict[str, float], floors: tuple[str, ...]) -> dict[str, Any]:
    """Print a table with ratios, and return it as data."""
    print(f"\n{title} ({unit})")
    print(f"  {'':34}{unit:>10}" + "".join(f"{'/ ' + floor:>24}" for floor in floors))
    rows = {}
    for name, value in found.items():
        ratios = {floor: value / found[floor] for floor in floors if floor in found}
        print(f"  {name:34}{value:10.1f}" + "".join(f"{each:24.2f}" for each in ratios.values()))
        rows[name] = {"median": value, **{f"ratio to {k}": v for k, v in ratios.items()}}
    return {"title": title, "unit": unit, "rows": rows}


async def run(rounds: int, url: str, *, quick: bool) -> list[dict[str, Any]]:
    """Measure everything, print it and return it."""
    calls = 64 if quick else 512
    floors = ("raw aiohttp", "litellm.acompletion")
    tables = []
    async with clients(url) as made:
        for title, unit, work, who in (
            ("CPU a call, one at a time", "us", cpu_per_call(calls // 2, 1), made),
            ("CPU a call, 64 at once", "us", cpu_per_call(calls, 64), made),
            ("CPU a chunk, streams of 100", "us", cpu_per_chunk(100, 2 if quick else 10), made),
            (
                "CPU a chunk, streams of 1,000",
                "us",
                cpu_per_chunk(1000, 1),
                [each for each in made if each.name != "litellm.Router"],
            ),
            ("time to the first chunk", "us", first_chunk, made),
            (
                "1,000 streams of 20 chunks at once, CPU",
                "ms",
                many_streams,
                [each for each in made if each.name.startswith(("raw", "orchestify openai"))],
            ),
        ):
            tables.append(show(title, unit, await measure(who, rounds, work), floors))
    return tables


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it runs")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    process, url = server()
    try:
        tables = [
            show("CPU of an import", "ms", imports(rounds), ("import litellm",)),
        ]
        probe = subprocess.run(
            [sys.executable, "-c", AFTER_A_CALL.format(url=url)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        resident, loaded = probe.stdout.split()
        print(f"\nresident after a Claude call: {resident} MiB; loaded of the others: {loaded}")
        tables += asyncio.run(run(rounds, url, quick=options.quick))
    finally:
        process.terminate()
        process.wait()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"resident_mib": float(resident), "tables": tables}, file, indent=1)


if __name__ == "__main__":
    main()
