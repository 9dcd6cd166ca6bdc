"""OpenAI's Chat Completions: the answer out of its chunks; a whole answer is one chunk.

What endpoints put elsewhere is said by their rows in `dialects`. Source: OpenAI, "API reference:
Chat completion chunk".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import groupby
from typing import Any, Literal

from orchestify.core.providers import AnswerBounds
from orchestify.lanes.answers import (
    MODEL_CHARS,
    beside_output,
    finish_reason,
    is_error,
    is_finish_word,
    merged,
    name_in,
    openai_usage,
    report_in,
    reported_cost_usd,
    text_in,
    unusable,
)
from orchestify.lanes.failures import UNREADABLE, MalformedError, misread, refused_inline
from orchestify.lanes.openai.dialects import UNKNOWN, Dialect
from orchestify.lanes.openai.tool_calls import ToolCalls
from orchestify.lanes.parsing import BOUNDS, TextPieces, encodable
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
    Usage,
    UsageUpdate,
)

_NO_EVENTS: tuple[StreamEvent, ...] = ()
_TEXT_PARTS = ("text", "output_text", None)


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
    whole = ChatAnswer(request, "message", dialect, bounds)
    try:
        if not isinstance(body, dict):
            raise MalformedError("the answer is JSON, but no object")
        whole.take(body, body.get("choices"))
        if not whole.has_choice:
            raise MalformedError("the answer has no choices")
        return whole.response(body, headers)
    except UNREADABLE as error:
        raise unusable(error, whole) from None


class ChatAnswer:
    """An answer that grows by chunks. Of several choices the first one seen is the answer."""

    def __init__(
        self,
        request: CompletionRequest,
        holds: Literal["delta", "message"] = "delta",
        dialect: Dialect = UNKNOWN,
        bounds: AnswerBounds = BOUNDS,
    ) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self.ended = False
        self.has_choice = False
        self._is_plain = False  # of a stream whose choice is known
        self._model = request.model
        self._holds = holds
        self._dialect = dialect
        asked = None if request.options is NOTHING else request.options.get("n")
        self._choices = _Choices(asked if asked.__class__ is int else 1)
        self._text = TextPieces()
        self._thoughts = TextPieces()
        self._blocks = ThinkingBlocks()
        self._calls: ToolCalls | None = None
        self._most_calls = bounds.max_tool_calls
        self._finish: Any = None
        self._refused = False
        self._raw_usage: Any = None
        self._service_tier: Any = None
        self._unread: dict[str, None] = {}

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._text.pieces)

    @property
    def cost_usd(self) -> Decimal | None:
        """What the provider says that the answer cost so far."""
        return reported_cost_usd(self._raw_usage, self._dialect.costs)

    @property
    def _has_output(self) -> bool:
        return bool(self._text.pieces or self._thoughts.pieces or self._calls)

    def skip(self, what: str) -> None:
        """Count something that could not be read and costs the answer nothing."""
        self._unread[what] = None

    def done(self) -> None:
        """Take `[DONE]`: with output it ends the answer, by itself it proves nothing."""
        self.ended = True
        self.complete = self.complete or self._has_output

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one chunk and return what it brought.

        Raises:
            RefusedError: the chunk is an error.
            MalformedError: something essential has another type than the protocol's.
        """
        choices = chunk.get("choices")
        if self._is_plain and choices.__class__ is list and len(choices) == 1:
            choice = choices[0]
            if (  # most chunks bring a text and nothing else
                choice.__class__ is dict
                and choice.get("index") == self._choices.index
                and choice.get("finish_reason") is chunk.get("usage") is None
                and (delta := choice.get("delta")).__class__ is dict
                and len(delta) == 1
                and (text := delta.get("content")).__class__ is str
                and text
                and text.isascii()
                and not self._text.half
                and "error" not in chunk
                and "error" not in choice
            ):
                self._choices.is_steady = True
                self._text.pieces.append(text)
                return (TextDelta(text),)
        return self.take(chunk, choices)

    def take(self, chunk: Mapping[str, Any], choices: Any) -> Sequence[StreamEvent]:
        """Take a chunk that may bring anything, or a whole answer; raises as `feed` does."""
        usage = self._take_usage(chunk)
        if is_error(chunk):
            raise refused_inline(chunk)
        choice = self._choice_in(choices)
        if choice is None:
            return usage
        if choice.get("error"):
            raise refused_inline({"error": choice["error"]})
        if not self.has_choice:
            self.has_choice = True
            self._is_plain = self._holds == "delta"
            self._model = name_in(chunk.get("model"))[:MODEL_CHARS] or self._model
        events: list[StreamEvent] = []
        message = choice.get(self._holds)
        if message.__class__ is not dict:
            message = self._message_in(choice)
        self._take_message(message, events)
        self._take_finish(choice.get("finish_reason"))
        events += usage
        return events

    def _choice_in(self, choices: Any) -> Mapping[str, Any] | None:
        """Return the choice that is the answer, None where none is there."""
        if not choices:
            return None
        if not isinstance(choices, list):
            raise misread("the list of choices")
        if self._holds == "message":
            if not isinstance(choices[0], dict):
                raise misread("a choice")
            return choices[0]
        for choice in choices:
            if isinstance(choice, dict) and self._choices.is_ours(choice):
                return choice
        return None

    def _message_in(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a choice brings: a message, a piece of one, or a bare text."""
        message = choice.get(self._holds)
        if message is None and not self._has_output:
            message = choice.get("message", choice.get("delta"))
            if message is None and choice.get("text"):
                message = {"content": choice["text"]}
        if message is None:
            return NOTHING
        if not isinstance(message, dict):
            raise misread("a choice's message")
        return message

    def _take_message(self, message: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._take_thinking(message, events)
        content = message.get("content")
        if content.__class__ is str:
            self._add_text(content, events)
        else:
            self._take_content(content, events)
        if message.get("refusal"):
            self._refused = True
            refusal = text_in(message["refusal"], "a refusal")
            self._add_text(refusal, events, is_refusal=True)
        if message.get("tool_calls") or message.get("function_call"):
            self._take_calls(message, events)
        if message.get("extra_content"):
            self._take_extra(message["extra_content"], None)

    def _take_finish(self, word: Any) -> None:
        """Take a finish word; `stop` does not replace a word that says more."""
        if word in (None, ""):
            self.complete = self.complete or self._holds == "message"
            return
        if not is_finish_word(self._finish) or (is_finish_word(word) and word != "stop"):
            self._finish = word
        self.complete = is_finish_word(word) or self._has_output

    def _take_content(self, content: Any, events: list[StreamEvent]) -> None:
        """Take Mistral's list of parts, or an object where JSON was asked for."""
        if isinstance(content, list):
            for is_text, parts in groupby(content, _is_text):
                if is_text:
                    texts = [part if isinstance(part, str) else part["text"] for part in parts]
                    self._add_text("".join(texts), events)
                else:
                    for part in parts:
                        self._take_part(part, events)
        elif isinstance(content, dict):
            self._add_text(json_text(content) if content else "", events)
        else:
            self._add_text(text_in(content, "the text"), events)

    def _add_text(self, text: str, events: list[StreamEvent], *, is_refusal: bool = False) -> None:
        if self._text.half or not text.isascii():
            text = self._text.add(text)
        elif text:
            self._text.pieces.append(text)
        if text and self._holds == "delta":
            events.append(TextDelta(text, is_refusal))

    def _take_part(self, part: Any, events: list[StreamEvent]) -> None:
        if not isinstance(part, dict):
            self.skip("content")
        elif part.get("type") == "thinking":
            inner = part.get("thinking")
            self._think(inner, events, "thinking")
            pieces = inner if isinstance(inner, list) else [{"text": inner}]
            self._blocks.add({"type": "thinking", "thinking": pieces})
        elif part.get("type") == "refusal":
            self._refused = True
            self._add_text(text_in(part.get("refusal"), "a refusal"), events, is_refusal=True)
        elif part.get("type") in _TEXT_PARTS and "text" in part:
            self._add_text(text_in(part["text"], "the text"), events)
        else:
            self.skip("content")

    def _take_thinking(self, message: Mapping[str, Any], events: list[StreamEvent]) -> None:
        blocks: list[Mapping[str, Any]] = []
        named = self._dialect.reasoning_details
        if message.get(named):
            blocks = self._blocks_in(message[named], named)
        for name in self._dialect.reasoning:
            if message.get(name):
                self._think(message[name], events, name)
                return
        if blocks:
            self._think([_thought_in(block) for block in blocks], events, named)

    def _blocks_in(self, details: Any, name: str) -> list[Mapping[str, Any]]:
        """Keep the blocks of thinking in a message, and return them."""
        listed = details if isinstance(details, list) else [details]
        blocks: list[Mapping[str, Any]] = [each for each in listed if isinstance(each, dict)]
        if len(blocks) < len(listed):
            self.skip(name)
        for block in blocks:
            self._blocks.add(block)
        return blocks

    def _think(self, value: Any, events: list[StreamEvent], name: str) -> None:
        """Take a thought; what has no text in it is a decoration that could not be read."""
        thought = "".join(thoughts_in(value))
        if not thought and value and not isinstance(value, list):
            self.skip(name)
        if (thought := self._thoughts.add(thought)) and self._holds == "delta":
            events.append(ThinkingDelta(thought))

    def _take_calls(self, message: Mapping[str, Any], events: list[StreamEvent]) -> None:
        pieces = message.get("tool_calls") or []
        if not isinstance(pieces, list):
            raise misread("the list of tool calls")
        legacy = message.get("function_call")
        if not pieces and isinstance(legacy, dict) and (legacy.get("name") or self._calls):
            pieces = [{"index": 0, "function": legacy}]
        for piece in pieces:
            self._take_call(piece, events)

    def _take_call(self, piece: Any, events: list[StreamEvent]) -> None:
        if piece is not None and not isinstance(piece, dict):
            raise misread("a tool call")
        if piece is None or not any(isinstance(piece.get(at), dict) for at in _CALLED):
            self.skip("tool_calls")  # not one of the caller's functions
            return
        if self._calls is None:
            self._calls = ToolCalls(self._most_calls)
        calls = self._calls
        delta = calls.take(piece, is_whole=self._holds == "message")
        extra = piece.get("extra_content")
        self._take_extra(extra, calls.last_id())
        if delta is not None:
            is_told = isinstance(extra, dict) and bool(extra)
            events.append(replace(delta, extra_content=extra) if is_told else delta)

    def _take_extra(self, extra: Any, call_id: str | None) -> None:
        """Keep Gemini's thought signatures, which belong to a call or to the message."""
        if isinstance(extra, dict) and extra:
            block = {"type": "extra_content", "tool_call_id": call_id, "extra_content": extra}
            self._blocks.begin(block)
        elif extra:
            self.skip("extra_content")

    def _take_usage(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        self._service_tier = name_in(chunk.get("service_tier")) or self._service_tier
        raw = report_in(chunk, self._dialect.usage)
        if not raw or raw == self._raw_usage:
            return _NO_EVENTS
        self._raw_usage = raw if self._raw_usage is None else merged(self._raw_usage, raw)
        self.usage = openai_usage(
            self._raw_usage, self._service_tier, self._dialect.usage, self._dialect.costs
        )
        return (UsageUpdate(self.usage),)

    def response(self, raw: Any = None, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
        """Return the whole answer; `raw` is its body, where it came whole.

        Raises:
            RefusedError: the provider gave up in the middle of the answer.
            MalformedError: nothing came, and no known word says why.
        """
        calls = self._calls.values() if self._calls is not None else ()
        reason = finish_reason(
            self._finish, has_calls=bool(calls), has_output=self._has_output or bool(calls)
        )
        usage = self.usage or UNKNOWN_USAGE
        if not usage.output_tokens and self._has_output:
            usage = beside_output(usage, "completion_tokens")
        thinking = None
        if self._thoughts.pieces or self._blocks.blocks:
            thinking = Thinking(str(self._thoughts), self._blocks.whole())
        cost_usd = reported_cost_usd(self._raw_usage, self._dialect.costs)
        return LLMResponse(
            content="".join(self._text.pieces),
            model=self._model,
            tokens_input=usage.input_tokens,
            tokens_output=usage.output_tokens,
            finish_reason="refusal" if self._refused and reason == "stop" else reason,
            raw_response=raw or encodable(self._end_as_reported()),
            tool_calls=calls,
            thinking=thinking,
            usage=usage,
            cost_usd=cost_usd,
            cost_source="none" if cost_usd is None else "provider",
            headers=headers,
            warnings=tuple([f"unread:{name}" for name in self._unread]) if self._unread else (),
        )

    def _end_as_reported(self) -> dict[str, Any]:
        return {"finish_reason": self._finish, "usage": self._raw_usage}


@dataclass(slots=True)
class _Choices:
    """Which choice of a stream is the answer.

    Where several were `asked` for, the first one seen. Else there is one, even where its index is
    missing or counts up with each chunk; another begins with a role alone, or beside an index that
    stays.
    """

    asked: int
    index: Any = None
    is_steady: bool = False
    others: set[int] = field(default_factory=set)

    def is_ours(self, choice: Mapping[str, Any]) -> bool:
        index = choice.get("index")
        if index.__class__ is not int or index in self.others:
            return index.__class__ is not int
        if index == self.index:
            self.is_steady = True
        elif self.index is not None and (self.asked > 1 or self._begins_another(choice)):
            self.others.add(index)
            return False
        self.index = index
        return True

    def _begins_another(self, choice: Mapping[str, Any]) -> bool:
        delta = choice.get("delta")
        is_bare = isinstance(delta, dict) and "role" in delta and not delta.get("content")
        return self.is_steady or (is_bare and choice.get("finish_reason") is None)


def _is_text(part: Any) -> bool:
    """Whether a part of a content is nothing but a text."""
    if isinstance(part, dict):
        return part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)
    return isinstance(part, str)


_CALLED = ("function", "custom")


def _thought_in(block: Mapping[str, Any]) -> str:
    return "".join(thoughts_in(block.get("text") or block.get("summary")))


def thoughts_in(value: Any) -> Iterator[str]:
    """Yield the texts of thoughts, whatever shape they have: a text, objects with one, a list."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from thoughts_in(each)
    elif isinstance(value, dict):
        named = (value.get(name) for name in ("text", "thinking", "content", "summary"))
        yield from thoughts_in(next((each for each in named if each), None))


_GROWING = ("text", "summary", "data", "thinking")


@dataclass(slots=True)
class ThinkingBlocks:
    """The blocks of one answer in the order they came; a piece continues the block before it.

    It does where type and index are the same. Pieces are joined once, at the end.
    """

    blocks: list[tuple[dict[str, Any], dict[str, list[Any]]]] = field(default_factory=list)

    def begin(self, block: Mapping[str, Any]) -> None:
        """Add a block that continues none."""
        self.blocks.append((dict(block), {}))

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add a piece of a block, or a whole one."""
        last = self.blocks[-1][0] if self.blocks else None
        if last is None or any(last.get(name) != piece.get(name) for name in ("type", "index")):
            last = {name: piece.get(name) for name in ("type", "index") if name in piece}
            self.blocks.append((last, {}))
        growing = self.blocks[-1][1]
        for name, value in piece.items():
            if name in _GROWING and value:
                growing.setdefault(name, []).append(value)
            if value is not None or name not in last:
                last[name] = value

    def whole(self) -> tuple[dict[str, Any], ...]:
        """Return the blocks."""
        return tuple(
            encodable(fields | {name: _joined(pieces) for name, pieces in growing.items()})
            for fields, growing in self.blocks
        )


def _joined(pieces: list[Any]) -> Any:
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return [each for piece in pieces for each in piece]
    return pieces[-1]
