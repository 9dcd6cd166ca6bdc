from __future__ import annotations

import re
from typing import Any

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.lanes.classify import Failure
from orchestify.lanes.openai.dialects import dialect_of, litellm_dialect
from orchestify.lanes.openai.learning import NOTHING_LEARNED, Learned
from orchestify.lanes.openai.request import fitted, request_body
from orchestify.values import (
    CompletionRequest,
    ImagePart,
    LLMMessage,
    TextPart,
    Thinking,
    ThinkingConfig,
    Tool,
    ToolCall,
    ToolChoice,
)

OPENAI = "https://api.openai.com/v1"
LOCAL = "http://127.0.0.1:8000/v1"
OLLAMA = "http://127.0.0.1:11434/v1"
AZURE = "https://me.openai.azure.com/openai/v1"
DEEPSEEK = "https://api.deepseek.com"
ZAI = "https://api.z.ai/api/paas/v4"
KIMI = "https://api.moonshot.ai/v1"
QWEN = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
MISTRAL = "https://api.mistral.ai/v1"
OPENROUTER = "https://openrouter.ai/api/v1"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
XAI = "https://api.x.ai/v1"
GROQ = "https://api.groq.com/openai/v1"
CEREBRAS = "https://api.cerebras.ai/v1"
TOGETHER = "https://api.together.xyz/v1"

USER = LLMMessage("user", "q")
MARK = {"type": "ephemeral"}
THOUGHT = {"reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget"} | {
    "chat_template_kwargs",
    "disable_reasoning",
}


def asked(*messages: LLMMessage, **given: Any) -> CompletionRequest:
    return CompletionRequest(**{"messages": messages or (USER,), "model": "gpt-4o", **given})


def body_of(base_url: str, *messages: LLMMessage, **given: Any) -> dict[str, Any]:
    return request_body(asked(*messages, **given), dialect_of(base_url), stream=False)


def warned(base_url: str, *messages: LLMMessage, **given: Any) -> tuple[str, ...]:
    return fitted(asked(*messages, **given), dialect_of(base_url)).warnings


def called(*ids: str, thinking: Thinking | None = None) -> LLMMessage:
    calls = tuple(ToolCall(each, "f") for each in ids)
    return LLMMessage("assistant", "", tool_calls=calls, thinking=thinking)


def result(call_id: str) -> LLMMessage:
    return LLMMessage("tool", "r", tool_call_id=call_id)


def test_mistral_gets_ids_of_nine_alike_in_call_and_result() -> None:
    ids = ("call_0fypS1hVXabc", "toolu_01A-b.c")
    messages = body_of(MISTRAL, USER, called(*ids), *map(result, ids))["messages"]
    sent = [call["id"] for call in messages[1]["tool_calls"]]
    assert [each["tool_call_id"] for each in messages[2:]] == sent
    assert len(set(sent)) == 2
    assert all(re.fullmatch(r"[a-zA-Z0-9]{9}", each) for each in sent)


@pytest.mark.parametrize("base_url", [OPENAI, AZURE])
def test_openai_gets_ids_of_forty_at_most(base_url: str) -> None:
    messages = body_of(base_url, USER, called("x" * 60), result("x" * 60))["messages"]
    assert len(messages[1]["tool_calls"][0]["id"]) <= 40
    assert messages[2]["tool_call_id"] == messages[1]["tool_calls"][0]["id"]


@pytest.mark.parametrize("base_url", [OPENAI, AZURE, DEEPSEEK, KIMI, MISTRAL, GEMINI])
def test_a_call_without_result_is_an_error_where_it_is_refused(base_url: str) -> None:
    with pytest.raises(InvalidParameterError, match="no result"):
        body_of(base_url, USER, called("a"))
    assert body_of(LOCAL, USER, called("a"))["messages"][1]["tool_calls"]


def test_mistral_gets_an_answer_between_a_result_and_the_user() -> None:
    for role in ("user", "system"):
        hint = LLMMessage(role, "go on")
        messages = body_of(MISTRAL, USER, called("a"), result("a"), hint)["messages"]
        assert [each["role"] for each in messages] == [
            "user",
            "assistant",
            "tool",
            "assistant",
            "user",
        ]
        assert messages[-1]["content"] == "go on"
    messages = body_of(OPENAI, USER, called("a"), result("a"), USER)["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "tool", "user"]


def test_mistral_is_told_that_an_answer_is_begun() -> None:
    assert body_of(MISTRAL, USER, LLMMessage("assistant", "So"))["messages"][-1] == {
        "role": "assistant",
        "content": "So",
        "prefix": True,
    }
    assert (
        "prefix" not in body_of(MISTRAL, USER, LLMMessage("assistant", "So"), USER)["messages"][1]
    )
    assert "prefix" not in body_of(OPENAI, USER, LLMMessage("assistant", "So"))["messages"][-1]


def test_mistral_gets_no_speakers_name() -> None:
    named = LLMMessage("user", "q", name="ada")
    assert "name" not in body_of(MISTRAL, named)["messages"][0]
    assert body_of(OPENAI, named)["messages"][0]["name"] == "ada"


@pytest.mark.parametrize("base_url", [MISTRAL, KIMI, ZAI, XAI, GEMINI])
def test_blank_messages_are_left_out_where_they_are_refused(base_url: str) -> None:
    blank = LLMMessage("assistant", " ")
    assert len(body_of(base_url, USER, blank, USER)["messages"]) == 2
    assert warned(base_url, USER, blank, USER) == ("blank_text_dropped",)
    assert len(body_of(OPENAI, USER, blank, USER)["messages"]) == 3


def test_an_unsigned_call_at_gemini_3_has_googles_placeholder() -> None:
    placeholder = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    conversation = (USER, called("a", "b"), result("a"), result("b"))
    for model in ("gemini-3-pro-preview", "gemini-3-flash", "gemini-3.1-pro", "gemini-pro-latest"):
        calls = body_of(GEMINI, *conversation, model=model)["messages"][1]["tool_calls"]
        assert [call.get("extra_content") for call in calls] == [placeholder, None]
    calls = body_of(GEMINI, *conversation, model="gemini-2.5-flash")["messages"][1]["tool_calls"]
    assert not any("extra_content" in call for call in calls)


def test_a_signed_call_keeps_its_signature() -> None:
    extra = {"google": {"thought_signature": "SIG"}}
    block = {"type": "extra_content", "tool_call_id": "b", "extra_content": extra}
    own = called("a", "b", thinking=Thinking("", (block,)))
    sent = body_of(GEMINI, USER, own, result("a"), result("b"), model="gemini-3-pro-preview")
    calls = sent["messages"][1]["tool_calls"]
    assert [call.get("extra_content") for call in calls] == [None, extra]


@pytest.mark.parametrize(
    ("base_url", "model", "filled"),
    [
        (DEEPSEEK, "deepseek-v4-flash", True),
        (DEEPSEEK, "deepseek-reasoner", True),
        (DEEPSEEK, "deepseek-chat", False),
        (KIMI, "kimi-k2.5", True),
        (KIMI, "kimi-k2-thinking", True),
        (KIMI, "moonshot-v1-8k", False),
        (LOCAL, "deepseek-v4-flash", False),
    ],
)
def test_calls_that_no_thinking_came_with_get_the_least(
    base_url: str, model: str, filled: bool
) -> None:
    conversation = (USER, called("a"), result("a"))
    message = body_of(base_url, *conversation, model=model)["messages"][1]
    assert message.get("reasoning_content") == (" " if filled else None)
    off = body_of(base_url, *conversation, model=model, thinking_off=True)["messages"][1]
    assert "reasoning_content" not in off


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "extra_content", "tool_call_id": None, "extra_content": {}},
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    ],
)
@pytest.mark.parametrize("base_url", [OPENAI, LOCAL, ZAI, QWEN, XAI, OPENROUTER, GROQ])
def test_thinking_of_others_is_left_out(base_url: str, block: dict[str, Any]) -> None:
    message = LLMMessage("assistant", "so", thinking=Thinking("hm", (block,)))
    assert body_of(base_url, USER, message, USER)["messages"][1] == {
        "role": "assistant",
        "content": "so",
    }


@pytest.mark.parametrize(
    ("base_url", "model", "fields", "is_off"),
    [
        (ZAI, "glm-4.6", {"thinking": {"type": "disabled"}}, True),
        (ZAI, "glm-4-plus", {}, True),
        (DEEPSEEK, "deepseek-v4-flash", {"thinking": {"type": "disabled"}}, True),
        (KIMI, "kimi-k2.5", {"thinking": {"type": "disabled"}}, True),
        (KIMI, "kimi-k2-thinking", {}, False),
        (KIMI, "moonshot-v1-8k", {}, True),
        (QWEN, "qwen-plus", {"enable_thinking": False}, True),
        (QWEN, "qwen3-235b-a22b", {"enable_thinking": False}, True),
        (QWEN, "qwq-plus", {}, False),
        (QWEN, "qwen3-30b-a3b-thinking-2507", {}, False),
        (QWEN, "qwen2.5-72b-instruct", {}, True),
        (OPENROUTER, "z-ai/glm-4.6", {"reasoning": {"enabled": False}}, True),
        (OPENROUTER, "openai/gpt-5.2", {"reasoning": {"enabled": False}}, True),
        (OPENROUTER, "openai/o3", {"reasoning": {"effort": "low"}}, False),
        (OPENROUTER, "openai/gpt-5", {"reasoning": {"effort": "minimal"}}, False),
        (OPENROUTER, "google/gemini-3-pro-preview", {"reasoning": {"effort": "low"}}, False),
        (OPENROUTER, "minimax/minimax-m2", {"reasoning": {"effort": "low"}}, False),
        (GEMINI, "gemini-2.5-flash", {"reasoning_effort": "none"}, True),
        (GEMINI, "gemini-2.5-flash-lite", {"reasoning_effort": "none"}, True),
        (GEMINI, "gemini-2.5-pro", {"reasoning_effort": "low"}, False),
        (GEMINI, "gemini-3-pro-preview", {"reasoning_effort": "low"}, False),
        (GEMINI, "gemini-3-flash-preview", {"reasoning_effort": "minimal"}, False),
        (GEMINI, "gemini-2.0-flash", {}, True),
        (OPENAI, "o3", {"reasoning_effort": "low"}, False),
        (OPENAI, "o4-mini", {"reasoning_effort": "low"}, False),
        (OPENAI, "gpt-5", {"reasoning_effort": "minimal"}, False),
        (OPENAI, "gpt-5-mini-2025-08-07", {"reasoning_effort": "minimal"}, False),
        (OPENAI, "gpt-5-pro", {"reasoning_effort": "high"}, False),
        (OPENAI, "gpt-5.1", {"reasoning_effort": "none"}, True),
        (OPENAI, "gpt-5.4-mini", {"reasoning_effort": "none"}, True),
        (OPENAI, "gpt-4o", {}, True),
        (OPENAI, "gpt-5-chat-latest", {}, True),
        (AZURE, "my-deployment", {}, True),
        (XAI, "grok-4.3", {"reasoning_effort": "none"}, True),
        (XAI, "grok-4", {}, False),
        (XAI, "grok-4-fast-non-reasoning", {}, True),
        (XAI, "grok-3-mini", {"reasoning_effort": "low"}, False),
        (GROQ, "qwen/qwen3-32b", {"reasoning_effort": "none"}, True),
        (GROQ, "openai/gpt-oss-120b", {"reasoning_effort": "low"}, False),
        (CEREBRAS, "zai-glm-4.7", {"disable_reasoning": True}, True),
        (TOGETHER, "Qwen/Qwen3-235B-A22B", {"reasoning": {"enabled": False}}, True),
        (MISTRAL, "mistral-small-latest", {"reasoning_effort": "none"}, True),
        (MISTRAL, "magistral-medium-latest", {}, False),
        (OLLAMA, "qwen3:8b", {"reasoning_effort": "none"}, True),
        (
            LOCAL,
            "Qwen/Qwen3-8B",
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
            True,
        ),
        (LOCAL, "llama-3", {}, True),
    ],
)
def test_that_it_is_not_to_think_is_said_as_the_endpoint_takes_it(
    base_url: str, model: str, fields: dict[str, Any], is_off: bool
) -> None:
    body = body_of(base_url, model=model, thinking_off=True)
    assert {name: body[name] for name in THOUGHT & body.keys()} == fields
    assert warned(base_url, model=model, thinking_off=True) == (
        () if is_off else ("thinking_not_off",)
    )
    assert not THOUGHT & body_of(base_url, model=model).keys()


@pytest.mark.parametrize(
    ("base_url", "model", "effort", "fields"),
    [
        (OPENAI, "gpt-5.2", "max", {"reasoning_effort": "xhigh"}),
        (OPENAI, "gpt-5.1", "xhigh", {"reasoning_effort": "high"}),
        (OPENAI, "gpt-5.1", "minimal", {"reasoning_effort": "low"}),
        (OPENAI, "gpt-5", "minimal", {"reasoning_effort": "minimal"}),
        (OPENAI, "gpt-5-pro", "low", {"reasoning_effort": "high"}),
        (OPENAI, "gpt-6-sol", "max", {"reasoning_effort": "max"}),
        (OPENAI, "o3", "xhigh", {"reasoning_effort": "high"}),
        (OPENROUTER, "x/y", "max", {"reasoning_effort": "xhigh"}),
        (OPENROUTER, "x/y", "minimal", {"reasoning_effort": "minimal"}),
        (LOCAL, "x", "max", {"reasoning_effort": "high"}),
        (GROQ, "qwen/qwen3-32b", "high", {"reasoning_effort": "default"}),
        (XAI, "grok-4.3", "high", {"reasoning_effort": "high"}),
        (XAI, "grok-4", "high", {}),
        (MISTRAL, "mistral-medium-3.5", "low", {"reasoning_effort": "high"}),
        (MISTRAL, "mistral-large-latest", "low", {}),
        (QWEN, "qwen3-max", "high", {"enable_thinking": True}),
        (
            DEEPSEEK,
            "deepseek-v4-pro",
            "max",
            {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
        ),
        (ZAI, "glm-4.6", "max", {"thinking": {"type": "enabled"}}),
    ],
)
def test_an_effort_is_the_nearest_that_the_model_takes(
    base_url: str, model: str, effort: Any, fields: dict[str, Any]
) -> None:
    body = body_of(base_url, model=model, thinking=ThinkingConfig(effort))
    assert {name: body[name] for name in THOUGHT & body.keys()} == fields


def test_an_effort_that_is_changed_is_told() -> None:
    assert warned(OPENAI, model="o3", thinking=ThinkingConfig("max")) == (
        "thinking_effort_changed",
    )
    assert warned(OPENAI, model="o3", thinking=ThinkingConfig("high")) == ()


def test_a_budget_goes_to_qwen() -> None:
    body = body_of(QWEN, model="qwen3-max", thinking=ThinkingConfig(budget_tokens=2000))
    assert (body["enable_thinking"], body["thinking_budget"]) == (True, 2000)


FORCED: dict[str, Any] = {"tools": (Tool("f"),), "tool_choice": ToolChoice("required")}


@pytest.mark.parametrize(
    ("base_url", "model"),
    [(KIMI, "kimi-k2.5"), (DEEPSEEK, "deepseek-v4-pro"), (QWEN, "qwen3-max")],
)
def test_thinking_gives_way_to_a_forced_tool_where_both_are_refused(
    base_url: str, model: str
) -> None:
    by_itself = {"model": model, **FORCED}
    configured = {**by_itself, "thinking": ThinkingConfig(), "thinking_configured": True}
    for given in (by_itself, configured):
        body = body_of(base_url, **given)
        assert (
            body.get("thinking", {}).get("type") == "disabled" or body["enable_thinking"] is False
        )
        assert warned(base_url, **given) == ("thinking_dropped",)
    with pytest.raises(InvalidParameterError, match="not both"):
        body_of(base_url, **by_itself, thinking=ThinkingConfig())
    assert warned(OPENAI, model="gpt-5", thinking=ThinkingConfig(), **FORCED) == ()


@pytest.mark.parametrize("temperature", [0.3, 1])
def test_sampling_that_a_kimi_fixes_is_left_out(temperature: float) -> None:
    body = body_of(KIMI, model="kimi-k2.5", temperature=temperature, top_p=0.5)
    assert not {"temperature", "top_p"} & body.keys()
    assert body_of(LOCAL, model="kimi-k2.5", temperature=0.3)["temperature"] == 0.3


@pytest.mark.parametrize(("base_url", "highest"), [(KIMI, 1.0), (ZAI, 1.0), (MISTRAL, 1.5)])
def test_a_temperature_is_lowered_to_the_highest(base_url: str, highest: float) -> None:
    assert body_of(base_url, model="x", temperature=1.8)["temperature"] == highest
    assert warned(base_url, model="x", temperature=1.8) == ("temperature_reduced",)
    assert body_of(OPENAI, temperature=1.8)["temperature"] == 1.8


def test_what_a_reasoning_model_refuses_is_told() -> None:
    given = {"model": "gpt-5", "temperature": 0.2, "top_p": 0.5, "stop": ("END",)}
    assert warned(OPENAI, **given) == ("temperature_dropped", "top_p_dropped", "stop_dropped")


def test_an_images_detail_and_marks_are_sent_where_they_are_taken() -> None:
    image = ImagePart(url="https://h/i.png", detail="low", cache_control=MARK)
    message = LLMMessage("user", (TextPart("q", cache_control=MARK), image))
    parts = body_of(OPENROUTER, message, tools=(Tool("f", cache_control=MARK),))
    assert parts["messages"][0]["content"] == [
        {"type": "text", "text": "q", "cache_control": MARK},
        {
            "type": "image_url",
            "image_url": {"url": "https://h/i.png", "detail": "low"},
            "cache_control": MARK,
        },
    ]
    assert parts["tools"][0]["cache_control"] == MARK
    body = body_of(OPENAI, message)["messages"][0]["content"]
    assert body[1] == {
        "type": "image_url",
        "image_url": {"url": "https://h/i.png", "detail": "low"},
    }
    assert warned(OPENAI, message) == ("cache_control_dropped",)


@pytest.mark.parametrize(
    ("model", "id_"), [("mistral/mistral-large", 9), ("openai/gpt-4o", 29), ("groq/x", 60)]
)
def test_ids_are_the_providers_behind_litellm_too(model: str, id_: int) -> None:
    request = asked(USER, called("x" * 60), result("x" * 60), model=model)
    messages = fitted(request, litellm_dialect(model)).request.messages
    assert len(messages[1].tool_calls[0].id) == id_
    assert messages[2].tool_call_id == messages[1].tool_calls[0].id


OTHER = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    ("message", "learned"),
    [
        (OTHER, Learned("max_completion_tokens")),
        ("Unrecognized request argument supplied: max_completion_tokens", Learned("max_tokens")),
        ("body.max_completion_tokens: Extra inputs are not permitted", Learned("max_tokens")),
        ("max_tokens is too large: 100000. This model supports at most 16384", None),
        (
            "Unsupported value: 'temperature' does not support 0.2 with this model.",
            Learned(refused=frozenset({"temperature"})),
        ),
        ("Unsupported parameter: 'stop' is not supported with this model.", None),
        ("Unsupported parameter: 'user' is not supported with this model.", None),
        ("something else", None),
    ],
)
def test_what_a_refusal_teaches(message: str, learned: Learned | None) -> None:
    request = asked(max_tokens=10, temperature=0.2)
    assert NOTHING_LEARNED.after(Failure(400, message), request) == learned


def test_only_a_refusal_of_the_request_teaches() -> None:
    assert NOTHING_LEARNED.after(Failure(500, OTHER), asked(max_tokens=10)) is None
    assert NOTHING_LEARNED.after(Failure(400, OTHER), asked()) is None


def test_a_model_that_refuses_both_limits_teaches_nothing_more() -> None:
    refusal = Failure(400, "Unrecognized request argument supplied: max_completion_tokens")
    assert Learned("max_completion_tokens").after(refusal, asked(max_tokens=10)) is None


def test_fitting_twice_changes_nothing_more() -> None:
    conversation = (USER, called("a.b"), LLMMessage("system", "x"), result("a.b"), USER)
    for base_url in (MISTRAL, KIMI, OPENAI):
        dialect = dialect_of(base_url)
        once = fitted(asked(*conversation, temperature=1.9), dialect).request
        again = fitted(once, dialect)
        assert (again.request, again.warnings) == (once, ())
