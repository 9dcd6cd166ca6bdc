"""Answers that are compressed, large or hostile, over a connection: read within bounds."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import brotli
import pytest

from orchestify.core.providers import ProviderConfig
from orchestify.errors import InvalidRequestError, InvalidResponseError
from orchestify.lanes.direct import OpenAILane
from orchestify.values import (
    CompletionRequest,
    LLMMessage,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

REQUEST = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="m")
ANSWER = (
    b'{"model": "m", "choices": [{"index": 0, "message": {"content": "so"}, '
    b'"finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
)
STREAM = (
    b'data: {"choices": [{"index": 0, "delta": {"content": "so"}, "finish_reason": "stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
MIB = 1 << 20


@asynccontextmanager
async def answering(body: bytes, *headers: str, **bounds: int) -> AsyncIterator[OpenAILane]:
    """Give a lane to a server that answers every request with the same bytes."""
    own = [f"content-length: {len(body)}", "connection: close"]
    head = "\r\n".join(["HTTP/1.1 200 OK", *own, *headers, "", ""])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode("latin-1") + body)
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            left.set()
            writer.close()

    left = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    settings = {"type": "openai", "api_key": "key-of-the-tests", "base_url": url}
    more = {"default_model": "m", "answer_bounds": bounds}
    lane = OpenAILane("p", ProviderConfig.model_validate(settings | more))
    try:
        yield lane
    finally:
        await lane.aclose()
        server.close()
        async with asyncio.timeout(30):
            await left.wait()


async def last_of(lane: OpenAILane) -> StreamEnd:
    events = [event async for event in lane.open_stream(REQUEST)]
    assert isinstance(events[-1], StreamEnd)
    return events[-1]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstd.compress),
    ],
)
async def test_an_answer_is_read_however_it_is_compressed(encoding, compress) -> None:
    async with answering(compress(ANSWER), f"content-encoding: {encoding}") as lane:
        assert (await lane.send(REQUEST)).content == "so"
    async with answering(compress(STREAM), f"content-encoding: {encoding}") as lane:
        assert (await last_of(lane)).response.content == "so"


async def test_headers_of_60_kib_are_read_and_longer_ones_are_an_error_of_ours() -> None:
    many = [f"x-trace-{at}: {'t' * 600}" for at in range(100)]
    async with answering(ANSWER, *many, f"x-long: {'l' * 50_000}") as lane:
        assert (await lane.send(REQUEST)).content == "so"
    async with answering(ANSWER, f"x-long: {'l' * 70_000}") as lane:
        with pytest.raises(InvalidResponseError, match="the answer is no HTTP"):
            await lane.send(REQUEST)


async def test_what_grows_beyond_64_mib_is_not_taken() -> None:
    bomb = gzip.compress(b'{"choices": "' + b"x" * (65 * MIB) + b'"}', 1)
    async with answering(bomb, "content-encoding: gzip") as lane:
        with pytest.raises(InvalidResponseError, match="longer than 64 MiB"):
            await lane.send(REQUEST)
        with pytest.raises(InvalidResponseError, match="longer than 64 MiB"):
            await last_of(lane)


async def test_a_million_objects_are_the_most_of_an_answer() -> None:
    body = b'{"choices": [' + b",".join([b"{}"] * 1_000_001) + b"]}"
    async with answering(body) as lane:
        with pytest.raises(InvalidResponseError, match="more than 1,000,000 JSON objects"):
            await lane.send(REQUEST)
    async with answering(b"data: " + body + b"\n\n") as lane:
        with pytest.raises(InvalidResponseError, match="more than 1,000,000 JSON objects"):
            await last_of(lane)


@pytest.mark.parametrize(
    "large",
    [
        b"[" + b"1," * 1_000_001 + b"1]",
        b"[" + b'{"a": [1]},' * 3 + b'"a",' * 1_000_001 + b"1]",
        b"{" + b",".join([b'"%d":1' % at for at in range(1_000_001)]) + b"}",
    ],
    ids=["plain values", "values behind objects", "names"],
)
async def test_a_million_members_are_the_most_of_an_object_or_array(large: bytes) -> None:
    body = b'{"choices": [{"message": {"content": ' + large + b"}}]}"
    async with answering(body) as lane:
        with pytest.raises(InvalidResponseError, match="more than 1,000,000 members"):
            await lane.send(REQUEST)
    async with answering(b"data: " + body + b"\n\n") as lane:
        with pytest.raises(InvalidResponseError, match="more than 1,000,000 members"):
            await last_of(lane)


async def test_a_large_event_brings_one_text_of_each_kind() -> None:
    part = '{"type": "text", "text": "a"}, "b", {"type": "thinking", "thinking": "c"}'
    delta = '{"content": [' + ",".join([part] * 5_000) + "]}"
    event = f'data: {{"choices": [{{"index": 0, "delta": {delta}, "finish_reason": "stop"}}]}}\n\n'
    async with answering(event.encode() + b"data: [DONE]\n\n") as lane:
        *events, end = [each async for each in lane.open_stream(REQUEST)]
    assert events == [TextDelta("ab" * 5_000), ThinkingDelta("c" * 5_000)]
    assert isinstance(end, StreamEnd)
    assert end.response.content == "ab" * 5_000
    assert end.response.thinking is not None
    assert end.response.thinking.text == "c" * 5_000


async def test_a_whole_answer_in_many_parts_is_their_texts_in_order() -> None:
    part = b'{"type": "text", "text": "a"}, "b", {"type": "refusal", "refusal": "c"}, {"type": "x"}'
    message = b'{"content": [' + b",".join([part] * 4_000) + b"]}"
    body = b'{"choices": [{"message": %s, "finish_reason": "stop"}]}' % message
    async with answering(body) as lane:
        response = await lane.send(REQUEST)
    assert response.content == "abc" * 4_000
    assert response.finish_reason == "refusal"
    assert response.warnings == ("unread:content",)


async def test_4096_calls_are_the_most_of_an_answer() -> None:
    calls = [{"index": at, "id": f"c{at}", "function": {"name": "f"}} for at in range(4_097)]
    message = {"choices": [{"message": {"tool_calls": calls}}], "usage": {"prompt_tokens": 3}}
    async with answering(json.dumps(message).encode()) as lane:
        with pytest.raises(InvalidResponseError, match="more than 4096 tool calls") as caught:
            await lane.send(REQUEST)
    assert caught.value.usage.input_tokens == 3


async def test_each_bound_is_what_the_configuration_says() -> None:
    async with answering(ANSWER, max_bytes=100) as lane:
        with pytest.raises(InvalidResponseError, match="longer than 100 bytes"):
            await lane.send(REQUEST)
    async with answering(STREAM, max_bytes=50) as lane:
        with pytest.raises(InvalidResponseError, match="longer than 50 bytes"):
            await last_of(lane)
    async with answering(ANSWER, max_json_objects=4) as lane:
        with pytest.raises(InvalidResponseError, match="more than 4 JSON objects"):
            await lane.send(REQUEST)
    async with answering(ANSWER, f"x-long: {'l' * 3_000}", max_header_bytes=2_000) as lane:
        with pytest.raises(InvalidResponseError, match="the answer is no HTTP"):
            await lane.send(REQUEST)
    calls = [{"index": at, "id": f"c{at}", "function": {"name": "f"}} for at in range(2)]
    whole = json.dumps({"choices": [{"message": {"tool_calls": calls}}]}).encode()
    async with answering(whole, max_tool_calls=1) as lane:
        with pytest.raises(InvalidResponseError, match="more than 1 tool calls"):
            await lane.send(REQUEST)


async def test_a_large_last_event_needs_no_blank_line() -> None:
    choice = b'{"index": 0, "delta": {"content": "%s"}, "finish_reason": "stop"}' % (b"x" * MIB)
    async with answering(b'data: {"choices": [%s]}' % choice) as lane:
        assert (await last_of(lane)).response.content == "x" * MIB


async def test_a_large_error_in_an_answer_is_told_in_part() -> None:
    body = b'{"error": {"type": "invalid_request_error", "message": "%s"}}' % (b"too long " * MIB)
    async with answering(body) as lane:
        with pytest.raises(InvalidRequestError, match="too long") as caught:
            await lane.send(REQUEST)
    async with answering(b"event: error\ndata: " + body + b"\n\n") as lane:
        with pytest.raises(InvalidRequestError, match="too long"):
            await last_of(lane)
    assert len(str(caught.value)) < 1_000
