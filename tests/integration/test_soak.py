"""Many agents at once for a while, a fifth of the answers faulty: nothing is left, all is booked.

`ORCHESTIFY_LONG=1` makes it 60 s with 500 agents.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from orchestify import (
    AllTargetsFailedError,
    APIError,
    LLMProvider,
    LLMResponse,
    ProviderRegistry,
)
from orchestify.testing import Account, Reply, StubRequest, StubServer, UsageSum
from tests.registries import registry_on

IS_LONG = os.environ.get("ORCHESTIFY_LONG") == "1"
AGENTS, SECONDS = (500, 60.0) if IS_LONG else (100, 6.0)
FAULTY = 0.2
GROWTH_MB = 12

FAULTS: list[Reply] = [
    Reply(status=500),
    Reply(status=529),
    Reply(status=429, retry_after="0.01"),
    Reply(status=401),
    Reply(inline_error=True),
    Reply(reset=True),
    Reply(garbage=True),
    Reply(words=9, cut_after=4),
    Reply(words=9, cut_after=4, reset=True),
    Reply(words=9, eof_after=5),
    Reply(words=9, error_after=3),
    Reply(words=9, cut_after=0),
]
SLOW = re.compile(rb"slow-(\d+)")


@dataclass(slots=True)
class Sums(Account):
    """The server's account, with the tokens of whole answers apart."""

    whole: UsageSum = field(default_factory=UsageSum)

    def book(self, request: StubRequest) -> None:
        """Add a request that has ended."""
        Account.book(self, request)
        if request.outcome == "whole" and request.billed is not None:
            self.whole.add(request.billed)


class Crowd:
    """Agents that call, stream, close, drop and cancel at random, and count what they see."""

    def __init__(self, registry: ProviderRegistry, server: StubServer, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self.cost_usd = Decimal(0)
        self._registry = registry
        self._seed = seed
        self._numbers = count()
        self._arrivals: dict[int, asyncio.Event] = {}
        self._loop = asyncio.get_running_loop()
        server.respond = self._reply

    async def run(self, agent: int, until: float) -> None:
        """Make calls, one after the other, until it is time."""
        provider = self._registry.get_for_agent(f"agent{agent}")
        random = Random(f"{self._seed}-{agent}")  # noqa: S311 - chance that can be repeated
        ways: list[Callable[[LLMProvider], Awaitable[None]]] = [
            self._complete,
            self._stream,
            self._cancel,
            self._close,
            self._drop,
        ]
        while time.monotonic() < until:
            way = random.choices(ways, (45, 35, 10, 7, 3))[0]
            try:
                await way(provider)
            except (APIError, AllTargetsFailedError) as error:
                self.seen[type(error).__name__] += 1

    async def _complete(self, provider: LLMProvider) -> None:
        self._count(await provider.complete("hi"))

    async def _stream(self, provider: LLMProvider) -> None:
        stream = provider.stream("hi")
        async for _ in stream:
            pass
        self._count(stream.response)

    async def _cancel(self, provider: LLMProvider) -> None:
        """Cancel a call that the server has received."""
        prompt, arrival = self._slow()
        call = asyncio.create_task(provider.complete(prompt))
        arrived = asyncio.create_task(arrival.wait())
        await asyncio.wait({call, arrived}, return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
            return
        self.seen["cancelled"] += 1

    async def _close(self, provider: LLMProvider) -> None:
        """Close a stream in the middle."""
        async with provider.stream(self._slow()[0]) as stream:
            await _read(stream, 3)
        self.seen["cancelled"] += 1

    async def _drop(self, provider: LLMProvider) -> None:
        """Forget a stream in the middle."""
        stream = provider.stream(self._slow()[0])
        await _read(stream, 2)
        del stream
        self.seen["cancelled"] += 1

    def _slow(self) -> tuple[str, asyncio.Event]:
        number = next(self._numbers)
        self._arrivals[number] = arrival = asyncio.Event()
        return f"slow-{number}", arrival

    def _count(self, response: LLMResponse) -> None:
        self.seen["ok"] += 1
        assert response.cost_usd is not None
        self.cost_usd += response.cost_usd

    def _reply(self, request: StubRequest) -> Reply | None:
        """Choose the server's answer, in its thread."""
        random = Random(f"{self._seed}:{request.index}")  # noqa: S311 - as above
        slow = SLOW.search(request.raw_body)
        if slow is not None:
            arrival = self._arrivals.pop(int(slow[1]), None)
            if arrival is not None:
                self._loop.call_soon_threadsafe(arrival.set)
            is_stream = request.stream
            return Reply(words=5000, chunk_delay_s=0.005) if is_stream else Reply(delay_s=60)
        if random.random() < FAULTY:
            return random.choice(FAULTS)
        return Reply(words=random.randint(1, 20), writes=random.choice(("each", "all", 64)))


async def _read(stream: AsyncIterator[str], pieces: int) -> None:
    for _ in range(pieces):
        await anext(stream)


def config(tmp_path: Path) -> dict[str, Any]:
    """Every policy in force, none of which stops the crowd for long."""
    policies = {
        "price": {"input_usd_per_mtok": 3, "output_usd_per_mtok": 15},
        "rate_limit": {"requests_per_minute": 10_000_000, "concurrency": 48},
        "circuit_breaker": {"failures": 40, "window_s": 0.2, "open_s": 0.02, "max_open_s": 0.05},
    }
    return {
        "providers": {"claude": {"type": "anthropic", **policies}, "gpt": policies},
        "agents": {
            f"agent{number}": {
                "provider": ("claude", "gpt")[number % 2],
                "fallback": [("gpt", "claude")[number % 2]],
                "max_tokens": 1000,
            }
            for number in range(AGENTS)
        },
        "budgets": [
            {"name": "day", "limit_usd": 1_000_000, "period": "day"},
            {"name": "gpt", "limit_usd": 1_000_000, "period": "day", "match": {"provider": "gpt"}},
        ],
        "ledger": {"url": f"sqlite:///{tmp_path}/usage.db"},
    }


def memory_mb() -> float:
    """What the process holds in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    """How many files and sockets the process has open."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def booked(tmp_path: Path) -> dict[str, tuple[int, int, int, int]]:
    """By outcome what the ledger says: attempts, tokens in and out, and 1e-12 dollars."""
    with closing(sqlite3.connect(tmp_path / "usage.db")) as database:
        rows = database.execute(
            "select outcome, count(*), sum(input_tokens), sum(output_tokens),"
            " sum(coalesce(cost_picousd, 0)) from usage_records group by outcome"
        ).fetchall()
    return {outcome: sums for outcome, *sums in rows}


async def settled(server: StubServer) -> None:
    """Wait until the server has no request in progress and nobody is connected."""
    await server.wait_idle(10)
    async with asyncio.timeout(30):
        while server.connections.open:  # noqa: ASYNC110 # in another thread
            await asyncio.sleep(0.01)


async def test_nothing_is_left_and_the_ledger_equals_the_servers_account(tmp_path: Path) -> None:
    files = open_files()
    with StubServer.in_thread(StubServer(history=100)) as server:
        server.account = account = Sums()
        memory: list[float] = []
        settings = config(tmp_path)
        registry = registry_on(server, settings.pop("providers"), **settings)
        async with registry:
            crowd = Crowd(registry, server, seed=7)
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for agent in range(AGENTS):
                    group.create_task(crowd.run(agent, began + SECONDS))
                for share in (1 / 3, 2 / 3, 1):
                    await asyncio.sleep(began + share * SECONDS - time.monotonic())
                    memory.append(memory_mb())
            took_s = time.monotonic() - began
            runtime = registry._runtime
            await server.wait_idle(10)
            await asyncio.sleep(0.1)
            held = [runtime.book.state(each).held_usd for each in runtime.budgets]
            slots = [each._running for each in runtime._limiters.values()]
            probes = [each._probe for each in runtime.breakers().values()]
            waiting = [len(each._queue) for each in runtime._limiters.values()]
        tasks = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
        await settled(server)
    ledger = booked(tmp_path)
    report(crowd, account, ledger, memory, took_s)
    ok = ledger["ok"]
    assert crowd.seen["ok"] > AGENTS
    assert sum(sums[0] for sums in ledger.values()) == account.received
    assert ok[0] == account.outcomes["whole"] == crowd.seen["ok"]
    assert (ok[1], ok[2]) == (account.whole.input_tokens, account.whole.output_tokens)
    assert ok[3] == crowd.cost_usd.scaleb(12)
    assert ledger["cancelled"][0] == account.outcomes["client_left"] == crowd.seen["cancelled"]
    assert "open" not in ledger
    assert (tasks, held, slots, waiting, probes) == ([], [0, 0], [0, 0], [0, 0], [None] * 2)
    assert open_files() <= files
    assert memory[2] - memory[1] < GROWTH_MB


def report(
    crowd: Crowd, account: Account, ledger: dict[str, Any], memory: list[float], took_s: float
) -> None:
    """Print what happened, for `-s`."""
    print(f"\n{AGENTS} agents, {took_s:.0f} s, {account.received / took_s:.0f} requests a second")  # noqa: T201
    print(f"seen: {dict(crowd.seen)}")  # noqa: T201
    print(f"server: {dict(account.outcomes)}, statuses {dict(account.statuses)}")  # noqa: T201
    print(f"ledger: {ledger}")  # noqa: T201
    print("memory: " + " -> ".join(f"{each:.1f} MB" for each in memory))  # noqa: T201
