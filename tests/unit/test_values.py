"""The values of the call path."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.values import (
    UNKNOWN_USAGE,
    CompletionRequest,
    ImagePart,
    LLMMessage,
    LLMResponse,
    StreamEnd,
    TextDelta,
    TextPart,
    Thinking,
    ThinkingDelta,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    Usage,
)

SECRET = "my secret words"


def test_the_seeds_values_take_the_seeds_arguments() -> None:
    message = LLMMessage(role="user", content="hi")
    response = LLMResponse("x", "m", 1, 2, "stop", None)
    usage = TokenUsage()
    assert (message.role, message.content) == ("user", "hi")
    assert (response.tokens_input, response.tokens_output) == (1, 2)
    assert (usage.total_input, usage.total_output) == (0, 0)
    assert (usage.total_cost_usd, usage.call_count) == (0.0, 0)


def test_the_seeds_fields_come_first() -> None:
    assert [each.name for each in fields(LLMMessage)][:2] == ["role", "content"]
    assert [each.name for each in fields(LLMResponse)][:6] == [
        "content",
        "model",
        "tokens_input",
        "tokens_output",
        "finish_reason",
        "raw_response",
    ]


@pytest.mark.parametrize("role", ["", "bot", "User", "developer"])
def test_a_role_is_one_of_four(role: str) -> None:
    with pytest.raises(InvalidParameterError, match="one of system, user, assistant, tool"):
        LLMMessage(role, "x")


def test_lists_become_tuples_so_that_nothing_changes_later() -> None:
    parts, calls = [TextPart("x")], [ToolCall("c", "t")]
    message = LLMMessage("assistant", parts, calls)  # type: ignore[arg-type]
    parts.clear()
    calls.clear()
    assert message.content == (TextPart("x"),)
    assert message.tool_calls == (ToolCall("c", "t"),)


def test_a_messages_text_is_that_of_its_parts() -> None:
    message = LLMMessage("user", [TextPart("a"), ImagePart("https://h/i"), TextPart("b")])
    assert message.text == "ab"
    assert message.has_images is True
    assert LLMMessage("user", "ab").text == "ab"
    assert LLMMessage("user", "ab").has_images is False


@pytest.mark.parametrize(
    "arguments", [{}, {"url": "u", "data": "d"}, {"data": "d"}, {"data": "d", "media_type": ""}]
)
def test_an_image_has_a_url_or_data_with_its_type(arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidParameterError, match="image"):
        ImagePart(**arguments)


def test_an_image_as_a_url() -> None:
    assert ImagePart("https://h/i").data_url == "https://h/i"
    assert ImagePart(data="aGk=", media_type="image/png").data_url == "data:image/png;base64,aGk="


def test_an_answer_becomes_the_assistants_message() -> None:
    calls, thinking = (ToolCall("c", "t"),), Thinking("hm", ({"signature": "s"},))
    response = LLMResponse("x", "m", 1, 1, "tool_calls", tool_calls=calls, thinking=thinking)
    assert response.to_message() == LLMMessage(
        "assistant", "x", tool_calls=calls, thinking=thinking
    )


def test_thinking_is_its_text_and_is_there_with_blocks_alone() -> None:
    assert str(Thinking("hm")) == "hm"
    assert bool(Thinking()) is False
    assert bool(Thinking(blocks=({"type": "redacted_thinking"},))) is True


def test_counts_are_inclusive() -> None:
    usage = Usage(100, 50, cache_read=80, reasoning=40)
    assert usage.total_tokens == 150
    assert UNKNOWN_USAGE.source == "unknown"


@pytest.mark.parametrize(
    "value",
    [
        LLMMessage("user", SECRET),
        LLMMessage(
            "user", [TextPart(SECRET), ImagePart(f"https://h/{SECRET}")], thinking=Thinking(SECRET)
        ),
        TextPart(SECRET),
        ImagePart(data=SECRET, media_type="image/png"),
        ToolCall("c", "t", {"a": SECRET}, SECRET),
        Thinking(SECRET, ({"thinking": SECRET},)),
        LLMResponse(SECRET, "m", 1, 1, "stop", {"x": SECRET}, parsed=SECRET),
        CompletionRequest(
            messages=(LLMMessage("user", SECRET),), model="m", options={"user": SECRET}
        ),
        TextDelta(SECRET),
        ThinkingDelta(SECRET),
        ToolCallDelta(0, "c", "t", SECRET),
        StreamEnd(LLMResponse(SECRET, "m", 1, 1, "stop")),
    ],
)
def test_no_repr_shows_a_prompt_or_an_answer(value: Any) -> None:
    assert SECRET not in repr(value)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (LLMMessage("user", [TextPart("x")]), "role"),
        (LLMResponse("x", "m", 1, 1, "stop", usage=Usage(1, 1)), "content"),
        (Usage(1, 2), "input_tokens"),
    ],
)
def test_values_are_frozen_and_can_be_pickled(value: Any, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, "x")
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own bytes


def test_image_bytes_are_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidParameterError, match="encode bytes with base64"):
        ImagePart(data=b"png", media_type="image/png")  # type: ignore[arg-type]


def test_an_image_comes_from_the_web_or_from_its_data() -> None:
    with pytest.raises(InvalidParameterError, match="begins with https://"):
        ImagePart(url="file:///etc/passwd")
