"""What clients hear whose calls are under way when the service has waited long enough for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestify.testing import Reply
from tests.gateways import CHAT, HELLO, Gateway, gateway
from tests.ledgers import until


@dataclass(frozen=True)
class Ending:
    """A gateway that ends before its test does, and a client that outlives it."""

    gate: Gateway
    client: httpx.AsyncClient
    stack: AsyncExitStack

    async def end(self) -> None:
        await self.stack.aclose()


@pytest_asyncio.fixture
async def ending(tmp_path: Path) -> AsyncIterator[Ending]:
    async with AsyncExitStack() as stack:
        gate = await stack.enter_async_context(gateway(tmp_path, settings={"grace_s": 1}))
        async with gate.served.client(gate.token) as client:
            yield Ending(gate, client, stack)


async def test_a_stream_ends_with_an_error_and_without_a_traceback(
    ending: Ending, caplog: pytest.LogCaptureFixture
) -> None:
    ending.gate.stub.script(Reply(text="one two three", stall_after=2))
    body = {"model": "gpt-4o", "messages": HELLO, "stream": True}
    seen = ""
    with caplog.at_level(logging.WARNING):
        async with ending.client.stream("POST", CHAT, json=body) as answer:
            pieces = answer.aiter_text()
            seen += await anext(pieces)
            _, rest = await asyncio.gather(ending.end(), _read(pieces))
    last = (seen + rest).strip().rpartition("\n\n")[2]
    assert '"content":"one "' in seen + rest
    assert last == (
        'data: {"error": {"message": "the service is ending; try again", '
        '"type": "server_error", "param": null, "code": null}}'
    )
    assert [each for each in caplog.records if each.exc_info] == []
    assert ending.gate.rows("outcome") == [("cancelled",)]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_that_has_no_answer_yet_is_a_503(
    ending: Ending, is_stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ending.gate.stub.script(Reply(slow_headers_s=30))
    body = {"model": "gpt-4o", "messages": HELLO, "stream": is_stream}
    with caplog.at_level(logging.WARNING):
        asking = asyncio.create_task(ending.client.post(CHAT, json=body))
        await until(lambda: ending.gate.stub.active == 1)
        await ending.end()
        answer = await asking
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["message"] == "the service is ending; try again"
    assert [each for each in caplog.records if each.exc_info] == []
    assert ending.gate.rows("outcome") == [("cancelled",)]


async def _read(pieces: AsyncIterator[str]) -> str:
    return "".join([piece async for piece in pieces])
