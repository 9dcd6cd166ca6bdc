"""Anthropic's Messages: the answer out of its events; a whole answer is read as its events.

Source: Anthropic, "Streaming messages".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestify.lanes.answers import finish_reason, tool_call
from orchestify.lanes.anthropic.request import JSON_TOOL, uses_json_tool
from orchestify.lanes.failures import MalformedError, refused_inline
from orchestify.lanes.reported_usage import anthropic_usage
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
    if not isinstance(body.get("content"), list):
        if body.get("error"):
            raise refused_inline(body)
        raise MalformedError("the answer has no content")
    whole = MessageAnswer(request)
    whole.feed({"type": "message_start", "message": body})
    for index, block in enumerate(body["content"]):
        whole.feed({"type": "content_block_start", "index": index, "content_block": block})
    whole.feed({"type": "message_delta", "delta": body})
    return whole.response(body, headers)


class MessageAnswer:
    """An answer that grows by events."""

    def __init__(self, request: CompletionRequest) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self.ended = False
        self._model = request.model
        self._json_tool = JSON_TOOL if uses_json_tool(request) else None
        self._texts: list[str] = []
        self._text_begins: dict[int, int] = {}  # by block: how many pieces were there before it
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, list[str]] = {}
        self._calls: list[int] = []
        self._stop_reason: Any = None
        self._raw_usage: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._texts)

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one event and return what it brought.

        Raises:
            RefusedError: the event is an error.
        """
        match chunk.get("type"):
            case "content_block_delta":
                return self._take_delta(chunk["index"], chunk["delta"])
            case "content_block_start":
                return self._take_block(chunk["index"], chunk["content_block"])
            case "message_start":
                self._model = chunk["message"].get("model") or self._model
                return self._take_usage(chunk["message"].get("usage"))
            case "message_delta":
                self._stop_reason = chunk["delta"].get("stop_reason") or self._stop_reason
                return self._take_usage(chunk.get("usage"))
            case "message_stop":
                self.complete = self.ended = True
            case "error":
                raise refused_inline(chunk)
            case None if chunk.get("error"):
                raise refused_inline(chunk)
        return _NO_EVENTS

    def _take_delta(self, index: int, delta: Mapping[str, Any]) -> Sequence[StreamEvent]:
        match delta["type"]:
            case "text_delta":
                return self._add_text(delta["text"])
            case "thinking_delta":
                return self._add_thought(index, delta["thinking"])
            case "input_json_delta":
                return self._add_input(index, delta["partial_json"])
            case "signature_delta":
                self._blocks[index]["signature"] = delta["signature"]
            case "compaction_delta":
                self._blocks[index]["content"] = delta["content"]
        return _NO_EVENTS

    def _take_block(self, index: int, block: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Begin a block. What is neither text nor a call of ours is kept, to be sent back."""
        kind = block["type"]
        if kind == "text":
            self._text_begins[index] = len(self._texts)
            return self._add_text(block["text"])
        self._blocks[index] = dict(block)
        self._pieces[index] = []
        if kind == "thinking":
            return self._add_thought(index, block["thinking"])
        is_call = kind == "tool_use" and block["name"] != self._json_tool
        if is_call:
            self._calls.append(index)
        if block.get("input"):
            return self._add_input(index, json.dumps(block["input"], ensure_ascii=False))
        return (self._call_delta(index, ""),) if is_call else _NO_EVENTS

    def _add_text(self, text: str) -> Sequence[StreamEvent]:
        if not text:
            return _NO_EVENTS
        self._texts.append(text)
        return (TextDelta(text),)

    def _add_thought(self, index: int, thought: str) -> Sequence[StreamEvent]:
        if not thought:
            return _NO_EVENTS
        self._pieces[index].append(thought)
        return (ThinkingDelta(thought),)

    def _add_input(self, index: int, piece: str) -> Sequence[StreamEvent]:
        """Add to the arguments of a call, of a server tool, or of the JSON that was asked for."""
        self._pieces[index].append(piece)
        if index in self._calls:
            return (self._call_delta(index, piece),) if piece else _NO_EVENTS
        if self._blocks[index]["type"] == "tool_use":
            return self._add_text(piece)
        return _NO_EVENTS

    def _call_delta(self, index: int, piece: str) -> ToolCallDelta:
        block = self._blocks[index]
        return ToolCallDelta(self._calls.index(index), block["id"], block["name"], piece)

    def _take_usage(self, raw: Any) -> Sequence[StreamEvent]:
        """Merge a report: the last one holds, but leaves out what has not changed."""
        if not isinstance(raw, Mapping):
            return _NO_EVENTS
        self._raw_usage |= {name: value for name, value in raw.items() if value is not None}
        self.usage = anthropic_usage(self._raw_usage)
        return (UsageUpdate(self.usage),)

    def response(self, raw: Any = None, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
        """Return the whole answer; `raw` is its body, where it came whole."""
        calls = tuple(map(self._call, self._calls))
        usage = self.usage or UNKNOWN_USAGE
        reason = finish_reason(self._stop_reason, has_calls=bool(calls))
        if reason == "tool_calls" and not calls:
            reason = "stop"  # the tool was the one that stands in for a JSON schema
        return LLMResponse(
            content=self.text,
            model=self._model,
            tokens_input=usage.input_tokens,
            tokens_output=usage.output_tokens,
            finish_reason=reason,
            raw_response=raw or {"stop_reason": self._stop_reason, "usage": self._raw_usage},
            tool_calls=calls,
            thinking=self._thinking(),
            usage=usage,
            headers=headers,
        )

    def _call(self, index: int) -> ToolCall:
        block = self._blocks[index]
        return tool_call(block["id"], block["name"], "".join(self._pieces[index]))

    def _thinking(self) -> Thinking | None:
        kept = [self._kept(*item) for item in self._blocks.items() if self._is_kept(item[1])]
        if not kept:
            return None
        thoughts = [block["thinking"] for block in kept if block["type"] == "thinking"]
        return Thinking("".join(thoughts), tuple(self._in_order() or kept))

    def _in_order(self) -> list[dict[str, Any]]:
        """Return the blocks to be sent back among marks of the texts and calls they stood between.

        Empty where all of them came before the texts, and these before the calls, as usual.
        """
        kept = [index for index, block in self._blocks.items() if self._is_kept(block)]
        usual = [*kept, *self._text_begins, *self._calls]
        return [] if usual == sorted(usual) else [self._mark(index) for index in sorted(usual)]

    def _mark(self, index: int) -> dict[str, Any]:
        if index in self._calls:
            return {"type": "tool_use", "id": self._blocks[index]["id"]}
        if index in self._blocks:
            return self._kept(index, self._blocks[index])
        begin = self._text_begins[index]
        later = (each for each in self._text_begins.values() if each > begin)
        return {"type": "text", "text": "".join(self._texts[begin : min(later, default=None)])}

    @staticmethod
    def _is_kept(block: Mapping[str, Any]) -> bool:
        return bool(block["type"] != "tool_use")

    def _kept(self, index: int, block: dict[str, Any]) -> dict[str, Any]:
        """Return a block as it is to be sent back: with what came in pieces."""
        pieces = "".join(self._pieces[index])
        if block["type"] == "thinking":
            return {**block, "thinking": pieces}
        return {**block, "input": json.loads(pieces)} if pieces else block
