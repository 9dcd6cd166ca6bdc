from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from orchestify.lanes.classify import error_class
from orchestify.lanes.failures import MalformedError, RefusedError
from orchestify.lanes.openai.answer import ChatAnswer, answer
from orchestify.lanes.openai.dialects import dialect_of
from orchestify.lanes.openai.request import request_body
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

OPENAI = "https://api.openai.com/v1"
LOCAL = "http://localhost:8000/v1"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WEATHER = Tool("weather", "tells it", SCHEMA)


DEPLOYMENT = "https://me.openai.azure.com/openai/deployments/my-own-name"


def asked(**given: Any) -> CompletionRequest:
    defaults: dict[str, Any] = {"messages": (LLMMessage("user", "hi"),), "model": "gpt-4o"}
    return CompletionRequest(**(defaults | given))


def body_of(base_url: str = OPENAI, *, stream: bool = False, **given: Any) -> dict[str, Any]:
    return request_body(asked(**given), dialect_of(base_url), stream=stream)


def answered(**body: Any) -> LLMResponse:
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return answer({"model": "served", "choices": [choice]} | body, asked())


def message_of(finish_reason: Any = "stop", **message: Any) -> LLMResponse:
    return answered(choices=[{"index": 0, "message": message, "finish_reason": finish_reason}])


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def test_nothing_is_sent_that_was_not_given() -> None:
    assert body_of() == {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def test_everything_given_is_sent() -> None:
    body = body_of(
        temperature=0.0,
        top_p=0.5,
        max_tokens=10,
        stop=("a", "b"),
        seed=0,
        tools=(WEATHER, Tool("search", server={"type": "web_search"})),
        tool_choice=ToolChoice("required"),
    )
    assert body == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.0,
        "top_p": 0.5,
        "max_completion_tokens": 10,
        "stop": ["a", "b"],
        "seed": 0,
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "tells it", "parameters": SCHEMA},
            },
            {"type": "web_search"},
        ],
        "tool_choice": "required",
    }


def test_a_stream_asks_for_usage_where_the_endpoint_takes_it() -> None:
    assert body_of(stream=True)["stream_options"] == {"include_usage": True}
    assert body_of(LOCAL, stream=True)["stream_options"] == {"include_usage": True}
    mistral = body_of("https://api.mistral.ai/v1", stream=True)
    assert mistral["stream"] is True
    assert "stream_options" not in mistral


def test_a_conversation_with_images_and_tools() -> None:
    messages = (
        LLMMessage("system", "be kind"),
        LLMMessage(
            "user",
            [
                TextPart("look"),
                ImagePart(url="https://e.example/a.png"),
                ImagePart(data="AAAA", media_type="image/png"),
            ],
            name="bob",
        ),
        LLMMessage("assistant", "", tool_calls=(ToolCall("c1", "weather", {"a": 1}),)),
        LLMMessage("tool", "sunny", tool_call_id="c1"),
    )
    assert body_of(messages=messages)["messages"] == [
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "name": "bob",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://e.example/a.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        },
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"a": 1}'},
                }
            ],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ]


def test_tool_choices() -> None:
    named = ToolChoice("tool", "weather")
    assert body_of(tools=(WEATHER,), tool_choice=named)["tool_choice"] == {
        "type": "function",
        "function": {"name": "weather"},
    }
    mistral = body_of(
        "https://api.mistral.ai/v1", tools=(WEATHER,), tool_choice=ToolChoice("required"), seed=1
    )
    assert mistral["tool_choice"] == "any"
    assert mistral["random_seed"] == 1
    assert "seed" not in mistral


def test_response_formats() -> None:
    form = ResponseFormat("person", SCHEMA, strict=True)
    assert body_of(response_format=form)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": SCHEMA, "strict": True},
    }
    assert body_of(response_format=ResponseFormat())["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("model", "base_url", "field"),
    [
        ("gpt-4o", OPENAI, "max_completion_tokens"),
        ("gpt-4.1-mini", OPENAI, "max_completion_tokens"),
        ("gpt-4o", LOCAL, "max_tokens"),
        ("gpt-oss-120b", LOCAL, "max_tokens"),
        ("o3-mini", OPENAI, "max_completion_tokens"),
        ("o1", OPENAI, "max_completion_tokens"),
        ("gpt-5", OPENAI, "max_completion_tokens"),
        ("gpt-5.1", OPENAI, "max_completion_tokens"),
        ("gpt-5-chat-latest", LOCAL, "max_tokens"),
        ("gpt-5", LOCAL, "max_completion_tokens"),
        ("my-own-name", "https://me.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("my-own-name", f"{DEPLOYMENT}?api-version=2024-12-01-preview", "max_completion_tokens"),
        ("my-own-name", f"{DEPLOYMENT}?api-version=2025-01-01", "max_completion_tokens"),
        ("my-own-name", f"{DEPLOYMENT}?api-version=2024-10-21", "max_tokens"),
        ("o3-mini", f"{DEPLOYMENT}?api-version=2024-10-21", "max_completion_tokens"),
        ("my-own-name", DEPLOYMENT, "max_tokens"),
        ("Llama-3", "https://me.services.ai.azure.com/models", "max_tokens"),
        ("openai/gpt-5", "https://openrouter.ai/api/v1", "max_tokens"),
        ("deepseek-chat", "https://api.deepseek.com", "max_tokens"),
    ],
)
def test_the_limit_has_the_name_the_model_takes(model: str, base_url: str, field: str) -> None:
    body = body_of(base_url, model=model, max_tokens=7)
    assert {name: body[name] for name in body if name.startswith("max_")} == {field: 7}


@pytest.mark.parametrize(
    ("model", "thinking", "left"),
    [
        ("gpt-4o", None, {"temperature", "top_p", "stop"}),
        ("o3", None, {"stop"}),
        ("gpt-5", None, set()),
        ("gpt-5.1", None, {"temperature", "top_p"}),
        ("gpt-5.1", ThinkingConfig("low"), set()),
        ("gpt-5.1-chat-latest", None, set()),
        ("gpt-6", None, set()),
        ("grok-4", None, {"temperature", "top_p"}),
        ("grok-3", None, {"temperature", "top_p", "stop"}),
    ],
)
def test_sampling_that_a_thinking_model_refuses_is_left_out(
    model: str, thinking: ThinkingConfig | None, left: set[str]
) -> None:
    body = body_of(model=model, thinking=thinking, temperature=0.3, top_p=0.5, stop=("x",))
    assert {"temperature", "top_p", "stop"} & set(body) == left


def test_a_temperature_of_one_always_goes() -> None:
    assert body_of(model="gpt-5", temperature=1)["temperature"] == 1


@pytest.mark.parametrize(
    ("base_url", "thinking", "fields"),
    [
        (OPENAI, ThinkingConfig("high"), {"reasoning_effort": "high"}),
        (OPENAI, ThinkingConfig(), {"reasoning_effort": "medium"}),
        (OPENAI, ThinkingConfig(budget_tokens=5000), {"reasoning_effort": "high"}),
        (OPENAI, ThinkingConfig(budget_tokens=1024), {"reasoning_effort": "low"}),
        ("https://api.deepseek.com", ThinkingConfig("low"), {"thinking": {"type": "enabled"}}),
        ("https://openrouter.ai/api/v1", ThinkingConfig("low"), {"reasoning_effort": "low"}),
        (
            "https://openrouter.ai/api/v1",
            ThinkingConfig(budget_tokens=2000),
            {"reasoning": {"max_tokens": 2000}},
        ),
        ("https://openrouter.ai/api/v1", ThinkingConfig(), {"reasoning": {"enabled": True}}),
        ("https://api.x.ai/v1", ThinkingConfig("low"), {}),
    ],
)
def test_thinking_is_asked_for_as_the_endpoint_wants_it(
    base_url: str, thinking: ThinkingConfig, fields: dict[str, Any]
) -> None:
    body = body_of(base_url, thinking=thinking)
    named = {"reasoning_effort", "reasoning", "thinking"}
    assert {name: body[name] for name in body if name in named} == fields


DETAILS = {"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}
PART = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
SIGNATURE = {"google": {"thought_signature": "abc"}}


@pytest.mark.parametrize(
    ("base_url", "thinking", "fields"),
    [
        (LOCAL, Thinking("hm"), {"reasoning_content": "hm"}),
        ("https://api.deepseek.com", Thinking("hm"), {"reasoning_content": "hm"}),
        (OPENAI, Thinking("hm"), {}),
        ("https://api.groq.com/openai/v1", Thinking("hm"), {}),
        (
            "https://openrouter.ai/api/v1",
            Thinking("hm", (DETAILS,)),
            {"reasoning_details": [DETAILS]},
        ),
        ("https://openrouter.ai/api/v1", Thinking("hm"), {"reasoning": "hm"}),
        (
            "https://api.mistral.ai/v1",
            Thinking("hm", (PART,)),
            {"content": [PART, {"type": "text", "text": "so"}]},
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai",
            Thinking("", ({"type": "extra_content", "extra_content": SIGNATURE},)),
            {"extra_content": SIGNATURE},
        ),
        (
            "https://openrouter.ai/api/v1",
            Thinking("", ({"type": "thinking", "thinking": "hm", "signature": "s"},)),
            {},
        ),
    ],
)
def test_thinking_goes_back_as_the_endpoint_wants_it(
    base_url: str, thinking: Thinking, fields: dict[str, Any]
) -> None:
    messages = (LLMMessage("assistant", "so", thinking=thinking), LLMMessage("user", "and?"))
    sent = body_of(base_url, messages=messages)["messages"][0]
    assert sent == {"role": "assistant", "content": "so"} | fields


def test_a_thought_signature_goes_back_to_its_call() -> None:
    block = {"type": "extra_content", "tool_call_id": "c2", "extra_content": SIGNATURE}
    calls = (ToolCall("c1", "weather"), ToolCall("c2", "weather"))
    message = LLMMessage("assistant", "", tool_calls=calls, thinking=Thinking("", (block,)))
    results = (
        LLMMessage("tool", "1", tool_call_id="c1"),
        LLMMessage("tool", "2", tool_call_id="c2"),
    )
    address = "https://generativelanguage.googleapis.com/v1beta/openai"
    sent = body_of(address, messages=(message, *results))["messages"][0]
    assert [call.get("extra_content") for call in sent["tool_calls"]] == [None, SIGNATURE]


def test_a_whole_answer() -> None:
    response = answered(usage={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8})
    assert response.content == "hello"
    assert response.model == "served"
    assert response.finish_reason == "stop"
    assert (response.tokens_input, response.tokens_output) == (5, 3)
    assert response.usage == Usage(5, 3)
    assert response.raw_response["model"] == "served"
    assert (response.cost_usd, response.cost_source) == (None, "none")


def test_no_usage_is_unknown_and_not_invented() -> None:
    assert answered().usage == UNKNOWN_USAGE
    assert answered(usage={}).usage == UNKNOWN_USAGE
    assert answered(usage={"prompt_tokens": None}).usage == UNKNOWN_USAGE


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (
            {"prompt_tokens_details": {"cached_tokens": 4}},
            {"cache_read": 4},
        ),
        ({"num_cached_tokens": 4}, {"cache_read": 4}),
        ({"cached_tokens": 4}, {"cache_read": 4}),
        ({"prompt_cache_hit_tokens": 4}, {"cache_read": 4}),
        ({"prompt_tokens_details": {"cache_write_tokens": 4}}, {"cache_write": 4}),
        ({"completion_tokens_details": {"reasoning_tokens": 2}}, {"reasoning": 2}),
        (
            {"completion_tokens_details": {"reasoning_tokens": 9}, "total_tokens": 22},
            {"reasoning": 9, "output_tokens": 12},
        ),
        ({"server_tool_use": {"web_search_requests": 2}}, {"searches": 2}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
    ],
)
def test_usage_is_read_wherever_a_provider_puts_it(
    usage: dict[str, Any], counts: dict[str, Any]
) -> None:
    reported = {"prompt_tokens": 10, "completion_tokens": 3} | usage
    expected = {"input_tokens": 10, "output_tokens": 3} | counts
    assert answered(usage=reported).usage == Usage(**expected)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": -1}, Usage(0, 3, invalid=("prompt_tokens",))),
        ({"prompt_tokens": 1.5}, Usage(0, 3, invalid=("prompt_tokens",))),
        ({"prompt_tokens": True}, Usage(0, 3, invalid=("prompt_tokens",))),
        ({"prompt_tokens": "10"}, Usage(0, 3, invalid=("prompt_tokens",))),
        ({"prompt_tokens": 10**13}, Usage(0, 3, invalid=("prompt_tokens",))),
        ({"prompt_tokens": 10.0}, Usage(10, 3)),
        ({"cached_tokens": 11}, Usage(10, 3, invalid=("cache_read",))),
        ({"reasoning_tokens": 4}, Usage(10, 3, invalid=("reasoning",))),
        ({"prompt_tokens_details": "none"}, Usage(10, 3)),
    ],
)
def test_counts_that_cannot_be_true_are_named_and_not_booked(
    usage: dict[str, Any], expected: Usage
) -> None:
    reported = {"prompt_tokens": 10, "completion_tokens": 3} | usage
    assert answered(usage=reported).usage == expected


def test_groqs_usage_beside_the_answer_is_read() -> None:
    x_groq = {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    assert answered(x_groq=x_groq).usage == Usage(7, 2)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.0133176}, Decimal("0.0133176")),
        ({"cost": 0}, Decimal(0)),
        (
            {
                "cost": 0.001,
                "is_byok": True,
                "cost_details": {"upstream_inference_cost": 0.004},
            },
            Decimal("0.005"),
        ),
        (
            {"cost": 0.001, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.001}},
            Decimal("0.001"),
        ),
        ({"cost": {"total_cost": 0.00515}}, Decimal("0.00515")),
        ({"cost_in_usd_ticks": 1330500}, Decimal("0.00013305")),
        ({"cost_in_usd_ticks": 0}, None),
        ({"cost": -1}, None),
        ({"cost": "free"}, None),
        ({"cost": float("nan")}, None),
    ],
)
def test_a_reported_cost_is_the_truth(usage: dict[str, Any], cost: Decimal | None) -> None:
    response = answered(usage={"prompt_tokens": 1, "completion_tokens": 1} | usage)
    assert response.cost_usd == cost
    assert response.cost_source == ("none" if cost is None else "provider")


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("tool_calls", "stop"),  # there is no call
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("eos", "stop"),
        ("something new", "stop"),
        ("", "stop"),
        (None, "stop"),
    ],
)
def test_finish_words_are_mapped(word: str | None, ours: str) -> None:
    assert message_of(word, content="x").finish_reason == ours


def test_an_answer_the_provider_gave_up_on_is_an_error() -> None:
    with pytest.raises(RefusedError) as caught:
        message_of("insufficient_system_resource", content="half of")
    assert error_class(caught.value.failure).__name__ == "ServerError"


CALLS = [
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
    {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
    {"id": "c", "type": "function", "function": {"name": "h", "arguments": "[1]"}},
    {"id": "d", "type": "function", "function": {"name": "i", "arguments": {"y": 2}}},
    {"id": "e", "type": "custom", "custom": {"name": "j", "input": "free text"}},
]


def test_tool_calls_are_read_whatever_their_arguments_are() -> None:
    response = message_of("stop", content=None, tool_calls=CALLS)
    assert response.finish_reason == "tool_calls"
    assert response.tool_calls == (
        ToolCall("a", "f", {"x": 1}, '{"x": 1}'),
        ToolCall("b", "g", {}, ""),
        ToolCall("c", "h", {}, "[1]", valid=False),
        ToolCall("d", "i", {"y": 2}, '{"y": 2}'),
        ToolCall("e", "j", {"input": "free text"}, "free text"),
    )


def test_a_refusal_is_the_text() -> None:
    response = message_of("stop", content=None, refusal="I cannot")
    assert (response.content, response.finish_reason) == ("I cannot", "refusal")


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"content": [PART, {"type": "text", "text": "so"}]},
    ],
)
def test_thinking_is_read_wherever_a_provider_puts_it(message: dict[str, Any]) -> None:
    response = message_of(**({"content": "so"} | message))
    assert response.content == "so"
    assert str(response.thinking) == "hm"


def test_of_several_choices_the_first_is_the_answer() -> None:
    choices = [
        {"index": index, "message": {"content": text}, "finish_reason": "stop"}
        for index, text in ((0, "first"), (1, "second"))
    ]
    assert answered(choices=choices).content == "first"


def test_an_inline_error_is_no_answer() -> None:
    with pytest.raises(RefusedError) as caught:
        answer({"error": {"message": "busy", "code": 503}}, asked())
    assert caught.value.failure.status == 503


@pytest.mark.parametrize("body", [[], "text", 1, {}, {"choices": []}, {"choices": None}])
def test_what_is_no_answer_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedError):
        answer(body, asked())


def test_a_stream_gives_its_pieces_and_then_the_whole() -> None:
    stream = ChatAnswer(asked())
    assert stream.feed(chunk(role="assistant", content="")) == []
    assert stream.feed(chunk(reasoning_content="hm")) == [ThinkingDelta("hm")]
    assert stream.feed(chunk(content="hel")) == (TextDelta("hel"),)
    assert stream.feed(chunk(role="assistant", content="lo")) == [TextDelta("lo")]
    assert stream.complete is False
    assert stream.feed(chunk("stop")) == []
    assert stream.complete is True
    usage = {"prompt_tokens": 5, "completion_tokens": 3}
    assert stream.feed({"choices": [], "usage": usage}) == (UsageUpdate(Usage(5, 3)),)
    response = stream.response()
    assert (response.content, str(response.thinking)) == ("hello", "hm")
    assert response.usage == Usage(5, 3)
    assert response.raw_response == {"finish_reason": "stop", "usage": usage}


def piece(index: int | None, call_id: str | None = None, **function: Any) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": index, "id": call_id, "function": function}])


def test_streamed_arguments_come_as_events() -> None:
    stream = ChatAnswer(asked())
    assert stream.feed(piece(0, "a", name="f", arguments="")) == [ToolCallDelta(0, "a", "f")]
    assert stream.feed(piece(0, arguments='{"x":')) == [ToolCallDelta(0, "a", "f", '{"x":')]
    assert stream.feed(piece(1, "b", name="g", arguments="{}")) == [
        ToolCallDelta(1, "b", "g", "{}")
    ]
    assert stream.feed(piece(0, arguments=" 1}")) == [ToolCallDelta(0, "a", "f", " 1}")]
    assert stream.response().tool_calls == (
        ToolCall("a", "f", {"x": 1}, '{"x": 1}'),
        ToolCall("b", "g", {}, "{}"),
    )


def test_calls_that_share_an_index_are_told_apart_by_id() -> None:
    stream = ChatAnswer(asked())
    stream.feed(piece(0, "a", name="f", arguments="{}"))
    stream.feed(piece(0, "b", name="f", arguments="{}"))
    assert [call.id for call in stream.response().tool_calls] == ["a", "b"]


def test_calls_without_index_are_told_apart_by_name() -> None:
    stream = ChatAnswer(asked())
    stream.feed(piece(None, "a", name="f", arguments='{"x"'))
    stream.feed(piece(None, arguments=": 1}"))
    stream.feed(piece(None, "b", name="g", arguments="{}"))
    assert [call.raw_arguments for call in stream.response().tool_calls] == ['{"x": 1}', "{}"]


def test_a_call_is_shown_once_its_name_is_known() -> None:
    stream = ChatAnswer(asked())
    assert stream.feed(piece(0, "a", arguments='{"x"')) == []
    assert stream.feed(piece(0, "a", name="f", arguments=": 1}")) == [
        ToolCallDelta(0, "a", "f", '{"x": 1}')
    ]


def test_a_call_without_id_gets_one_of_its_own() -> None:
    stream = ChatAnswer(asked())
    stream.feed(piece(0, name="f", arguments="{}"))
    stream.feed(piece(1, name="f", arguments="{}"))
    first, second = stream.response().tool_calls
    assert first.id.startswith("call_")
    assert first.id != second.id


def test_reasoning_details_are_joined_by_their_index() -> None:
    stream = ChatAnswer(asked())
    for detail in (
        {"type": "reasoning.text", "index": 0, "text": "a"},
        {"type": "reasoning.text", "index": 0, "text": "b"},
        {"type": "reasoning.text", "index": 0, "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "x"},
    ):
        stream.feed(chunk(reasoning_details=[detail]))
    assert stream.response().thinking == Thinking(
        "ab",
        (
            {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"},
            {"type": "reasoning.encrypted", "index": 1, "data": "x"},
        ),
    )


def test_an_error_in_a_stream_is_raised() -> None:
    stream = ChatAnswer(asked())
    with pytest.raises(RefusedError):
        stream.feed({"error": {"message": "overloaded", "code": 503}})
    with pytest.raises(RefusedError):
        stream.feed(chunk("error", content="") | {"error": {"code": 502, "message": "upstream"}})
