"""Sessions, sockets and tasks of the direct lanes: none is left, whatever the caller does."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import pytest

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.direct import OpenAILane
from orchestify.testing import Reply, StubServer
from orchestify.values import CompletionRequest, LLMMessage

REQUEST = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="stub")


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


def lane_to(server: StubServer) -> OpenAILane:
    config = {
        "type": "openai",
        "api_key": "any",
        "default_model": "stub",
        "base_url": server.openai_url,
    }
    return OpenAILane("p", ProviderConfig.model_validate(config))


async def wait_for_no_connection(server: StubServer) -> None:
    async with asyncio.timeout(30):
        while server.connections.open:  # noqa: ASYNC110 - the server is in another thread
            await asyncio.sleep(0.01)


def test_asyncio_run_again_and_again_leaves_nothing_open(server: StubServer) -> None:
    lane = lane_to(server)
    for _ in range(3):
        assert asyncio.run(lane.send(REQUEST)).content
    asyncio.run(wait_for_no_connection(server))
    assert server.connections.opened == 3


def test_threads_share_a_lane(server: StubServer) -> None:
    lane = lane_to(server)
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(asyncio.run(lane.send(REQUEST)).content))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    asyncio.run(wait_for_no_connection(server))


async def test_many_calls_reuse_their_connections(server: StubServer) -> None:
    lane = lane_to(server)
    for _ in range(20):
        await asyncio.gather(*(lane.send(REQUEST) for _ in range(10)))
    assert server.connections.opened == 10
    assert len(asyncio.all_tasks()) == 1
    await lane.aclose()
    await wait_for_no_connection(server)


async def test_a_stream_read_to_its_end_gives_its_connection_back(server: StubServer) -> None:
    lane = lane_to(server)
    for _ in range(5):
        async for _event in lane.open_stream(REQUEST):
            pass
    assert server.connections.opened == 1
    await lane.aclose()


async def test_a_closed_lane_can_be_used_again(server: StubServer) -> None:
    lane = lane_to(server)
    for _ in range(2):
        await lane.send(REQUEST)
        await lane.aclose()
    assert server.connections.opened == 2


async def test_a_lane_that_is_dropped_closes_its_connections(server: StubServer) -> None:
    await lane_to(server).send(REQUEST)
    gc.collect()
    await wait_for_no_connection(server)


async def test_a_lane_closes_what_it_opened_in_another_running_loop(server: StubServer) -> None:
    lane = lane_to(server)
    sent, may_end = threading.Event(), threading.Event()

    async def send_and_wait() -> None:
        await lane.send(REQUEST)
        sent.set()
        await asyncio.to_thread(may_end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(send_and_wait()))
    thread.start()
    await asyncio.to_thread(sent.wait)
    await lane.send(REQUEST)
    assert server.connections.open == 2
    await lane.aclose()
    await wait_for_no_connection(server)
    may_end.set()
    await asyncio.to_thread(thread.join)


async def test_a_call_that_is_under_way_fails_when_its_lane_is_closed(server: StubServer) -> None:
    lane = lane_to(server)
    server.script(Reply(slow_headers_s=5))
    call = asyncio.create_task(lane.send(REQUEST))
    await asyncio.sleep(0.1)
    await lane.aclose()
    with pytest.raises(ConnectionError):
        await call


EXITS = {
    "returns": "asyncio.run(lane.send(request))",
    "runs twice": "asyncio.run(lane.send(request)); asyncio.run(lane.send(request))",
    "drops the lane": "asyncio.run(build().send(request))",
    "leaves a stream": """
        async def main():
            async for _ in lane.open_stream(request):
                break
        asyncio.run(main())
        """,
    "keeps a loop open": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(lane.send(request))
        """,
    "closes a loop by hand": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(lane.send(request))
        loop.close()
        """,
    "raises": """
        async def main():
            await lane.send(request)
            sys.exit(0)
        asyncio.run(main())
        """,
}


@pytest.mark.parametrize("how", EXITS)
def test_nothing_is_printed_at_exit_whether_or_not_anybody_closed(
    server: StubServer, how: str
) -> None:
    script = f"""
import asyncio, sys
from orchestify.core.providers import ProviderConfig
from orchestify.lanes.direct import OpenAILane
from orchestify.values import CompletionRequest, LLMMessage

def build():
    return OpenAILane("p", ProviderConfig(
        type="openai", api_key="any", default_model="stub", base_url="{server.openai_url}"
    ))

request = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="stub")
lane = build()
assert not {{"litellm", "openai", "httpx"}} & set(sys.modules)
{textwrap.dedent(EXITS[how])}
assert not {{"litellm", "openai", "httpx"}} & set(sys.modules)
"""
    done = subprocess.run(  # noqa: S603 - the script is ours
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
