"""A stream ends from our side: by its time, by silence, by more output than a budget holds."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from orchestify import ProviderRegistry, StreamInterruptedError
from orchestify.core.config import parse_config
from orchestify.testing import StubServer
from tests.any_path import AnyPathServer

SSE = {"content-type": "text/event-stream"}
MODEL = "gpt-4.1-mini;text=one two three four five six seven eight nine ten"


@pytest.fixture
async def server() -> AsyncGenerator[StubServer, None]:
    async with StubServer() as server:
        yield server


def registry(url: str, model: str, more: str = "", top: str = "") -> ProviderRegistry:
    text = (
        f"{top}\nproviders:\n  p: {{type: openai, base_url: '{url}', api_key: k, "
        f"default_model: '{model}', retry: {{max_attempts: 1}}{more}}}\n"
    )
    return ProviderRegistry.from_config(parse_config(text, name="test", environ={}))


async def read(registry: ProviderRegistry, **given: Any) -> tuple[str, StreamInterruptedError]:
    """Read a stream until it is cut; return what came, and the error."""
    text = ""
    try:
        async for piece in registry.get("p").stream("hi", **given):
            text += piece
    except StreamInterruptedError as error:
        return text, error
    raise AssertionError("the stream was not cut")


async def test_a_stream_that_drips_ends_at_stream_timeout_s(server: StubServer) -> None:
    async with registry(
        server.openai_url, f"{MODEL};chunk_delay_s=0.3", ", stream_timeout_s: 1, idle_timeout_s: 30"
    ) as it:
        text, error = await read(it)
        row = (await it.usage(by="model")).rows[0].total
    assert "stream_timeout_s (1 s)" in str(error)
    assert text.startswith("one ")
    assert error.text == text
    assert not error.trips_breaker
    assert row.attempts == 1
    assert row.output_tokens > 0


async def test_it_bounds_the_wait_for_the_first_output_too(server: StubServer) -> None:
    async with registry(
        server.openai_url, "gpt-4.1-mini;delay_s=20", ", stream_timeout_s: 0.5"
    ) as it:
        with pytest.raises(TimeoutError):
            await anext(it.get("p").stream("hi"))


async def test_a_stream_without_output_ends_at_timeout_s(server: StubServer) -> None:
    model = f"{MODEL};stall_after=2"
    async with registry(server.openai_url, model, ", timeout_s: 1, idle_timeout_s: 30") as it:
        text, error = await read(it)
    assert "timeout_s" in str(error)
    assert text == "one two "


async def test_a_reader_that_takes_its_time_is_no_silence(server: StubServer) -> None:
    async with registry(server.openai_url, MODEL, ", timeout_s: 0.5") as it:
        stream = it.get("p").stream("hi")
        first = await anext(stream)
        time.sleep(0.8)  # noqa: ASYNC251 - the timer fires late, with the answer at hand
        rest = [piece async for piece in stream]
    assert first + "".join(rest) == MODEL.partition("text=")[2]


BUDGET = "budgets: [{name: day, limit_usd: 1, period: day%s}]"
PRICED = ", price: {input_usd_per_mtok: 100, output_usd_per_mtok: 400}"
DELTA = {"choices": [{"index": 0, "delta": {"content": "word " * 50}, "finish_reason": None}]}
EVENT = b"data: %s\n\n" % json.dumps(DELTA).encode()
LAST = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
ANSWER = [EVENT] * 40 + [LAST, b"data: [DONE]\n\n"]


async def test_under_a_hard_budget_a_stream_is_cut_beyond_what_is_held() -> None:
    server = AnyPathServer(ANSWER, headers=SSE)
    async with server, registry(server.url, "gpt-4o", PRICED, BUDGET % "") as it:
        text, error = await read(it, max_tokens=100)
        total = (await it.usage(by="provider")).total
    assert "the budget holds 100 for it" in str(error)
    assert len(text.split()) == 250
    assert total.cost_usd is not None
    assert Decimal("0.1") < total.cost_usd < Decimal("0.11")


async def test_under_a_budget_that_only_warns_it_goes_on() -> None:
    server = AnyPathServer(ANSWER, headers=SSE)
    async with server, registry(server.url, "gpt-4o", PRICED, BUDGET % ", mode: warn") as it:
        stream = it.get("p").stream("hi", max_tokens=100)
        text = "".join([piece async for piece in stream])
    assert len(text.split()) == 2000
