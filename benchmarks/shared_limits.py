"""What a limit shared over Redis costs a call, beside one of the process's own.

Every call passes the limit, settles and releases; nothing ever waits for room. "In a call" is a
whole call on the direct OpenAI lane to a stub server in a process of its own, its requests
counted one by one. A large limit is paid in units of a thousandth, so that few calls ask Redis;
"exactly" is one question a call. The ratio is of this process's CPU, in the same run; Redis' own
is left out. Keys have a prefix of their own and are deleted.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator

import redis.asyncio
from redis.exceptions import ConnectionError as NotReachedError

from benchmarks.processes import stub_server
from benchmarks.results import Cell, Table
from benchmarks.settings import LackingError, Settings
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


Timed = tuple[float, float]


def measure(settings: Settings) -> Iterator[Table]:
    """Measure limiters by themselves and in whole calls, in microseconds a call."""
    if settings.redis is None:
        raise LackingError("give a Redis with --redis redis://127.0.0.1:6379/0")
    try:
        rows = asyncio.run(rows_of(settings.redis, settings.sized(1, 10)))
    except NotReachedError:
        raise LackingError("no Redis answers at the address given with --redis") from None
    yield Table("A limit on", "us", rows)


async def rows_of(url: str, few: int) -> dict[str, dict[str, Cell]]:
    """Measure everything, one by one and 16 at once, and delete the keys."""
    prefix = f"bench-{secrets.token_hex(6)}"
    client, rows = redis.asyncio.Redis.from_url(url), {}
    await client.ping()
    try:
        with stub_server() as server:
            for at_once in (1, 16):
                rows |= await limits_alone(url, prefix, at_once, few)
                row = await in_a_call(url, prefix, f"{server}/v1", at_once, few)
                rows[f"in a call, {at_once} at once"] = row
    finally:
        async for key in client.scan_iter(f"{prefix}*"):
            await client.delete(key)
        await client.aclose()
    return rows


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


def row(local: Timed, shared: Timed) -> dict[str, Cell]:
    """Return both and the ratio of their CPU."""
    figures = {"local CPU": local[0], "shared CPU": shared[0], "/ local": shared[0] / local[0]}
    return {**figures, "local": local[1], "shared": shared[1]}


async def limits_alone(url: str, prefix: str, at_once: int, few: int) -> dict[str, dict[str, Cell]]:
    """Measure the limiters by themselves."""
    rows = {}
    for what, config in LIMITS.items():
        shared = RedisLimits(url, f"{prefix}-{at_once}")
        make = shared.for_tenant("bench")
        local = await timed(
            passing(RateLimiter(**config.model_dump())), CALLS[what] // few, at_once
        )
        ours = await timed(
            passing(make(("provider", what, ""), config)), CALLS[what] // few, at_once
        )
        await shared.aclose()
        rows[f"{what}, {at_once} at once"] = row(local, ours)
    return rows


async def in_a_call(url: str, prefix: str, server: str, at_once: int, few: int) -> dict[str, Cell]:
    """Measure whole calls, with the limit made here and with the shared one."""
    config = parse_config(json.dumps(_config(server)))
    shared = RedisLimits(url, f"{prefix}-calls-{at_once}")
    found = []
    for parts in (SharedParts(), SharedParts(make_limiter=shared.for_tenant("bench"))):
        async with ProviderRegistry.assemble(config, parts) as registry:
            provider = registry.get("main")
            await provider.complete("hi")
            calls = WHOLE_CALLS // few
            found.append(await timed(lambda: provider.complete("hi"), calls, at_once))  # noqa: B023
    await shared.aclose()
    return row(*found)


def _config(url: str) -> dict[str, object]:
    limit = {"requests_per_day": 1000, "tokens_per_day": 1_000_000_000}
    main = {"type": "openai", "base_url": url, "api_key": "sk-benchmark", "default_model": "m"}
    return {"providers": {"main": {**main, "rate_limit": limit}}}
