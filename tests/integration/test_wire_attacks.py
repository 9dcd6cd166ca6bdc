"""Endpoints that answer what no HTTP server should: errors of ours, and nothing mixed up."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestify.core.providers import ProviderConfig
from orchestify.errors import APIError
from orchestify.lanes.direct import OpenAILane
from orchestify.values import CompletionRequest, LLMMessage

REQUEST = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="m", connect_timeout_s=10)
ANSWER = (
    b'{"model": "m", "choices": [{"index": 0, "message": {"content": "so"}, '
    b'"finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
)
OTHER = ANSWER.replace(b"so", b"no")
OK = b"HTTP/1.1 200 OK\r\n"
JSON = OK + b"content-type: application/json\r\n"
SSE = OK + b"content-type: text/event-stream\r\nconnection: close\r\n\r\n"


def sized(body: bytes, *headers: bytes) -> bytes:
    more = b"".join([header + b"\r\n" for header in headers])
    return JSON + more + b"content-length: %d\r\n\r\n" % len(body) + body


HOSTILE = {
    "nothing": b"",
    "no HTTP": b"\x00\x01\x02" * 1000,
    "HTTP/0.9": b"hello\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a status that is none": b"HTTP/1.1 999999 what\r\n\r\n",
    "an endless status line": b"HTTP/1.1 200 " + b"x" * 200_000,
    "1,100 headers": OK + b"".join([b"x-%d: y\r\n" % at for at in range(1_100)]) + b"\r\n",
    "headers without end": OK + b"x: " + b"y" * 200_000,
    "a header without a colon": OK + b"content-type\r\n\r\n" + ANSWER,
    "a null byte in a header": OK + b"x: \0\r\n\r\n" + ANSWER,
    "a negative length": JSON + b"content-length: -5\r\n\r\n" + ANSWER,
    "two lengths": JSON + b"content-length: 5\r\ncontent-length: 500\r\n\r\n" + ANSWER,
    "a length of 10**30": JSON + b"content-length: 1" + b"0" * 30 + b"\r\n\r\n" + ANSWER,
    "less than the length": JSON + b"content-length: 500\r\n\r\n" + ANSWER,
    "a chunk size that is none": JSON + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + ANSWER,
    "a chunk of 2**70": JSON + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 18 + b"\r\n" + ANSWER,
    "chunks that are cut": JSON + b"transfer-encoding: chunked\r\n\r\nff\r\n" + ANSWER,
    "gzip that is none": sized(ANSWER, b"content-encoding: gzip"),
    "gzip that is cut": sized(gzip.compress(ANSWER)[:-20], b"content-encoding: gzip"),
    "deflate that is none": sized(b"\xff" * 50, b"content-encoding: deflate"),
    "zstd that is none": sized(ANSWER, b"content-encoding: zstd"),
    "an encoding nobody knows": sized(zlib.compress(ANSWER), b"content-encoding: pack200"),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "another protocol is agreed": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    "a redirect to itself": b"HTTP/1.1 302 Found\r\nlocation: /v1\r\ncontent-length: 0\r\n\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
    "an event of 100,001 lines": SSE + b"data: x\n" * 100_001 + b"\n",
    "carriage returns": SSE + b"\r" * 1_000_000,
    "null bytes": SSE + b"\0" * 1_000_000,
    "comments": SSE + b": x\n\n" * 100_000,
    "colons": SSE + b":" * 1_000_000 + b"\n\n",
    "fields without data": SSE + b"id: 1\nretry: 9\nevent: message\n\n" * 10_000,
    "an event named error": SSE + b"event: error\ndata:\n\n",
    "brackets": SSE + b"data: " + b"[" * 200_000 + b"\n\n",
    "half a character": SSE + b"data: \xf0\x9f\n\n",
}


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[OpenAILane]:
    """Give a lane to a server that writes the same bytes after each request, and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
            writer.write_eof()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    settings = {"type": "openai", "api_key": "key-of-the-tests", "base_url": url}
    lane = OpenAILane("p", ProviderConfig.model_validate({**settings, "default_model": "m"}))
    try:
        yield lane
    finally:
        await lane.aclose()
        server.close()


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
async def test_what_is_no_answer_is_an_error_of_ours(raw: bytes) -> None:
    async with answering(raw) as lane, asyncio.timeout(60):
        with pytest.raises(APIError):
            await lane.send(REQUEST)
        with pytest.raises(APIError):
            async for _ in lane.open_stream(REQUEST):
                pass


async def test_an_answer_that_nobody_asked_for_is_not_the_next_calls() -> None:
    async with answering(sized(ANSWER) + sized(OTHER) * 3) as lane, asyncio.timeout(60):
        contents = [(await lane.send(REQUEST)).content for _ in range(3)]
    assert contents == ["so", "so", "so"]
