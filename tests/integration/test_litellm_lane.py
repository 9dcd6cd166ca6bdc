"""LiteLLM's lane, against the stub server."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from orchestify.core.providers import ProviderConfig
from orchestify.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    ContentFilterError,
    ContextWindowError,
    InvalidRequestError,
    InvalidResponseError,
    ModelNotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamInterruptedError,
)
from orchestify.lanes.litellm import LiteLLMLane, load
from orchestify.testing import Reply, StubServer
from orchestify.values import (
    CompletionRequest,
    ImagePart,
    LLMMessage,
    LLMResponse,
    ResponseFormat,
    StreamEnd,
    StreamEvent,
    TextDelta,
    TextPart,
    Thinking,
    ThinkingConfig,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    Usage,
    UsageUpdate,
)
from tests.lanes import LITELLMS_OWN_WARNINGS

pytestmark = [
    pytest.mark.litellm,
    pytest.mark.asyncio(loop_scope="module"),
    *LITELLMS_OWN_WARNINGS,
    # LiteLLM's own use of pydantic
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEY = "sk-nobody-may-see-this-key-0123456789"
PROTOCOLS = ["openai", "anthropic"]
WEATHER = Tool(
    "get_weather",
    "The weather",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
Connect = Callable[..., LiteLLMLane]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def litellm() -> AsyncIterator[Any]:
    """LiteLLM, whose connections are closed at the end; it shares them with the process."""
    module = await load()
    yield module
    await module.close_litellm_async_clients()


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


@pytest.fixture
def connect(server: StubServer) -> Connect:
    return lambda protocol, **more: lane(
        protocol, server.openai_url if protocol == "openai" else server.anthropic_url, **more
    )


def lane(protocol: str, base_url: str, **more: Any) -> LiteLLMLane:
    config: dict[str, Any] = {
        "type": protocol,
        "engine": None if protocol == "litellm" else "litellm",
        "api_key": KEY,
        "default_model": "stub",
        "base_url": base_url,
    }
    return LiteLLMLane("there", ProviderConfig.model_validate(config | more))


def ask(text: str = "hello", **more: Any) -> CompletionRequest:
    fields: dict[str, Any] = {
        "messages": (LLMMessage("user", text),),
        "model": "stub",
        "timeout_s": 20,
        "connect_timeout_s": 5,
    }
    return CompletionRequest(**fields | more)


async def events(where: LiteLLMLane, request: CompletionRequest) -> list[StreamEvent]:
    return [event async for event in where.open_stream(request)]


def answer_of(seen: list[StreamEvent]) -> LLMResponse:
    assert isinstance(seen[-1], StreamEnd)
    return seen[-1].response


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_comes_with_text_and_reported_usage(
    server: StubServer, connect: Connect, protocol: str
) -> None:
    server.script(Reply(text="good day", usage=Usage(100, 7, cache_read=40)))
    response = await connect(protocol).send(ask())
    assert response.content == "good day"
    assert response.finish_reason == "stop"
    assert response.model == "stub"
    assert response.usage == Usage(100, 7, cache_read=40, service_tier=response.usage.service_tier)
    assert (response.tokens_input, response.tokens_output) == (100, 7)
    assert (response.cost_usd, response.cost_source) == (None, "none")
    assert isinstance(response.raw_response, dict)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stream_comes_in_pieces_and_ends_with_the_whole_answer(
    server: StubServer, connect: Connect, protocol: str
) -> None:
    server.script(Reply(text="one two three", usage=Usage(9, 3)))
    seen = await events(connect(protocol), ask())
    assert "".join(event.text for event in seen if isinstance(event, TextDelta)) == "one two three"
    assert sum(isinstance(event, TextDelta) for event in seen) == 3
    assert any(isinstance(event, UsageUpdate) for event in seen)
    response = answer_of(seen)
    assert response.content == "one two three"
    assert response.finish_reason == "stop"
    assert (response.tokens_input, response.tokens_output) == (9, 3)
    assert response.usage is not None
    assert response.usage.source == "reported"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_tools_are_called_and_their_results_sent_back(
    server: StubServer, connect: Connect, protocol: str
) -> None:
    called = ToolCall("call_1", "get_weather", {"city": "Oslo"}, '{"city": "Oslo"}')
    server.script(Reply(text="", tool_calls=(called,)), Reply(text="rain"))
    where = connect(protocol)
    first = await where.send(ask("weather?", tools=(WEATHER,), tool_choice=ToolChoice("required")))
    assert first.finish_reason == "tool_calls"
    assert [(call.name, dict(call.arguments)) for call in first.tool_calls] == [
        ("get_weather", {"city": "Oslo"})
    ]
    result = LLMMessage("tool", "7 degrees", tool_call_id=first.tool_calls[0].id)
    conversation = (LLMMessage("user", "weather?"), first.to_message(), result)
    second = await where.send(ask(messages=conversation, tools=(WEATHER,)))
    assert second.content == "rain"
    assert server.requests[1].status == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_streamed_tool_call_grows(
    server: StubServer, connect: Connect, protocol: str
) -> None:
    calls = (
        ToolCall("call_1", "get_weather", {"city": "Oslo"}),
        ToolCall("call_2", "get_weather", {"city": "Bergen"}),
    )
    server.script(Reply(text="", tool_calls=calls))
    seen = await events(connect(protocol), ask("weather?", tools=(WEATHER,)))
    pieces = [event for event in seen if isinstance(event, ToolCallDelta)]
    assert {piece.index for piece in pieces} == {0, 1}
    assert {piece.name for piece in pieces} == {"get_weather"}
    response = answer_of(seen)
    assert [call.arguments for call in response.tool_calls] == [
        {"city": "Oslo"},
        {"city": "Bergen"},
    ]
    assert response.finish_reason == "tool_calls"


async def test_thinking_comes_with_its_signature_and_goes_back(
    server: StubServer, connect: Connect
) -> None:
    server.script(Reply(thinking="let me see", text="42"), Reply(text="yes"))
    where = connect("anthropic")
    request = ask(model="claude-3-7-sonnet", thinking=ThinkingConfig(budget_tokens=2000))
    first = await where.send(request)
    assert first.thinking is not None
    assert first.thinking.text == "let me see"
    sent = server.requests[0].body
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert sent["max_tokens"] == 8192
    again = (LLMMessage("user", "so?"), first.to_message(), LLMMessage("user", "sure?"))
    await where.send(ask(messages=again, model="claude-3-7-sonnet"))
    assistant = server.requests[1].body["messages"][1]
    assert assistant["content"][0]["type"] == "thinking"
    assert assistant["content"][0]["signature"] == first.thinking.blocks[0]["signature"]


async def test_streamed_thinking_makes_the_same_block_as_a_whole_one(
    server: StubServer, connect: Connect
) -> None:
    server.script(*2 * [Reply(thinking="let me see now", text="42")])
    where = connect("anthropic")
    request = ask(model="claude-3-7-sonnet", thinking=ThinkingConfig(budget_tokens=2000))
    whole = await where.send(request)
    seen = await events(where, request)
    thoughts = "".join(event.text for event in seen if isinstance(event, ThinkingDelta))
    assert thoughts == "let me see now"
    assert whole.thinking is not None
    assert answer_of(seen).thinking == Thinking("let me see now", whole.thinking.blocks)


async def test_with_thinking_on_claude_gets_no_temperature(
    server: StubServer, connect: Connect
) -> None:
    thinking = ThinkingConfig(effort="low")
    request = ask(model="claude-sonnet-4-5", temperature=0.2, top_p=0.5, thinking=thinking)
    await connect("anthropic").send(request)
    assert "top_p" not in server.requests[0].body
    assert server.requests[0].body.get("temperature", 1) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_images_and_system_prompts_arrive(
    server: StubServer, connect: Connect, protocol: str
) -> None:
    image = ImagePart(data="aGVsbG8=", media_type="image/png")
    messages = (
        LLMMessage("system", "be brief"),
        LLMMessage("user", (TextPart("what is this?"), image)),
    )
    await connect(protocol).send(ask(messages=messages))
    assert "aGVsbG8=" in server.requests[0].raw_body.decode()
    assert "be brief" in server.requests[0].raw_body.decode()


async def test_cache_marks_the_system_prompt_and_the_tools_for_claude(
    server: StubServer, connect: Connect
) -> None:
    messages = (LLMMessage("system", "be brief"), LLMMessage("user", "hi"))
    request = ask(messages=messages, model="claude-sonnet-4-5", tools=(WEATHER,), cache=True)
    await connect("anthropic").send(request)
    body = server.requests[0].body
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral"}


async def test_a_schema_goes_as_response_format(server: StubServer, connect: Connect) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    request = ask(model="gpt-4o", response_format=ResponseFormat("form", schema, strict=True))
    await connect("openai").send(request)
    assert server.requests[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "form", "schema": schema, "strict": True},
    }


async def test_only_what_was_given_is_sent(server: StubServer, connect: Connect) -> None:
    await connect("openai").send(ask())
    assert server.requests[0].body == {
        "model": "stub",
        "messages": [{"role": "user", "content": "hello"}],
    }


async def test_options_and_headers_are_passed_on(server: StubServer, connect: Connect) -> None:
    where = connect("openai", options={"top_k": 4, "mode": "a"}, headers={"x-team": "core"})
    await where.send(ask(options={"mode": "b"}))
    assert server.requests[0].body["top_k"] == 4
    assert server.requests[0].body["mode"] == "b"
    assert server.requests[0].headers["x-team"] == "core"


async def test_an_endpoints_own_prefix_stays(server: StubServer, connect: Connect) -> None:
    await connect("openai").send(ask(model="openai/gpt-4o"))
    assert server.requests[0].body["model"] == "openai/gpt-4o"


@pytest.mark.parametrize(
    ("protocol", "path"), [("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")]
)
async def test_an_address_is_taken_with_v1_and_without(
    server: StubServer, protocol: str, path: str
) -> None:
    await lane(protocol, server.url).send(ask())
    await lane(protocol, f"{server.url}/v1").send(ask())
    assert [request.path for request in server.requests] == [path, path]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(status=400), InvalidRequestError),
        (Reply(status=401), AuthenticationError),
        (Reply(status=402), PermissionDeniedError),
        (Reply(status=403), PermissionDeniedError),
        (Reply(status=404), ModelNotFoundError),
        (Reply(status=413), ContextWindowError),
        (Reply(status=429), RateLimitError),
        (Reply(status=500), ServerError),
        (Reply(status=503), ServerError),
        (Reply(status=529), ServerError),
        (Reply(error="context_window"), ContextWindowError),
        (Reply(error="content_filter"), ContentFilterError),
        (Reply(garbage=True), InvalidResponseError),
    ],
)
async def test_a_failure_is_classified_and_tried_once(
    server: StubServer, connect: Connect, protocol: str, reply: Reply, expected: type[APIError]
) -> None:
    server.script(reply)
    with pytest.raises(APIError) as caught:
        await connect(protocol).send(ask())
    assert type(caught.value) is expected
    assert (caught.value.provider, caught.value.model) == ("there", "stub")
    assert len(server.requests) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("status", "expected"), [(401, AuthenticationError), (429, RateLimitError), (529, ServerError)]
)
async def test_a_stream_that_is_refused_is_classified(
    server: StubServer, connect: Connect, protocol: str, status: int, expected: type[APIError]
) -> None:
    server.script(Reply(status=status, retry_after="7"))
    with pytest.raises(expected) as caught:
        await events(connect(protocol), ask())
    assert caught.value.status == status
    assert caught.value.retry_after_s == 7


async def test_a_hang_up_is_a_connection_error(server: StubServer, connect: Connect) -> None:
    server.script(Reply(reset=True))
    with pytest.raises(APIConnectionError):
        await connect("openai").send(ask())


async def test_no_listener_is_a_connection_error() -> None:
    with pytest.raises(APIConnectionError) as caught:
        await lane("openai", "http://127.0.0.1:1/v1").send(ask())
    assert caught.value.retryable
    assert caught.value.status is None


async def test_silence_before_the_answer_is_a_timeout(server: StubServer, connect: Connect) -> None:
    server.script(Reply(slow_headers_s=20))
    with pytest.raises(RequestTimeoutError):
        await connect("openai").send(ask(timeout_s=1))


async def test_a_field_that_litellm_refuses_is_an_invalid_request(server: StubServer) -> None:
    request = ask(model="mistral/small", thinking=ThinkingConfig(effort="low"))
    with pytest.raises(InvalidRequestError, match="reasoning_effort"):
        await lane("litellm", server.openai_url).send(request)
    assert len(server.requests) == 0


async def test_a_model_without_a_known_prefix_is_an_invalid_request(server: StubServer) -> None:
    with pytest.raises(InvalidRequestError):
        await lane("litellm", server.url).send(ask(model="nobody-knows-this"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ["eof_after", "cut_after", "error_after"])
async def test_a_stream_that_breaks_off_says_so_with_what_had_come(
    server: StubServer, connect: Connect, protocol: str, fault: str
) -> None:
    server.script(Reply(text="one two three four", **{fault: 2}))
    with pytest.raises(StreamInterruptedError) as caught:
        await events(connect(protocol), ask())
    assert caught.value.text == "one two "


async def test_what_anthropic_reported_before_a_cut_is_kept(
    server: StubServer, connect: Connect
) -> None:
    server.script(Reply(text="one two three", usage=Usage(90, 30), eof_after=1))
    with pytest.raises(StreamInterruptedError) as caught:
        await events(connect("anthropic"), ask())
    assert caught.value.usage is not None
    assert caught.value.usage.input_tokens == 90


async def test_a_stream_cut_before_any_output_is_a_connection_error(
    server: StubServer, connect: Connect
) -> None:
    server.script(Reply(eof_after=0))
    with pytest.raises(APIConnectionError):
        await events(connect("openai"), ask())


async def test_a_stream_that_falls_silent_is_interrupted(
    server: StubServer, connect: Connect
) -> None:
    server.script(Reply(text="one two three", stall_after=1))
    with pytest.raises(StreamInterruptedError, match=r"0\.2 s") as caught:
        await events(connect("openai"), ask(idle_timeout_s=0.2))
    assert caught.value.text == "one "
    await server.wait_idle()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_usage_that_was_not_reported_is_unknown(
    server: StubServer, connect: Connect, protocol: str
) -> None:
    server.script(Reply(text="hi there", usage={}), Reply(text="hi there", usage={}))
    where = connect(protocol)
    whole, streamed = await where.send(ask()), answer_of(await events(where, ask()))
    assert whole.usage is not None
    assert streamed.usage is not None
    assert (whole.usage.source, whole.usage.total_tokens) == ("unknown", 0)
    assert (streamed.usage.source, streamed.usage.total_tokens) == ("unknown", 0)


async def test_a_cost_that_the_provider_reports_is_taken(
    server: StubServer, connect: Connect
) -> None:
    server.script(*2 * [Reply(text="hi", usage=Usage(9, 3), cost_usd=0.0125)])
    where = connect("openai")
    whole, streamed = await where.send(ask()), answer_of(await events(where, ask()))
    assert (whole.cost_usd, whole.cost_source) == (Decimal("0.0125"), "provider")
    assert (streamed.cost_usd, streamed.cost_source) == (Decimal("0.0125"), "provider")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_closing_a_stream_closes_its_connection(
    server: StubServer, connect: Connect, protocol: str
) -> None:
    server.script(Reply(chunks=500, chunk_delay_s=0.02))
    stream = connect(protocol).open_stream(ask())
    await anext(stream)
    await stream.aclose()
    await server.wait_idle()
    assert server.requests[0].outcome == "client_left"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_cancelling_closes_the_connection(
    server: StubServer, connect: Connect, protocol: str
) -> None:
    server.script(Reply(chunks=500, chunk_delay_s=0.02))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await events(connect(protocol), ask())
    await server.wait_idle()
    assert server.requests[0].outcome == "client_left"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("reply", [Reply(status=401, error=f"bad key {KEY}"), Reply(garbage=True)])
async def test_no_error_holds_the_key(
    server: StubServer, connect: Connect, protocol: str, reply: Reply
) -> None:
    server.script(reply)
    with pytest.raises(APIError) as caught:
        await connect(protocol).send(ask())
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert KEY not in told(caught.value)


async def test_a_cancellation_holds_no_key(server: StubServer, connect: Connect) -> None:
    server.script(Reply(slow_headers_s=20))
    task = asyncio.create_task(connect("openai").send(ask()))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert KEY not in told(caught.value)


def told(error: BaseException) -> str:
    """All that a traceback with local variables would print, but for this test's own frames."""
    seen = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(seen.format())


async def test_nothing_is_logged_or_printed_at_debug(
    server: StubServer,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.script(Reply(text="hi"), Reply(text="hi"), Reply(status=500, error=KEY))
    where = connect("openai")
    with caplog.at_level(logging.DEBUG):
        await where.send(ask("a secret prompt"))
        await events(where, ask("a secret prompt"))
        with pytest.raises(ServerError):
            await where.send(ask("a secret prompt"))
        await asyncio.sleep(0.05)
    logged = [r for r in caplog.records if r.name.startswith(("LiteLLM", "openai", "httpx"))]
    assert logged == []
    assert KEY not in caplog.text
    assert "secret prompt" not in caplog.text
    assert capsys.readouterr() == ("", "")


async def test_litellm_still_logs_for_a_host_that_calls_it(
    server: StubServer, litellm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="LiteLLM"):
        await litellm.acompletion(
            model="openai/stub",
            messages=[{"role": "user", "content": "hi"}],
            api_base=server.openai_url,
            api_key="any",
        )
    assert any(record.name == "LiteLLM" for record in caplog.records)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_models_are_listed(connect: Connect, protocol: str) -> None:
    assert await connect(protocol).list_models() == ["stub-small", "stub-large"]


async def test_models_have_litellms_prefix_where_the_type_is_litellm(server: StubServer) -> None:
    where = lane("litellm", server.url, default_model="ollama/llama3")
    assert await where.list_models() == ["ollama/stub-small", "ollama/stub-large"]


async def test_where_no_free_list_is_known_there_is_none(server: StubServer) -> None:
    where = lane("litellm", server.url, default_model="azure/gpt-4o")
    assert await where.list_models() is None


async def test_a_list_that_is_refused_raises(server: StubServer) -> None:
    where = lane("openai", server.openai_url, api_key="wrong-key-0123456789")
    with pytest.raises(AuthenticationError):
        await where.list_models()


async def test_many_calls_at_once_are_kept_apart(connect: Connect) -> None:
    where = connect("openai")
    answers = await asyncio.gather(
        *(where.send(ask(model=f"stub;text=answer-{number}")) for number in range(20))
    )
    assert [answer.content for answer in answers] == [f"answer-{number}" for number in range(20)]
