"""Anthropic's Messages: the answer out of its events; a whole answer is read as its events.

Source: Anthropic, "Streaming messages".
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from orchestify.core.providers import AnswerBounds
from orchestify.lanes.answers import (
    MODEL_CHARS,
    anthropic_usage,
    beside_output,
    finish_reason,
    is_error,
    is_finish_word,
    merged,
    name_in,
    text_in,
    tool_call,
    unusable,
)
from orchestify.lanes.anthropic.request import JSON_TOOL, uses_json_tool
from orchestify.lanes.failures import UNREADABLE, MalformedError, misread, refused_inline
from orchestify.lanes.parsing import BOUNDS, TextPieces, encodable, parse_json
from orchestify.lanes.turns import told
from orchestify.resources.json_steps import json_text
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
    body: Any,
    request: CompletionRequest,
    headers: Mapping[str, str] = NOTHING,
    bounds: AnswerBounds = BOUNDS,
) -> LLMResponse:
    """Return the answer that came whole; `headers` are those it keeps.

    Raises:
        RefusedError: an error inside a 200.
        MalformedError: no answer of this protocol. Both hold the usage that the body reports.
    """
    whole = MessageAnswer(request, bounds)
    try:
        if not isinstance(body, dict):
            raise MalformedError("the answer is JSON, but no object")
        whole.feed({"type": "message_start", "message": body})
        if is_error(body):
            raise refused_inline(body)
        for index, block in enumerate(_content(body)):
            whole.feed({"type": "content_block_start", "index": index, "content_block": block})
        whole.feed({"type": "message_delta", "delta": body})
        return whole.response(body, headers)
    except UNREADABLE as error:
        raise unusable(error, whole) from None


def _content(body: Mapping[str, Any]) -> list[Any]:
    """Return the blocks of a whole answer; one that was stopped may have none."""
    content = body.get("content")
    if content is None and is_finish_word(body.get("stop_reason")):
        return []
    if content is None:
        raise MalformedError("the answer has no content")
    if not isinstance(content, list):
        raise misread("the answer's content")
    return content


class MessageAnswer:
    """An answer that grows by events."""

    def __init__(self, request: CompletionRequest, bounds: AnswerBounds = BOUNDS) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self.ended = False
        self._model = request.model
        self._most_calls = bounds.max_tool_calls
        self._json_tool = JSON_TOOL if uses_json_tool(request) else None
        self._text = TextPieces()
        self._blocks: list[_Block] = []
        self._order: list[_Block | int] = []  # a text is told by how many pieces came before it
        self._by_index: dict[Any, _Block] = {}
        self._calls: list[_Block] = []
        self._stop_reason: Any = None
        self._raw_usage: dict[str, Any] = {}
        self._unread: dict[str, None] = {}

    @property
    def text(self) -> str:
        """All text so far."""
        return str(self._text)

    @property
    def cost_usd(self) -> Decimal | None:
        """None: Anthropic reports no cost."""
        return None

    @property
    def _has_output(self) -> bool:
        return bool(self._text or self._calls or any(block.has_thought for block in self._blocks))

    def skip(self, what: str) -> None:
        """Count something that could not be read and costs the answer nothing."""
        self._unread[what] = None

    def done(self) -> None:
        """Take `[DONE]`, which some gateways send: by itself it proves nothing."""
        self.ended = True
        self.complete = is_finish_word(self._stop_reason) or self._has_output

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one event and return what it brought.

        Raises:
            RefusedError: the event is an error.
            MalformedError: something essential has another type than the protocol's.
        """
        match chunk.get("type"):
            case "content_block_delta" if "error" not in chunk:
                return self._take_delta(chunk.get("index"), chunk["delta"])
            case "content_block_start" if "error" not in chunk:
                return self._take_block(chunk.get("index"), chunk["content_block"])
            case "message_start":
                return self._take_start(chunk.get("message"))
        usage = self._take_usage(chunk.get("usage"))
        if is_error(chunk):
            raise refused_inline(chunk)
        match chunk.get("type"):
            case "message_delta":
                self._take_stop(chunk.get("delta"))
            case "message_stop":
                self.done()
        return usage

    def _take_start(self, message: Any) -> Sequence[StreamEvent]:
        if not isinstance(message, dict):
            raise misread("the message")
        self._model = name_in(message.get("model"))[:MODEL_CHARS] or self._model
        return self._take_usage(message.get("usage"))

    def _take_stop(self, delta: Any) -> None:
        if not isinstance(delta, dict):
            self.skip("delta")
        elif delta.get("stop_reason"):
            self._stop_reason = delta["stop_reason"]

    def _take_delta(self, index: Any, delta: Mapping[str, Any]) -> Sequence[StreamEvent]:
        match delta.get("type"):
            case "text_delta":
                return self._add_text(text_in(delta["text"], "the text"))
            case "thinking_delta":
                return self._add_thought(self._block(index, "thinking"), delta.get("thinking"))
            case "input_json_delta":
                return self._add_input(self._block(index, "tool_use"), delta.get("partial_json"))
            case "signature_delta":
                self._keep(index, "thinking", "signature", delta)
            case "compaction_delta":
                self._keep(index, "compaction", "content", delta)
        return _NO_EVENTS

    def _block(self, index: Any, kind: str) -> _Block:
        """Return the block that a piece belongs to: of its index, else the last of its kind.

        Raises:
            MalformedError: there is none, and the piece is of a tool's input.
        """
        block = self._by_index.get(index) if index.__class__ is int else None
        if block is None:
            block = next((each for each in reversed(self._blocks) if each.kind == kind), None)
        if block is None:
            if kind == "tool_use":
                raise misread("a piece of a tool's input")
            block = self._begin(index, {"type": kind})
        return block

    def _keep(self, index: Any, kind: str, name: str, delta: Mapping[str, Any]) -> None:
        if isinstance(delta.get(name), str):
            self._block(index, kind).fields[name] = delta[name]
        else:
            self.skip(name)

    def _begin(self, index: Any, fields: Mapping[str, Any]) -> _Block:
        block = _Block(dict(fields))
        self._blocks.append(block)
        self._order.append(block)
        if index.__class__ is int:
            self._by_index[index] = block
        return block

    def _take_block(self, index: Any, fields: Any) -> Sequence[StreamEvent]:
        """Begin a block. What is neither text nor a call of ours is kept, to be sent back."""
        if fields is None:
            self.skip("content")
            return _NO_EVENTS
        if not isinstance(fields, dict):
            raise misread("a block of the content")
        kind = fields.get("type")
        if kind == "text" or (kind is None and isinstance(fields.get("text"), str)):
            self._order.append(len(self._text.pieces))
            return self._add_text(text_in(fields.get("text"), "the text"))
        if not isinstance(kind, str):
            raise misread("a block of the content")
        block = self._begin(index, fields)
        if kind == "thinking":
            return self._add_thought(block, fields.get("thinking"))
        if kind == "tool_use":
            return self._take_call(block)
        given = fields.get("input")
        block.pieces.add(json_text(given) if given else "")
        return _NO_EVENTS

    def _take_call(self, block: _Block) -> Sequence[StreamEvent]:
        """Begin a call of the caller's tools, or the JSON that was asked for."""
        block.name = name_in(text_in(block.fields.get("name"), "a tool call's name"))
        if not block.name:
            raise misread("a tool call's name")
        given = block.fields.get("input") or {}
        if not isinstance(given, (dict, str)):
            raise misread("a tool call's input")
        if block.name != self._json_tool:
            if len(self._calls) >= self._most_calls:
                raise MalformedError(f"the answer has more than {self._most_calls} tool calls")
            block.id = name_in(block.fields.get("id")) or f"toolu_{uuid.uuid4().hex[:24]}"
            block.position = len(self._calls)
            self._calls.append(block)
        text = json_text(given) if isinstance(given, dict) else given
        return self._add_input(block, text if given else "", is_first=True)

    def _add_text(self, text: str) -> Sequence[StreamEvent]:
        text = self._text.add(text)
        return (TextDelta(text),) if text else _NO_EVENTS

    def _add_thought(self, block: _Block, thought: Any) -> Sequence[StreamEvent]:
        if thought is not None and not isinstance(thought, str):
            self.skip("thinking")
            return _NO_EVENTS
        text = block.pieces.add(thought or "")
        return (ThinkingDelta(text),) if text else _NO_EVENTS

    def _add_input(
        self, block: _Block, piece: Any, *, is_first: bool = False
    ) -> Sequence[StreamEvent]:
        """Add to the arguments of a call, of a server tool, or of the JSON that was asked for."""
        if block.kind != "tool_use" and not isinstance(piece, str):
            self.skip("input")
            return _NO_EVENTS
        text = block.pieces.add(text_in(piece, "a tool call's input"))
        if block.position is not None:
            is_news = bool(text) or is_first
            return (block.delta(text),) if is_news else _NO_EVENTS
        return self._add_text(text) if block.kind == "tool_use" else _NO_EVENTS

    def _take_usage(self, raw: Any) -> Sequence[StreamEvent]:
        """Merge a report: the last one holds, but leaves out what has not changed."""
        if not raw:
            return _NO_EVENTS
        if not isinstance(raw, dict):
            self.usage = self.usage or anthropic_usage(raw)
            return _NO_EVENTS
        self._raw_usage = merged(self._raw_usage, raw)
        self.usage = anthropic_usage(self._raw_usage)
        return (UsageUpdate(self.usage),)

    def response(self, raw: Any = None, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
        """Return the whole answer; `raw` is its body, where it came whole.

        Raises:
            RefusedError: the provider gave up in the middle of the answer.
            MalformedError: nothing came, and no known word says why.
        """
        calls = tuple([block.call() for block in self._calls])
        reason = finish_reason(
            self._stop_reason, has_calls=bool(calls), has_output=self._has_output
        )
        usage = self.usage or UNKNOWN_USAGE
        if self._has_output:
            usage = beside_output(usage, "output_tokens")
        thinking = self._thinking()
        return LLMResponse(
            content=self.text,
            model=self._model,
            tokens_input=usage.input_tokens,
            tokens_output=usage.output_tokens,
            finish_reason=reason,
            raw_response=raw or encodable(self._end_as_reported()),
            tool_calls=calls,
            thinking=thinking,
            usage=usage,
            headers=headers,
            warnings=tuple([f"unread:{name}" for name in self._unread]),
        )

    def _end_as_reported(self) -> dict[str, Any]:
        return {"stop_reason": self._stop_reason, "usage": self._raw_usage}

    def _thinking(self) -> Thinking | None:
        if not any(block.is_kept for block in self._blocks):
            return None
        thoughts = [str(block.pieces) for block in self._blocks if block.kind == "thinking"]
        said = list(self._said())
        if all(rank for rank, _ in said):
            return None
        return Thinking("".join(thoughts), told(said))

    def _said(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield what the answer holds, in order; see `turns.told`. JSON asked for has no place."""
        begins = [each for each in self._order if isinstance(each, int)]
        ends = dict(zip(begins, [*begins[1:], None], strict=False))
        for block in self._order:
            if isinstance(block, int):
                text = "".join(self._text.pieces[block : ends[block]])
                yield 1, {"type": "text", "text": text}
            elif block.position is not None:
                yield 2, {"type": "tool_use", "id": block.id}
            elif block.is_kept and (whole := self._kept(block)) is not None:
                yield 0, whole

    def _kept(self, block: _Block) -> dict[str, Any] | None:
        """Return a block as it is to be sent back: with what came in pieces.

        None for a server tool's call whose input was cut: it can neither be read nor sent back.
        """
        pieces = str(block.pieces)
        if block.kind == "thinking":
            return encodable({**block.fields, "thinking": pieces})  # type: ignore[no-any-return]
        try:
            given = {"input": parse_json(pieces)} if pieces else {}
        except ValueError:
            self.skip("input")
            return None
        return encodable({**block.fields, **given})  # type: ignore[no-any-return]


class _Block:
    """A block of the content that grows; `position` is a call's among the caller's calls."""

    __slots__ = ("fields", "id", "kind", "name", "pieces", "position")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.kind: str = fields["type"]
        self.pieces = TextPieces()
        self.id = ""
        self.name = ""
        self.position: int | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the block is to be sent back as it came."""
        return self.kind not in {"text", "tool_use"}

    @property
    def has_thought(self) -> bool:
        return self.kind == "thinking" and bool(self.pieces)

    def delta(self, piece: str) -> ToolCallDelta:
        return ToolCallDelta(self.position or 0, self.id, self.name, piece)

    def call(self) -> ToolCall:
        return tool_call(self.id, self.name, str(self.pieces))
