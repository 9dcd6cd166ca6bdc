"""The stub server's Anthropic side, driven by Anthropic's own SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestify.testing import Reply, StubServer
from orchestify.values import Usage
from tests.extras import needs

needs("anthropic", "peers")
import anthropic  # noqa: E402 - an extra

WEATHER: Any = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
HELLO: Any = [{"role": "user", "content": "hello there"}]
ASK_WEATHER: Any = [{"role": "user", "content": "What is the weather?"}]
THINK: Any = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture
async def client(server: StubServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=server.anthropic_url, api_key="any", max_retries=0
    ) as client:
        yield client


async def _ask(client: anthropic.AsyncAnthropic, **kwargs: Any) -> Any:
    return await client.messages.create(
        **{"model": "stub", "max_tokens": 2000, "messages": HELLO} | kwargs
    )


async def test_default_answer_follows_from_the_request(client: anthropic.AsyncAnthropic) -> None:
    answer = await _ask(client)
    assert answer.content[0].text == "stub read 2 words."
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (6, 5)


async def test_stream_has_every_type_of_event(client: anthropic.AsyncAnthropic) -> None:
    stream = await _ask(client, stream=True, model="stub;text=ab;chunks=2")
    assert [event.type async for event in stream] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_stream_adds_up_to_the_answer(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(
        model="stub", max_tokens=2000, messages=ASK_WEATHER, tools=[WEATHER], thinking=THINK
    ) as stream:
        answer: Any = await stream.get_final_message()
    assert [block.type for block in answer.content] == ["thinking", "tool_use"]
    assert answer.content[1].input == {"city": "stub"}
    assert answer.stop_reason == "tool_use"
    assert answer.usage.output_tokens == 23
    assert answer.usage.output_tokens_details.thinking_tokens == 16


async def test_thinking_goes_back_with_its_signature(client: anthropic.AsyncAnthropic) -> None:
    first = await _ask(client, messages=ASK_WEATHER, tools=[WEATHER], thinking=THINK)
    result = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "rain"}
    history = [
        *ASK_WEATHER,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    answer = await _ask(client, messages=history, tools=[WEATHER], thinking=THINK)
    assert [block.type for block in answer.content] == ["thinking", "text"]


async def test_changed_thinking_is_refused(client: anthropic.AsyncAnthropic) -> None:
    first = await _ask(client, thinking=THINK)
    block = first.content[0].model_dump() | {"thinking": "something else"}
    history = [*HELLO, {"role": "assistant", "content": [block]}, *HELLO]
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await _ask(client, messages=history, thinking=THINK)


async def test_forced_tool_is_called(client: anthropic.AsyncAnthropic) -> None:
    answer = await _ask(
        client, tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"}
    )
    assert answer.content[0].name == "get_weather"
    assert answer.content[0].id.startswith("toolu_")


async def test_schema_is_answered_with_json_that_fits(client: anthropic.AsyncAnthropic) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = await _ask(client, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert answer.content[0].text == '{"n":0}'


async def test_marked_prefix_is_written_to_the_cache_then_read(
    client: anthropic.AsyncAnthropic,
) -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    system = [{"type": "text", "text": "word " * 400, "cache_control": mark}]
    first = (await _ask(client, system=system)).usage
    second = (await _ask(client, system=system)).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (506, 0)
    assert first.cache_creation.ephemeral_1h_input_tokens == 506
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 506)
    assert second.input_tokens == 0


async def test_usage_is_scripted_inclusive_and_sent_in_parts(
    server: StubServer, client: anthropic.AsyncAnthropic
) -> None:
    server.script(Reply(usage=Usage(100, 50, cache_read=40, cache_write=30, searches=2)))
    usage = (await _ask(client)).usage
    assert (usage.input_tokens, usage.output_tokens) == (30, 50)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (40, 30)
    assert usage.server_tool_use.web_search_requests == 2


async def test_refusal_is_a_stop_reason(client: anthropic.AsyncAnthropic) -> None:
    answer = await _ask(client, model="stub;refusal=no")
    assert answer.stop_reason == "refusal"
    assert answer.content[0].text == "no"


async def test_models_are_listed(client: anthropic.AsyncAnthropic) -> None:
    models = await client.models.list()
    assert [model.id for model in models.data] == ["stub-small", "stub-large"]


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic) -> None:
    count = await client.messages.count_tokens(model="stub", messages=HELLO)
    assert count.input_tokens == 6


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("missing-model", 404, "not_found_error"),
        ("stub;status=429", 429, "rate_limit_error"),
        ("stub;status=500", 500, "api_error"),
        ("stub;status=529", 529, "overloaded_error"),
        ("stub;error=context_window", 400, "invalid_request_error"),
    ],
)
async def test_error_is_of_anthropics_shape(
    client: anthropic.AsyncAnthropic, model: str, status: int, kind: str
) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        await _ask(client, model=model)
    body: Any = raised.value.body
    assert raised.value.status_code == status
    assert body["error"]["type"] == kind
    assert raised.value.request_id == body["request_id"] == "req_stub0000000000000000"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "content must be non-empty"),
        ({"thinking": THINK, "max_tokens": 1024}, "must be greater than"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "greater than or equal to 1024"),
        ({"thinking": THINK, "extra_body": {"temperature": 0.5}}, "may only be set to 1"),
        (
            {"thinking": THINK, "tools": [WEATHER], "tool_choice": {"type": "any"}},
            "forces tool use",
        ),
        ({"tool_choice": {"type": "tool", "name": "x"}}, "not found in provided tools"),
        ({"tools": [{"name": "x"}]}, "input_schema: Field required"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "x", "content": "y"}],
                    }
                ]
            },
            "unexpected `tool_use_id`",
        ),
    ],
)
async def test_request_that_anthropic_refuses_is_refused(
    client: anthropic.AsyncAnthropic, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=message):
        await _ask(client, **fields)


async def test_wrong_key_is_refused(server: StubServer) -> None:
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="wrong") as client:
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            await _ask(client)


async def test_error_in_the_middle_of_a_stream_is_an_event(
    client: anthropic.AsyncAnthropic,
) -> None:
    stream = await _ask(client, stream=True, model="stub;error_after=2")
    with pytest.raises(anthropic.APIStatusError, match="told to fail"):
        [event async for event in stream]
