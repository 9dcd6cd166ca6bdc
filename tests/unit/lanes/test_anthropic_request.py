from __future__ import annotations

from typing import Any

import pytest

from orchestify.lanes.anthropic.answer import MessageAnswer, answer
from orchestify.lanes.anthropic.claude_models import output_schema
from orchestify.lanes.anthropic.request import betas, request_body
from orchestify.lanes.classify import error_class
from orchestify.lanes.failures import MalformedError, RefusedError
from orchestify.values import (
    UNKNOWN_USAGE,
    CompletionRequest,
    ImagePart,
    LLMMessage,
    LLMResponse,
    ResponseFormat,
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

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WEATHER = Tool("weather", "tells it", SCHEMA)
SEARCH = Tool("web_search", server={"type": "web_search_20250305", "name": "web_search"})
OLD, NEW, NEWEST = "claude-3-5-haiku-20241022", "claude-sonnet-4-5", "claude-opus-4-7"


def asked(**given: Any) -> CompletionRequest:
    defaults: dict[str, Any] = {"messages": (LLMMessage("user", "hi"),), "model": NEW}
    return CompletionRequest(**(defaults | given))


def body_of(**given: Any) -> dict[str, Any]:
    return request_body(asked(**given), stream=False)


def turns_of(*messages: LLMMessage) -> Any:
    return body_of(messages=messages)["messages"]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def answered(*content: dict[str, Any], **body: Any) -> LLMResponse:
    request = body.pop("request", asked())
    usage = {"input_tokens": 5, "output_tokens": 3}
    whole = {"model": "served", "content": content, "stop_reason": "end_turn", "usage": usage}
    return answer(whole | {"content": list(content)} | body, request)


def test_nothing_is_sent_that_was_not_given_but_the_limit() -> None:
    assert body_of() == {
        "model": NEW,
        "messages": [{"role": "user", "content": [text("hi")]}],
        "max_tokens": 8192,
    }


def test_everything_given_is_sent_and_a_seed_is_not() -> None:
    body = request_body(
        asked(
            messages=(LLMMessage("system", "be kind"), LLMMessage("user", "hi")),
            temperature=0.0,
            max_tokens=10,
            stop=("a", "b"),
            seed=1,
            tools=(WEATHER, SEARCH),
            tool_choice=ToolChoice("required"),
        ),
        stream=True,
    )
    assert body == {
        "model": NEW,
        "system": [text("be kind")],
        "messages": [{"role": "user", "content": [text("hi")]}],
        "max_tokens": 10,
        "temperature": 0.0,
        "stop_sequences": ["a", "b"],
        "tools": [
            {
                "name": "weather",
                "description": "tells it",
                "input_schema": SCHEMA,
                "type": "custom",
            },
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "any"},
        "stream": True,
    }


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice("auto"), {"type": "auto"}),
        (ToolChoice("none"), {"type": "none"}),
        (ToolChoice("tool", "weather"), {"type": "tool", "name": "weather"}),
    ],
)
def test_tool_choices(choice: ToolChoice, sent: dict[str, str]) -> None:
    assert body_of(tools=(WEATHER,), tool_choice=choice)["tool_choice"] == sent


def test_a_tool_without_a_schema_takes_nothing() -> None:
    sent = body_of(tools=(Tool("now"),))["tools"]
    assert sent == [
        {"name": "now", "input_schema": {"type": "object", "properties": {}}, "type": "custom"}
    ]


def test_results_of_parallel_calls_are_one_turn_of_the_user() -> None:
    calls = (ToolCall("a.b:0", "f", {"x": 1}), ToolCall("c2", "g"))
    assert turns_of(
        LLMMessage("user", "q"),
        LLMMessage("assistant", "", tool_calls=calls),
        LLMMessage("tool", "one", tool_call_id="a.b:0"),
        LLMMessage("tool", [TextPart("two")], tool_call_id="c2"),
        LLMMessage("user", "and?"),
    ) == [
        {"role": "user", "content": [text("q")]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a_b_0", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a_b_0", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": [text("two")]},
                text("and?"),
            ],
        },
    ]


def test_a_conversation_with_calls_has_a_tool() -> None:
    body = body_of(
        messages=(
            LLMMessage("user", "q"),
            LLMMessage("assistant", "", tool_calls=(ToolCall("1", "f"),)),
            LLMMessage("tool", "r", tool_call_id="1"),
        )
    )
    assert [tool["name"] for tool in body["tools"]] == ["dummy_tool"]


def test_images() -> None:
    message = LLMMessage(
        "user",
        [
            TextPart("look"),
            ImagePart(url="https://e.example/a.png"),
            ImagePart(data="AAAA", media_type="image/png"),
            ImagePart(url="data:image/gif;base64,BBBB"),
        ],
    )
    assert turns_of(message)[0]["content"] == [
        text("look"),
        {"type": "image", "source": {"type": "url", "url": "https://e.example/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "BBBB"}},
    ]


def test_leading_system_messages_are_the_prompt_and_a_later_one_a_note() -> None:
    body = body_of(
        messages=(
            LLMMessage("system", "one"),
            LLMMessage("system", "two"),
            LLMMessage("user", "q"),
            LLMMessage("system", "three"),
        )
    )
    assert body["system"] == [text("one"), text("two")]
    assert [block["text"] for block in body["messages"][0]["content"]] == [
        "q",
        "Operator note (not from the user): the following was originally a mid-conversation "
        "system-role reminder.",
        "three",
    ]


def test_empty_text_is_left_out_since_anthropic_refuses_it() -> None:
    turns = turns_of(
        LLMMessage("user", "q"), LLMMessage("assistant", ""), LLMMessage("user", "still there?")
    )
    assert turns == [{"role": "user", "content": [text("q"), text("still there?")]}]


def test_the_end_of_a_prefill_is_stripped() -> None:
    turns = turns_of(LLMMessage("user", "q"), LLMMessage("assistant", "Dear \n"))
    assert turns[-1]["content"] == [text("Dear")]


SIGNED = {"type": "thinking", "thinking": "hm", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "xyz"}
SEARCHED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": 1}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def test_thinking_goes_back_with_its_signature_and_before_the_rest() -> None:
    foreign = ({"type": "reasoning.text", "text": "hm"}, {"type": "thinking", "thinking": "hm"})
    message = LLMMessage(
        "assistant",
        "so",
        tool_calls=(ToolCall("1", "f"),),
        thinking=Thinking("hm", (SIGNED, REDACTED, SEARCHED, FOUND, *foreign)),
    )
    result = LLMMessage("tool", "r", tool_call_id="1")
    sent = turns_of(LLMMessage("user", "q"), message, result)[1]["content"]
    assert sent[:5] == [SIGNED, REDACTED, SEARCHED, FOUND, text("so")]
    assert [block["type"] for block in sent[5:]] == ["tool_use"]


@pytest.mark.parametrize(
    ("model", "thinking", "fields"),
    [
        (
            "claude-3-7-sonnet-20250219",
            ThinkingConfig("high"),
            {"thinking": {"type": "enabled", "budget_tokens": 4096}, "max_tokens": 8192},
        ),
        (
            NEW,
            ThinkingConfig(),
            {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 8192},
        ),
        (
            "claude-sonnet-4-20250514",
            ThinkingConfig(budget_tokens=20_000),
            {"thinking": {"type": "enabled", "budget_tokens": 20_000}, "max_tokens": 28_192},
        ),
        (
            "claude-opus-4-6",
            ThinkingConfig(budget_tokens=2000),
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 8192},
        ),
        (
            "claude-opus-4-6",
            ThinkingConfig("medium"),
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "medium"},
                "max_tokens": 8192,
            },
        ),
        (
            "claude-opus-5",
            ThinkingConfig(),
            {"thinking": {"type": "adaptive", "display": "summarized"}, "max_tokens": 8192},
        ),
        (
            NEWEST,
            ThinkingConfig(budget_tokens=2000),
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "low"},
                "max_tokens": 8192,
            },
        ),
        (
            "deepseek-chat",
            ThinkingConfig("low"),
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 8192},
        ),
    ],
)
def test_thinking_is_asked_for_as_the_model_wants_it(
    model: str, thinking: ThinkingConfig, fields: dict[str, Any]
) -> None:
    body = body_of(model=model, thinking=thinking)
    assert body == {"model": model, "messages": body["messages"]} | fields


@pytest.mark.parametrize(
    ("model", "thinking", "left"),
    [
        ("claude-sonnet-4-20250514", None, {"temperature", "top_p"}),
        ("claude-opus-4-1", None, {"temperature"}),
        (NEW, None, {"temperature"}),
        (NEW, ThinkingConfig(), set()),
        (NEWEST, None, set()),
        ("claude-sonnet-5", None, set()),
    ],
)
def test_sampling_that_a_thinking_model_refuses_is_left_out(
    model: str, thinking: ThinkingConfig | None, left: set[str]
) -> None:
    body = body_of(model=model, thinking=thinking, temperature=0.3, top_p=0.5)
    assert {"temperature", "top_p"} & set(body) == left


def test_a_schema_is_asked_for_natively_where_the_model_takes_it() -> None:
    request = asked(response_format=ResponseFormat(schema=SCHEMA))
    assert request_body(request, stream=False)["output_format"] == {
        "type": "json_schema",
        "schema": SCHEMA | {"additionalProperties": False},
    }
    assert betas(request) == ["structured-outputs-2025-11-13"]


def test_a_schema_is_a_forced_tool_on_older_models() -> None:
    request = asked(model=OLD, response_format=ResponseFormat(schema=SCHEMA), tools=(WEATHER,))
    body = request_body(request, stream=False)
    assert body["tools"][0] == {"name": "json_tool_call", "input_schema": SCHEMA}
    assert body["tools"][1]["name"] == "weather"
    assert body["tool_choice"] == {"type": "tool", "name": "json_tool_call"}
    assert betas(request) == []


def test_a_thinking_model_is_not_forced_to_call_the_schemas_tool() -> None:
    body = body_of(
        model="claude-3-7-sonnet-latest",
        response_format=ResponseFormat(schema=SCHEMA),
        thinking=ThinkingConfig(),
    )
    assert "tool_choice" not in body


def test_any_json_object_is_asked_for_in_words_after_the_system_prompt() -> None:
    messages = (LLMMessage("system", "Be brief."), LLMMessage("user", "hi"))
    body = body_of(messages=messages, response_format=ResponseFormat())
    assert set(body) == {"model", "messages", "max_tokens", "system"}
    assert [block["text"] for block in body["system"]] == [
        "Be brief.",
        "Answer with one JSON object and nothing else: no text before or after it, "
        "and no code fence.",
    ]


def test_keywords_anthropic_refuses_become_notes() -> None:
    schema = {
        "type": "object",
        "description": "A person.",
        "minProperties": 1,
        "properties": {
            "age": {"type": "integer", "minimum": 0, "exclusiveMaximum": 150},
            "tags": {"type": "array", "items": {"type": "string", "minLength": 1}},
            "kind": {"oneOf": [{"const": "a"}, {"const": "b"}]},
            "one": {"type": "array", "uniqueItems": False, "contains": {"const": 1}},
        },
    }
    assert output_schema(schema) == {
        "type": "object",
        "description": "A person. Note: minimum number of properties: 1.",
        "additionalProperties": False,
        "properties": {
            "age": {
                "type": "integer",
                "description": "Note: minimum value: 0, exclusive maximum value: 150.",
            },
            "tags": {
                "type": "array",
                "items": {"type": "string", "description": "Note: minimum length: 1."},
            },
            "kind": {"anyOf": [{"const": "a"}, {"const": "b"}]},
            "one": {
                "type": "array",
                "description": 'Note: array must contain an item matching: {"const": 1}.',
            },
        },
    }


def test_caching_marks_the_ends_of_the_system_prompt_and_the_tools() -> None:
    body = body_of(
        cache=True,
        tools=(Tool("f"), WEATHER),
        messages=(
            LLMMessage("system", "one"),
            LLMMessage("system", "two"),
            LLMMessage("user", "hi"),
        ),
    )
    mark = {"type": "ephemeral"}
    assert [block.get("cache_control") for block in body["system"]] == [None, mark]
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, mark]
    assert "cache_control" not in body["messages"][0]["content"][0]


def test_caching_with_nothing_to_mark_marks_nothing() -> None:
    assert body_of(cache=True) == body_of()


def test_server_tools_bring_their_beta() -> None:
    code = Tool("code_execution", server={"type": "code_execution_20250825"})
    fetch = Tool("web_fetch", server={"type": "web_fetch_20250910"})
    assert betas(asked(tools=(SEARCH, code, fetch))) == [
        "code-execution-2025-08-25",
        "web-fetch-2025-09-10",
    ]


def test_a_whole_answer() -> None:
    response = answered(text("hel"), text("lo"))
    assert response.content == "hello"
    assert response.model == "served"
    assert response.finish_reason == "stop"
    assert response.usage == Usage(5, 3)
    assert (response.tokens_input, response.tokens_output) == (5, 3)
    assert response.raw_response["model"] == "served"
    assert response.thinking is None


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("something_new", "stop"),
        (None, "stop"),
    ],
)
def test_stop_reasons_are_mapped(word: str | None, ours: str) -> None:
    assert answered(text("x"), stop_reason=word).finish_reason == ours


def test_counts_are_inclusive() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 20},
        "server_tool_use": {"web_search_requests": 2},
        "service_tier": "priority",
    }
    assert answered(text("x"), usage=usage).usage == Usage(
        input_tokens=1110,
        output_tokens=50,
        cache_read=100,
        cache_write=1000,
        cache_write_1h=600,
        reasoning=20,
        searches=2,
        service_tier="priority",
    )


def test_iterations_are_summed() -> None:
    usage = {
        "input_tokens": 3,
        "output_tokens": 2,
        "iterations": [
            {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 7},
            {"input_tokens": 3, "output_tokens": 2},
        ],
    }
    assert answered(text("x"), usage=usage).usage == Usage(
        20,
        7,
        cache_read=7,
        iterations=(("", Usage(17, 5, cache_read=7)), ("", Usage(3, 2))),
    )


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None}])
def test_no_usage_is_unknown_and_not_invented(usage: Any) -> None:
    assert answered(text("x"), usage=usage).usage == UNKNOWN_USAGE


def test_usage_of_another_shape_is_unknown_and_named() -> None:
    assert answered(text("x"), usage="many").usage == Usage(source="unknown", invalid=("usage",))


def test_counts_that_cannot_be_true_are_named() -> None:
    usage = {
        "input_tokens": -5,
        "output_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 9},
    }
    assert answered(text("x"), usage=usage).usage == Usage(
        0, 3, invalid=("input_tokens", "reasoning")
    )


CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Ulm"}}


def test_server_tools_are_no_calls_and_are_sent_back() -> None:
    response = answered(SIGNED, SEARCHED, FOUND, text("so"), CALL, stop_reason="tool_use")
    assert response.tool_calls == (ToolCall("t1", "weather", {"city": "Ulm"}, '{"city": "Ulm"}'),)
    assert response.finish_reason == "tool_calls"
    assert response.thinking == Thinking("hm", (SIGNED, SEARCHED, FOUND))


def test_the_schemas_tool_is_the_text_and_no_call() -> None:
    request = asked(model=OLD, response_format=ResponseFormat(schema=SCHEMA))
    call = {"type": "tool_use", "id": "t", "name": "json_tool_call", "input": {"a": 1}}
    response = answered(call, stop_reason="tool_use", request=request)
    assert (response.content, response.tool_calls) == ('{"a": 1}', ())
    assert response.finish_reason == "stop"
    assert response.thinking is None


@pytest.mark.parametrize("body", [[], "text", {}, {"content": "text"}, {"type": "message"}])
def test_what_is_no_answer_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedError):
        answer(body, asked())


def test_an_inline_error_is_no_answer() -> None:
    with pytest.raises(RefusedError) as caught:
        answer({"type": "error", "error": {"type": "overloaded_error"}}, asked())
    assert caught.value.failure.status == 529


def start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def test_a_stream_gives_its_pieces_and_then_the_whole() -> None:
    stream = MessageAnswer(asked())
    usage = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 2}
    message = {"model": "served", "usage": usage}
    assert stream.feed({"type": "message_start", "message": message}) == (
        UsageUpdate(Usage(7, 1, cache_read=2)),
    )
    assert stream.feed({"type": "ping"}) == ()
    assert stream.feed(start(0, {"type": "thinking", "thinking": "", "signature": ""})) == ()
    assert stream.feed(delta(0, type="thinking_delta", thinking="h")) == (ThinkingDelta("h"),)
    assert stream.feed(delta(0, type="thinking_delta", thinking="m")) == (ThinkingDelta("m"),)
    assert stream.feed(delta(0, type="signature_delta", signature="sig")) == ()
    assert stream.feed(start(1, {"type": "text", "text": ""})) == ()
    assert stream.feed(delta(1, type="text_delta", text="so")) == (TextDelta("so"),)
    assert stream.feed(delta(1, type="citations_delta", citation={})) == ()
    stream.feed(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens"},
            "usage": {"output_tokens": 9, "cache_read_input_tokens": None},
        }
    )
    assert stream.complete is False
    assert stream.feed({"type": "message_stop"}) == ()
    assert stream.complete is True
    response = stream.response()
    assert (response.content, response.finish_reason, response.model) == ("so", "length", "served")
    assert response.thinking == Thinking("hm", (SIGNED,))
    assert response.usage == Usage(7, 9, cache_read=2)
    assert response.raw_response["stop_reason"] == "max_tokens"


def test_streamed_arguments_come_as_events_and_server_tools_do_not() -> None:
    stream = MessageAnswer(asked())
    assert stream.feed(start(0, SEARCHED | {"input": {}})) == ()
    assert stream.feed(delta(0, type="input_json_delta", partial_json='{"q": 1}')) == ()
    assert stream.feed(start(1, FOUND)) == ()
    assert stream.feed(start(2, CALL | {"input": {}})) == (ToolCallDelta(0, "t1", "weather"),)
    assert stream.feed(delta(2, type="input_json_delta", partial_json="")) == ()
    assert stream.feed(delta(2, type="input_json_delta", partial_json='{"city": "Ulm"}')) == (
        ToolCallDelta(0, "t1", "weather", '{"city": "Ulm"}'),
    )
    response = stream.response()
    assert response.tool_calls == (ToolCall("t1", "weather", {"city": "Ulm"}, '{"city": "Ulm"}'),)
    assert response.thinking == Thinking("", (SEARCHED, FOUND))


def test_the_schemas_tool_streams_as_text() -> None:
    stream = MessageAnswer(asked(model=OLD, response_format=ResponseFormat(schema=SCHEMA)))
    stream.feed(start(0, {"type": "tool_use", "id": "t", "name": "json_tool_call", "input": {}}))
    assert stream.feed(delta(0, type="input_json_delta", partial_json='{"a"')) == (
        TextDelta('{"a"'),
    )
    stream.feed(delta(0, type="input_json_delta", partial_json=": 1}"))
    assert stream.response().content == '{"a": 1}'


def test_an_error_in_a_stream_is_raised() -> None:
    stream = MessageAnswer(asked())
    with pytest.raises(RefusedError) as caught:
        stream.feed({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
    assert error_class(caught.value.failure).__name__ == "ServerError"
