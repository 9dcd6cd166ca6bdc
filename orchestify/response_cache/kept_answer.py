"""An answer as text and back: whole, with its tool calls, thinking and signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import DecodeError, ValidationError, convert
from msgspec.json import Decoder

from orchestify.resources.plain_json import ENCODER
from orchestify.values import (
    NOTHING,
    LLMResponse,
    NativeEvent,
    StreamEvent,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

FORM = 1
"""The form of a kept text; one of another form is not read."""

MOST_CHARS = 1 << 20
"""The longest text that is kept."""

WHOLE = frozenset({"stop", "tool_calls"})
"""How an answer ends that is kept; others were cut, refused or are to be continued."""

_EVENTS: Mapping[str, type[Any]] = {
    "text": TextDelta,
    "thinking": ThinkingDelta,
    "tool_call": ToolCallDelta,
    "native": NativeEvent,
}
_KINDS = {each: name for name, each in _EVENTS.items()}

Row: TypeAlias = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What is kept of an answer; `events` are a stream's, without its end, else None."""

    response: LLMResponse
    events: tuple[StreamEvent, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Text:
    """The parts of a kept text."""

    form: int
    content: str
    model: str
    finish_reason: str
    raw_response: Any
    tool_calls: tuple[ToolCall, ...]
    thinking: Thinking | None
    usage: Usage
    cost_usd: Decimal | None
    warnings: tuple[str, ...]
    events: list[Row] | None = field(default=None, repr=False)


def text_of(response: LLMResponse, events: Sequence[StreamEvent] | None) -> str | None:
    """Return an answer as text; None for one that is not kept: cut, too long, or without JSON."""
    if response.finish_reason not in WHOLE:
        return None
    rows = None if events is None else [_row(each) for each in events]
    text = _Text(
        form=FORM,
        content=response.content,
        model=response.model,
        finish_reason=response.finish_reason,
        raw_response=response.raw_response,
        tool_calls=response.tool_calls,
        thinking=response.thinking,
        usage=response.usage,
        cost_usd=response.cost_usd,
        warnings=response.warnings,
        events=rows,
    )
    try:
        written = ENCODER.encode(text).decode()
    except (TypeError, ValueError, RecursionError):  # a host's own raw response, half a character
        return None
    return written if len(written) <= MOST_CHARS else None


def answer_in(text: str) -> KeptAnswer | None:
    """Return the answer in a text, None where it cannot be read."""
    try:
        kept = _DECODER.decode(text)
        if kept.form != FORM or kept.finish_reason not in WHOLE:
            return None
        events = None if kept.events is None else tuple(_event(*row) for row in kept.events)
    except (DecodeError, ValidationError, LookupError, ValueError, RecursionError):
        return None
    usage = kept.usage
    response: LLMResponse = LLMResponse(
        content=kept.content,
        model=kept.model,
        tokens_input=usage.input_tokens,
        tokens_output=usage.output_tokens,
        finish_reason=kept.finish_reason,
        raw_response=kept.raw_response,
        tool_calls=kept.tool_calls,
        thinking=kept.thinking,
        usage=usage,
        cost_usd=kept.cost_usd,
        warnings=kept.warnings,
    )
    return KeptAnswer(response, events)


def as_hit(kept: LLMResponse, **beside: Any) -> LLMResponse:
    """Return a kept answer as a call gets it: nothing was used, and `beside` is the call's own."""
    return replace(
        kept,
        tokens_input=0,
        tokens_output=0,
        usage=Usage(),
        cost_usd=Decimal(0),
        cost_source="cache",
        headers=NOTHING,
        is_cached=True,
        saved_usd=kept.cost_usd,
        **beside,
    )


def _row(event: StreamEvent) -> Row:
    return _KINDS[type(event)], {name: getattr(event, name) for name in event.__slots__}


def _event(kind: str, values: dict[str, Any]) -> StreamEvent:
    event: StreamEvent = convert(values, _EVENTS[kind])
    return event


_DECODER = Decoder(_Text)
