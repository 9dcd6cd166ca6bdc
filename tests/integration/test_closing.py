"""A registry that closes: what runs is waited for, ended and booked; nothing begins any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestify import OrchestifyError, RequestTimeoutError, StreamInterruptedError
from orchestify.testing import StubServer
from tests.ledgers import until
from tests.registries import registry_on

SLOW = "stub;text=done;delay_s=0.5"
ENDLESS = "stub;delay_s=30"
STREAM = "stub;chunks=1000;chunk_delay_s=0.02"


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


async def test_closing_waits_for_the_calls_under_way(server: StubServer) -> None:
    registry = registry_on(server, {"a": {}})
    call = asyncio.create_task(registry.get("a").complete("hi", model=SLOW))
    await until(lambda: server.active == 1)
    await registry.aclose()
    assert (await call).content == "done"


async def test_a_call_that_outlasts_the_wait_is_ended_and_booked(server: StubServer) -> None:
    registry = registry_on(server, {"a": {}})
    call = asyncio.create_task(registry.get("a").complete("hi", model=ENDLESS))
    await until(lambda: server.active == 1)
    await registry.aclose(0.05)
    with pytest.raises(RequestTimeoutError, match="no answer before the registry was closed"):
        await call
    total = registry.get_usage_summary()["total"]
    assert (total["attempts"], total["failed"]) == (1, 1)
    assert server.account.received == 1


async def test_a_stream_that_is_read_goes_on_until_its_end(server: StubServer) -> None:
    registry = registry_on(server, {"a": {}})
    stream = registry.get("a").stream("hi", model="stub;chunks=20;chunk_delay_s=0.02")
    first = await anext(stream)
    closing = asyncio.create_task(registry.aclose())
    rest = [text async for text in stream]
    await closing
    assert first + "".join(rest) == stream.response.content


async def test_a_stream_that_outlasts_the_wait_is_ended_and_booked(server: StubServer) -> None:
    registry = registry_on(server, {"a": {}})
    stream = registry.get("a").stream("hi", model=STREAM)
    await anext(stream)
    closing = asyncio.create_task(registry.aclose(0.1))
    with pytest.raises(StreamInterruptedError):
        async for _ in stream:
            pass
    await closing
    total = registry.get_usage_summary()["total"]
    assert (total["attempts"], total["calls"]) == (1, 0)
    assert total["output_tokens"] > 0


async def test_a_stream_that_nobody_reads_does_not_hold_up_closing(server: StubServer) -> None:
    registry = registry_on(server, {"a": {}})
    stream = registry.get("a").stream("hi", model=STREAM)
    await anext(stream)
    async with asyncio.timeout(30):  # less than the wait for calls that run
        await registry.aclose(300)
    assert registry.get_usage_summary()["total"]["attempts"] == 1
    await stream.aclose()


@pytest.mark.parametrize("how", ["complete", "stream"])
async def test_a_closed_registry_refuses_calls_in_words(server: StubServer, how: str) -> None:
    async with registry_on(server, {"a": {}}, {"it": {"provider": "a"}}) as registry:
        agent = registry.get_for_agent("it")
    with pytest.raises(OrchestifyError, match="the registry is closed; call inside its"):
        await (agent.complete("hi") if how == "complete" else anext(agent.stream("hi")))
    assert server.account.received == 0


async def test_a_retry_does_not_begin_in_a_closed_registry(server: StubServer) -> None:
    registry = registry_on(
        server, {"a": {}}, retry={"max_attempts": 9, "first_delay_s": 5, "max_delay_s": 9}
    )
    call = asyncio.create_task(registry.get("a").complete("hi", model="stub;status=503"))
    await until(lambda: registry.get_usage_summary()["total"]["attempts"] == 1)
    await registry.aclose(0.05)
    with pytest.raises(RequestTimeoutError, match="before the registry was closed"):
        await call


async def test_leaving_by_a_cancellation_ends_calls_at_once(server: StubServer) -> None:
    async def host() -> None:
        async with registry_on(server, {"a": {}}) as registry:
            calls.append(asyncio.create_task(registry.get("a").complete("hi", model=ENDLESS)))
            await asyncio.Event().wait()

    calls: list[asyncio.Task[object]] = []
    task = asyncio.create_task(host())
    await until(lambda: server.active == 1)
    task.cancel()
    async with asyncio.timeout(8):
        await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(RequestTimeoutError):
        await calls[0]
