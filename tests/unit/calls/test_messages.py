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


CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
EXTRA = {"google": {"thought_signature": "SIG"}}
DETAIL = {"type": "reasoning.encrypted", "data": "zz", "index": 0}
SAID = {"type": "reasoning.text", "text": "hm", "signature": "s"}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "s"}
LISTED = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
MARK = {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, None),
        ({"reasoning_content": "hm"}, Thinking("hm")),
        ({"reasoning_content": ""}, None),
        ({"reasoning_content": None, "reasoning_details": None}, None),
        ({"reasoning": "hm"}, Thinking("hm")),
        ({"reasoning_details": [DETAIL]}, Thinking("", (DETAIL,))),
        ({"reasoning": "hm", "reasoning_details": [SAID]}, Thinking("hm", (SAID,))),
        ({"reasoning_details": [SAID]}, Thinking("hm", (SAID,))),
        ({"thinking_blocks": [SIGNED]}, Thinking("hm", (SIGNED,))),
        (
            {"extra_content": EXTRA},
            Thinking(
                "", ({"type": "extra_content", "tool_call_id": None, "extra_content": EXTRA},)
            ),
        ),
        (
            {"tool_calls": [CALL | {"extra_content": EXTRA}]},
            Thinking(
                "", ({"type": "extra_content", "tool_call_id": "t1", "extra_content": EXTRA},)
            ),
        ),
        ({"content": [LISTED, {"type": "text", "text": "so"}]}, Thinking("hm", (LISTED,))),
        ({"thinking": Thinking("own", (SIGNED,)), "reasoning": "hm"}, Thinking("own", (SIGNED,))),
    ],
)
def test_what_a_dict_tells_of_thinking_is_kept(
    fields: dict[str, Any], thinking: Thinking | None
) -> None:
    message = messages_of({"role": "assistant", "content": "so", **fields})[0]
    assert message.thinking == thinking
    assert message.text == "so"


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": ["hm"]},
        {"reasoning": {"effort": "low"}},
        {"reasoning_details": "hm"},
        {"reasoning_details": ["hm"]},
        {"thinking_blocks": {"type": "thinking"}},
        {"extra_content": "SIG"},
    ],
)
def test_thinking_of_another_shape_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=r"messages\[0\]"):
        messages_of({"role": "assistant", "content": "so", **fields})


def test_a_refusal_is_what_the_assistant_said() -> None:
    given = {"role": "assistant", "content": None, "refusal": "no"}
    assert messages_of(given) == (LLMMessage("assistant", "no"),)


def test_marks_and_details_of_parts_are_kept() -> None:
    text = {"type": "text", "text": "rules", "cache_control": MARK}
    image = {"type": "image_url", "image_url": {"url": "https://h/i", "detail": "low"}}
    assert messages_of({"role": "user", "content": [text, image]})[0].content == (
        TextPart("rules", MARK),
        ImagePart("https://h/i", detail="low"),
    )


def test_a_messages_mark_is_that_of_its_end() -> None:
    given = {"role": "system", "content": "rules", "cache_control": MARK}
    assert messages_of(given)[0].content == (TextPart("rules", MARK),)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages_of({**given, "content": parts})[0].content == (
        TextPart("a"),
        TextPart("b", MARK),
    )


def test_a_mark_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="cache_control"):
        messages_of({"role": "user", "content": "q", "cache_control": True})
