"""The stub server's scripts, faults, account and life, driven by aiohttp."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from orchestify.testing import Connections, Reply, StubRequest, StubServer
from orchestify.values import Usage

OPENAI = {"Authorization": "Bearer any"}
ANTHROPIC = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
HELLO: Any = [{"role": "user", "content": "hello there"}]


class Client:
    """Raw requests to one server."""

    def __init__(self, server: StubServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def openai(self, model: str = "stub", **fields: Any) -> tuple[int, str]:
        body = {"model": model, "messages": HELLO, **fields}
        return await self.post("/v1/chat/completions", body, OPENAI)

    async def anthropic(self, model: str = "stub", **fields: Any) -> tuple[int, str]:
        body = {"model": model, "messages": HELLO, "max_tokens": 100, **fields}
        return await self.post("/v1/messages", body, ANTHROPIC)

    async def post(self, path: str, body: Any, headers: dict[str, str]) -> tuple[int, str]:
        url = self.server.url + path
        async with self.session.post(url, json=body, headers=headers) as response:
            return response.status, await response.text()


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture
async def client(server: StubServer) -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(server, session)


def _text(stream: str) -> str:
    events = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    choices = [choice for event in events for choice in json.loads(event).get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def test_scripted_replies_are_sent_in_order_then_the_default(
    server: StubServer, client: Client
) -> None:
    server.script(Reply(status=500), Reply(text="second"))
    assert (await client.openai())[0] == 500
    assert "second" in (await client.anthropic())[1]
    assert "stub read 2 words." in (await client.openai())[1]


async def test_a_models_own_script_is_served_first(server: StubServer, client: Client) -> None:
    server.script(Reply(status=500))
    server.script(Reply(status=418), model="mine")
    assert (await client.openai("mine"))[0] == 418
    assert (await client.openai("mine"))[0] == 500


async def test_refused_request_takes_no_scripted_reply(server: StubServer, client: Client) -> None:
    server.script(Reply(text="scripted"))
    assert (await client.openai("missing-model"))[0] == 404
    assert "scripted" in (await client.openai())[1]


async def test_function_chooses_the_reply(server: StubServer, client: Client) -> None:
    def respond(request: StubRequest) -> Reply | None:
        return Reply(status=503) if request.index == 1 else None

    server.respond = respond
    assert [(await client.openai())[0] for _ in range(3)] == [200, 503, 200]


async def test_coroutine_function_holds_requests_back(server: StubServer, client: Client) -> None:
    asked, released = asyncio.Event(), asyncio.Event()

    async def respond(_request: StubRequest) -> Reply:
        asked.set()
        await released.wait()
        return Reply(text="now")

    server.respond = respond
    call = asyncio.create_task(client.openai())
    await asked.wait()
    with pytest.raises(TimeoutError):
        await server.wait_idle(0.01)
    released.set()
    assert "now" in (await call)[1]


async def test_cut_stream_has_the_pieces_before_the_cut(server: StubServer, client: Client) -> None:
    url = server.openai_url + "/chat/completions"
    body = {"model": "stub;text=abcdef;chunks=6;cut_after=3", "messages": HELLO, "stream": True}
    received = b""
    async with client.session.post(url, json=body, headers=OPENAI) as response:
        with suppress(aiohttp.ClientPayloadError):
            async for data in response.content.iter_any():
                received += data
    assert _text(received.decode()) == "abc"
    assert b"[DONE]" not in received
    assert server.requests[0].chunks_sent == 3
    assert server.requests[0].outcome == "cut"


async def test_truncated_stream_ends_as_if_all_were_well(client: Client) -> None:
    status, stream = await client.openai("stub;text=abcdef;chunks=6;eof_after=3", stream=True)
    assert status == 200
    assert _text(stream) == "abc"
    assert "[DONE]" not in stream


async def test_fault_after_the_last_piece_still_hides_the_end(client: Client) -> None:
    _, stream = await client.anthropic("stub;text=ab;chunks=2;eof_after=99", stream=True)
    assert "text_delta" in stream
    assert "message_stop" not in stream


async def test_last_mark_alone_may_be_left_out(client: Client) -> None:
    _, stream = await client.openai("stub;done=false", stream=True)
    assert '"finish_reason": "stop"' in stream
    assert "[DONE]" not in stream


@pytest.mark.parametrize("fault", ["cut_after=0", "cut_after=0;reset"])
async def test_json_answer_is_cut_in_its_middle(client: Client, fault: str) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.openai(f"stub;{fault}")


async def test_truncated_json_is_no_json(client: Client) -> None:
    status, text = await client.openai("stub;eof_after=0")
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


async def test_reset_comes_before_any_answer(server: StubServer, client: Client) -> None:
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await client.openai("stub;reset")
    assert server.requests[0].status is None


async def test_garbage_is_no_json_with_status_200(client: Client) -> None:
    status, text = await client.openai("stub;garbage", stream=True)
    assert status == 200
    assert text.startswith("<html>")


async def test_raw_body_is_sent_as_it_is(server: StubServer, client: Client) -> None:
    server.script(Reply(raw_body=b"data: {}\n\n", headers={"x-own": "1"}))
    assert await client.openai(stream=True) == (200, "data: {}\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_inline_error_has_status_200(client: Client, stream: bool) -> None:
    status, text = await client.anthropic("stub;inline_error;error=overloaded", stream=stream)
    assert status == 200
    assert json.loads(text)["error"]["message"] == "overloaded"


async def test_retry_after_is_sent_as_written(server: StubServer, client: Client) -> None:
    server.script(Reply(status=429, retry_after="Fri, 31 Dec 1999 23:59:59 GMT"))
    url = server.openai_url + "/chat/completions"
    body = {"model": "stub", "messages": HELLO}
    async with client.session.post(url, json=body, headers=OPENAI) as response:
        assert response.headers["Retry-After"] == "Fri, 31 Dec 1999 23:59:59 GMT"


async def test_writes_of_seven_bytes_hold_the_same_stream(client: Client) -> None:
    _, stream = await client.openai("stub;text=für alle;writes=7", stream=True)
    assert _text(stream) == "für alle"
    assert stream.endswith("data: [DONE]\n\n")


async def test_stalled_stream_is_stopped_by_its_client(server: StubServer, client: Client) -> None:
    url = server.openai_url + "/chat/completions"
    body = {"model": "stub;stall_after=2", "messages": HELLO, "stream": True}
    async with client.session.post(url, json=body, headers=OPENAI) as response:
        await response.content.readany()
        assert server.active == 1
    await server.wait_idle()
    assert server.requests[0].outcome == "client_left"
    assert server.requests[0].chunks_sent == 2


async def test_closed_stream_is_billed_for_what_was_sent(
    server: StubServer, client: Client
) -> None:
    url = server.anthropic_url + "/v1/messages"
    model = "stub;chunks=10;stall_after=4;usage=input_tokens:50,output_tokens:20"
    body = {"model": model, "messages": HELLO, "max_tokens": 9, "stream": True}
    async with client.session.post(url, json=body, headers=ANTHROPIC) as response:
        await response.content.readuntil(b"old")
    await server.wait_idle()
    assert server.requests[0].billed == Usage(50, 8)
    assert server.requests[0].reported == Usage(50, 1)


async def test_closed_stream_of_small_writes_has_reported_its_opening(
    server: StubServer, client: Client
) -> None:
    url = server.anthropic_url + "/v1/messages"
    model = "stub;writes=7;words=20000;usage=input_tokens:50,output_tokens:20"
    body = {"model": model, "messages": HELLO, "max_tokens": 9, "stream": True}
    async with client.session.post(url, json=body, headers=ANTHROPIC) as response:
        await response.content.readuntil(b"content_block_delta")
    await server.wait_idle()
    assert server.requests[0].outcome == "client_left"
    assert server.requests[0].reported == Usage(50, 1)


async def test_account_adds_up(server: StubServer, client: Client) -> None:
    await client.openai("stub;usage=input_tokens:10,cache_read:4,output_tokens:5")
    await client.anthropic("stub;usage=input_tokens:20,output_tokens:6", stream=True)
    await client.openai("stub;status=500")
    await client.openai("stub;eof_after=1;usage=input_tokens:7,output_tokens:8", stream=True)
    account = server.account
    assert account.received == 4
    assert account.answered == 2
    assert account.statuses == {200: 3, 500: 1}
    assert account.outcomes == {"whole": 2, "error": 1, "cut": 1}
    assert account.billed.input_tokens == 37
    assert account.billed.output_tokens == 13
    assert account.billed.cache_read == 4
    assert account.reported.input_tokens == 30


async def test_request_is_kept_as_it_came(server: StubServer, client: Client) -> None:
    await client.openai("stub;chunks=2", stream=True)
    request = server.requests[0]
    assert request.index == 0
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer any"
    assert request.body["messages"] == HELLO
    assert json.loads(request.raw_body) == request.body
    assert request.model == "stub;chunks=2"
    assert request.stream is True
    assert request.status == 200
    assert "hello" not in repr(request)
    assert "any" not in repr(request)


async def test_history_is_bounded_and_the_account_is_not(client: Client) -> None:
    async with StubServer(history=2) as server:
        client.server = server
        for _ in range(3):
            await client.openai()
        assert [request.index for request in server.requests] == [1, 2]
        assert server.account.received == 3


async def test_connections_are_counted_and_reused(server: StubServer, client: Client) -> None:
    for _ in range(3):
        await client.openai()
    assert server.connections == Connections(open=1, opened=1)


async def test_hundreds_of_streams_run_at_once(server: StubServer, client: Client) -> None:
    everyone = asyncio.Barrier(300)

    async def respond(_request: StubRequest) -> Reply:
        await everyone.wait()
        return Reply(chunks=20)

    server.respond = respond
    async with asyncio.timeout(30):
        await asyncio.gather(*(client.openai(stream=True) for _ in range(300)))
    assert server.account.outcomes == {"whole": 300}


async def test_only_the_keys_named_are_accepted(client: Client) -> None:
    async with StubServer(keys={"right"}) as server:
        client.server = server
        body = {"model": "stub", "messages": HELLO}
        path = "/v1/chat/completions"
        assert (await client.post(path, body, OPENAI))[0] == 401
        assert (await client.post(path, body, {}))[0] == 401
        assert (await client.post(path, body, {"Authorization": "Bearer right"}))[0] == 200


NO_SCHEMA = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": []}}}
}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/v1/messages", {}, ANTHROPIC, 404),
        ("/chat/completions", {}, OPENAI, 404),
        ("/v1/models", {}, OPENAI, 405),
        ("/v1/messages", {"model": "stub", "messages": HELLO}, ANTHROPIC, 400),
        ("/v1/messages", {"model": "stub", "messages": HELLO}, {"x-api-key": "any"}, 400),
        ("/v1/chat/completions", [], OPENAI, 400),
        ("/v1/chat/completions", {"model": "stub", "messages": HELLO, "tools": 7}, OPENAI, 400),
        ("/v1/chat/completions", {"model": "stub", "messages": HELLO, **NO_SCHEMA}, OPENAI, 400),
    ],
)
async def test_what_a_real_server_refuses_is_refused(
    client: Client, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    assert (await client.post(path, body, headers))[0] == status


async def test_headers_do_not_wait_for_the_first_output(server: StubServer, client: Client) -> None:
    url = server.openai_url + "/chat/completions"
    body = {"model": "stub;delay_s=60", "messages": HELLO, "stream": True}
    async with client.session.post(url, json=body, headers=OPENAI) as response:
        assert response.status == 200
    await server.wait_idle()
    assert server.requests[0].chunks_sent == 0


async def test_slow_headers_come_late(client: Client) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await client.openai("stub;slow_headers_s=0.1")
    assert loop.time() - start >= 0.1


async def test_closing_is_quick_and_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with StubServer() as server:
            client = Client(server, session)
            call = asyncio.create_task(client.openai("stub;stall_after=0", stream=True))
            await client.openai()
            await asyncio.sleep(0.05)
            start = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - start < 2
        with pytest.raises(aiohttp.ClientPayloadError):
            await call
    await asyncio.sleep(0)
    assert server.account.outcomes == {"whole": 1, "server_closed": 1}
    assert asyncio.all_tasks() == before
    assert caplog.records == []


def _ask(url: str) -> Any:
    body = json.dumps({"model": "stub", "messages": HELLO}).encode()
    headers = {**OPENAI, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)  # noqa: S310 # loopback
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 # loopback
        return json.load(response)


def test_server_in_a_thread_answers_a_synchronous_client() -> None:
    with StubServer.in_thread(StubServer(words=3)) as server:
        assert _ask(server.url)["choices"][0]["message"]["content"] == "one day the"
    assert server.account.answered == 1
    assert server.active == 0


def test_taken_port_is_an_error_in_a_thread_too() -> None:
    with (
        StubServer.in_thread() as server,
        pytest.raises(OSError, match="address already in use"),
        StubServer.in_thread(StubServer(port=server.port)),
    ):
        pass


def test_module_serves_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "orchestify.testing", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        ready, port = process.stdout.readline().split()
        answer = _ask(f"http://127.0.0.1:{int(port)}")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    assert ready == b"READY"
    assert answer["model"] == "stub"
    assert (process.returncode, errors) == (0, b"")


def test_import_brings_no_provider_library() -> None:
    code = "import sys, orchestify.testing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)  # noqa: S603
    assert not {b"litellm", b"httpx", b"openai", b"anthropic"} & set(done.stdout.split())
