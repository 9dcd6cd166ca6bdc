"""OpenAI's Chat Completions: the answer out of its chunks; a whole answer is one chunk.

Source: OpenAI, "API reference: Chat completion chunk".
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from orchestify.lanes.answers import finish_reason, tool_call
from orchestify.lanes.failures import MalformedError, refused_inline
from orchestify.lanes.reported_usage import openai_usage, reported_cost_usd
from orchestify.values import (
    NOTHING,
    UNKNOWN_USAGE,
    CompletionRequest,
    LLMResponse,
    StreamEvent,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

_NO_EVENTS: tuple[StreamEvent, ...] = ()
_ANY = object()


def answer(
    body: Any, request: CompletionRequest, headers: Mapping[str, str] = NOTHING
) -> LLMResponse:
    """Return the answer that came whole; `headers` are those it keeps.

    Raises:
        RefusedError: an error inside a 200.
        MalformedError: no answer of this protocol.
    """
    if not isinstance(body, dict):
        raise MalformedError("the answer is JSON, but no object")
    if not body.get("choices"):
        if body.get("error"):
            raise refused_inline(body)
        raise MalformedError("the answer has no choices")
    whole = ChatAnswer(request, holds="message")
    whole.feed(body)
    return whole.response(body, headers)


class ChatAnswer:
    """An answer that grows by chunks. Of several choices the first one seen is the answer."""

    def __init__(
        self, request: CompletionRequest, holds: Literal["delta", "message"] = "delta"
    ) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self.ended = False
        self._model = request.model
        self._holds = holds
        self._index: Any = _ANY
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._blocks: list[dict[str, Any]] = []
        self._calls: list[_Call] = []
        self._finish: Any = None
        self._refused = False
        self._raw_usage: Any = None
        self._service_tier: Any = None

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._texts)

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one chunk and return what it brought.

        Raises:
            RefusedError: the chunk is an error.
        """
        choices = chunk.get("choices")
        usage = chunk.get("usage")
        if not choices:
            return self._without_choices(chunk)
        choice = choices[0]
        if choice.get("index") != self._index:
            if self._index is not _ANY:
                return _NO_EVENTS
            self._index = choice.get("index")
            self._model = chunk.get("model") or self._model
        delta = choice.get(self._holds) or {}
        finish = choice.get("finish_reason")
        text = delta.get("content")
        if text.__class__ is str and text and len(delta) == 1 and finish is usage is None:
            self._texts.append(text)
            return (TextDelta(text),)
        return self._whole_chunk(chunk, delta, finish)

    def _without_choices(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        if chunk.get("error"):
            raise refused_inline(chunk)
        return self._take_usage(chunk)

    def _whole_chunk(
        self, chunk: Mapping[str, Any], delta: Mapping[str, Any], finish: Any
    ) -> Sequence[StreamEvent]:
        if chunk.get("error"):
            raise refused_inline(chunk)
        events: list[StreamEvent] = []
        self._take_thinking(delta, events)
        self._take_content(delta.get("content"), events)
        if refusal := delta.get("refusal"):
            self._refused = True
            self._take_content(refusal, events, is_refusal=True)
        for piece in delta.get("tool_calls") or ():
            self._take_call(piece, events)
        self._take_extra(delta.get("extra_content"), None)
        if finish is not None or self._holds == "message":
            self._finish = finish
            self.complete = True
        events += self._take_usage(chunk)
        return events

    def _take_content(
        self, content: Any, events: list[StreamEvent], *, is_refusal: bool = False
    ) -> None:
        """Take text, Mistral's list of parts, or an object where JSON was asked for."""
        if not content:
            return
        if isinstance(content, list):
            for part in content:
                self._take_part(part, events)
            return
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        self._texts.append(text)
        events.append(TextDelta(text, is_refusal))

    def _take_part(self, part: Any, events: list[StreamEvent]) -> None:
        if isinstance(part, str):
            self._take_content(part, events)
        elif part.get("type") == "text":
            self._take_content(part.get("text"), events)
        elif part.get("type") == "thinking":
            inner = part.get("thinking")
            pieces = inner if isinstance(inner, list) else [{"text": inner}]
            self._think("".join(piece.get("text") or "" for piece in pieces), events)
            self._take_block({"type": "thinking", "thinking": pieces})

    def _take_thinking(self, delta: Mapping[str, Any], events: list[StreamEvent]) -> None:
        details = delta.get("reasoning_details") or ()
        for detail in details:
            self._take_block(detail)
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if not thought and details:
            thought = "".join(item.get("text") or item.get("summary") or "" for item in details)
        if thought:
            self._think(thought, events)

    def _think(self, thought: str, events: list[StreamEvent]) -> None:
        if thought:
            self._thoughts.append(thought)
            events.append(ThinkingDelta(thought))

    def _take_block(self, block: Mapping[str, Any]) -> None:
        """Keep a block to be sent back; what continues the one before is joined to it."""
        last = self._blocks[-1] if self._blocks else None
        if last is None or any(last.get(key) != block.get(key) for key in ("type", "index")):
            self._blocks.append(dict(block))
            return
        for key, value in block.items():
            if key in ("text", "summary", "data", "thinking") and last.get(key) and value:
                last[key] += value
            elif value is not None:
                last[key] = value

    def _take_call(self, piece: Mapping[str, Any], events: list[StreamEvent]) -> None:
        function = piece.get("function")
        if not isinstance(function, Mapping):
            return  # not one of the caller's functions
        call = self._call_of(piece)
        call.name = call.name or function.get("name") or ""
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call.pieces.append(arguments)
        self._take_extra(piece.get("extra_content"), call.id)
        if call.name:
            unsent = "".join(call.pieces[call.sent :])
            call.sent = len(call.pieces)
            extra = piece.get("extra_content") or None
            place = self._calls.index(call)
            events.append(ToolCallDelta(place, call.id, call.name, unsent, extra))

    def _call_of(self, piece: Mapping[str, Any]) -> _Call:
        """Return the call a piece belongs to: by its index, unless its id says otherwise."""
        index, call_id = piece.get("index"), piece.get("id")
        for call in reversed(self._calls):
            if call.index == index and index is not None and call_id in (None, "", call.id):
                return call
        if index is None and not call_id and self._calls and not piece["function"].get("name"):
            return self._calls[-1]
        call = _Call(index, call_id or f"call_{uuid.uuid4().hex[:24]}")
        self._calls.append(call)
        return call

    def _take_extra(self, extra: Any, call_id: str | None) -> None:
        """Keep Gemini's thought signatures, which belong to a call or to the message."""
        if extra:
            block = {"type": "extra_content", "tool_call_id": call_id, "extra_content": extra}
            self._blocks.append(block)

    def _take_usage(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        self._service_tier = chunk.get("service_tier") or self._service_tier
        raw = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        if not raw or raw == self._raw_usage:
            return _NO_EVENTS
        self._raw_usage = raw
        self.usage = openai_usage(raw, self._service_tier)
        return (UsageUpdate(self.usage),)

    def response(self, raw: Any = None, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
        """Return the whole answer; `raw` is its body, where it came whole."""
        calls = tuple([call.value() for call in self._calls if call.name])
        usage = self.usage or UNKNOWN_USAGE
        reason = finish_reason(self._finish, has_calls=bool(calls))
        cost_usd = reported_cost_usd(self._raw_usage)
        thinking = None
        if self._thoughts or self._blocks:
            thinking = Thinking("".join(self._thoughts), tuple(self._blocks))
        return LLMResponse(
            content=self.text,
            model=self._model,
            tokens_input=usage.input_tokens,
            tokens_output=usage.output_tokens,
            finish_reason="refusal" if self._refused and reason == "stop" else reason,
            raw_response=raw or {"finish_reason": self._finish, "usage": self._raw_usage},
            tool_calls=calls,
            thinking=thinking,
            usage=usage,
            cost_usd=cost_usd,
            cost_source="none" if cost_usd is None else "provider",
            headers=headers,
        )


class _Call:
    """A tool call that grows."""

    __slots__ = ("id", "index", "name", "pieces", "sent")

    def __init__(self, index: Any, call_id: str) -> None:
        self.index = index
        self.id = call_id
        self.name = ""
        self.pieces: list[str] = []
        self.sent = 0

    def value(self) -> ToolCall:
        return tool_call(self.id, self.name, "".join(self.pieces))
