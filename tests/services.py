"""Services of two `orchestify serve` processes, whose providers all lead to one stub server.

Its answers take their time by the model's name.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestify.testing import Reply, StubRequest, StubServer
from orchestify.values import Usage
from tests.ledgers import postgres_database
from tests.redis_server import REDIS, redis_prefix
from tests.servers import ENCRYPTION_KEYS

SERVE = [sys.executable, "-m", "orchestify", "serve"]
START_S, END_S = 30.0, 15.0

LIMIT, WINDOW_S = 300, 60
BUDGET_USD, WORST_USD = Decimal(1), Decimal("0.01")
USD_PER_TOKEN = Decimal("0.001")


def stub_config(stub: StubServer) -> dict[str, Any]:
    """Three providers of one server: without limits, with a rate limit, with a hard budget.

    A call of `priced` costs 0.003 to 0.01 USD.
    """
    one = {"type": "openai", "base_url": stub.openai_url, "api_key": "any", "default_model": "stub"}
    limits = {"rate_limit": {"requests_per_minute": LIMIT}, "timeout_s": 2}
    prices = {"price": {"input_usd_per_mtok": 0, "output_usd_per_mtok": 1000}, "max_tokens": 10}
    spending = {"name": "cap", "match": {"provider": "priced"}, "limit_usd": float(BUDGET_USD)}
    return {
        "providers": {"house": one, "limited": one | limits, "priced": one | prices},
        "retry": {"max_attempts": 1},
        "budgets": [spending | {"period": "ever"}],
    }


def stub_reply(request: StubRequest) -> Reply:
    """3 to 10 tokens of output: at once, or later where the model is called so."""
    delay_s = {"soon": 0.05, "late": 2.0, "held": 600.0}.get(request.model, 0.0)
    return Reply(usage=Usage(input_tokens=5, output_tokens=3 + request.index % 8), delay_s=delay_s)


def requests_of(stub: StubServer, model: str) -> list[StubRequest]:
    """What the server was asked of a model, in the order of arrival."""
    return [each for each in stub.requests if each.model == model]


@dataclass(frozen=True)
class Service:
    """Machines over one database, and the stub server that all their providers lead to."""

    machines: list[Machine]
    stub: StubServer
    database: str


@asynccontextmanager
async def two_machines(folder: Path, *options: str) -> AsyncIterator[Service]:
    """A service of two processes over a PostgreSQL database of their own."""
    with postgres_database() as database:
        async with stub_server() as stub, machines(folder, stub, database, *options) as pair:
            yield Service(pair, stub, database)


@asynccontextmanager
async def stub_server() -> AsyncIterator[StubServer]:
    """A stub server that answers as `stub_reply` says."""
    async with StubServer(history=100_000) as server:
        server.respond = stub_reply
        yield server


@dataclass(frozen=True)
class Machine:
    """A process that serves, and where it writes what it logs."""

    url: str
    process: asyncio.subprocess.Process
    log: Path

    def said(self, words: str) -> bool:
        """Whether it logged these words."""
        return words in self.log.read_text()


@asynccontextmanager
async def machines(
    folder: Path, stub: StubServer, database: str, *options: str
) -> AsyncIterator[list[Machine]]:
    """Two processes that serve `stub_config` over one database, begun together."""
    at = folder / "config.yaml"
    at.write_text(json.dumps(stub_config(stub)))
    command = [str(at), "--port", "0", "--database", database, "--machines", "2"]
    command += ["--requests-per-minute", "1000000", *options]
    async with AsyncExitStack() as stack:
        starting = [_machine(folder, name, command) for name in ("first", "second")]
        started = await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
        yield list(started)


@asynccontextmanager
async def _machine(folder: Path, name: str, command: list[str]) -> AsyncIterator[Machine]:
    log = folder / f"{name}.log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *SERVE,
            *command,
            cwd=folder,
            env=os.environ | ENCRYPTION_KEYS,
            stdout=asyncio.subprocess.PIPE,
            stderr=written,
        )
    try:
        yield Machine(await _address(process, log), process, log)
    finally:
        await _end(process)


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    """Where it serves, once it says so."""
    assert process.stdout is not None
    async with asyncio.timeout(START_S):
        line = (await process.stdout.readline()).decode()
    return _address_in(line, log)


def _address_in(line: str, log: Path) -> str:
    if not line.startswith("orchestify serves on "):
        pytest.fail(f"it does not serve: {line}{log.read_text()}")
    return line.split()[3]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(END_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()


@contextmanager
def redis_tenant() -> Iterator[str]:
    """A tenant whose keys in Redis are deleted; skips without Redis."""
    tenant = f"acme-{secrets.token_hex(6)}"
    with redis_prefix():
        try:
            yield tenant
        finally:
            with closing(redis.Redis.from_url(REDIS)) as client:
                for key in client.scan_iter(f"orchestify:*{tenant}*"):
                    client.delete(key)
