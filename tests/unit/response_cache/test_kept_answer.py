"""An answer as text and back."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from orchestify.response_cache.kept_answer import MOST_CHARS, answer_in, as_hit, text_of
from orchestify.values import (
    LLMResponse,
    NativeEvent,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

WHOLE: LLMResponse = LLMResponse(
    content="It is warm. \u00fc \U0001f600",
    model="m-1",
    tokens_input=10,
    tokens_output=5,
    finish_reason="tool_calls",
    raw_response={"id": "x", "usage": {"n": 1.5, "none": None}},
    tool_calls=(ToolCall("call_1", "look", {"city": "Oslo"}, '{"city":"Oslo"}'),),
    thinking=Thinking("hm", ({"type": "thinking", "thinking": "hm", "signature": "s"},)),
    usage=Usage(10, 5, reasoning=2, iterations=(("m-0", Usage(3, 1)),), modifiers=("fast",)),
    cost_usd=Decimal("0.00000012"),
    warnings=("temperature_dropped",),
)
EVENTS = (
    ThinkingDelta("hm"),
    TextDelta("It is "),
    TextDelta("warm.", is_refusal=True),
    ToolCallDelta(0, "call_1", "look", '{"city":', {"thought_signature": "s"}),
    NativeEvent({"type": "ping"}, is_output=False),
)


def test_a_whole_answer_comes_back_as_it_was() -> None:
    kept = answer_in(text_of(WHOLE, None) or "")
    assert kept is not None
    assert (kept.response, kept.events) == (WHOLE, None)


def test_a_stream_comes_back_piece_by_piece() -> None:
    kept = answer_in(text_of(WHOLE, EVENTS) or "")
    assert kept is not None
    assert kept.events == EVENTS


@pytest.mark.parametrize("reason", ["length", "content_filter", "refusal", "pause", "other"])
def test_an_answer_that_is_not_whole_is_not_kept(reason: str) -> None:
    assert text_of(replace(WHOLE, finish_reason=reason), None) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"content": "half of a character: \ud800"},
        {"raw_response": object()},
        {"content": "x" * MOST_CHARS},
    ],
)
def test_what_has_no_text_or_too_much_is_not_kept(changes: dict[str, object]) -> None:
    assert text_of(replace(WHOLE, **changes), None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"form":1', '"form":2'),
        ('"tool_calls"', '"finish_reason":"length","tool_calls"'),
        ('["text"', '["unheard of"'),
        ('"tokens"', ""),
        ('"content":"', '"content":[],"x":"'),
    ],
)
def test_another_text_is_no_answer(old: str, new: str) -> None:
    text = text_of(WHOLE, EVENTS) or ""
    changed = text.replace(old, new) if old in text else text[:-3]
    assert answer_in(changed) is None


def test_a_hit_used_nothing_and_says_what_it_saved() -> None:
    hit = as_hit(WHOLE, provider="p", call_id="c")
    assert (hit.content, hit.tool_calls, hit.thinking) == (
        WHOLE.content,
        WHOLE.tool_calls,
        WHOLE.thinking,
    )
    assert (hit.usage, hit.tokens_input, hit.tokens_output) == (Usage(), 0, 0)
    assert (hit.cost_usd, hit.cost_source, hit.is_cached) == (0, "cache", True)
    assert (hit.saved_usd, hit.provider, hit.call_id) == (Decimal("0.00000012"), "p", "c")
