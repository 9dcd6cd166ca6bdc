"""What a limit shared over Redis costs a call, beside one of the process's own.

    python benchmarks/shared_limits.py [--redis redis://127.0.0.1:6379/0] [--json results.json]

Every call passes the limit, settles and releases; nothing ever waits for room. "In a call" is a
whole call on the direct OpenAI lane to a stub server in a process of its own, its requests
counted one by one. A large limit is paid in units of a thousandth, so that few calls ask Redis;
"exactly" is one question a call. The ratio is of this process's CPU, in the same run; Redis' own
is left out. Keys have a prefix of their own and are deleted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import redis.asyncio
from rich.console import Console
from rich.table import Table

from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.core.policies import RateLimitConfig
from orchestify.policy.rate_limit import Limiter, RateLimiter
from orchestify.providers.shared import SharedParts
from orchestify.shared_limits import RedisLimits

LIMITS = {
    "requests": RateLimitConfig(requests_per_minute=10_000_000),
    "requests, exactly": RateLimitConfig(requests_per_day=1000),
    "requests and tokens": RateLimitConfig(
        requests_per_minute=10_000_000, tokens_per_minute=1_000_000_000
    ),
}
CALLS = {"requests": 5000, "requests, exactly": 1000, "requests and tokens": 5000}
WHOLE_CALLS = 960
ESTIMATE, USED = 9000, 700


@dataclass
class Line:
    """Microseconds a call, by a local limit and by a shared one."""

    what: str
    at_once: int
    local_cpu_us: float
    shared_cpu_us: float
    local_us: float
    shared_us: float
    cpu_ratio: float


Timed = tuple[float, float]


async def timed(work: Callable[[], Awaitable[object]], calls: int, at_once: int) -> Timed:
    """Return the CPU and the wall time of a call, in µs."""

    async def some() -> None:
        for _ in range(calls // at_once):
            await work()

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(some() for _ in range(at_once)))
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - began
    return cpu_s / calls * 1e6, wall_s / calls * 1e6


def passing(limiter: Limiter) -> Callable[[], Awaitable[object]]:
    """Return what takes a place at the limit, corrects it and frees it."""

    async def work() -> None:
        grant = await limiter.acquire(ESTIMATE)
        grant.settle(USED)
        grant.release()

    return work


def line(what: str, at_once: int, local: Timed, shared: Timed) -> Line:
    """Return both, rounded, and their ratio."""
    figures = (round(each, 1) for each in (local[0], shared[0], local[1], shared[1]))
    return Line(what, at_once, *figures, cpu_ratio=round(shared[0] / local[0], 2))


async def limits_alone(url: str, prefix: str, at_once: int) -> list[Line]:
    """Measure the limiters by themselves."""
    lines = []
    for what, config in LIMITS.items():
        shared = RedisLimits(url, f"{prefix}-{at_once}")
        make = shared.for_tenant("bench")
        local = await timed(passing(RateLimiter(**config.model_dump())), CALLS[what], at_once)
        ours = await timed(passing(make(("provider", what, ""), config)), CALLS[what], at_once)
        await shared.aclose()
        lines.append(line(what, at_once, local, ours))
    return lines


async def in_a_call(url: str, prefix: str, server: str, at_once: int) -> Line:
    """Measure whole calls, with the limit made here and with the shared one."""
    config = parse_config(json.dumps(_config(server)))
    shared = RedisLimits(url, f"{prefix}-calls-{at_once}")
    found = []
    for parts in (SharedParts(), SharedParts(make_limiter=shared.for_tenant("bench"))):
        async with ProviderRegistry.assemble(config, parts) as registry:
            provider = registry.get("main")
            await provider.complete("hi")
            found.append(await timed(lambda: provider.complete("hi"), WHOLE_CALLS, at_once))  # noqa: B023
    await shared.aclose()
    return line("in a call", at_once, *found)


def _config(url: str) -> dict[str, object]:
    limit = {"requests_per_day": 1000, "tokens_per_day": 1_000_000_000}
    main = {"type": "openai", "base_url": url, "api_key": "sk-benchmark", "default_model": "m"}
    return {"providers": {"main": {**main, "rate_limit": limit}}}


@contextmanager
def stub_server() -> Iterator[str]:
    """Start the stub server, and end it; its URL for OpenAI's protocol."""
    command = [sys.executable, "-m", "orchestify.testing", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().split()[1]}/v1"
        process.terminate()


async def measure(url: str) -> list[Line]:
    """Measure everything, and delete the keys."""
    prefix = f"bench-{secrets.token_hex(6)}"
    lines = []
    try:
        with stub_server() as server:
            for at_once in (1, 16):
                lines += await limits_alone(url, prefix, at_once)
                lines.append(await in_a_call(url, prefix, server, at_once))
    finally:
        client = redis.asyncio.Redis.from_url(url)
        async for key in client.scan_iter(f"{prefix}*"):
            await client.delete(key)
        await client.aclose()
    return lines


def show(lines: list[Line]) -> None:
    """Print a table."""
    table = Table("limit on", "at once", "local CPU", "shared CPU", "ratio", "local", "shared")
    for each in lines:
        figures = (each.local_cpu_us, each.shared_cpu_us, each.cpu_ratio)
        table.add_row(
            each.what,
            str(each.at_once),
            *map(str, figures),
            str(each.local_us),
            str(each.shared_us),
        )
    Console().print(table, "µs a call")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lines = asyncio.run(measure(given.redis))
    show(lines)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(each) for each in lines], indent=2) + "\n")


if __name__ == "__main__":
    main()
