"""What the answers of both protocols have in common: arguments, finish words, the stream's face."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestify.lanes.classify import REQUEST_ID_HEADERS, Failure
from orchestify.lanes.failures import RefusedError
from orchestify.values import (
    NOTHING,
    FinishReason,
    LLMResponse,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)


class Answer(Protocol):
    """An answer that grows: each protocol has one."""

    usage: Usage | None
    complete: bool  # the protocol's end was seen
    ended: bool  # and nothing more comes

    @property
    def text(self) -> str:
        """All text so far."""

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one event's data and return what it brought."""

    def response(self, raw: Any = None, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
        """Return the whole answer; `headers` are those it keeps."""


# Sources: OpenAI, "finish_reason"; Anthropic, "Stop reasons"; Mistral (model_length), Together
# (eos), Z.ai (sensitive), Gemini (safety, recitation), which gateways pass on.
FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "refusal": "refusal",
    "pause_turn": "pause",
    "compaction": "pause",
}
# The provider gave up in the middle. Sources: OpenRouter, DeepSeek, Z.ai.
FAILED = frozenset({"error", "insufficient_system_resource", "network_error"})


def kept_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return, in lower case, the headers that tell rate limits and the request's id."""
    return {
        lower: value
        for name, value in headers.items()
        if "ratelimit" in (lower := name.lower()) or lower in REQUEST_ID_HEADERS
    }


def finish_reason(word: Any, *, has_calls: bool) -> FinishReason:
    """Return our word; a stop with tool calls is `tool_calls` (a forced tool ends so).

    Raises:
        RefusedError: the provider gave up in the middle of the answer.
    """
    known = word.lower() if isinstance(word, str) else ""
    if known in FAILED:
        raise RefusedError(Failure(500, f"the provider gave up in the middle: {known}"))
    reason = FINISH.get(known, "stop")
    return "tool_calls" if has_calls and reason == "stop" else reason


def tool_call(call_id: str, name: str, arguments: str) -> ToolCall:
    """Return a call whose arguments came as text; nothing at all counts as no arguments."""
    try:
        parsed = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return ToolCall(call_id, name, parsed, arguments)
    return ToolCall(call_id, name, {}, arguments, valid=False)


def events_of(response: LLMResponse) -> list[StreamEvent]:
    """Return a whole answer as the pieces of a stream, without its end."""
    events: list[StreamEvent] = []
    if response.thinking is not None and response.thinking.text:
        events.append(ThinkingDelta(response.thinking.text))
    if response.content:
        events.append(TextDelta(response.content))
    for index, call in enumerate(response.tool_calls):
        events.append(ToolCallDelta(index, call.id, call.name, call.raw_arguments or ""))
    return events
