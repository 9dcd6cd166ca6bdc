"""A call's answer in Anthropic's protocol: a whole body, or the events of a stream.

What a provider of the same protocol answered goes as it is, but for the model's name. A tool is
never called with arguments that the model did not say: those that are no JSON object are an error,
but where the limit of tokens cut them off, which the protocol has a `stop_reason` for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestify.calls.stream import ReaderEvent
from orchestify.errors import InvalidResponseError
from orchestify.server.gateway.event_text import event_text
from orchestify.values import (
    LLMResponse,
    NativeEvent,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
)

STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}
"""Ours to Anthropic's."""

_NO_USAGE = Usage()
_BLOCK_TYPES = ("thinking", "redacted_thinking")


def answer_body(response: LLMResponse, model: str) -> dict[str, Any]:
    """Return a whole answer of what the client calls `model`; calls that are cut off are left out.

    Raises:
        InvalidResponseError: a tool is called with what is no JSON object.
    """
    raw = response.raw_response
    if isinstance(raw, dict) and raw.get("type") == "message":
        return {**raw, "model": model}
    _check_calls(response)
    return {
        **_opening(response.call_id, model),
        "content": _content(response),
        "stop_reason": STOP_REASONS.get(response.finish_reason, "end_turn"),
        "usage": usage_of(response),
    }


def has_cut_calls(response: LLMResponse) -> bool:
    """Say whether the limit of tokens cut off the arguments of a tool call."""
    return response.finish_reason == "length" and not all(
        call.valid for call in response.tool_calls
    )


def _check_calls(response: LLMResponse) -> None:
    for call in response.tool_calls:
        if not call.valid and response.finish_reason != "length":
            what = f"the arguments of the model's call of {call.name[:64]} are no JSON object"
            error = InvalidResponseError(
                f"{what}; ask again", provider=response.provider, model=response.model
            )
            error.call_id = response.call_id
            raise error


def usage_of(response: LLMResponse) -> dict[str, Any]:
    """Return the tokens; the input is what was neither read from a cache nor written to it."""
    usage = response.usage or _NO_USAGE
    return {
        "input_tokens": max(0, usage.input_tokens - usage.cache_read - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output_tokens,
    }


def _opening(call_id: str, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{call_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _content(response: LLMResponse) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    thinking = response.thinking
    if thinking is not None:
        signed = [dict(each) for each in thinking.blocks if each.get("type") in _BLOCK_TYPES]
        if all(_is_anthropics(block) for block in signed) and signed:
            content += signed
        elif thinking.text:
            content.append({"type": "thinking", "thinking": thinking.text, "signature": ""})
    if response.content:
        content.append({"type": "text", "text": response.content})
    for call in (call for call in response.tool_calls if call.valid):
        arguments = dict(call.arguments)
        content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
    return content


def _is_anthropics(block: Mapping[str, Any]) -> bool:
    return "signature" in block or block["type"] == "redacted_thinking"


class MessageWriter:
    """Writes one answer's events, which a provider sent so or which are made here.

    A text, a thought or a tool call is a block: it begins with its first piece, and stops where
    another begins. Where the events are made here, `message_delta` also has who answered, what it
    cost, and the words for what of the request was left out or changed.
    """

    ending = b""

    def __init__(self, call_id: str, model: str) -> None:
        self._call_id = call_id
        self._model = model
        self._is_native = False
        self._has_begun = False
        self._index = -1
        self._open: tuple[str, int] | None = None  # the kind of the open block, and its call

    def opening(self) -> str:
        """Return nothing: what comes first is known with the first event."""
        return ""

    def of(self, event: ReaderEvent) -> str:
        """Return what an event becomes; the end has several.

        Raises:
            InvalidResponseError: at the end, a tool is called with what is no JSON object.
        """
        if isinstance(event, NativeEvent):
            self._is_native = True
            return self._native(event.event)
        if self._is_native:
            return ""
        begun = "" if self._has_begun else self._begin()
        match event:
            case TextDelta():
                return begun + self._text("text", "text", event.text)
            case ThinkingDelta():
                return begun + self._text("thinking", "thinking", event.text)
            case ToolCallDelta():
                return begun + self._call(event)
            case StreamEnd():
                return begun + self._end(event.response)

    def _native(self, event: Mapping[str, Any]) -> str:
        if event.get("type") == "message_start":
            event = {**event, "message": {**event["message"], "model": self._model}}
        return event_text(event)

    def _begin(self) -> str:
        self._has_begun = True
        return event_text(
            {"type": "message_start", "message": _opening(self._call_id, self._model)}
        )

    def _text(self, kind: str, name: str, text: str) -> str:
        block = {"type": kind, name: ""} | ({"signature": ""} if kind == "thinking" else {})
        return self._in_block((kind, 0), block) + self._delta({"type": f"{kind}_delta", name: text})

    def _call(self, event: ToolCallDelta) -> str:
        block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        begun = self._in_block(("tool_use", event.index), block)
        if not event.arguments:
            return begun
        return begun + self._delta({"type": "input_json_delta", "partial_json": event.arguments})

    def _in_block(self, block: tuple[str, int], start: dict[str, Any]) -> str:
        """Return what opens a block, where another one or none is open."""
        if self._open == block:
            return ""
        stopped = self._stop()
        self._open = block
        self._index += 1
        opened = {"type": "content_block_start", "index": self._index, "content_block": start}
        return stopped + event_text(opened)

    def _delta(self, delta: dict[str, Any]) -> str:
        return event_text({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _stop(self) -> str:
        if self._open is None:
            return ""
        self._open = None
        return event_text({"type": "content_block_stop", "index": self._index})

    def _end(self, response: LLMResponse) -> str:
        _check_calls(response)
        reason = STOP_REASONS.get(response.finish_reason, "end_turn")
        cost = response.cost_usd
        last = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": usage_of(response),
            "orchestify": {
                "provider": response.provider,
                "model": response.model,
                "cost_usd": None if cost is None else float(cost),
                "warnings": response.warnings,
            },
        }
        return self._stop() + event_text(last) + event_text({"type": "message_stop"})
