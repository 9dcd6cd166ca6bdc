"""A stream that nobody reads holds little: the rest waits at the provider."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.direct import OpenAILane
from orchestify.lanes.lane import Lane
from orchestify.lanes.litellm import LiteLLMLane
from orchestify.values import CompletionRequest, LLMMessage
from tests.lanes import LITELLMS_OWN_WARNINGS

pytestmark = LITELLMS_OWN_WARNINGS
EVENT = {"choices": [{"index": 0, "delta": {"content": "y" * 10_000}, "finish_reason": None}]}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
KERNEL_BYTES = 64 << 10  # what each side's buffer is told to hold; it doubles that


class Flood:
    """A provider that writes 64 MiB as fast as they are taken; `taken` counts them."""

    def __init__(self) -> None:
        self.taken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        event = b"data: " + json.dumps(EVENT).encode() + b"\n\n"
        writer.write(HEAD)
        while self.taken < 64 << 20:
            writer.write(event)
            await writer.drain()
            self.taken += len(event)


@pytest.mark.parametrize("kind", [OpenAILane, LiteLLMLane])
async def test_a_stream_that_nobody_reads_takes_little_of_its_answer(
    kind: type[OpenAILane | LiteLLMLane],
) -> None:
    flood = Flood()
    listening = socket.create_server(("127.0.0.1", 0))
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        listening.setsockopt(socket.SOL_SOCKET, option, KERNEL_BYTES)
    server = await asyncio.start_server(flood.serve, sock=listening)
    config = {"type": "openai", "default_model": "openai/m", "api_key": "k"}
    config["base_url"] = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    if kind is LiteLLMLane:
        config["type"] = "litellm"
    lane: Lane = kind("it", ProviderConfig.model_validate(config))
    request = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="openai/m")
    stream = lane.open_stream(request)
    await anext(stream)
    await asyncio.sleep(0.5)
    taken = flood.taken
    await stream.aclose()
    await lane.aclose()
    server.close()
    assert taken < 1 << 20
