from __future__ import annotations

import re

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.lanes.tool_calls import any_id, nine_id, paired, short_id, word_id
from orchestify.values import LLMMessage, Thinking, ToolCall

USER = LLMMessage("user", "q")
HINT = LLMMessage("system", "be quick")


def called(*ids: str, thinking: Thinking | None = None) -> LLMMessage:
    calls = tuple(ToolCall(each, "f") for each in ids)
    return LLMMessage("assistant", "", tool_calls=calls, thinking=thinking)


def result(call_id: str, text: str = "r") -> LLMMessage:
    return LLMMessage("tool", text, tool_call_id=call_id)


def ids(messages: tuple[LLMMessage, ...]) -> list[object]:
    """The ids of each message: a list of its calls', or its result's."""
    return [
        [call.id for call in message.tool_calls] if message.tool_calls else message.tool_call_id
        for message in messages
        if message.tool_calls or message.role == "tool"
    ]


def test_a_conversation_without_calls_stays_as_it_is() -> None:
    messages = (USER, HINT)
    assert paired(messages, nine_id, complete=True) is messages


def test_fitting_ids_stay_as_they_are() -> None:
    messages = (USER, called("a", "b"), result("b"), result("a"), USER)
    assert paired(messages, any_id, complete=True) == messages


@pytest.mark.parametrize(
    ("form", "given", "made"),
    [
        (word_id, "functions.w:0", "functions_w_0"),
        (word_id, "", "call"),
        (short_id, "x" * 40, "x" * 40),
        (nine_id, "abcDEF123", "abcDEF123"),
        (any_id, "", "call"),
    ],
)
def test_forms_of_ids(form: object, given: str, made: str) -> None:
    assert form(given) == made  # type: ignore[operator]


def test_an_id_that_is_too_long_for_openai_becomes_a_short_one() -> None:
    assert re.fullmatch(r"call_[a-zA-Z0-9]{24}", short_id("x" * 41))
    assert short_id("x" * 41) != short_id("x" * 42)


@pytest.mark.parametrize("given", ["call_0fypS1hVX", "toolu_01A-b.c", "", "abc", "ä" * 9])
def test_mistrals_ids_are_nine_letters_or_digits(given: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9]{9}", nine_id(given))


def test_repeated_ids_become_unique_and_each_result_goes_to_the_latest_call() -> None:
    messages = (
        *(USER, called("call_0"), result("call_0", "one")),
        *(called("call_0"), result("call_0", "two")),
        *(called("call_0"), result("call_0", "three")),
    )
    assert ids(paired(messages, word_id, complete=True)) == [
        ["call_0"],
        "call_0",
        ["call_0_2"],
        "call_0_2",
        ["call_0_3"],
        "call_0_3",
    ]


def test_one_id_for_several_calls_of_a_turn_is_answered_in_order() -> None:
    messages = (USER, called("", ""), result("", "one"), result("", "two"))
    assert ids(paired(messages, word_id, complete=True)) == [["call", "call_2"], "call", "call_2"]


def test_ids_that_become_alike_are_told_apart() -> None:
    messages = (USER, called("a.b", "a:b"), result("a:b"), result("a.b"))
    assert ids(paired(messages, word_id, complete=True)) == [["a_b", "a_b_2"], "a_b_2", "a_b"]


def test_an_id_does_not_change_when_the_conversation_grows() -> None:
    begun = (USER, called("call_0"), result("call_0"), called("call_0"), result("call_0"))
    grown = (*begun, USER, called("call_0"), result("call_0"))
    assert paired(grown, nine_id, complete=True)[:5] == paired(begun, nine_id, complete=True)


def test_blocks_of_thinking_name_their_calls_by_the_new_ids() -> None:
    block = {"type": "extra_content", "tool_call_id": "a.b", "extra_content": {"google": {}}}
    mark = {"type": "tool_use", "id": "a.b"}
    other = {"type": "thinking", "thinking": "hm", "signature": "s"}
    messages = (USER, called("a.b", thinking=Thinking("hm", (block, mark, other))), result("a.b"))
    thinking = paired(messages, word_id, complete=True)[1].thinking
    assert thinking is not None
    assert thinking.blocks == (
        block | {"tool_call_id": "a_b"},
        {"type": "tool_use", "id": "a_b"},
        other,
    )


def test_results_stand_directly_behind_their_calls() -> None:
    messages = (USER, called("a", "b"), HINT, result("a"), USER, result("b"), HINT)
    assert paired(messages, any_id, complete=True) == (
        *(USER, called("a", "b"), result("a"), result("b")),
        *(HINT, USER, HINT),
    )


def test_what_waits_for_results_that_never_come_stands_before_the_next_answer() -> None:
    messages = (USER, called("a"), HINT, LLMMessage("assistant", "so"))
    assert paired(messages, any_id, complete=False) == messages


def test_calls_of_two_messages_in_a_row_have_their_results_behind_both() -> None:
    messages = (USER, called("a"), called("b"), result("b"), result("a"))
    assert paired(messages, any_id, complete=True) == messages


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ((USER, called("a")), r"messages\[1\]: a tool call has no result"),
        ((USER, called("a", "b"), result("a")), r"messages\[1\]: a tool call has no result"),
        ((USER, called("a"), USER, LLMMessage("assistant", "so")), r"messages\[1\]"),
        ((USER, result("a")), r"messages\[1\]: a result without a call before it"),
        ((USER, called("a"), result("a"), result("a")), r"messages\[3\]"),
        ((USER, called("a"), result("a"), called("b"), result("a")), r"messages\[4\]"),
    ],
)
def test_calls_and_results_without_each_other_are_refused_where_they_must_pair(
    messages: tuple[LLMMessage, ...], problem: str
) -> None:
    with pytest.raises(InvalidParameterError, match=problem):
        paired(messages, any_id, complete=True)
    assert len(paired(messages, any_id, complete=False)) == len(messages)
