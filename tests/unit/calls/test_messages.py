"""Messages as callers write them, and as the values they become."""

from __future__ import annotations

from typing import Any

import pytest

from orchestify.calls.messages import messages_of, parse_arguments, tool_call_of
from orchestify.errors import InvalidParameterError
from orchestify.values import ImagePart, LLMMessage, TextPart, Thinking, ToolCall

USER = LLMMessage("user", "hi")
PNG = "iVBORw0KGgo="


@pytest.mark.parametrize(
    "given",
    [
        "hi",
        USER,
        {"role": "user", "content": "hi"},
        ["hi"],
        [USER],
        ({"role": "user", "content": "hi"},),
        iter(["hi"]),
    ],
)
def test_a_text_a_message_or_several(given: Any) -> None:
    assert messages_of(given) == (USER,)


def test_a_developer_is_the_system() -> None:
    assert messages_of([{"role": "developer", "content": "x"}]) == (LLMMessage("system", "x"),)


def test_no_content_is_none_said() -> None:
    assert messages_of([{"role": "assistant", "content": None}])[0].content == ""


def test_the_speakers_name_is_kept() -> None:
    assert messages_of([{"role": "user", "content": "x", "name": "Ann"}])[0].name == "Ann"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("x", TextPart("x")),
        ({"type": "text", "text": "x"}, TextPart("x")),
        (TextPart("x"), TextPart("x")),
        ({"type": "image_url", "image_url": {"url": "https://h/i"}}, ImagePart("https://h/i")),
        ({"type": "image_url", "image_url": "https://h/i"}, ImagePart("https://h/i")),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ImagePart(data=PNG, media_type="image/png"),
        ),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
            },
            ImagePart(data=PNG, media_type="image/png"),
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://h/i"}},
            ImagePart("https://h/i"),
        ),
    ],
)
def test_parts_in_every_form(part: Any, value: TextPart | ImagePart) -> None:
    assert messages_of([{"role": "user", "content": [part]}])[0].content == (value,)
    assert messages_of([LLMMessage("user", [part])])[0].content == (value,)


def test_openais_tool_calls_are_parsed() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "t", "arguments": '{"a": 1}'}}
    message = messages_of([{"role": "assistant", "content": None, "tool_calls": [call]}])[0]
    assert message.tool_calls == (ToolCall("c1", "t", {"a": 1}, '{"a": 1}'),)


def test_our_own_form_of_tool_calls_is_taken() -> None:
    call = {"id": "c1", "name": "t", "arguments": {"a": 1}}
    assert messages_of([{"role": "assistant", "tool_calls": [call]}])[0].tool_calls == (
        ToolCall("c1", "t", {"a": 1}),
    )


def test_a_tools_result() -> None:
    given = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
    assert messages_of([given]) == (LLMMessage("tool", "sunny", tool_call_id="c1"),)


def test_thinking_goes_back() -> None:
    said = Thinking("hm", ({"signature": "s"},))
    assert messages_of([{"role": "assistant", "thinking": said}])[0].thinking is said
    assert messages_of([{"role": "assistant", "thinking": "hm"}])[0].thinking == Thinking("hm")


def test_a_message_keeps_all_it_has() -> None:
    message = LLMMessage(
        "assistant", [TextPart("x")], (ToolCall("c", "t"),), None, "Ann", Thinking("hm")
    )
    assert messages_of([message]) == (message,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "messages is empty"),
        (5, "messages is a text, a message or a list of messages"),
        (["hi", 5], r"messages\[1\] is a int"),
        ([{"content": "x"}], r"messages\[0\]: a message's role is one of"),
        (["hi", {"role": "bot", "content": "x"}], r"messages\[1\]: a message's role"),
        ([{"role": "user", "content": 5}], r"messages\[0\]: content is text or a list of parts"),
        ([{"role": "user", "content": [5]}], r"messages\[0\]: a part is of type"),
        ([{"role": "user", "content": [{"type": "video"}]}], r"messages\[0\]: a part is of type"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"messages\[0\]: not a message"),
        ([LLMMessage("user", [{"type": "text"}])], r"messages\[0\]: not a message"),  # type: ignore[list-item]
        ([LLMMessage("user", [5])], r"messages\[0\]: a part is of type"),  # type: ignore[list-item]
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "data:x,y"}]}],
            r"messages\[0\]: an image's data: URL is base64",
        ),
        ([{"role": "assistant", "tool_calls": [{"id": "c"}]}], r"messages\[0\]: not a message"),
        ([{"role": "user"}], r"messages\[0\]: its content is missing"),
        ([{"role": "assistant", "thinking": 5}], r"messages\[0\]: thinking is a Thinking"),
    ],
)
def test_other_forms_are_refused_by_their_place(given: Any, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        messages_of(given)


def test_what_is_refused_is_not_shown() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        messages_of([{"role": "user", "content": [{"type": "text", "txt": "my secret"}]}])
    assert "my secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "arguments", "valid"),
    [
        ('{"a": 1}', {"a": 1}, True),
        ("", {}, True),
        ("{}", {}, True),
        ("[1]", {}, False),
        ('{"a": ', {}, False),
        ("[" * 100_000, {}, False),
    ],
)
def test_arguments_are_parsed(text: str, arguments: dict[str, Any], valid: bool) -> None:
    assert parse_arguments(text) == (arguments, valid)


def test_a_call_keeps_what_the_model_wrote() -> None:
    assert tool_call_of("c", "t", "{nonsense") == ToolCall("c", "t", {}, "{nonsense", False)
