"""OpenAI's Responses: the answer out of its events; a whole answer is read as its events.

Source: OpenAI, "API reference: Streaming events".
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from orchestify.core.providers import AnswerBounds
from orchestify.lanes.answers import (
    MODEL_CHARS,
    beside_output,
    finish_reason,
    is_error,
    name_in,
    openai_usage,
    reported_cost_usd,
    text_in,
    tool_call,
    unusable,
)
from orchestify.lanes.classify import Failure
from orchestify.lanes.failures import (
    UNREADABLE,
    MalformedError,
    RefusedError,
    misread,
    refused_inline,
)
from orchestify.lanes.openai.dialects import UNKNOWN, Dialect
from orchestify.lanes.parsing import BOUNDS, TextPieces, encodable
from orchestify.lanes.turns import told
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
_BEGINS = ("response.created", "response.in_progress", "response.queued")
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_CALLS = ("function_call", "custom_tool_call")
_DONE = ("completed", "complete")
_BETWEEN_PARTS = "\n\n"


def answer(
    body: Any,
    request: CompletionRequest,
    headers: Mapping[str, str] = NOTHING,
    dialect: Dialect = UNKNOWN,
    bounds: AnswerBounds = BOUNDS,
) -> LLMResponse:
    """Return the answer that came whole; `headers` are those it keeps.

    Raises:
        RefusedError: an error inside a 200.
        MalformedError: no answer of this protocol. Both hold the usage that the body reports.
    """
    whole = ResponsesAnswer(request, dialect, bounds)
    try:
        if not isinstance(body, dict):
            raise MalformedError("the answer is JSON, but no object")
        whole.take_end(body)
        if not isinstance(body.get("output"), list):
            raise MalformedError("the answer has no output")
        return whole.response(body, headers)
    except UNREADABLE as error:
        raise unusable(error, whole) from None


class ResponsesAnswer:
    """An answer that grows by events; its items by their index in the output."""

    def __init__(
        self,
        request: CompletionRequest,
        dialect: Dialect = UNKNOWN,
        bounds: AnswerBounds = BOUNDS,
    ) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self.ended = False
        self._model = request.model
        self._dialect = dialect
        self._most_calls = bounds.max_tool_calls
        self._text = TextPieces()
        self._thoughts = TextPieces()
        self._items: dict[int, _Item] = {}
        self._calls: list[_Item] = []
        self._refused = False
        self._end: Mapping[str, Any] = NOTHING
        self._unread: dict[str, None] = {}

    @property
    def text(self) -> str:
        """All text so far."""
        return str(self._text)

    @property
    def cost_usd(self) -> Decimal | None:
        """What the provider says that the answer cost."""
        return reported_cost_usd(self._end.get("usage"), self._dialect.costs)

    @property
    def _has_output(self) -> bool:
        return bool(self._text or self._thoughts or self._calls)

    def skip(self, what: str) -> None:
        """Count something that could not be read and costs the answer nothing."""
        self._unread[what] = None

    def done(self) -> None:
        """Take `[DONE]`, which some endpoints send: by itself it proves nothing."""
        self.ended = True

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one event and return what it brought.

        Raises:
            RefusedError: the event is an error.
            MalformedError: something essential has another type than the protocol's.
        """
        kind = chunk.get("type")
        if is_error(chunk):
            raise refused_inline(chunk)
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                is_refusal = kind == "response.refusal.delta"
                return self._add_text(self._item_of(chunk, "message"), chunk, is_refusal=is_refusal)
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return self._add_thought(self._item_of(chunk, "reasoning"), chunk)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                arguments = text_in(chunk.get("delta"), "a tool call's arguments")
                return self._add_arguments(self._item_of(chunk, "function_call"), arguments)
            case "response.output_item.added" | "response.output_item.done":
                is_whole = kind == "response.output_item.done"
                return self._take_item(chunk.get("output_index"), chunk.get("item"), is_whole)
        if kind in _ENDS:
            return self.take_end(chunk.get("response"))
        if kind in _BEGINS:
            self._take_model(chunk.get("response"))
        return _NO_EVENTS

    def take_end(self, response: Any) -> Sequence[StreamEvent]:
        """Take the whole response: its usage, why it ended, and items that did not come before.

        Raises:
            RefusedError: it is an error.
            MalformedError: it is of another shape than the protocol's.
        """
        if not isinstance(response, dict):
            raise misread("the response")
        self._take_model(response)
        self._end = response
        if response.get("usage"):
            raw, tier = response["usage"], response.get("service_tier")
            self.usage = openai_usage(raw, tier, self._dialect.usage, self._dialect.costs)
        if is_error(response):
            raise refused_inline({"error": response.get("error") or response})
        events: list[StreamEvent] = []
        output = response.get("output")
        if not self._items and isinstance(output, list):
            for index, item in enumerate(output):
                events += self._take_item(index, item, True)
        self.complete = self.ended = True
        if self.usage is not None:
            events.append(UsageUpdate(self.usage))
        return events

    def _take_model(self, response: Any) -> None:
        if isinstance(response, dict):
            self._model = name_in(response.get("model"))[:MODEL_CHARS] or self._model

    def _item_of(self, chunk: Mapping[str, Any], kind: str) -> _Item:
        """Return the item that a piece belongs to: of its index, else the last of its kind.

        Raises:
            MalformedError: there is none, and the piece is of a tool call.
        """
        index = chunk.get("output_index")
        item = self._items.get(index) if index.__class__ is int else None
        if item is None:
            item = next((it for it in reversed(self._items.values()) if it.kind == kind), None)
        if item is None and kind == "function_call":
            raise misread("a piece of a tool call")
        return item if item is not None else self._begin(index, kind)

    def _begin(self, index: Any, kind: str) -> _Item:
        item = _Item(kind)
        place = index if index.__class__ is int and index not in self._items else None
        self._items[max(self._items, default=-1) + 1 if place is None else place] = item
        return item

    def _take_item(self, index: Any, fields: Any, is_whole: bool) -> Sequence[StreamEvent]:
        """Begin an item, or take it whole: what of it has come stays."""
        if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
            raise misread("an item of the output")
        item = self._items.get(index) if index.__class__ is int else None
        if item is None or item.kind != fields["type"]:
            item = self._begin(index, fields["type"])
        item.fields = fields
        if item.kind in _CALLS:
            return self._take_call(item, is_whole)
        if not is_whole:
            return _NO_EVENTS
        if item.kind == "message":
            return self._take_message(item)
        if item.kind == "reasoning":
            return self._take_reasoning(item)
        return _NO_EVENTS

    def _take_message(self, item: _Item) -> Sequence[StreamEvent]:
        """Take of a whole message what did not come in pieces."""
        content = item.fields.get("content") or []
        if not isinstance(content, list):
            raise misread("a message's content")
        if not all(isinstance(part, dict) for part in content):
            self.skip("content")
        if item.pieces:
            return _NO_EVENTS
        events: list[StreamEvent] = []
        for part in filter(lambda part: isinstance(part, dict), content):
            is_refusal = part.get("type") == "refusal"
            text = text_in(part.get("refusal" if is_refusal else "text"), "the text")
            events += self._add_text(item, {"delta": text}, is_refusal=is_refusal)
        return events

    def _take_reasoning(self, item: _Item) -> Sequence[StreamEvent]:
        if item.pieces:
            return _NO_EVENTS
        listed = item.fields.get("content") or item.fields.get("summary") or []
        events: list[StreamEvent] = []
        for place, part in enumerate(listed if isinstance(listed, list) else []):
            text = part.get("text") if isinstance(part, dict) else None
            if not isinstance(text, str):
                self.skip("reasoning")
                continue
            events += self._add_thought(item, {"delta": text, "summary_index": place})
        return events

    def _take_call(self, item: _Item, is_whole: bool) -> Sequence[StreamEvent]:
        """Begin a call, or take of a whole one what did not come in pieces.

        Raises:
            MalformedError: it has no name, or there are too many calls.
        """
        named = "input" if item.kind == "custom_tool_call" else "arguments"
        given = text_in(item.fields.get(named), "a tool call's arguments")
        if item.position is not None:
            return self._add_arguments(item, given) if is_whole and not item.pieces else _NO_EVENTS
        item.name = name_in(text_in(item.fields.get("name"), "a tool call's name"))
        if not item.name:
            raise misread("a tool call's name")
        if len(self._calls) >= self._most_calls:
            raise MalformedError(f"the answer has more than {self._most_calls} tool calls")
        item.id = name_in(item.fields.get("call_id")) or f"call_{uuid.uuid4().hex[:24]}"
        item.position = len(self._calls)
        self._calls.append(item)
        return self._add_arguments(item, given, is_first=True)

    def _add_arguments(
        self, item: _Item, arguments: str, *, is_first: bool = False
    ) -> Sequence[StreamEvent]:
        text = item.pieces.add(arguments)
        if item.position is None or not (text or is_first):
            return _NO_EVENTS
        return (ToolCallDelta(item.position, item.id, item.name, text),)

    def _add_text(
        self, item: _Item, chunk: Mapping[str, Any], *, is_refusal: bool = False
    ) -> Sequence[StreamEvent]:
        self._refused |= is_refusal
        text = self._text.add(text_in(chunk.get("delta"), "the text"))
        if not text:
            return _NO_EVENTS
        item.pieces.add(text)
        return (TextDelta(text, is_refusal),)

    def _add_thought(self, item: _Item, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Add a thought; an item's text and its summary are not both taken."""
        delta, kind = chunk.get("delta"), str(chunk.get("type"))
        if not isinstance(delta, str):
            self.skip("reasoning")
            return _NO_EVENTS
        item.told_by = item.told_by or kind
        if item.told_by != kind:
            return _NO_EVENTS
        part = chunk.get("summary_index", chunk.get("content_index"))
        if item.pieces and part != item.part:
            delta = _BETWEEN_PARTS + delta
        item.part = part
        text = self._thoughts.add(delta)
        item.pieces.add(text)
        return (ThinkingDelta(text),) if text else _NO_EVENTS

    def response(self, raw: Any = None, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
        """Return the whole answer; its `raw_response` is the protocol's, also after a stream.

        Raises:
            RefusedError: the provider gave up in the middle of the answer.
            MalformedError: it is not at its end, or nothing came and no known word says why.
        """
        calls = tuple([item.call() for item in self._calls])
        reason = finish_reason(
            self._finish_word(), has_calls=bool(calls), has_output=self._has_output
        )
        usage = self._usage_with_searches()
        if self._has_output:
            usage = beside_output(usage, "output_tokens")
        blocks = told(self._said())
        thinking = Thinking(str(self._thoughts), blocks) if self._thoughts or blocks else None
        return LLMResponse(
            content=self.text,
            model=self._model,
            tokens_input=usage.input_tokens,
            tokens_output=usage.output_tokens,
            finish_reason="refusal" if self._refused and reason == "stop" else reason,
            raw_response=raw or encodable(self._end),
            tool_calls=calls,
            thinking=thinking,
            usage=usage,
            cost_usd=self.cost_usd,
            cost_source="none" if self.cost_usd is None else "provider",
            headers=headers,
            warnings=tuple([f"unread:{name}" for name in self._unread]),
        )

    def _finish_word(self) -> Any:
        """Return the word that says why the answer ended."""
        status = self._end.get("status")
        if status in _DONE:
            return "stop"
        if status == "incomplete":
            details = self._end.get("incomplete_details")
            return details.get("reason") if isinstance(details, dict) else None
        if status == "failed":
            raise RefusedError(Failure(500, "the provider gave up, and does not say why"))
        if status in ("queued", "in_progress"):
            raise MalformedError(f"the answer is still {status}")
        return status

    def _usage_with_searches(self) -> Usage:
        """Return what was used; searches of the web are counted by their items."""
        usage = self.usage or UNKNOWN_USAGE
        searches = sum(item.kind == "web_search_call" for item in self._items.values())
        return replace(usage, searches=searches) if searches > usage.searches else usage

    def _said(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield what the answer holds, in order; see `turns.told`."""
        for _, item in sorted(self._items.items()):
            if item.kind == "message":
                yield 1, {"type": "text", "text": str(item.pieces)}
            elif item.kind in _CALLS:
                yield 2, {"type": "tool_use", "id": item.id}
            else:
                yield 0, encodable(item.fields)


class _Item:
    """An item of the output that grows; `position` is a call's among the calls.

    `told_by` is the kind of event that brought a thought, `part` the index of its last part.
    """

    __slots__ = ("fields", "id", "kind", "name", "part", "pieces", "position", "told_by")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fields: dict[str, Any] = {"type": kind}
        self.pieces = TextPieces()
        self.id = ""
        self.name = ""
        self.position: int | None = None
        self.told_by = ""
        self.part: Any = None

    def call(self) -> ToolCall:
        """Return the call; a custom tool's text is its argument `input`."""
        text = str(self.pieces)
        if self.kind == "custom_tool_call":
            return ToolCall(self.id, self.name, {"input": text}, text)
        return tool_call(self.id, self.name, text)
