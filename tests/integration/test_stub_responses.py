"""The stub server's Responses, read by OpenAI's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from orchestify.testing import Reply, StubServer
from orchestify.values import ToolCall, Usage

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALLED: Any = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"}
RESULT: Any = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
THOUGHT: Any = {"type": "reasoning", "id": "rs_1", "summary": []}
REPLY = Reply(
    thinking="Hm, so.",
    text="one two three",
    tool_calls=(ToolCall("call_9", "get_weather", {"city": "Rome"}),),
    usage=Usage(100, 20, cache_read=40, reasoning=5),
)
ENCRYPTED: Any = ["reasoning.encrypted_content"]


class City(BaseModel):
    name: str


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest_asyncio.fixture
async def client(stub: StubServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=stub.openai_url, api_key="any", max_retries=0) as each:
        yield each


async def test_a_streamed_answer_is_the_whole_one(
    stub: StubServer, client: openai.AsyncOpenAI
) -> None:
    stub.script(REPLY, REPLY)
    asked: Any = {"model": "gpt-5", "input": "hi", "tools": [WEATHER], "include": ENCRYPTED}
    whole = await client.responses.create(**asked)
    async with client.responses.stream(**asked) as stream:
        kinds = [event.type async for event in stream]
        streamed = await stream.get_final_response()
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call"]
    assert [item.type for item in streamed.output] == [item.type for item in whole.output]
    assert (streamed.output_text, streamed.output[-1].arguments) == (  # type: ignore[union-attr]
        whole.output_text,
        whole.output[-1].arguments,  # type: ignore[union-attr]
    )
    assert (whole.output_text, kinds[0], kinds[-1]) == (
        "one two three",
        "response.created",
        "response.completed",
    )
    assert streamed.usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.input_tokens_details.cached_tokens == 40
    assert stub.account.billed.output_tokens == 40


async def test_a_tool_loop_with_its_reasoning_ends_in_text(
    stub: StubServer, client: openai.AsyncOpenAI
) -> None:
    stub.script(REPLY)
    said: list[Any] = [{"role": "user", "content": "the weather?"}]
    asked: Any = {"model": "gpt-5", "tools": [WEATHER], "include": ENCRYPTED, "store": False}
    first = await client.responses.create(input=said, **asked)
    said += [*first.output, {**RESULT, "call_id": "call_9"}]
    second = await client.responses.create(input=said, **asked)
    assert second.output_text == "gpt-5 read 2 words."


async def test_json_of_a_schema_is_answered(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.parse(model="gpt-4o", input="hi", text_format=City)
    assert answer.output_parsed == City(name="stub")


async def test_an_answer_at_its_limit_is_incomplete(
    stub: StubServer, client: openai.AsyncOpenAI
) -> None:
    stub.words = 90
    answer = await client.responses.create(model="gpt-4o", input="hi", max_output_tokens=16)
    assert answer.incomplete_details is not None
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"input": []}, "Missing required parameter: 'input'"),
        ({"input": [RESULT]}, "No tool call found"),
        ({"input": [CALLED]}, "No tool output found"),
        ({"input": [THOUGHT], "store": False}, "not found"),
        ({"input": [{**THOUGHT, "encrypted_content": "made up"}]}, "could not be verified"),
        ({"input": [{"role": "assistant", "content": [{"type": "input_text"}]}]}, "Invalid value"),
        ({"previous_response_id": "resp_1"}, "not found"),
        ({"reasoning": {"effort": "low"}}, "not supported with this model"),
        ({"include": ENCRYPTED}, "Encrypted content is not supported"),
        ({"extra_body": {"stop": ["x"]}}, "Unknown parameter"),
        ({"max_output_tokens": 3}, "below minimum"),
    ],
)
async def test_what_openai_refuses_is_refused(
    client: openai.AsyncOpenAI, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=words):
        await client.responses.create(**{"model": "gpt-4o", "input": "hi", **asked})


async def test_an_error_in_a_stream_is_an_event(
    stub: StubServer, client: openai.AsyncOpenAI
) -> None:
    stub.script(Reply(text="one two", error_after=1))
    stream = await client.responses.create(model="gpt-4o", input="hi", stream=True)
    assert [event.type async for event in stream][-1] == "error"
