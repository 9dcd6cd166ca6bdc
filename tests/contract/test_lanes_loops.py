"""Connections, event loops and threads, on every lane, over real HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestify import LLMProvider, ProviderRegistry, ToolCallDelta
from orchestify.testing import Reply, StubServer
from tests.lanes import (
    ANTHROPIC,
    ANTHROPIC_TOOL,
    LANE_NAME,
    LITELLMS_OWN_WARNINGS,
    OPENAI,
    Lane,
    alone,
    collect_quietly,
)

pytestmark = LITELLMS_OWN_WARNINGS


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


@pytest.fixture(autouse=True)
def _leave_nothing(lane: Lane) -> Iterator[None]:
    """Collect the clients of the loops that a test ran through LiteLLM."""
    yield
    if not lane.is_direct:
        collect_quietly()


async def test_calls_one_after_the_other_share_a_connection(
    server: StubServer, provider: LLMProvider
) -> None:
    for _ in range(3):
        await provider.complete("hi")
    assert server.connections.opened == 1


@pytest.mark.parametrize("lane", [ANTHROPIC, OPENAI], ids=LANE_NAME, indirect=True)
async def test_stream_read_to_its_end_gives_its_connection_back(
    server: StubServer, provider: LLMProvider
) -> None:
    for _ in range(3):
        assert "".join([piece async for piece in provider.stream("hi")])
    assert server.connections.opened == 1


async def test_answers_that_are_errors_give_their_connection_back(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(status=400), Reply(status=400))
    for _ in range(3):
        await asyncio.gather(provider.complete("hi"), return_exceptions=True)
    assert server.connections.opened == 1


async def test_calls_at_once_do_not_wait_for_each_other(
    server: StubServer, provider: LLMProvider
) -> None:
    await provider.complete("hi")
    server.script(*(Reply(text="a", delay_s=1) for _ in range(20)))
    async with asyncio.timeout(15):
        answers = await asyncio.gather(*(provider.complete("hi") for _ in range(20)))
    assert {answer.content for answer in answers} == {"a"}


async def test_answers_of_calls_at_once_are_not_mixed_up(
    server: StubServer, provider: LLMProvider
) -> None:
    async def streamed(words: int) -> str:
        return "".join([piece async for piece in provider.stream("w " * words)])

    answers = await asyncio.gather(*(streamed(words) for words in range(1, 21)))
    assert [answer.split()[2] for answer in answers] == [str(words) for words in range(1, 21)]


@pytest.mark.parametrize("lane", [ANTHROPIC, OPENAI], ids=LANE_NAME, indirect=True)
async def test_closed_registry_holds_no_connection(
    server: StubServer, registry: ProviderRegistry
) -> None:
    await registry.get("it").complete("hi")
    await registry.aclose()
    async with asyncio.timeout(30):
        while server.connections.open:  # noqa: ASYNC110 # the server runs in another loop
            await asyncio.sleep(0.01)
    assert server.connections.opened == 1


def test_one_registry_serves_asyncio_run_twice(
    server: StubServer, registry: ProviderRegistry
) -> None:
    provider = registry.get("it")
    first = asyncio.run(alone(provider.complete("hi")))
    second = asyncio.run(alone(provider.complete("hi")))
    assert (first.finish_reason, second.finish_reason) == ("stop", "stop")
    assert registry.get_usage_summary()["total"]["calls"] == 2


def test_one_registry_serves_loops_in_several_threads(
    server: StubServer, registry: ProviderRegistry
) -> None:
    provider = registry.get("it")

    async def calls() -> list[str]:
        answers = await asyncio.gather(*(provider.complete("hi") for _ in range(5)))
        return [answer.finish_reason for answer in answers]

    with ThreadPoolExecutor(4) as threads:
        reasons = list(threads.map(lambda _: asyncio.run(alone(calls())), range(4)))
    assert reasons == [["stop"] * 5] * 4
    assert registry.get_usage_summary()["total"]["calls"] == 20


def test_synchronous_call_is_the_same_call(server: StubServer, provider: LLMProvider) -> None:
    server.script(Reply(text="hello"))
    response = provider.complete_sync("hi", temperature=0.5)
    assert (response.content, response.provider) == ("hello", "it")
    assert server.requests[-1].body["temperature"] == 0.5


def test_synchronous_stream_gives_the_same_pieces(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="one two three"))
    with provider.stream_sync("hi") as stream:
        assert list(stream) == ["one ", "two ", "three"]
    assert stream.response.content == "one two three"


def test_synchronous_stream_gives_the_same_events(
    server: StubServer, provider: LLMProvider
) -> None:
    with provider.stream_sync("the weather?", tools=[ANTHROPIC_TOOL]) as stream:
        pieces = [event for event in stream.events() if isinstance(event, ToolCallDelta)]
    assert "".join(piece.arguments for piece in pieces) == '{"location":"stub"}'


def test_closing_a_synchronous_stream_stops_the_provider(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(words=1000, chunk_delay_s=0.01))
    with provider.stream_sync("hi") as stream:
        assert next(iter(stream)) == "one "
    asyncio.run(server.wait_idle())
    assert server.account.outcomes == {"client_left": 1}


async def test_synchronous_calls_work_under_a_running_loop(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="one two"), Reply(text="one two"))
    assert provider.complete_sync("hi").content == "one two"
    assert list(provider.stream_sync("hi")) == ["one ", "two"]


def test_synchronous_calls_work_from_many_threads(
    server: StubServer, provider: LLMProvider
) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: provider.complete_sync("hi"), range(24)))
    assert {answer.finish_reason for answer in answers} == {"stop"}
    assert len({answer.call_id for answer in answers}) == 24


def test_closing_leaves_no_thread_of_ours_but_the_synchronous_loop(
    server: StubServer, registry: ProviderRegistry
) -> None:
    before = set(threading.enumerate())  # others' tests may have left some
    asyncio.run(alone(registry.get("it").complete("hi")))
    asyncio.run(registry.aclose())
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in names if name.startswith("orchestify")} - {
        "orchestify-stub",
        "orchestify-sync",
    }
