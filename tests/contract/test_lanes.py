"""What every lane must do with a request and its answer, over real HTTP."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from pydantic import BaseModel

from orchestify import (
    ImagePart,
    InvalidParameterError,
    LLMMessage,
    LLMProvider,
    ProviderRegistry,
    StreamEnd,
    StructuredOutputError,
    TextDelta,
    TextPart,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
)
from orchestify.testing import Reply, StubServer
from orchestify.values import ToolCall
from tests.lanes import (
    ANTHROPIC,
    ANTHROPIC_LANES,
    ANTHROPIC_TOOL,
    LANE_NAME,
    LITELLMS_OWN_WARNINGS,
    OPENAI,
    OPENAI_LANES,
    OPENAI_TOOL,
    RESPONSES,
    Lane,
    configured,
    opened,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
PICTURE = "https://example.com/cat.png"
FORECAST = {"location": "Oslo", "days": 3}
pytestmark = LITELLMS_OWN_WARNINGS
TOOLS = pytest.mark.parametrize(
    "tool", [ANTHROPIC_TOOL, OPENAI_TOOL], ids=["anthropics-form", "openais-form"]
)


class Person(BaseModel):
    """What structured answers are read into."""

    name: str
    age: int


def sent(server: StubServer, number: int = -1) -> dict[str, Any]:
    """Return the body of a request that came."""
    body: dict[str, Any] = server.requests[number].body
    return body


def turns(server: StubServer) -> list[dict[str, Any]]:
    """Return the conversation in the last request, by whichever name it goes."""
    body = sent(server)
    listed: list[dict[str, Any]] = body.get("messages") or body["input"]
    return listed


async def test_answer_has_text_model_usage_and_who_answered(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="hello", usage=Usage(100, 20, cache_read=40, reasoning=5)))
    response = await provider.complete("hi")
    assert response.content == "hello"
    assert response.finish_reason == "stop"
    assert response.model in {"claude-sonnet-4-5", "gpt-4o"}
    assert (response.tokens_input, response.tokens_output) == (100, 20)
    assert response.usage is not None
    assert (response.usage.cache_read, response.usage.reasoning) == (40, 5)
    assert response.usage.source == "reported"
    assert (response.provider, len(response.attempts)) == ("it", 1)
    assert response.raw_response["usage"]


async def test_streamed_answer_equals_the_whole_one(
    server: StubServer, provider: LLMProvider
) -> None:
    reply = Reply(text="one two three", usage=Usage(100, 20, cache_read=40, reasoning=5))
    server.script(reply, reply)
    whole = await provider.complete("hi")
    async with provider.stream("hi") as stream:
        pieces = [piece async for piece in stream]
    assert pieces == ["one ", "two ", "three"]
    assert stream.response.content == whole.content
    assert stream.response.finish_reason == whole.finish_reason
    assert stream.response.model == whole.model
    assert stream.response.usage is not None
    assert stream.response.usage.input_tokens == 100
    assert stream.response.usage.output_tokens == 20
    assert (stream.response.usage.cache_read, stream.response.usage.reasoning) == (40, 5)
    assert stream.response.usage.source == "reported"
    assert stream.response.cost_usd == whole.cost_usd


async def test_text_beyond_ascii_comes_through_streams_cut_anywhere(
    server: StubServer, provider: LLMProvider
) -> None:
    text = "zażółć 🦊 gęślą jaźń: 終わり"
    server.script(Reply(text=text, writes=3))
    assert "".join([piece async for piece in provider.stream("hi")]) == text


@pytest.mark.parametrize("lane", [*OPENAI_LANES, ANTHROPIC], ids=LANE_NAME, indirect=True)
async def test_unreported_usage_is_never_called_reported(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="hello", usage={}), Reply(text="hello", usage={}))
    whole = await provider.complete("hi")
    stream = provider.stream("hi")
    assert [piece async for piece in stream] == ["hello"]
    assert whole.usage is not None
    assert stream.response.usage is not None
    assert (whole.usage.source, stream.response.usage.source) == ("estimated", "estimated")


async def test_key_goes_in_the_protocols_header(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    await provider.complete("hi")
    headers = server.requests[-1].headers
    bearer = (headers.get("Authorization") or "").removeprefix("Bearer ")
    where = {"anthropic": headers.get("x-api-key"), "openai": bearer, "responses": bearer}
    assert where[lane.protocol] == "key-of-the-tests-0123456789"


async def test_nothing_unasked_is_sent_but_anthropics_limit(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    await provider.complete("hi")
    expected = {
        "anthropic": {"model", "messages", "max_tokens"},
        "openai": {"model", "messages"},
        "responses": {"model", "input", "store"},
    }
    assert set(sent(server)) == expected[lane.protocol]
    assert sent(server).get("max_tokens", 8192) == 8192


async def test_system_prompt_reaches_the_model(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    messages = [LLMMessage("system", "be brief"), LLMMessage("user", "hi")]
    await provider.complete(messages)
    where = {
        "anthropic": sent(server).get("system"),
        "openai": turns(server)[0],
        "responses": turns(server)[0],
    }
    expected = {
        "anthropic": [{"type": "text", "text": "be brief"}],
        "openai": {"role": "system", "content": "be brief"},
        "responses": {"role": "system", "content": "be brief"},
    }
    assert where[lane.protocol] == expected[lane.protocol]


async def test_conversation_keeps_its_turns(server: StubServer, provider: LLMProvider) -> None:
    await provider.complete(
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
    )
    assert [each["role"] for each in turns(server)] == ["user", "assistant", "user"]


async def test_images_go_by_url_and_as_base64(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    parts = (
        TextPart("what is this?"),
        ImagePart(url=PICTURE),
        ImagePart(data=PIXEL, media_type="image/png"),
    )
    await provider.complete(LLMMessage("user", parts))
    expected = {
        "anthropic": [
            {"type": "text", "text": "what is this?"},
            {"type": "image", "source": {"type": "url", "url": PICTURE}},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
            },
        ],
        "openai": [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ],
        "responses": [
            {"type": "input_text", "text": "what is this?"},
            {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
            {
                "type": "input_image",
                "image_url": f"data:image/png;base64,{PIXEL}",
                "detail": "auto",
            },
        ],
    }
    assert turns(server)[-1]["content"] == expected[lane.protocol]


async def test_sampling_parameters_reach_the_body(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    await provider.complete("hi", temperature=0.2, max_tokens=50, stop=["END"])
    limited = {"max_tokens": 50}
    expected: dict[str, dict[str, Any]] = {
        "anthropic": {**limited, "stop_sequences": ["END"]},
        "openai": {**limited, "stop": ["END"]},
        "responses": {"max_output_tokens": 50},  # it has no stop
    }
    assert expected[lane.protocol].items() <= sent(server).items()
    assert sent(server)["temperature"] == 0.2


@pytest.mark.parametrize("lane", OPENAI_LANES, ids=LANE_NAME, indirect=True)
async def test_seed_reaches_the_body(server: StubServer, provider: LLMProvider) -> None:
    await provider.complete("hi", seed=7)
    assert sent(server)["seed"] == 7


@pytest.mark.parametrize("lane", [*ANTHROPIC_LANES, RESPONSES], ids=LANE_NAME, indirect=True)
async def test_seed_is_left_out_where_the_protocol_has_none(
    server: StubServer, provider: LLMProvider
) -> None:
    assert (await provider.complete("hi", seed=7)).finish_reason == "stop"
    assert "seed" not in sent(server)


async def test_options_of_call_and_configuration_reach_the_body(
    lane: Lane, server: StubServer
) -> None:
    config = configured(lane, lane.base_url(server), options={"top_k": 5})
    async with opened(config) as registry:
        await registry.get("it").complete("hi", options={"x_beta": {"on": True}})
    assert sent(server)["top_k"] == 5
    assert sent(server)["x_beta"] == {"on": True}


async def test_arguments_are_left_as_they_were(provider: LLMProvider) -> None:
    given = {"tools": [OPENAI_TOOL], "options": {"metadata": {"user_id": "u1"}}}
    before = deepcopy(given)
    await provider.complete("hi", **given)
    assert [piece async for piece in provider.stream("hello", **given)]
    assert given == before


@pytest.mark.parametrize(
    ("word", "ours"),
    [("stop", "stop"), ("length", "length")],
)
async def test_finish_reason_is_ours_and_the_providers_word_is_kept(
    lane: Lane, server: StubServer, provider: LLMProvider, word: str, ours: str
) -> None:
    server.script(Reply(text="a", finish_reason=word), Reply(text="a", finish_reason=word))
    stream = provider.stream("hi")
    response = await provider.complete("hi")
    assert [piece async for piece in stream] == ["a"]
    assert (response.finish_reason, stream.response.finish_reason) == (ours, ours)


@pytest.mark.parametrize(
    ("lane", "word", "ours"),
    [
        *((lane, "content_filter", "content_filter") for lane in OPENAI_LANES),
        *((lane, "refusal", "refusal") for lane in ANTHROPIC_LANES),
        *((lane, "pause_turn", "pause") for lane in ANTHROPIC_LANES),
        *((lane, "model_context_window_exceeded", "length") for lane in ANTHROPIC_LANES),
        *((lane, "stop_sequence", "stop") for lane in ANTHROPIC_LANES),
    ],
    indirect=["lane"],
    ids=lambda value: getattr(value, "name", None),
)
async def test_providers_own_finish_words_are_mapped(
    server: StubServer, provider: LLMProvider, word: str, ours: str
) -> None:
    server.script(Reply(text="a", finish_reason=word))
    assert (await provider.complete("hi")).finish_reason == ours


@pytest.mark.parametrize(
    ("lane", "word", "ours"),
    [
        *((lane, "content_filter", "content_filter") for lane in OPENAI_LANES),
        *((lane, "stop_sequence", "stop") for lane in ANTHROPIC_LANES),
        # LiteLLM turns the provider's own words of a stream into others before anybody sees them.
        (ANTHROPIC, "refusal", "refusal"),
        (ANTHROPIC, "pause_turn", "pause"),
        (ANTHROPIC, "model_context_window_exceeded", "length"),
    ],
    indirect=["lane"],
    ids=lambda value: getattr(value, "name", None),
)
async def test_providers_own_finish_words_are_mapped_in_streams(
    server: StubServer, provider: LLMProvider, word: str, ours: str
) -> None:
    server.script(Reply(text="a", finish_reason=word))
    stream = provider.stream("hi")
    assert [piece async for piece in stream] == ["a"]
    assert stream.response.finish_reason == ours


async def test_answer_that_reaches_its_limit_says_length(
    server: StubServer, provider: LLMProvider
) -> None:
    server.words = 60
    assert (await provider.complete("hi", max_tokens=16)).finish_reason == "length"


async def test_refusal_is_its_own_finish_reason_and_its_text_is_kept(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(refusal="I will not."))
    response = await provider.complete("hi")
    assert (response.content, response.finish_reason) == ("I will not.", "refusal")


# LiteLLM drops a streamed refusal, its text and the fact.
@pytest.mark.parametrize("lane", [ANTHROPIC, OPENAI], ids=LANE_NAME, indirect=True)
async def test_streamed_refusal_is_its_own_finish_reason_and_its_text_is_kept(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(refusal="I will not."))
    stream = provider.stream("hi")
    assert "".join([piece async for piece in stream]) == "I will not."
    assert stream.response.finish_reason == "refusal"


@TOOLS
async def test_tool_in_either_form_is_called(
    server: StubServer, provider: LLMProvider, tool: dict[str, Any]
) -> None:
    server.script(Reply(tool_calls=(ToolCall("", "get_weather", FORECAST),)))
    response = await provider.complete("weather?", tools=[tool])
    (call,) = response.tool_calls
    assert (call.name, call.arguments, call.valid) == ("get_weather", FORECAST, True)
    assert (response.content, response.finish_reason) == ("", "tool_calls")


@TOOLS
async def test_tool_in_either_form_is_described_in_the_protocols(
    lane: Lane, server: StubServer, provider: LLMProvider, tool: dict[str, Any]
) -> None:
    await provider.complete("hi", tools=[tool])
    (described,) = sent(server)["tools"]
    schema = {"anthropic": "input_schema"}.get(lane.protocol, "parameters")
    function = described.get("function", described)
    assert function["name"] == "get_weather"
    assert function["description"] == "Tells the weather"
    assert function[schema]["properties"]["location"] == {"type": "string"}
    assert function[schema]["required"] == ["location"]


@pytest.mark.parametrize(
    ("choice", "anthropics", "openais"),
    [
        ("auto", {"type": "auto"}, "auto"),
        ("none", {"type": "none"}, "none"),
        ("required", {"type": "any"}, "required"),
        (
            "get_weather",
            {"type": "tool", "name": "get_weather"},
            {"type": "function", "function": {"name": "get_weather"}},
        ),
    ],
)
async def test_tool_choice_is_said_in_the_protocols_words(
    lane: Lane,
    server: StubServer,
    provider: LLMProvider,
    choice: str,
    anthropics: Any,
    openais: Any,
) -> None:
    await provider.complete("hi", tools=[ANTHROPIC_TOOL], tool_choice=choice)
    flat = {"type": "function", "name": choice} if isinstance(openais, dict) else openais
    expected = {"anthropic": anthropics, "openai": openais, "responses": flat}
    assert sent(server)["tool_choice"] == expected[lane.protocol]


async def test_arguments_stream_as_events(server: StubServer, provider: LLMProvider) -> None:
    server.script(Reply(text="Wait. ", tool_calls=(ToolCall("", "get_weather", FORECAST),)))
    events = [each async for each in provider.stream("hi", tools=[ANTHROPIC_TOOL]).events()]
    pieces = [each for each in events if isinstance(each, ToolCallDelta)]
    assert [each.text for each in events if isinstance(each, TextDelta)] == ["Wait. "]
    assert {(each.index, each.name) for each in pieces} == {(0, "get_weather")}
    assert "".join(each.arguments for each in pieces) == '{"location":"Oslo","days":3}'
    assert len(pieces) > 1
    end = events[-1]
    assert isinstance(end, StreamEnd)
    assert end.response.tool_calls[0].arguments == FORECAST
    assert end.response.tool_calls[0].id == pieces[0].id
    assert end.response.finish_reason == "tool_calls"


async def test_parallel_calls_stay_apart(server: StubServer, provider: LLMProvider) -> None:
    calls = (
        ToolCall("", "get_weather", {"location": "Oslo"}),
        ToolCall("", "get_weather", {"location": "Rome"}),
    )
    server.script(Reply(tool_calls=calls), Reply(tool_calls=calls))
    whole = await provider.complete("hi", tools=[ANTHROPIC_TOOL])
    stream = provider.stream("hi", tools=[ANTHROPIC_TOOL])
    indices = {each.index async for each in stream.events() if isinstance(each, ToolCallDelta)}
    expected = [{"location": "Oslo"}, {"location": "Rome"}]
    assert [call.arguments for call in whole.tool_calls] == expected
    assert [call.arguments for call in stream.response.tool_calls] == expected
    assert indices == {0, 1}
    assert len({call.id for call in stream.response.tool_calls}) == 2


async def test_agent_loop_sends_calls_and_results_back(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    calls = (
        ToolCall("", "get_weather", {"location": "Oslo"}),
        ToolCall("", "get_weather", {"location": "Rome"}),
    )
    server.script(Reply(text="Wait. ", tool_calls=calls), Reply(text="rain, then sun"))
    messages = [LLMMessage("system", "be brief"), LLMMessage("user", "Oslo and Rome?")]
    response = await provider.complete(messages, tools=[ANTHROPIC_TOOL])
    messages.append(response.to_message())
    messages += [
        LLMMessage("tool", '{"sky": "grey"}', tool_call_id=call.id) for call in response.tool_calls
    ]
    answer = await provider.complete(messages, tools=[ANTHROPIC_TOOL])
    assert (answer.content, answer.finish_reason) == ("rain, then sun", "stop")
    roles = [each.get("role") or each["type"] for each in turns(server)]
    calls_and_results = ["function_call"] * 2 + ["function_call_output"] * 2
    expected = {
        "anthropic": ["user", "assistant", "user"],
        "openai": ["system", "user", "assistant", "tool", "tool"],
        "responses": ["system", "user", "assistant", *calls_and_results],
    }
    assert roles == expected[lane.protocol]


async def test_streamed_agent_loop_ends_with_text(
    server: StubServer, provider: LLMProvider
) -> None:
    messages = [LLMMessage("user", "what is the weather?")]
    stream = provider.stream(messages, tools=[OPENAI_TOOL])
    assert [piece async for piece in stream] == []
    (call,) = stream.response.tool_calls
    messages += [stream.response.to_message(), LLMMessage("tool", "rain", tool_call_id=call.id)]
    answer = provider.stream(messages, tools=[OPENAI_TOOL])
    assert "read" in "".join([piece async for piece in answer])
    assert answer.response.finish_reason == "stop"
    assert [request.status for request in server.requests] == [200, 200]


async def test_arguments_that_are_no_json_are_marked_and_kept(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(tool_calls=(ToolCall("", "get_weather", raw_arguments='{"location": '),)))
    stream = provider.stream("hi", tools=[ANTHROPIC_TOOL])
    assert [piece async for piece in stream] == []
    (call,) = stream.response.tool_calls
    assert (call.arguments, call.raw_arguments, call.valid) == ({}, '{"location": ', False)


async def test_call_without_arguments_has_an_empty_mapping(
    server: StubServer, provider: LLMProvider
) -> None:
    bare = {"name": "now", "description": "Tells the time"}
    reply = Reply(tool_calls=(ToolCall("", "now"),))
    server.script(reply, reply)
    whole = await provider.complete("hi", tools=[bare])
    stream = provider.stream("hi", tools=[bare])
    assert [piece async for piece in stream] == []
    assert [(call.name, dict(call.arguments), call.valid) for call in whole.tool_calls] == [
        ("now", {}, True)
    ]
    assert stream.response.tool_calls[0].valid


@pytest.mark.parametrize("lane", ANTHROPIC_LANES, ids=LANE_NAME, indirect=True)
async def test_thinking_comes_with_its_signature(
    server: StubServer, registry: ProviderRegistry
) -> None:
    server.script(Reply(text="42", thinking="let me see"), Reply(text="42", thinking="let me see"))
    agent = registry.get_for_agent("thinking")
    whole = await agent.complete("hi")
    stream = agent.stream("hi")
    events = [event async for event in stream.events()]
    assert whole.thinking is not None
    assert stream.response.thinking is not None
    assert (whole.thinking.text, stream.response.thinking.text) == ("let me see", "let me see")
    assert whole.thinking.blocks[0]["signature"].startswith("c3R1Yg")
    assert stream.response.thinking.blocks[0]["signature"].startswith("c3R1Yg")
    thoughts = [event.text for event in events if isinstance(event, ThinkingDelta)]
    assert thoughts == ["let ", "me ", "see"]
    assert sent(server)["thinking"] == {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.parametrize("lane", ANTHROPIC_LANES, ids=LANE_NAME, indirect=True)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_thinking_goes_back_with_its_signature(
    server: StubServer, registry: ProviderRegistry, streamed: bool
) -> None:
    agent = registry.get_for_agent("thinking")
    messages = [LLMMessage("user", "what is the weather?")]
    stream = agent.stream(messages, tools=[ANTHROPIC_TOOL])
    response = await agent.complete(messages, tools=[ANTHROPIC_TOOL])
    if streamed:
        assert [event async for event in stream.events()]
        response = stream.response
    messages += [
        response.to_message(),
        LLMMessage("tool", "rain", tool_call_id=response.tool_calls[0].id),
    ]
    answer = await agent.complete(messages, tools=[ANTHROPIC_TOOL])
    kinds = [block["type"] for block in sent(server)["messages"][1]["content"]]
    assert kinds == ["thinking", "tool_use"]
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize("lane", OPENAI_LANES, ids=LANE_NAME, indirect=True)
async def test_reasoning_text_is_thinking(server: StubServer, provider: LLMProvider) -> None:
    server.script(Reply(text="42", thinking="let me see"), Reply(text="42", thinking="let me see"))
    whole = await provider.complete("hi")
    stream = provider.stream("hi")
    thoughts = [each.text async for each in stream.events() if isinstance(each, ThinkingDelta)]
    assert (str(whole.thinking), str(stream.response.thinking)) == ("let me see", "let me see")
    assert thoughts == ["let ", "me ", "see"]


async def test_thinking_of_a_model_that_cannot_is_refused_before_sending(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    old = {
        "anthropic": lane.model.replace("sonnet-4-5", "3-haiku-20240307"),
        "openai": lane.model,
        "responses": lane.model,
    }
    with pytest.raises(InvalidParameterError, match="has no extended thinking"):
        await provider.complete("hi", model=old[lane.protocol], thinking=True)
    assert not server.requests


async def test_schema_gives_parsed_json(server: StubServer, provider: LLMProvider) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
    }
    response = await provider.complete("hi", response_format=schema)
    assert response.parsed == {"city": "stub", "big": True}
    assert (response.tool_calls, response.finish_reason) == ((), "stop")


async def test_any_json_object_is_asked_for_and_parsed(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text='{"any": ["thing"]}'))
    response = await provider.complete("JSON, please", response_format={"type": "json_object"})
    assert response.parsed == {"any": ["thing"]}
    body = server.requests[0].raw_body
    assert b'"json_object"' in body or b"one JSON object and nothing else" in body


async def test_model_class_gives_an_instance(server: StubServer, provider: LLMProvider) -> None:
    server.script(Reply(text='{"name": "Ada", "age": 36}'))
    response = await provider.complete("hi", response_format=Person)
    assert response.parsed == Person(name="Ada", age=36)


async def test_streamed_structured_answer_is_parsed_at_the_end(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text='{"name": "Ada", "age": 36}'))
    stream = provider.stream("hi", response_format=Person)
    assert "".join([piece async for piece in stream]) == '{"name": "Ada", "age": 36}'
    assert stream.response.parsed == Person(name="Ada", age=36)


@pytest.mark.parametrize("text", ['{"name": "Ada"}', "no JSON", '{"name": "Ada", "age": "old"}'])
async def test_answer_that_does_not_fit_raises_with_the_response(
    server: StubServer, registry: ProviderRegistry, text: str
) -> None:
    server.script(Reply(text=text, usage=Usage(10, 5)))
    with pytest.raises(StructuredOutputError) as caught:
        await registry.get("it").complete("hi", response_format=Person)
    assert caught.value.response.content == text
    assert caught.value.response.usage.output_tokens == 5
    assert text not in str(caught.value)
    assert registry.get_usage_summary()["total"]["output_tokens"] == 5


@pytest.mark.parametrize("lane", ANTHROPIC_LANES, ids=LANE_NAME, indirect=True)
async def test_older_claude_answers_a_schema_through_a_tool(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    older = lane.model.replace("sonnet-4-5", "3-5-haiku-20241022")
    whole = await provider.complete("hi", model=older, response_format=Person)
    stream = provider.stream("hi", model=older, response_format=Person)
    assert "".join([piece async for piece in stream]) == '{"name":"stub","age":0}'
    assert sent(server)["tool_choice"]["type"] == "tool"
    assert whole.parsed == stream.response.parsed == Person(name="stub", age=0)
    assert (whole.finish_reason, whole.tool_calls) == ("stop", ())
    assert (stream.response.finish_reason, stream.response.tool_calls) == ("stop", ())


@pytest.mark.parametrize("lane", ANTHROPIC_LANES, ids=LANE_NAME, indirect=True)
async def test_caching_agent_marks_system_prompt_and_tools(
    server: StubServer, registry: ProviderRegistry
) -> None:
    agent = registry.get_for_agent("caching")
    messages = [LLMMessage("system", "a long text " * 40), LLMMessage("user", "hi")]
    first = await agent.complete(messages, tools=[ANTHROPIC_TOOL])
    second = await agent.complete(messages, tools=[ANTHROPIC_TOOL])
    mark = {"type": "ephemeral"}
    assert sent(server)["system"][-1]["cache_control"] == mark
    assert sent(server)["tools"][-1]["cache_control"] == mark
    assert first.usage is not None
    assert second.usage is not None
    assert (first.usage.cache_read, second.usage.cache_write) == (0, 0)
    assert first.usage.cache_write == second.usage.cache_read > 100
    assert first.tokens_input == second.tokens_input
    assert second.cost_usd is not None
    assert first.cost_usd is not None
    assert second.cost_usd < first.cost_usd


@pytest.mark.parametrize("lane", OPENAI_LANES, ids=LANE_NAME, indirect=True)
async def test_caching_agent_sends_no_marks_where_the_protocol_has_none(
    server: StubServer, registry: ProviderRegistry
) -> None:
    messages = [LLMMessage("system", "a long text"), LLMMessage("user", "hi")]
    await registry.get_for_agent("caching").complete(messages, tools=[ANTHROPIC_TOOL])
    assert b"cache_control" not in server.requests[-1].raw_body


@pytest.mark.data_of("litellm")
async def test_cost_comes_from_the_models_price(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="a", usage=Usage(1_000_000, 100_000)))
    response = await provider.complete("hi")
    expected = {"anthropic": 4.5, "openai": 3.5, "responses": 3.5}
    assert float(response.cost_usd) == expected[lane.protocol]
    assert response.cost_source == "litellm"


@pytest.mark.parametrize("lane", OPENAI_LANES, ids=LANE_NAME, indirect=True)
async def test_cost_that_the_provider_reports_is_the_truth(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="a", cost_usd=0.25), Reply(text="a", cost_usd=0.25))
    whole = await provider.complete("hi")
    stream = provider.stream("hi")
    assert [piece async for piece in stream] == ["a"]
    assert (str(whole.cost_usd), whole.cost_source) == ("0.25", "provider")
    assert (str(stream.response.cost_usd), stream.response.cost_source) == ("0.25", "provider")


@pytest.mark.parametrize("lane", ANTHROPIC_LANES, ids=LANE_NAME, indirect=True)
async def test_server_tools_are_never_tool_calls(server: StubServer, provider: LLMProvider) -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
    body = b"""{"id": "msg_1", "type": "message", "role": "assistant",
        "model": "claude-sonnet-4-5", "content": [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search",
         "input": {"query": "weather"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "rain"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 9, "output_tokens": 3,
                  "server_tool_use": {"web_search_requests": 1}}}"""
    server.script(Reply(raw_body=body))
    response = await provider.complete("hi", tools=[search])
    assert (response.content, response.tool_calls) == ("rain", ())
    assert response.finish_reason == "stop"
    assert response.usage is not None
    assert response.usage.searches == 1
    assert sent(server)["tools"] == [search]
