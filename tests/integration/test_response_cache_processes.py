"""Two processes that ask the same at once, over one ledger or one Redis: one request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestify.testing import Reply, StubServer
from tests.ledgers import postgres_schema
from tests.redis_server import REDIS, redis_prefix

WORKER = Path(__file__).with_name("cache_worker.py")
CALLS = 32


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a configuration says at its top, so that processes share answers."""
    with ExitStack() as stack:
        if request.param == "redis":
            stack.enter_context(redis_prefix())  # skips without Redis
            yield {"response_cache": {"at": "redis", "url": REDIS}}
        else:
            url = f"sqlite:///{tmp_path}/usage.db"
            if request.param == "postgres":
                url = stack.enter_context(postgres_schema())
            yield {"response_cache": {"at": "ledger"}, "ledger": {"url": url}}


def test_two_processes_send_one_request(server: StubServer, shared: dict[str, Any]) -> None:
    server.respond = lambda seen: Reply(text=f"answer {seen.index}", delay_s=2.0)
    told = answers_of_two(server, shared)
    assert server.account.received == 1
    assert [each["texts"] for each in told] == [{"answer 0": CALLS}] * 2
    assert sum(each["cached"] for each in told) == 2 * CALLS - 1


def test_where_the_process_that_asks_fails_the_other_asks(
    server: StubServer, shared: dict[str, Any]
) -> None:
    server.respond = lambda seen: (
        Reply(status=400, slow_headers_s=1.0) if seen.index == 0 else Reply(text="whole")
    )
    ends = [each.returncode for each in both(server, shared)]
    assert sorted(ends) == [0, 1]  # one had the failure, the other its answers


def answers_of_two(server: StubServer, shared: dict[str, Any]) -> list[dict[str, Any]]:
    """What both processes tell of their answers."""
    ended = both(server, shared)
    assert [each.returncode for each in ended] == [0, 0]
    return [json.loads(each.told) for each in ended]


class Ended:
    """A process that has ended, and what it told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.told, _ = process.communicate("go\n", timeout=60)
        self.returncode = process.returncode


def both(server: StubServer, shared: dict[str, Any]) -> list[Ended]:
    """Let two processes ask at once."""
    provider = {
        "type": "openai",
        "base_url": server.openai_url,
        "api_key": "sk-any",
        "default_model": "m",
    }
    config = json.dumps({"providers": {"it": provider}, "retry": {"max_attempts": 1}, **shared})
    command = [sys.executable, str(WORKER), config, str(CALLS)]
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen(  # noqa: S603 - our own script
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        for _ in range(2)
    ]
    assert [each.stdout.readline() for each in workers if each.stdout] == ["ready\n"] * 2
    for each in workers:
        print("go", file=each.stdin, flush=True)
    return [Ended(each) for each in workers]
