from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.lanes.anthropic.claude_models import claude_of
from orchestify.lanes.anthropic.fitting import fitted
from orchestify.lanes.anthropic.request import request_body
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

USER = LLMMessage("user", "q")
OLD, NEW, NEWER, NEWEST = (
    "claude-sonnet-4-20250514",
    "claude-sonnet-4-5",
    "claude-opus-4-6",
    "claude-opus-5-5",
)
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "xyz"}
MARK = {"type": "ephemeral"}


def asked(*messages: LLMMessage, **given: Any) -> CompletionRequest:
    return CompletionRequest(**{"messages": messages or (USER,), "model": NEW, **given})


def warned(*messages: LLMMessage, **given: Any) -> tuple[str, ...]:
    return fitted(asked(*messages, **given)).warnings


def body_of(*messages: LLMMessage, **given: Any) -> dict[str, Any]:
    return request_body(asked(*messages, **given), stream=False)


def called(*ids: str, text: str = "", thinking: Thinking | None = None) -> LLMMessage:
    calls = tuple(ToolCall(each, "f") for each in ids)
    return LLMMessage("assistant", text, tool_calls=calls, thinking=thinking)


def result(call_id: str, content: Any = "r") -> LLMMessage:
    return LLMMessage("tool", content, tool_call_id=call_id)


def kinds(body: dict[str, Any], turn: int) -> list[str]:
    return [block["type"] for block in body["messages"][turn]["content"]]


def test_what_anthropic_takes_is_not_changed() -> None:
    request = asked(USER, temperature=0.3, stop=("END",), max_tokens=100)
    fitting = fitted(request)
    assert (fitting.request, fitting.warnings) == (request, ())


@pytest.mark.parametrize(
    "messages",
    [
        (USER, LLMMessage("assistant", " \n"), USER),
        (USER, LLMMessage("assistant", "\t")),
        (LLMMessage("system", " "), USER),
        (LLMMessage("user", (TextPart(" "), TextPart("q"))),),
        (USER, called("a"), result("a", (TextPart("r"), TextPart("")))),
        (USER, called("a"), result("a", " \n")),
        (USER, called("a", text=" "), result("a")),
    ],
)
def test_blank_texts_are_left_out_and_told(messages: tuple[LLMMessage, ...]) -> None:
    body = body_of(*messages)
    texts = [block for turn in body["messages"] for block in turn["content"]]
    texts += [inner for block in texts for inner in _inner(block)]
    assert all(block["text"].strip() for block in texts if block["type"] == "text")
    assert warned(*messages) == ("blank_text_dropped",)


def _inner(block: dict[str, Any]) -> list[dict[str, Any]]:
    content = block.get("content")
    return content if isinstance(content, list) else []


def test_a_blank_result_is_an_empty_one() -> None:
    body = body_of(USER, called("a"), result("a", " \n"))
    assert body["messages"][2]["content"][0]["content"] == ""


@pytest.mark.parametrize(
    "messages", [(LLMMessage("user", " "),), (LLMMessage("system", "x"), LLMMessage("user", ""))]
)
def test_nothing_but_blank_texts_is_an_error(messages: tuple[LLMMessage, ...]) -> None:
    with pytest.raises(InvalidParameterError, match="blank"):
        fitted(asked(*messages))


def test_blank_stop_sequences_are_left_out() -> None:
    assert body_of(stop=("\n", "END", " "))["stop_sequences"] == ["END"]
    assert "stop_sequences" not in body_of(stop=("\n",))
    assert warned(stop=("\n",)) == ("stop_dropped",)


@pytest.mark.parametrize("model", [NEWER, "claude-sonnet-4-6", "claude-opus-4-7", NEWEST, "claude"])
def test_an_answer_that_the_caller_began_is_an_error_from_4_6_on(model: str) -> None:
    with pytest.raises(InvalidParameterError, match="began"):
        fitted(asked(USER, LLMMessage("assistant", "So"), model=model))


@pytest.mark.parametrize("model", [OLD, NEW, "claude-opus-4-5", "deepseek-chat"])
def test_an_answer_that_the_caller_began_goes_to_older_models(model: str) -> None:
    assert body_of(USER, LLMMessage("assistant", "So "), model=model)["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "So"}],
    }


def test_a_blank_beginning_is_none_for_any_model() -> None:
    assert len(body_of(USER, LLMMessage("assistant", " "), model=NEWEST)["messages"]) == 1


def test_a_turn_that_the_provider_paused_goes_on() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    paused = LLMMessage("assistant", "I look.", thinking=Thinking("", (search,)))
    assert kinds(body_of(USER, paused, model=NEWER), 1) == ["server_tool_use", "text"]


def test_thinking_texts_and_calls_go_back_in_the_order_they_came() -> None:
    order = (
        SIGNED,
        {"type": "text", "text": "First."},
        {"type": "tool_use", "id": "a"},
        REDACTED,
        {"type": "tool_use", "id": "b"},
    )
    message = called("a", "b", text="First.", thinking=Thinking("hm", order))
    body = body_of(USER, message, result("a"), result("b"))
    assert body["messages"][1]["content"] == [
        SIGNED,
        {"type": "text", "text": "First."},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        REDACTED,
        {"type": "tool_use", "id": "b", "name": "f", "input": {}},
    ]


def test_the_order_holds_where_ids_get_another_form() -> None:
    order = ({"type": "tool_use", "id": "a:0"}, SIGNED, {"type": "tool_use", "id": "a:0"})
    message = called("a:0", "a:0", thinking=Thinking("hm", order))
    body = body_of(USER, message, result("a:0"), result("a:0"))
    assert kinds(body, 1) == ["thinking", "tool_use", "tool_use"]  # two of one id tell no order


@pytest.mark.parametrize(
    "message",
    [
        called(
            "a",
            text="Other words.",
            thinking=Thinking("hm", ({"type": "text", "text": "x"}, SIGNED)),
        ),
        called("b", thinking=Thinking("hm", ({"type": "tool_use", "id": "a"}, SIGNED))),
    ],
)
def test_what_the_caller_changed_since_goes_behind_the_thinking(message: LLMMessage) -> None:
    results = (result(call.id) for call in message.tool_calls)
    assert kinds(body_of(USER, message, *results), 1)[0] == "thinking"


def test_thinking_of_others_is_left_out() -> None:
    foreign = (
        {"type": "thinking", "thinking": "hm"},
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": "s"},
        {"type": "reasoning.encrypted", "data": "zz"},
        {"type": "extra_content", "tool_call_id": "a", "extra_content": {}},
    )
    message = called("a", text="so", thinking=Thinking("hm", foreign))
    assert kinds(body_of(USER, message, result("a")), 1) == ["text", "tool_use"]


def test_an_empty_signature_goes_back_to_who_is_no_claude() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": ""}
    message = called("a", thinking=Thinking("hm", (block,)))
    assert kinds(body_of(USER, message, result("a"), model="kimi-k2"), 1)[0] == "thinking"


@pytest.mark.parametrize(
    ("model", "left"),
    [
        (OLD, {"temperature", "top_p"}),
        ("claude-3-7-sonnet-latest", {"temperature", "top_p"}),
        ("claude-opus-4-1-20250805", {"temperature"}),
        (NEW, {"temperature"}),
        ("claude-haiku-4-5", {"temperature"}),
        (NEWER, {"temperature"}),
        ("claude-opus-4-7", set()),
    ],
)
def test_top_p_gives_way_to_the_temperature_from_4_1_on(model: str, left: set[str]) -> None:
    body = body_of(model=model, temperature=0.3, top_p=0.9)
    assert {"temperature", "top_p"} & body.keys() == left
    dropped = {f"{name}_dropped" for name in {"temperature", "top_p"} - left}
    assert set(warned(model=model, temperature=0.3, top_p=0.9)) == dropped


def test_top_p_alone_goes() -> None:
    assert body_of(top_p=0.9)["top_p"] == 0.9


def test_a_temperature_above_one_is_lowered_to_it() -> None:
    assert body_of(temperature=1.5)["temperature"] == 1.0
    assert warned(temperature=1.5) == ("temperature_reduced",)


FORCED: dict[str, Any] = {"tools": (Tool("f"),), "tool_choice": ToolChoice("tool", "f")}


@pytest.mark.parametrize("choice", [ToolChoice("tool", "f"), ToolChoice("required")])
@pytest.mark.parametrize("model", [NEW, NEWER])
def test_configured_thinking_gives_way_to_a_forced_tool(model: str, choice: ToolChoice) -> None:
    given: dict[str, Any] = {
        "model": model,
        "tools": (Tool("f"),),
        "tool_choice": choice,
        "thinking": ThinkingConfig("high"),
        "thinking_configured": True,
        "temperature": 0.2,
    }
    body = body_of(**given)
    assert "thinking" not in body
    assert body["temperature"] == 0.2  # which thinking would refuse
    assert warned(**given) == ("thinking_dropped",)


def test_thinking_that_the_caller_asks_for_beside_a_forced_tool_is_an_error() -> None:
    with pytest.raises(InvalidParameterError, match="not both"):
        fitted(asked(thinking=ThinkingConfig(), **FORCED))


@pytest.mark.parametrize("model", [NEWEST, "claude-sonnet-5-5"])
def test_a_model_that_cannot_be_forced_is_an_error(model: str) -> None:
    with pytest.raises(InvalidParameterError, match="tool_choice is auto or none"):
        fitted(asked(model=model, **FORCED))


def test_a_tool_that_may_be_called_leaves_thinking_on() -> None:
    given = {**FORCED, "tool_choice": ToolChoice("auto")}
    assert "thinking" in body_of(thinking=ThinkingConfig(), thinking_configured=True, **given)


def test_configured_thinking_gives_way_to_an_answer_begun() -> None:
    begun = (USER, LLMMessage("assistant", "So"))
    assert "thinking" not in body_of(*begun, thinking=ThinkingConfig(), thinking_configured=True)
    with pytest.raises(InvalidParameterError, match="not both"):
        fitted(asked(*begun, thinking=ThinkingConfig()))


def test_a_turn_that_another_provider_began_goes_on_without_a_budget_of_thinking() -> None:
    begun = (USER, called("a"), result("a"))
    assert "thinking" not in body_of(*begun, thinking=ThinkingConfig())
    assert warned(*begun, thinking=ThinkingConfig()) == ("thinking_dropped",)
    assert "thinking" in body_of(*begun, thinking=ThinkingConfig(), model=NEWER)  # adaptive


@pytest.mark.parametrize("block", [SIGNED, REDACTED])
def test_a_turn_of_claudes_own_thinking_goes_on_thinking(block: dict[str, str]) -> None:
    own = called("a", thinking=Thinking("hm", (block,)))
    later = (called("b"), result("b"))  # which Claude does not begin with thinking again
    assert "thinking" in body_of(USER, own, result("a"), *later, thinking=ThinkingConfig())


def test_a_turn_that_is_over_does_not_stop_the_next_ones_thinking() -> None:
    over = (USER, called("a"), result("a"), LLMMessage("assistant", "so"), USER)
    assert "thinking" in body_of(*over, thinking=ThinkingConfig())


@pytest.mark.parametrize(
    ("model", "thinking", "max_tokens", "sent"),
    [
        (NEW, ThinkingConfig(budget_tokens=2000), 8192, (8192, 2000)),
        (NEW, ThinkingConfig(budget_tokens=20_000), None, (28_192, 20_000)),
        (NEW, ThinkingConfig(budget_tokens=100_000), None, (64_000, 55_808)),
        (NEW, ThinkingConfig(budget_tokens=64_000), 64_000, (64_000, 32_000)),
        (NEW, ThinkingConfig("max"), None, (40_192, 32_000)),
        ("claude-opus-4-1", ThinkingConfig(budget_tokens=60_000), 1000, (32_000, 31_000)),
        (NEW, ThinkingConfig("minimal"), 50, (1074, 1024)),
    ],
)
def test_a_budget_fits_into_what_the_model_can_write(
    model: str, thinking: ThinkingConfig, max_tokens: int | None, sent: tuple[int, int]
) -> None:
    body = body_of(model=model, thinking=thinking, max_tokens=max_tokens)
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == sent
    told = "thinking_budget_reduced" in warned(
        model=model, thinking=thinking, max_tokens=max_tokens
    )
    assert told == (thinking.budget_tokens is not None and sent[1] < thinking.budget_tokens)


def test_an_answers_limit_is_at_most_what_the_model_can_write() -> None:
    assert body_of(model="claude-3-haiku-20240307")["max_tokens"] == 4096
    assert warned(model="claude-3-haiku-20240307") == ()
    assert body_of(max_tokens=100_000)["max_tokens"] == 64_000
    assert warned(max_tokens=100_000) == ("max_tokens_reduced",)
    assert body_of(max_tokens=100_000, model="kimi-k2")["max_tokens"] == 100_000


@pytest.mark.parametrize(
    ("model", "fields", "warnings"),
    [
        (NEW, {}, ()),
        ("claude-opus-4-8", {}, ()),
        ("claude-opus-5", {"thinking": {"type": "disabled"}}, ()),
        ("claude-haiku-5-5", {"thinking": {"type": "disabled"}}, ()),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}, ()),
        (NEWEST, {"output_config": {"effort": "low"}}, ("thinking_not_off",)),
        ("claude-fable-5", {"output_config": {"effort": "low"}}, ("thinking_not_off",)),
        ("claude-mythos-preview", {"output_config": {"effort": "low"}}, ("thinking_not_off",)),
        ("deepseek-v4-flash", {"thinking": {"type": "disabled"}}, ()),
    ],
)
def test_that_it_is_not_to_think_is_said_to_who_thinks_unless_told(
    model: str, fields: dict[str, Any], warnings: tuple[str, ...]
) -> None:
    body = body_of(model=model, thinking_off=True)
    said = {name: body[name] for name in ("thinking", "output_config") if name in body}
    assert said == fields
    assert warned(model=model, thinking_off=True) == warnings
    assert {"thinking", "output_config"} & body_of(model=model).keys() == set()


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        (NEWER, "max", "max"),
        (NEWER, "xhigh", "high"),
        (NEWER, "minimal", "low"),
        ("claude-opus-4-7", "xhigh", "xhigh"),
    ],
)
def test_an_effort_is_the_nearest_that_the_model_takes(model: str, effort: Any, sent: str) -> None:
    request = asked(model=model, thinking=ThinkingConfig(effort))
    assert request_body(request, stream=False)["output_config"] == {"effort": sent}
    assert fitted(request).warnings == (() if effort == sent else ("thinking_effort_changed",))


def test_marks_of_what_to_cache_are_sent() -> None:
    system = LLMMessage("system", (TextPart("rules", cache_control=MARK),))
    image = ImagePart(url="https://h/i.png", cache_control=MARK)
    tool = Tool("f", cache_control=MARK)
    body = body_of(system, LLMMessage("user", (TextPart("q"), image)), tools=(tool,))
    assert body["system"] == [{"type": "text", "text": "rules", "cache_control": MARK}]
    assert body["messages"][0]["content"][1]["cache_control"] == MARK
    assert body["tools"][0]["cache_control"] == MARK


def test_of_more_than_four_marks_the_last_are_sent() -> None:
    parts = tuple(TextPart(str(n), cache_control=MARK) for n in range(6))
    body = body_of(LLMMessage("user", parts))
    sent = ["cache_control" in block for block in body["messages"][0]["content"]]
    assert sent == [False, False, True, True, True, True]
    assert warned(LLMMessage("user", parts)) == ("cache_control_dropped",)


def test_an_images_detail_is_told_as_left_out() -> None:
    image = LLMMessage("user", (ImagePart(url="https://h/i.png", detail="low"),))
    assert warned(image) == ("image_detail_dropped",)


def test_fitting_twice_changes_nothing_more() -> None:
    request = asked(
        *(USER, called("a.b"), LLMMessage("system", "x"), result("a.b"), LLMMessage("user", " ")),
        temperature=0.2,
        top_p=0.3,
        stop=("\n",),
        thinking=ThinkingConfig(budget_tokens=90_000),
        thinking_configured=True,
    )
    once = fitted(request).request
    assert fitted(once).request == replace(once)
    assert fitted(once).warnings == ()


def test_a_claude_of_no_version_is_the_newest_and_no_claude_the_oldest() -> None:
    assert claude_of("claude").prefill is False
    assert claude_of("deepseek-chat").prefill is True


@pytest.mark.parametrize("arguments", ['{"city": "Par', "[1, 2]"])
def test_arguments_that_are_no_object_go_in_one(arguments: str) -> None:
    call = ToolCall("a", "f", {}, arguments, valid=False)
    messages = (LLMMessage("user", "q"), LLMMessage("assistant", "", (call,)), result("a"))
    block = body_of(*messages)["messages"][1]["content"][0]
    assert block["input"] == {"INVALID_JSON": arguments}
    assert warned(*messages) == ("arguments_changed",)
