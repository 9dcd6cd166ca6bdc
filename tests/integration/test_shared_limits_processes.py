"""Two processes that take all they can: together the limit, no more and hardly less."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import REDIS, redis_prefix

WORKER = Path(__file__).with_name("limits_worker.py")
WINDOW_S = 2
WINDOWS = 3  # the last one half: a burst at its beginning fills it
LIMIT = 60  # 30 calls a second of two processes: a busy machine makes them as well
PLENTY = 1_000_000


@pytest.fixture
def prefix() -> Iterator[str]:
    with redis_prefix() as prefix:
        yield prefix


def test_two_processes_keep_and_reach_a_limit_on_requests(prefix: str) -> None:
    granted = hammered(prefix, requests=LIMIT, tokens=PLENTY)
    assert 0.95 * LIMIT * WINDOWS <= len(granted) <= 1.05 * LIMIT * WINDOWS
    assert most_within(granted, 0.8 * WINDOW_S) <= 1.05 * LIMIT


def test_two_processes_keep_and_reach_a_limit_on_tokens(prefix: str) -> None:
    granted = hammered(prefix, requests=PLENTY, tokens=70 * LIMIT)
    assert 0.95 * LIMIT * WINDOWS <= len(granted) <= 1.05 * LIMIT * WINDOWS
    assert most_within(granted, 0.8 * WINDOW_S) <= 1.05 * LIMIT


def hammered(prefix: str, *, requests: int, tokens: int) -> list[float]:
    """When calls were granted, in the order of time, of two processes that began together."""
    numbers = [str(each) for each in (requests, tokens, WINDOW_S, (WINDOWS - 0.5) * WINDOW_S)]
    command = [sys.executable, str(WORKER), REDIS, prefix, *numbers]
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603 - our own script
        for _ in range(2)
    ]
    assert [each.stdout.readline() for each in workers if each.stdout] == ["ready\n"] * 2
    for each in workers:
        print(time.time() + 0.1, file=each.stdin, flush=True)
    told = [json.loads(each.communicate(timeout=60)[0]) for each in workers]
    assert [each["state"] for each in told] == ["shared", "shared"]
    assert all(len(each["granted"]) > 0 for each in told)
    return sorted(when for each in told for when in each["granted"])


def most_within(granted: list[float], seconds: float) -> int:
    """The most that were granted in any span of so many seconds."""
    return max(sum(when <= each < when + seconds for each in granted) for when in granted)
