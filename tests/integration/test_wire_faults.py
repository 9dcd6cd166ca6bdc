"""What both direct lanes do when the provider, or the way to it, fails."""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestify.core.providers import ProviderConfig
from orchestify.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    InvalidResponseError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from orchestify.lanes.direct import AnthropicLane, OpenAILane
from orchestify.testing import Reply, StubServer
from orchestify.values import (
    CompletionRequest,
    LLMMessage,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from tests.ledgers import until

KEY = "sk-test-0123456789"
LANES = {"openai": OpenAILane, "anthropic": AnthropicLane}
USAGE = Usage(11, 7)


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture(params=["openai", "anthropic"])
async def lane(
    request: pytest.FixtureRequest, server: StubServer
) -> AsyncIterator[OpenAILane | AnthropicLane]:
    lane = lane_to(getattr(server, f"{request.param}_url"), request.param)
    yield lane
    await lane.aclose()


def lane_to(base_url: str, kind: str = "openai") -> OpenAILane | AnthropicLane:
    config = ProviderConfig.model_validate(
        {"type": kind, "api_key": KEY, "default_model": "stub", "base_url": base_url}
    )
    return LANES[kind]("p", config)


def asked(text: str = "hello there", **given: Any) -> CompletionRequest:
    return CompletionRequest(messages=(LLMMessage("user", text),), model="stub", **given)


async def collect(
    lane: OpenAILane | AnthropicLane, request: CompletionRequest
) -> tuple[list[StreamEvent], APIError | None]:
    events: list[StreamEvent] = []
    try:
        async for event in lane.open_stream(request):
            events.append(event)  # noqa: PERF401 - what came before the error counts
    except APIError as error:
        return events, error
    return events, None


def text_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_a_call_and_a_stream_give_the_same(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    reply = Reply(text="Grüße, 🌍!", thinking="hm", usage=USAGE, chunks=5, writes=3)
    server.script(reply, reply)
    whole = await lane.send(asked())
    events, error = await collect(lane, asked())
    assert error is None
    end = events[-1]
    assert isinstance(end, StreamEnd)
    assert text_of(events) == whole.content == end.response.content == "Grüße, 🌍!"
    assert str(whole.thinking) == str(end.response.thinking) == "hm"
    assert whole.usage == end.response.usage
    assert (whole.tokens_input, whole.tokens_output) == (11, 7)
    assert server.connections.opened == 1


async def test_parallel_tool_calls_stream_as_events(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    calls = (ToolCall("a", "f", {"x": 1}), ToolCall("b", "g", {"y": [2, 3]}))
    server.script(Reply(text="", tool_calls=calls, writes=1))
    events, _ = await collect(lane, asked())
    end = events[-1]
    assert isinstance(end, StreamEnd)
    assert end.response.finish_reason == "tool_calls"
    assert [(c.name, c.arguments) for c in end.response.tool_calls] == [
        ("f", {"x": 1}),
        ("g", {"y": [2, 3]}),
    ]
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert {(delta.index, delta.name) for delta in deltas} == {(0, "f"), (1, "g")}


@pytest.mark.parametrize(
    "fault", [{"cut_after": 2}, {"eof_after": 2}, {"cut_after": 2, "reset": True}]
)
async def test_a_cut_stream_keeps_what_had_come(
    server: StubServer, lane: OpenAILane | AnthropicLane, fault: dict[str, Any]
) -> None:
    server.script(Reply(text="one two three four", chunks=4, usage=USAGE, **fault))
    events, error = await collect(lane, asked())
    assert isinstance(error, StreamInterruptedError)
    assert error.text == text_of(events)
    assert error.text.startswith("one")
    assert (error.provider, error.model) == ("p", "stub")
    assert not any(isinstance(event, StreamEnd) for event in events)


async def test_a_cut_before_any_output_is_a_lost_connection(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(Reply(text="one two", cut_after=0), Reply(text="one two", eof_after=0))
    for _ in range(2):
        events, error = await collect(lane, asked())
        assert type(error) is APIConnectionError
        assert error.may_be_billed
        assert text_of(events) == ""


async def test_anthropic_reports_what_was_used_until_the_cut(server: StubServer) -> None:
    server.script(Reply(text="one two three", chunks=3, usage=USAGE, cut_after=1))
    _, error = await collect(lane_to(server.anthropic_url, "anthropic"), asked())
    assert isinstance(error, StreamInterruptedError)
    assert error.usage is not None
    assert error.usage.input_tokens == 11


async def test_silence_in_the_middle_ends_a_stream(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(Reply(text="one two three", chunks=3, stall_after=1))
    _, error = await collect(lane, asked(idle_timeout_s=0.2))
    assert isinstance(error, StreamInterruptedError)
    assert "idle_timeout_s" in str(error)
    await server.wait_idle()
    assert server.requests[0].outcome == "client_left"


async def test_a_slow_reader_is_no_idle_provider(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(Reply(text="one two three", chunks=3, chunk_delay_s=0.05))
    texts = []
    async for event in lane.open_stream(asked(idle_timeout_s=0.5)):
        if isinstance(event, TextDelta):
            texts.append(event.text)
            await asyncio.sleep(0.6)
    assert "".join(texts) == "one two three"


async def test_silence_before_the_first_output_is_the_callers_to_limit(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(Reply(text="one", delay_s=1))
    events, error = await collect(lane, asked(idle_timeout_s=0.5))
    assert error is None
    assert text_of(events) == "one"


async def test_an_error_in_the_middle_of_a_stream(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(
        Reply(text="one two", chunks=2, error_after=1, error="went wrong"),
        Reply(text="one two", chunks=2, error_after=0, error="went wrong"),
    )
    _, after = await collect(lane, asked())
    assert isinstance(after, StreamInterruptedError)
    assert "went wrong (ServerError)" in str(after)
    _, before = await collect(lane, asked())
    assert type(before) is ServerError


async def test_an_inline_error_is_an_error_on_both_ways(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(*[Reply(status=429, error="slow down", inline_error=True)] * 2)
    with pytest.raises(RateLimitError):
        await lane.send(asked())
    _, error = await collect(lane, asked())
    assert type(error) is RateLimitError


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"<html><title>Welcome</title></html>", "no JSON"),
        (b"", "no JSON"),
        (b"[]", "no object"),
        (b'{"choices": [1], "content": [1]}', "another shape"),
        (b'{"choices": [{"message": 1}], "content": [{}]}', "another shape"),
        (b"[" * 100_000, "no JSON"),
    ],
)
async def test_an_answer_that_is_not_of_the_protocol_says_so(
    server: StubServer, lane: OpenAILane | AnthropicLane, raw: bytes, what: str
) -> None:
    server.script(Reply(raw_body=raw))
    with pytest.raises(InvalidResponseError, match=what):
        await lane.send(asked())


@pytest.mark.parametrize(
    "raw",
    [
        b"<html><title>Welcome</title></html>",
        b"",
        b"data: {\n\n",
        b"data: 1\n\n",
        b'data: {"choices": 1, "type": "message_start"}\n\n',
    ],
)
async def test_a_stream_that_is_not_of_the_protocol_says_so(
    server: StubServer, lane: OpenAILane | AnthropicLane, raw: bytes
) -> None:
    server.script(Reply(raw_body=raw))
    _, error = await collect(lane, asked())
    assert type(error) is InvalidResponseError


async def test_a_whole_answer_where_a_stream_was_asked_for_is_streamed(server: StubServer) -> None:
    body = (
        b'{"model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": '
        b'{"content": "hi", "reasoning_content": "hm", "tool_calls": [{"id": "a", "function": '
        b'{"name": "f", "arguments": "{}"}}]}}]}'
    )
    server.script(Reply(raw_body=body))
    events, error = await collect(lane_to(server.openai_url), asked())
    assert error is None
    assert [type(event).__name__ for event in events] == [
        "ThinkingDelta",
        "TextDelta",
        "ToolCallDelta",
        "StreamEnd",
    ]


async def test_a_finish_reason_ends_a_stream_without_its_last_mark(server: StubServer) -> None:
    server.script(Reply(text="one two", done=False), Reply(text="one two", done=False))
    events, error = await collect(lane_to(server.openai_url), asked())
    assert error is None
    assert text_of(events) == "one two"
    _, error = await collect(lane_to(server.anthropic_url, "anthropic"), asked())
    assert isinstance(error, StreamInterruptedError)


async def test_a_status_gives_its_error_with_what_the_headers_say(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(Reply(status=529, error="busy"), Reply(status=429, retry_after="3"))
    with pytest.raises(ServerError) as caught:
        await lane.send(asked())
    assert caught.value.status == 529
    assert caught.value.request_id
    with pytest.raises(RateLimitError) as limited:
        await lane.send(asked())
    assert limited.value.retry_after_s == 3.0


async def test_a_key_and_a_prompt_that_come_back_are_struck_out(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(*[Reply(status=401, error=f"{KEY} may not ask 'my secret diagnosis?'")] * 2)
    request = asked("tell me, what is my secret diagnosis?")
    with pytest.raises(AuthenticationError) as caught:
        await lane.send(request)
    _, streamed = await collect(lane, request)
    for error in (caught.value, streamed):
        assert error is not None
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
        assert KEY not in shown
        assert '"content"' not in shown
        assert "secret diagnosis" not in str(error)
        assert error.__cause__ is None
        assert error.__context__ is None


async def test_a_refused_connection_shows_no_key(unused_tcp_port: int) -> None:
    lane = lane_to(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(APIConnectionError, match="no connection: connection refused") as caught:
        await lane.send(asked())
    assert str(unused_tcp_port) not in str(caught.value)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert KEY not in "".join(shown.format())
    assert caught.value.__context__ is None


async def test_a_connection_that_does_not_come_is_given_up(server: StubServer) -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    address = full.getsockname()
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(address)
    lane = lane_to(f"http://127.0.0.1:{address[1]}/v1")
    try:
        with pytest.raises(APIConnectionError, match=r"no connection within 0\.2 s"):
            await lane.send(asked(connect_timeout_s=0.2))
    finally:
        for client in (*waiting, full):
            client.close()
        await lane.aclose()


async def test_a_redirect_is_not_followed_with_the_key(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    target = "https://elsewhere.example/v1?key=1"
    server.script(Reply(status=307, raw_body=b"", headers={"Location": target}))
    with pytest.raises(ModelNotFoundError, match=r"redirects to elsewhere\.example"):
        await lane.send(asked())
    assert len(server.requests) == 1


async def test_closing_a_stream_early_hangs_up_at_once(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(Reply(text="word " * 100, chunks=100, chunk_delay_s=0.05))
    events = lane.open_stream(asked())
    async for event in events:
        if isinstance(event, TextDelta):
            break
    await events.aclose()
    await server.wait_idle()
    assert server.requests[0].outcome == "client_left"


async def test_a_cancelled_call_hangs_up_and_shows_no_key(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(Reply(text="late", slow_headers_s=5))
    task = asyncio.create_task(lane.send(asked()))
    await until(lambda: server.account.received == 1)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert KEY not in "".join(shown.format())
    await server.wait_idle()
    assert server.requests[0].outcome == "client_left"


async def test_a_deadline_around_a_stream_hangs_up(
    server: StubServer, lane: OpenAILane | AnthropicLane
) -> None:
    server.script(Reply(text="one two", chunks=2, stall_after=1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(collect(lane, asked()), 1)
    await server.wait_idle()
    assert server.requests[0].outcome == "client_left"


async def test_models_are_listed(server: StubServer, lane: OpenAILane | AnthropicLane) -> None:
    assert await lane.list_models() == list(server.models)


async def test_models_of_a_provider_that_lists_none() -> None:
    lane = lane_to("https://api.perplexity.ai")
    assert await lane.list_models() is None


async def test_a_wrong_key_lists_no_models(server: StubServer) -> None:
    config = {"type": "openai", "api_key": "wrong", "default_model": "m", "base_url": server.url}
    lane = OpenAILane("p", ProviderConfig.model_validate(config))
    with pytest.raises(AuthenticationError):
        await lane.list_models()
    await lane.aclose()
