"""Requests in Anthropic's own words: as they came, but for what the model is known to refuse."""

from __future__ import annotations

from typing import Any

import pytest

from orchestify.lanes.anthropic.native import fitted_native, growing
from orchestify.values import (
    CompletionRequest,
    LLMMessage,
    NativeEvent,
    NativeRequest,
    TextDelta,
    ThinkingConfig,
)

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8000}
CLEARS = {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}
SONNET, OPUS = "claude-sonnet-4-5", "claude-opus-4-8"
ANY = ThinkingConfig()


def fitted(model: str, body: dict[str, Any], **said: Any) -> tuple[Any, tuple[str, ...]]:
    """The body that goes out for a model, and the words for what was changed."""
    native = NativeRequest("messages", {**BODY, "model": "agent:any", "stream": True, **body})
    request = CompletionRequest(
        messages=(LLMMessage("user", "hi"),), model=model, max_tokens=8000, native=native, **said
    )
    fitting = fitted_native(request, native)
    assert fitting.request.native is not None
    return fitting.request.native.body, fitting.warnings


def test_what_nobody_knows_goes_as_it_came() -> None:
    body, warnings = fitted(SONNET, {"brand_new": [1], "top_k": 5, "temperature": 0.5})
    expected = {**BODY, "model": SONNET, "brand_new": [1], "top_k": 5, "temperature": 0.5}
    assert (body, warnings) == (expected, ())


def test_thinking_of_the_newest_models_becomes_a_budget() -> None:
    asked = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}, **CLEARS}
    body, warnings = fitted(SONNET, asked, thinking=ThinkingConfig(effort="high"))
    thinking = {"type": "enabled", "budget_tokens": 4096}
    assert body == {**BODY, **CLEARS, "model": SONNET, "thinking": thinking}
    assert warnings == ("effort_dropped",)


def test_a_budget_becomes_thinking_of_the_newest_models() -> None:
    asked = {"thinking": {"type": "enabled", "budget_tokens": 4096}}
    body, _ = fitted(OPUS, asked, thinking=ThinkingConfig(budget_tokens=4096))
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "high"}


def test_thinking_that_the_model_takes_goes_as_it_came() -> None:
    asked = {"thinking": {"type": "adaptive", "display": "omitted"}, **CLEARS}
    body, _ = fitted(OPUS, asked, thinking=ANY)
    assert body == {**BODY, **asked, "model": OPUS}


def test_thinking_that_is_not_to_be_had_leaves_nothing_of_it() -> None:
    body, _ = fitted("claude-3-5-haiku-latest", {"thinking": {"type": "adaptive"}, **CLEARS})
    assert body == {**BODY, "model": "claude-3-5-haiku-latest"}


def test_other_edits_of_the_context_stay_without_thinking() -> None:
    kept = {"type": "clear_tool_uses_20250919"}
    managed = {"edits": [*CLEARS["context_management"]["edits"], kept]}
    asked = {"thinking": {"type": "adaptive"}, "context_management": managed}
    body, _ = fitted(SONNET, asked)
    assert body["context_management"] == {"edits": [kept]}


def test_what_is_configured_is_filled_in_and_makes_room() -> None:
    configured = ThinkingConfig(budget_tokens=9000)
    asked = {"temperature": 0.3, "max_tokens": 8000}
    body, _ = fitted(SONNET, asked, thinking=configured, thinking_configured=True, temperature=0.3)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 9000}
    assert body["max_tokens"] == 17_000
    assert "temperature" not in body


@pytest.mark.parametrize(("value", "warnings"), [(0.5, ("temperature_dropped",)), (1, ())])
def test_sampling_that_the_model_refuses_is_left_out(
    value: float, warnings: tuple[str, ...]
) -> None:
    assert fitted(OPUS, {"temperature": value})[1] == warnings


def test_system_messages_become_the_users_where_the_model_takes_none() -> None:
    asked = {"messages": [*BODY["messages"], {"role": "system", "content": "Be brief."}]}
    older, _ = fitted(SONNET, asked)
    newer, _ = fitted(OPUS, asked)
    (_, said) = older["messages"]
    assert said["role"] == "user"
    assert "Operator note" in said["content"][0]["text"]
    assert said["content"][1] == {"type": "text", "text": "Be brief."}
    assert newer["messages"] == asked["messages"]


def test_events_are_passed_on_before_what_they_brought() -> None:
    request = CompletionRequest(
        messages=(LLMMessage("user", "hi"),), model=SONNET, native=NativeRequest("messages", BODY)
    )
    answer = growing(request)
    strange = {"type": "hologram", "data": 1}
    begin = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    piece = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "Hi"},
    }
    assert answer.feed(strange) == (NativeEvent(strange, is_output=False),)
    assert answer.feed(begin) == (NativeEvent(begin, is_output=True),)
    assert answer.feed(piece) == (NativeEvent(piece, is_output=True), TextDelta("Hi"))
