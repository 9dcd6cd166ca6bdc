"""The stub server's OpenAI side, driven by OpenAI's own SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from orchestify.testing import Reply, StubServer
from orchestify.values import ToolCall, Usage

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city", "days"],
        },
    },
}
HELLO: Any = [{"role": "user", "content": "hello there"}]
ASK_WEATHER: Any = [{"role": "user", "content": "What is the weather?"}]


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture
async def client(server: StubServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=server.openai_url, api_key="any", max_retries=0
    ) as client:
        yield client


async def _stream(client: openai.AsyncOpenAI, **kwargs: Any) -> list[ChatCompletionChunk]:
    stream = await client.chat.completions.create(stream=True, **kwargs)
    return [chunk async for chunk in stream]


def _text(chunks: list[ChatCompletionChunk]) -> list[str | None]:
    return [choice.delta.content for chunk in chunks for choice in chunk.choices]


async def test_default_answer_follows_from_the_request(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="stub", messages=HELLO)
    assert answer.choices[0].message.content == "stub read 2 words."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "stub"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 6
    assert answer.usage.completion_tokens == 5


async def test_stream_is_the_same_answer_in_pieces(client: openai.AsyncOpenAI) -> None:
    chunks = await _stream(client, model="stub", messages=HELLO)
    assert _text(chunks) == ["", "stub ", "read ", "2 ", "words.", None]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert [chunk.usage for chunk in chunks] == [None] * 6


async def test_stream_reports_usage_where_asked(client: openai.AsyncOpenAI) -> None:
    chunks = await _stream(
        client, model="stub", messages=HELLO, stream_options={"include_usage": True}
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 11


async def test_answer_is_cut_into_the_chunks_asked_for(client: openai.AsyncOpenAI) -> None:
    chunks = await _stream(client, model="stub;text=abcdef;chunks=3", messages=HELLO)
    assert _text(chunks) == ["", "ab", "cd", "ef", None]


async def test_answer_without_an_own_length_ends_at_max_tokens(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="stub", messages=HELLO, max_tokens=2)
    assert answer.choices[0].message.content == "stub rea"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


async def test_tool_that_the_prompt_names_is_called(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="stub", messages=ASK_WEATHER, tools=[WEATHER]
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    calls: Any = answer.choices[0].message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("get_weather", '{"city":"stub","days":2}')
    ]


async def test_forced_tool_is_called(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="stub", messages=HELLO, tools=[WEATHER], tool_choice="required"
    )
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_tool_that_nobody_mentions_is_not_called(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="stub", messages=HELLO, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop"


async def test_arguments_are_streamed(client: openai.AsyncOpenAI) -> None:
    chunks = await _stream(client, model="stub", messages=ASK_WEATHER, tools=[WEATHER])
    calls: Any = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [call.function.name for call in calls] == ["get_weather", None, None]
    assert [call.function.arguments for call in calls] == ["", '{"city":"stu', 'b","days":2}']


async def test_tool_result_is_answered_in_text(client: openai.AsyncOpenAI) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history: Any = [
        *ASK_WEATHER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    answer = await client.chat.completions.create(model="stub", messages=history, tools=[WEATHER])
    assert answer.choices[0].message.content == "stub read 4 words."


async def test_scripted_tool_calls_are_sent_as_they_are(
    server: StubServer, client: openai.AsyncOpenAI
) -> None:
    server.script(Reply(tool_calls=(ToolCall("c7", "a", {"x": 1}), ToolCall("c8", "b")), text="so"))
    answer = await client.chat.completions.create(model="stub", messages=HELLO)
    assert answer.choices[0].message.content == "so"
    calls: Any = answer.choices[0].message.tool_calls
    assert [(call.id, call.function.arguments) for call in calls] == [
        ("c7", '{"x":1}'),
        ("c8", "{}"),
    ]


async def test_schema_is_answered_with_json_that_fits(client: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = await client.chat.completions.create(
        model="stub",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )
    assert answer.choices[0].message.content == '{"n":0}'


async def test_reasoning_is_sent_and_counted(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="stub;thinking=hm, well", messages=HELLO, reasoning_effort="low"
    )
    assert answer.choices[0].message.model_extra == {"reasoning_content": "hm, well"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    assert answer.usage.completion_tokens == 7


async def test_refusal_is_no_content(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="stub;refusal=no", messages=HELLO)
    assert answer.choices[0].message.refusal == "no"
    assert answer.choices[0].message.content is None


async def test_usage_is_scripted_with_its_parts(
    server: StubServer, client: openai.AsyncOpenAI
) -> None:
    server.script(Reply(usage=Usage(100, 50, cache_read=40, reasoning=20), cost_usd=0.25))
    usage: Any = (await client.chat.completions.create(model="stub", messages=HELLO)).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (100, 50)
    assert usage.prompt_tokens_details.cached_tokens == 40
    assert usage.completion_tokens_details.reasoning_tokens == 20
    assert usage.cost == 0.25


async def test_usage_may_be_absent(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="stub;usage=", messages=HELLO)
    assert answer.usage is None


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    models = await client.models.list()
    assert [model.id for model in models.data] == ["stub-small", "stub-large"]


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("missing-model", openai.NotFoundError, "model_not_found"),
        ("stub;status=429", openai.RateLimitError, "rate_limit_exceeded"),
        ("stub;status=503", openai.InternalServerError, None),
        ("stub;error=context_window", openai.BadRequestError, "context_length_exceeded"),
        ("stub;error=content_filter", openai.BadRequestError, "content_filter"),
        ("stub;error=quota", openai.RateLimitError, "insufficient_quota"),
        ("stub;typo=1", openai.BadRequestError, None),
    ],
)
async def test_error_is_of_openais_shape(
    client: openai.AsyncOpenAI, model: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(error) as raised:
        await client.chat.completions.create(model=model, messages=HELLO)
    assert raised.value.code == code
    assert raised.value.request_id == "req_stub0000000000000000"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "stub", "messages": []}, "messages"),
        ({"model": "stub", "messages": [{"role": "robot", "content": "x"}]}, "messages"),
        (
            {"model": "stub", "messages": [{"role": "tool", "tool_call_id": "x", "content": "x"}]},
            "messages.[0].role",
        ),
        ({"model": "stub", "messages": HELLO, "tool_choice": "auto"}, "tool_choice"),
        ({"model": "", "messages": HELLO}, None),
        ({"model": "stub", "messages": HELLO, "max_tokens": 0}, "max_tokens"),
        ({"model": "stub", "messages": "hello", "tools": ["x"]}, "messages"),
    ],
)
async def test_request_that_openai_refuses_is_refused(
    client: openai.AsyncOpenAI, body: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await client.chat.completions.create(**body)
    assert raised.value.param == param


async def test_wrong_key_is_refused_and_echoed(server: StubServer) -> None:
    async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="wrong-1") as client:
        with pytest.raises(openai.AuthenticationError, match="wrong-1"):
            await client.chat.completions.create(model="stub", messages=HELLO)


async def test_error_in_the_middle_of_a_stream_is_an_event(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError, match="told to fail"):
        await _stream(client, model="stub;error_after=2", messages=HELLO)
