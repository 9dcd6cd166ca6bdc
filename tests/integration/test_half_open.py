"""A half-open circuit lets one request through, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestify import CircuitOpenError, LLMProvider, ProviderRegistry, ServerError
from orchestify.core.config import parse_config
from orchestify.testing import Reply, StubServer
from tests.lanes import KEY

CALLS = 64
OPEN_S = 2.0  # a probe keeps its place for as long


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture
async def registry(server: StubServer) -> AsyncIterator[ProviderRegistry]:
    provider = {"type": "openai", "api_key": KEY, "base_url": server.openai_url}
    config = {
        "providers": {
            "one": {
                **provider,
                "default_model": "one",
                "circuit_breaker": {"failures": 1, "open_s": OPEN_S, "max_open_s": 60},
            },
            "two": {**provider, "default_model": "two"},
        },
        "agents": {"it": {"provider": "one", "fallback": ["two"]}},
        "retry": {"max_attempts": 1},
    }
    async with ProviderRegistry.from_config(parse_config(json.dumps(config))) as registry:
        yield registry


async def open_circuit(server: StubServer, provider: LLMProvider) -> None:
    """Fail once, and wait until a probe may go through."""
    server.script(Reply(status=503), model="one")
    with pytest.raises(ServerError):
        await provider.complete("hi", fallback=[])
    await asyncio.sleep(OPEN_S + 0.02)


async def ask(provider: LLMProvider, **arguments: Any) -> str:
    """Call, and say what came of it."""
    try:
        response = await provider.complete("hi", **arguments)
    except (CircuitOpenError, ServerError) as error:
        return type(error).__name__
    return response.provider


async def drain(provider: LLMProvider) -> str:
    """Stream, and say what came of it."""
    try:
        async for _ in provider.stream("hi"):
            pass
    except CircuitOpenError as error:
        return type(error).__name__
    return "one"


async def probe_arrives(server: StubServer) -> None:
    """Wait until the probe has reached the server, and until others would have."""
    while server.account.received < 2:  # noqa: ASYNC110 # the request is on its way
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


async def test_of_64_calls_one_is_sent_and_the_others_wait_for_its_verdict(
    server: StubServer, registry: ProviderRegistry
) -> None:
    one = registry.get("one")
    await open_circuit(server, one)
    server.script(Reply(slow_headers_s=2), model="one")
    calls = asyncio.gather(*(ask(one) for _ in range(CALLS)))
    await probe_arrives(server)
    assert server.account.received == 2
    assert Counter(await calls) == {"one": CALLS}


async def test_of_64_streams_one_is_sent_and_the_others_wait_for_its_verdict(
    server: StubServer, registry: ProviderRegistry
) -> None:
    one = registry.get("one")
    await open_circuit(server, one)
    server.script(Reply(slow_headers_s=2), model="one")
    streams = asyncio.gather(*(drain(one) for _ in range(CALLS)))
    await probe_arrives(server)
    assert server.account.received == 2
    assert Counter(await streams) == {"one": CALLS}


async def test_a_probe_that_fails_opens_it_again_for_twice_as_long(
    server: StubServer, registry: ProviderRegistry
) -> None:
    one = registry.get("one")
    await open_circuit(server, one)
    server.script(Reply(status=503, slow_headers_s=0.1), model="one")
    ends = Counter(await asyncio.gather(*(ask(one) for _ in range(CALLS))))
    assert ends == {"ServerError": 1, "CircuitOpenError": CALLS - 1}
    assert server.account.received == 2
    await asyncio.sleep(OPEN_S + 0.02)
    assert await ask(one) == "CircuitOpenError"
    await asyncio.sleep(OPEN_S)
    assert await ask(one) == "one"


async def test_63_calls_go_to_the_next_target_meanwhile(
    server: StubServer, registry: ProviderRegistry
) -> None:
    await open_circuit(server, registry.get("one"))
    agent = registry.get_for_agent("it")
    server.script(Reply(slow_headers_s=0.1), model="one")
    ends = Counter(await asyncio.gather(*(ask(agent) for _ in range(CALLS))))
    assert ends == {"one": 1, "two": CALLS - 1}
    sent = Counter(each.model for each in server.requests)
    assert sent == {"one": 2, "two": CALLS - 1}


async def test_a_probe_that_is_cancelled_frees_its_place(
    server: StubServer, registry: ProviderRegistry
) -> None:
    one = registry.get("one")
    await open_circuit(server, one)
    server.script(Reply(slow_headers_s=30), model="one")
    probe = asyncio.create_task(ask(one))
    await probe_arrives(server)
    waiting = asyncio.create_task(ask(one))
    await asyncio.sleep(0.05)
    assert server.account.received == 2
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await waiting == "one"
