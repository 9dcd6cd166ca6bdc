"""Streams of a silent model: kept alive by comments, and what comes in them after the first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from orchestify.server.app import create_app
from orchestify.testing import Reply
from tests.gateways import CHAT, HELLO, Gateway, gateway

BODY: Any = {"model": "gpt/gpt-4o", "messages": HELLO, "stream": True}
COMMENT = ": keep-alive"


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    retry = {"max_attempts": 1}
    async with gateway(tmp_path, settings={"keep_alive_s": 0.2}, retry=retry) as each:
        yield each


async def events(gate: Gateway, body: Any = BODY) -> tuple[int, Any, list[str]]:
    """The status, the headers and the events of an answer."""
    async with gate.served.client(gate.token) as client:
        answer = await client.post(CHAT, json=body)
    return answer.status_code, answer.headers, answer.text.strip().split("\n\n")


async def test_a_comment_comes_before_the_first_output(gate: Gateway) -> None:
    gate.stub.script(Reply(text="hello", slow_headers_s=0.7))
    status, headers, seen = await events(gate)
    last = json.loads(seen[-2].removeprefix("data: "))
    assert (status, seen[0], seen[-1]) == (200, COMMENT, "data: [DONE]")
    assert "x-orchestify-provider" not in headers
    assert headers["x-orchestify-call-id"]
    assert (last["provider"], last["provider_model"]) == ("gpt", "gpt-4o")
    assert last["usage"]["cost"] > 0


async def test_comments_come_in_the_middle(gate: Gateway) -> None:
    gate.stub.script(Reply(text="one two", chunk_delay_s=0.5))
    _, _, seen = await events(gate)
    text = [json.loads(each.removeprefix("data: ")) for each in seen if "content" in each]
    assert COMMENT in seen
    assert [each["choices"][0]["delta"].get("content") for each in text] == ["", "one ", "two"]


async def test_an_error_after_a_comment_is_an_event(gate: Gateway) -> None:
    gate.stub.script(Reply(status=503, error="busy", delay_s=0.5))
    status, _, seen = await events(gate)
    error = json.loads(seen[-1].removeprefix("data: "))["error"]
    assert (status, seen[0]) == (200, COMMENT)
    assert error["code"] == "provider_failed"
    assert "data: [DONE]" not in seen


async def test_a_stream_that_is_not_silent_has_no_comment(gate: Gateway) -> None:
    gate.stub.script(Reply(text="hello there"))
    status, headers, seen = await events(gate)
    assert (status, COMMENT in seen) == (200, False)
    assert headers["x-orchestify-provider"] == "gpt"
    assert "provider" not in json.loads(seen[-2].removeprefix("data: "))


async def test_the_option_can_be_off(tmp_path: Path) -> None:
    async with gateway(tmp_path, settings={"keep_alive_s": None}) as gate:
        gate.stub.script(Reply(text="hello", slow_headers_s=0.7))
        _, headers, seen = await events(gate)
    assert COMMENT not in seen
    assert headers["x-orchestify-provider"] == "gpt"


class SlowReader:
    """A client of the application itself that stops to read once so much has come."""

    def __init__(self, gate: Gateway, path: str, body: dict[str, Any], stops_at: int) -> None:
        self._app = create_app(gate.served.service)
        self._asked = json.dumps(body).encode()
        token = (b"authorization", b"Bearer " + gate.token.encode())
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "state": {},
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 80),
            "headers": [(b"host", b"127.0.0.1"), token, (b"content-type", b"application/json")],
        }
        self._stops_at = stops_at
        self._is_asked = False
        self.has_stopped = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.seen = bytearray()

    async def run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._is_asked:
            await asyncio.Event().wait()
        self._is_asked = True
        return {"type": "http.request", "body": self._asked, "more_body": False}

    async def _send(self, message: Any) -> None:
        self.seen += message.get("body", b"")
        if len(self.seen) >= self._stops_at:
            self.has_stopped.set()
            await self.goes_on.wait()


LARGE: Any = {
    "model": "claude/claude-sonnet-4-5",
    "max_tokens": 9,
    "messages": HELLO,
    "stream": True,
}


async def test_nothing_is_sent_in_the_middle_of_a_large_event(gate: Gateway) -> None:
    gate.stub.script(Reply(text="x" * 900_000))
    reader = SlowReader(gate, "/v1/messages", LARGE, stops_at=300_000)
    reading = asyncio.create_task(reader.run())
    await reader.has_stopped.wait()
    await asyncio.sleep(0.7)  # several times `keep_alive_s`
    reader.goes_on.set()
    await reading
    read = [each.split("data: ", 1)[1] for each in reader.seen.decode().strip().split("\n\n")]
    texts = [json.loads(each).get("delta", {}).get("text", "") for each in read]
    assert "".join(texts) == "x" * 900_000


async def test_a_shutdown_in_the_middle_of_a_large_event_cuts_it_off(gate: Gateway) -> None:
    gate.stub.script(Reply(text="x" * 900_000))
    reader = SlowReader(gate, "/v1/messages", LARGE, stops_at=300_000)
    reading = asyncio.create_task(reader.run())
    await reader.has_stopped.wait()
    reading.cancel()
    reader.goes_on.set()
    await reading
    assert reader.seen.endswith(b"x")
