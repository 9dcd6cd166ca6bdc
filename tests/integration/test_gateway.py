"""OpenAI's own client against the gateway, with both direct lanes behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from orchestify.testing import Reply
from orchestify.values import ToolCall, Usage
from tests.gateways import CALL_WEATHER, HELLO, WEATHER, Gateway, gateway

LANES = ["gpt/gpt-4o", "claude/claude-sonnet-4-5"]
USED = Usage(input_tokens=100, output_tokens=20, cache_read=40, reasoning=8)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSw=="
THINKER = {"provider": "claude", "thinking": {"budget_tokens": 1024}, "max_tokens": 4096}


class City(BaseModel):
    name: str
    people: int


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    agents = {
        "planner": THINKER,
        "resilient": {"provider": "gpt", "model": "broken;status=503", "fallback": ["claude"]},
    }
    more = {"unpriced": {"type": "openai", "default_model": "nobody-knows"}}
    async with gateway(tmp_path, agents, more) as each:
        yield each


@pytest.mark.parametrize("model", LANES)
async def test_an_answer_has_text_usage_and_cost(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(text="Hi.", usage=USED))
    answer: Any = await gate.client.chat.completions.create(model=model, messages=HELLO)
    assert answer.choices[0].message.content == "Hi."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == model
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 20, 120)
    assert usage.prompt_tokens_details.cached_tokens == 40
    assert usage.cost == 0.03


async def test_reasoning_tokens_are_told(gate: Gateway) -> None:
    gate.stub.script(Reply(usage=USED))
    answer = await gate.client.chat.completions.create(model="gpt/gpt-4o", messages=HELLO)
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 8


async def test_the_headers_tell_call_cost_and_who_answered(gate: Gateway) -> None:
    gate.stub.script(Reply(text="", usage=Usage(input_tokens=1, output_tokens=0)))
    raw = await gate.client.chat.completions.with_raw_response.create(
        model="gpt/gpt-4o", messages=HELLO
    )
    told = {name: raw.headers[f"x-orchestify-{name}"] for name in ("provider", "model", "attempts")}
    assert told == {"provider": "gpt", "model": "gpt-4o", "attempts": "1"}
    assert raw.headers["x-orchestify-cost-usd"] == "0.0001"
    assert raw.parse().id == f"chatcmpl-{raw.headers['x-orchestify-call-id']}"


async def test_an_unknown_price_is_null_and_has_no_header(gate: Gateway) -> None:
    raw = await gate.client.chat.completions.with_raw_response.create(
        model="unpriced/nobody-knows", messages=HELLO
    )
    assert "x-orchestify-cost-usd" not in raw.headers
    assert raw.http_response.json()["usage"]["cost"] is None


async def test_an_agent_that_falls_back_tells_the_attempts(gate: Gateway) -> None:
    raw = await gate.client.chat.completions.with_raw_response.create(
        model="agent:resilient", messages=HELLO
    )
    assert raw.headers["x-orchestify-provider"] == "claude"
    assert raw.headers["x-orchestify-attempts"] == "2"


async def test_the_synchronous_client_works_too(gate: Gateway) -> None:
    def ask() -> Any:
        with openai.OpenAI(base_url=f"{gate.served.url}/v1", api_key=gate.token) as client:
            whole = client.chat.completions.create(model="gpt-4o", messages=HELLO)
            stream = client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            return whole, [chunk.choices[0].delta.content for chunk in stream]

    whole, pieces = await asyncio.to_thread(ask)
    assert whole.choices[0].message.content == "gpt-4o read 2 words."
    assert pieces == ["", "gpt-4o ", "read ", "2 ", "words.", None]


@pytest.mark.parametrize("model", LANES)
async def test_a_stream_ends_with_reason_usage_and_cost(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(text="one two", usage=USED))
    stream = await gate.client.chat.completions.create(model=model, messages=HELLO, stream=True)
    chunks: list[Any] = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None, None, None]
    assert chunks[-1].usage.total_tokens == 120
    assert chunks[-1].usage.cost == 0.03


async def test_usage_that_was_asked_for_is_a_chunk_of_its_own(gate: Gateway) -> None:
    gate.stub.script(Reply(text="one", usage=USED))
    stream = await gate.client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks: list[Any] = [chunk async for chunk in stream]
    assert [len(chunk.choices) for chunk in chunks] == [1, 1, 1, 0]
    assert [chunk.usage is None for chunk in chunks] == [True, True, True, False]
    assert chunks[-1].usage.cost == 0.03


async def test_a_streams_headers_have_the_call_before_its_first_event(gate: Gateway) -> None:
    gate.stub.script(Reply(text="one", chunk_delay_s=0.01))
    raw = await gate.client.chat.completions.with_raw_response.create(
        model="agent:resilient", messages=HELLO, stream=True
    )
    chunks = [chunk async for chunk in raw.parse()]
    assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert chunks[0].id == f"chatcmpl-{raw.headers['x-orchestify-call-id']}"
    assert "x-orchestify-cost-usd" not in raw.headers


async def test_a_streams_headers_tell_who_answers_after_a_fallback(gate: Gateway) -> None:
    raw = await gate.client.chat.completions.with_raw_response.create(
        model="agent:resilient", messages=HELLO, stream=True
    )
    chunks = [chunk async for chunk in raw.parse()]
    assert raw.headers["x-orchestify-provider"] == "claude"
    assert raw.headers["x-orchestify-attempts"] == "2"
    assert raw.headers["x-orchestify-model"] == "claude-sonnet-4-5"
    assert {chunk.model for chunk in chunks} == {"agent:resilient"}


async def test_a_stream_ends_with_done(gate: Gateway) -> None:
    body = {"model": "gpt-4o", "messages": HELLO, "stream": True}
    answer = await gate.served.ask("POST", "/v1/chat/completions", gate.token, json=body)
    assert answer.text.endswith("}\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("model", LANES)
async def test_tools_are_called_and_their_results_go_back(gate: Gateway, model: str) -> None:
    call = ToolCall("call_1", "get_weather", {"city": "Rome"})
    gate.stub.script(Reply(tool_calls=(call,)))
    asked: dict[str, Any] = {"model": model, "tools": [WEATHER]}
    first = await gate.client.chat.completions.create(
        **asked, messages=HELLO, tool_choice=CALL_WEATHER
    )
    message: Any = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    (made,) = message.tool_calls
    assert (made.function.name, json.loads(made.function.arguments)) == (
        "get_weather",
        {"city": "Rome"},
    )
    result = {"role": "tool", "tool_call_id": made.id, "content": "sunny"}
    second = await gate.client.chat.completions.create(**asked, messages=[*HELLO, message, result])
    assert second.choices[0].finish_reason == "stop"
    assert json.dumps(gate.sent).count(made.id) == 2
    assert "sunny" in json.dumps(gate.sent)


@pytest.mark.parametrize("model", LANES)
async def test_streamed_tool_calls_keep_index_id_and_arguments(gate: Gateway, model: str) -> None:
    calls = tuple(ToolCall(f"call_{city}", "get_weather", {"city": city}) for city in ("A", "B"))
    gate.stub.script(Reply(tool_calls=calls))
    async with gate.client.chat.completions.stream(
        model=model, messages=HELLO, tools=[WEATHER]
    ) as stream:
        answer = await stream.get_final_completion()
    made: Any = answer.choices[0].message.tool_calls
    assert [json.loads(each.function.arguments) for each in made] == [{"city": "A"}, {"city": "B"}]
    assert [each.id for each in made] == ["call_A", "call_B"]
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_claudes_thinking_comes_and_goes_back_with_its_signature(
    gate: Gateway, is_stream: bool
) -> None:
    call = ToolCall("call_1", "get_weather", {"city": "Rome"})
    gate.stub.script(Reply(thinking="Let me see.", tool_calls=(call,)))
    asked: dict[str, Any] = {"model": "agent:planner", "tools": [WEATHER]}
    if is_stream:
        async with gate.client.chat.completions.stream(**asked, messages=HELLO) as stream:
            first: Any = await stream.get_final_completion()
    else:
        first = await gate.client.chat.completions.create(**asked, messages=HELLO)
    message = first.choices[0].message
    assert message.reasoning_content == "Let me see."
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    again = [*HELLO, message.to_dict(), result]
    await gate.client.chat.completions.create(**asked, messages=again)
    thought, use = gate.sent["messages"][1]["content"]
    assert thought["thinking"] == "Let me see."
    assert thought["signature"] == message.thinking_blocks[0]["signature"]
    assert use["type"] == "tool_use"


@pytest.mark.parametrize("model", LANES)
async def test_structured_output_is_parsed_by_the_client(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(text='{"name": "Rome", "people": 3}'))
    answer = await gate.client.chat.completions.parse(
        model=model, messages=HELLO, response_format=City
    )
    assert answer.choices[0].message.parsed == City(name="Rome", people=3)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_answer_that_is_not_the_json_asked_for_is_given_as_it_is(
    gate: Gateway, is_stream: bool
) -> None:
    gate.stub.script(Reply(text='{"name": ', finish_reason="length"))
    form: Any = {"type": "json_object"}
    answer: Any = await gate.client.chat.completions.create(
        model="gpt-4o", messages=HELLO, response_format=form, stream=is_stream
    )
    if is_stream:
        chunks = [chunk async for chunk in answer]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert (text, reason) == ('{"name": ', "length")


async def test_a_refusal_is_the_messages_refusal(gate: Gateway) -> None:
    gate.stub.script(Reply(refusal="I will not."))
    answer = await gate.client.chat.completions.parse(
        model="gpt-4o", messages=HELLO, response_format=City
    )
    assert answer.choices[0].message.refusal == "I will not."
    assert answer.choices[0].message.parsed is None


@pytest.mark.parametrize(
    ("model", "content"), [("gpt-4o", ""), ("claude-sonnet-4-5", "I will not.")]
)
async def test_a_stream_tells_a_refusal_once_and_as_soon_as_it_is_known(
    gate: Gateway, model: str, content: str
) -> None:
    gate.stub.script(Reply(refusal="I will not."))
    stream = await gate.client.chat.completions.create(model=model, messages=HELLO, stream=True)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    assert "".join(each.refusal or "" for each in deltas) == "I will not."
    assert "".join(each.content or "" for each in deltas) == content


async def test_images_reach_claude_as_it_wants_them(gate: Gateway) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    message: Any = {"role": "user", "content": parts}
    await gate.client.chat.completions.create(model="claude-sonnet-4-5", messages=[message])
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert gate.sent["messages"][0]["content"] == [parts[0], {"type": "image", "source": source}]


async def test_a_developers_message_is_a_system_message(gate: Gateway) -> None:
    messages: Any = [{"role": "developer", "content": "Be brief."}, *HELLO]
    await gate.client.chat.completions.create(model="claude-sonnet-4-5", messages=messages)
    assert gate.sent["system"] == [{"type": "text", "text": "Be brief."}]


async def test_what_is_given_reaches_the_provider(gate: Gateway) -> None:
    await gate.client.chat.completions.create(
        model="gpt-4o",
        messages=HELLO,
        temperature=0.5,
        top_p=0.9,
        stop=["END"],
        seed=7,
        max_completion_tokens=50,
        tools=[WEATHER],
        parallel_tool_calls=False,
        frequency_penalty=0.25,
        user="someone",
        store=False,
    )
    given = {name: value for name, value in gate.sent.items() if name not in {"messages", "tools"}}
    assert given == {
        "model": "gpt-4o",
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 7,
        "max_tokens": 50,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "frequency_penalty": 0.25,
        "user": "someone",
    }


async def test_claude_gets_no_field_that_it_does_not_know(gate: Gateway) -> None:
    raw = await gate.client.chat.completions.with_raw_response.create(
        model="claude-sonnet-4-5",
        messages=HELLO,
        tools=[WEATHER],
        parallel_tool_calls=False,
        frequency_penalty=0.25,
        user="someone",
    )
    warnings = raw.headers["x-orchestify-warnings"].split(",")
    assert sorted(warnings) == ["frequency_penalty_dropped", "user_dropped"]
    assert gate.sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert gate.sent.keys() == {"model", "messages", "max_tokens", "tools", "tool_choice"}


@pytest.mark.parametrize(
    ("effort", "sent"),
    [("none", "minimal"), ("minimal", "minimal"), ("medium", "medium"), ("xhigh", "high")],
)
async def test_reasoning_effort_is_how_much_the_model_thinks(
    gate: Gateway, effort: Any, sent: str | None
) -> None:
    await gate.client.chat.completions.create(
        model="gpt/gpt-5", messages=HELLO, reasoning_effort=effort
    )
    assert gate.sent.get("reasoning_effort") == sent


async def test_models_are_the_agents_and_what_the_providers_have(gate: Gateway) -> None:
    listed = [model async for model in gate.client.models.list()]
    assert [(model.id, model.owned_by) for model in listed] == [
        ("agent:planner", "orchestify"),
        ("agent:resilient", "orchestify"),
        ("claude/claude-sonnet-4-5", "claude"),
        ("gpt/broken;status=503", "gpt"),
        ("gpt/gpt-4o", "gpt"),
        ("unpriced/nobody-knows", "unpriced"),
    ]


async def test_a_model_is_found_by_its_id(gate: Gateway) -> None:
    found = await gate.client.models.retrieve("claude/claude-sonnet-4-5")
    assert (found.id, found.owned_by) == ("claude/claude-sonnet-4-5", "claude")
    agent = await gate.client.models.retrieve("agent:planner")
    assert (agent.id, agent.owned_by) == ("agent:planner", "orchestify")
    bare = await gate.client.models.retrieve("gpt-4o")
    assert (bare.id, bare.owned_by) == ("gpt-4o", "gpt")
    with pytest.raises(openai.NotFoundError) as caught:
        await gate.client.models.retrieve("agent:nobody")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("model", LANES)
async def test_a_large_answer_is_the_same_whole_and_streamed(gate: Gateway, model: str) -> None:
    text = "Grüße 🌍 " * 100_000
    for _ in range(2):
        gate.stub.script(Reply(text=text, usage=USED))
    whole: Any = await gate.client.chat.completions.create(model=model, messages=HELLO)
    assert whole.choices[0].message.content == text
    stream = await gate.client.chat.completions.create(model=model, messages=HELLO, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(pieces) == text
