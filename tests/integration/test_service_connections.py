"""Connections that say too little, too many of them, and requests that are too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestify.server.connections import Connections, most_connections, protocol_of
from orchestify.server.running import listen
from orchestify.testing import Reply
from tests.gateways import CHAT, HELLO, gateway
from tests.ledgers import until
from tests.servers import PROVIDERS, serving

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, whatever of a body has come; at /late after the time for a body."""
    if scope["path"] == "/late":
        await asyncio.sleep(0.6)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def listening(
    connections: Connections, app: ASGIApp = answering, unread_within_s: float = 60.0
) -> AsyncIterator[int]:
    """Serve on a port of loopback; a request has 0.3 s for its headers and 0.3 s for its body."""
    protocol = protocol_of(
        connections,
        headers_within_s=0.3,
        body_within_s=0.3,
        unread_within_s=unread_within_s,
    )
    sockets = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets))
    try:
        yield sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def said(port: int, *pieces: bytes) -> bytes:
    """Send pieces, 0.1 s apart, and return what comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            for piece in pieces:
                if not reader.at_eof():
                    writer.write(piece)
                    await asyncio.sleep(0.1)
            return await reader.read()
    except ConnectionError:
        return b"reset"
    finally:
        writer.close()


@pytest.mark.parametrize(
    "pieces",
    [(), (b"GET / HT",), (b"GET / HTTP/1.1\r\nhost: x\r\n", *[b"x-a: b\r\n"] * 50)],
    ids=["nothing", "a line's part", "headers without end"],
)
async def test_a_connection_without_a_whole_request_is_closed(pieces: tuple[bytes, ...]) -> None:
    connections = Connections(10)
    async with listening(connections) as port:
        assert await said(port, *pieces) in {b"", b"reset"}
        assert connections.admit("127.0.0.1")


async def test_a_body_that_does_not_end_is_cut_off_though_it_was_answered() -> None:
    head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n"
    async with listening(Connections(10)) as port:
        answer = await said(port, head, *[b"x"] * 6)
    assert answer.startswith(b"HTTP/1.1 200") or answer == b"reset"


async def test_a_second_request_has_its_own_time_and_an_answer_has_any() -> None:
    late = b"GET /late HTTP/1.1\r\nhost: localhost\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    async with listening(Connections(10)) as port:
        answer = await said(port, REQUEST, late, b"", b"", b"", b"", b"", b"", b"", last)
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_a_few_requests_sent_at_once_are_answered_one_behind_the_other() -> None:
    last = REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    async with listening(Connections(10)) as port:
        answers = await said(port, REQUEST * 15 + last)
    assert answers.count(b"200 OK") == 16


async def test_more_requests_than_may_wait_on_a_connection_close_it() -> None:
    begun = []

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        await answering(scope, receive, send)

    async with listening(Connections(10), counting) as port:
        assert (await said(port, REQUEST * 1_000)).count(b"200 OK") == 0
        assert (await said(port, REQUEST * 2)).count(b"200 OK") == 2
    assert len(begun) <= 3


async def test_beyond_the_most_connections_new_ones_are_closed_at_once() -> None:
    connections = Connections(4)
    async with listening(connections) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        refused = await said(port, REQUEST)
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.1)
        served = await said(port, REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert refused in {b"", b"reset"}
    assert served.startswith(b"HTTP/1.1 200")


def test_one_address_has_half_the_connections_and_a_proxy_all() -> None:
    connections = Connections(4, trusted=("192.0.2.0/28", "10.0.0.1"))
    outsiders = [connections.admit("198.51.100.7") for _ in range(3)]
    connections.release("198.51.100.7")
    connections.release("198.51.100.7")
    assert outsiders == [True, True, False]
    assert [connections.admit("192.0.2.7") for _ in range(5)] == [True] * 4 + [False]


def test_half_of_the_descriptors_are_left_for_calls() -> None:
    assert [most_connections(each) for each in (64, 1024, 4096, 1 << 20)] == [16, 480, 2016, 20_000]


async def test_one_tenants_calls_beyond_its_places_are_429_and_anothers_go_on(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, settings={"calls_per_tenant": 2}) as gate:
        gate.stub.respond = lambda _: Reply(delay_s=0.8)
        body = {"model": "gpt/gpt-4o", "messages": HELLO}
        held = [
            asyncio.create_task(gate.served.ask("POST", CHAT, gate.token, json=body))
            for _ in range(2)
        ]
        await until(lambda: gate.stub.account.received == 2)
        refused = await gate.served.ask("POST", CHAT, gate.token, json=body)
        other = await gate.served.ask("POST", CHAT, gate.served.token("globex"), json=body)
        after = [(await each).status_code for each in held]
        again = await gate.served.ask("POST", CHAT, gate.token, json=body)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert [other.status_code, *after, again.status_code] == [200] * 4


async def test_a_large_conversation_is_read_beside_the_loop_and_one_of_braces_is_refused(
    tmp_path: Path,
) -> None:
    message = [{"role": "user", "content": "word " * 100_000}]
    async with gateway(tmp_path) as gate:
        body = {"model": "gpt/gpt-4o", "messages": message}
        answer = await gate.served.ask("POST", CHAT, gate.token, json=body)
        refused = await gate.served.ask("POST", CHAT, gate.token, content=b"[" + b"{}," * 200_000)
    assert answer.status_code == 200
    assert gate.sent["messages"] == message
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "the body has more than 200,000 braces"


async def test_a_body_of_more_than_a_mebibyte_is_for_conversations_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        token, long = served.token("acme"), "x" * (1 << 20)
        rest = await served.ask("POST", PROVIDERS, token, json={"provider_type": long})
        call = await served.ask("POST", CHAT, token, json={"model": long, "messages": HELLO})
    assert [rest.status_code, call.status_code] == [413, 404]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nx-a: " + b"a" * 70_000 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"x-a: b\r\n" * 10_000, b"431"),
    ],
    ids=["a long address", "one long header", "many headers"],
)
@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["without end", "whole"])
async def test_a_head_that_is_too_large_is_refused(
    request_line: bytes, status: bytes, end: bytes
) -> None:
    async with listening(Connections(10)) as port:
        answer = await said(port, request_line + end)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_large_body_is_no_large_head() -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 60_000
    body = b"b" * 500_000
    length = b"\r\ncontent-length: 500000\r\nconnection: close\r\n\r\n"
    async with listening(Connections(10), reading) as port:
        answer = await said(port, head + length + body)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"500000" in answer


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the size of the body."""
    size = b"%d" % len(await Request(scope, receive).body())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": size})


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Send more than any socket's buffers hold, as fast as it is taken."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(400):
        await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def test_a_client_that_takes_not_one_byte_is_dropped() -> None:
    connections = Connections(10)
    async with listening(connections, endless, unread_within_s=1.5) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(REQUEST)
        await until(lambda: connections.count == 1)
        await until(lambda: connections.count == 0)
        writer.close()


async def test_a_client_that_reads_has_the_whole_answer() -> None:
    async with listening(Connections(10), endless, unread_within_s=1.5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        size = 0
        async with asyncio.timeout(60):
            while size < 400 << 20:
                size += len(await reader.read(1 << 20))
        writer.close()
    assert size >= 400 << 20
