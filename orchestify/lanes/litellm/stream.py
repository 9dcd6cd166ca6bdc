"""A stream of LiteLLM's chunks, as our events and the answer they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestify.core.providers import AnswerBounds
from orchestify.errors import APIError
from orchestify.lanes.answers import tool_call
from orchestify.lanes.failures import MalformedError, interrupted
from orchestify.lanes.litellm.answer import (
    blocks_in,
    fields_of,
    is_server_tool,
    our_finish,
    own_headers,
    thinking_from,
)
from orchestify.lanes.litellm.errors import cut_off
from orchestify.lanes.litellm.usage import as_dict, streamed_cost_usd, streamed_usage
from orchestify.values import (
    UNKNOWN_USAGE,
    LLMResponse,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

# The fields of a block of thinking that come in pieces; beside a signature the whole is repeated.
_GROWING = frozenset({"thinking", "text", "summary", "data"})


@dataclass(slots=True)
class _Call:
    index: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)


class StreamedAnswer:
    """What has come of one of LiteLLM's streams.

    Of the stream itself only what the provider sent is read: the finish word that it gave, and
    `chunks`, where its usage is. What LiteLLM appends at the end, a `stop` and a usage that it
    counts itself, it appends to a stream that was cut as well.
    """

    def __init__(self, stream: Any, bounds: AnswerBounds) -> None:
        self._stream = stream
        self._most_calls = bounds.max_tool_calls
        self._source: Any = None  # what LiteLLM reads; 1.110 lets go of it at the end
        self._seen = 0
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._blocks: list[dict[str, Any]] = []
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call | None] = {}
        self._finish: str | None = None
        self._model = ""
        self._reported: Any = None
        self.usage: Usage | None = None

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._texts)

    @property
    def has_output(self) -> bool:
        """Whether anything came that a caller has seen."""
        return bool(self._texts or self._thoughts or self._calls)

    def feed(self, chunk: Any) -> Iterator[StreamEvent]:
        """Take one chunk and yield what it brought."""
        stream = self._stream
        word = stream.received_finish_reason or stream.intermittent_finish_reason
        self._finish = word or self._finish
        yield from self._reports()
        if not chunk.choices:
            return
        self._model = self._model or _model(chunk)
        delta = fields_of(chunk.choices[0].delta)
        thought, text = delta.get("reasoning_content"), delta.get("content")
        if thought and isinstance(thought, str):
            self._thoughts.append(thought)
            yield ThinkingDelta(thought)
        for block in blocks_in(delta):
            self._take_block(dict(block))
        if text:
            if not isinstance(text, str):
                raise MalformedError("the text of a piece is no text")
            self._texts.append(text)
            yield TextDelta(text)
        for piece in delta.get("tool_calls") or ():
            yield from self._take_call(piece)

    def end(self) -> list[UsageUpdate]:
        """Return what the provider reported after its last piece."""
        self._finish = self._stream.received_finish_reason or self._finish
        return self._reports()

    def response(self) -> LLMResponse:
        """Return the whole answer.

        Raises:
            StreamInterruptedError: the provider never said that it had ended, after output.
            APIConnectionError: the same, before any output.
            RefusedError: the provider gave up in the middle of the answer.
        """
        if self._finish is None:
            raise self.broken(cut_off())
        usage = self.usage or UNKNOWN_USAGE
        raw_usage = as_dict(self._reported)
        cost = streamed_cost_usd(raw_usage, self._source)
        calls = tuple(tool_call(each.id, each.name, "".join(each.pieces)) for each in self._calls)
        return LLMResponse(
            content=self.text,
            model=self._model or str(self._stream.model or ""),
            tokens_input=usage.input_tokens,
            tokens_output=usage.output_tokens,
            finish_reason=our_finish(self._finish, self._finish, has_calls=bool(calls)),
            raw_response={"finish_reason": self._finish, "usage": raw_usage or None},
            tool_calls=calls,
            thinking=thinking_from("".join(self._thoughts), map(_as_whole, self._blocks)),
            usage=usage,
            cost_usd=cost,
            cost_source="none" if cost is None else "provider",
            headers=own_headers(self._stream),
        )

    def broken(self, reason: APIError) -> APIError:
        """Return the error for a stream that broke off; `reason` itself before any output."""
        return interrupted(reason, self.text, self.usage) if self.has_output else reason

    def _reports(self) -> list[UsageUpdate]:
        """Read the usage of the chunks that have come, those among them that LiteLLM held back."""
        self._source = self._stream.completion_stream or self._source
        chunks, updates = self._stream.chunks, []
        for at in range(self._seen, len(chunks)):
            shown = fields_of(chunks[at]).get("usage")
            if shown is None:
                continue
            # Anthropic's own, where LiteLLM's reader of its protocol keeps it.
            own = getattr(self._source, "_cumulative_usage", None)
            usage = streamed_usage(shown, own, str(self._stream.custom_llm_provider))
            if usage is None:
                continue
            # A later report with the same counts may bring the cost.
            if usage != self.usage or as_dict(shown).get("cost") is not None:
                self._reported = own or shown
            if usage != self.usage:
                self.usage = usage
                updates.append(UsageUpdate(usage))
        self._seen = len(chunks)
        return updates

    def _take_block(self, block: dict[str, Any]) -> None:
        """Add a piece of a block of thinking to the block it continues, or begin another."""
        last = self._blocks[-1] if self._blocks else {}
        continues = (
            block.get("type") == last.get("type") != "redacted_thinking"
            and block.get("index") == last.get("index")
            and not last.get("signature")
        )
        if not continues:
            self._blocks.append(block)
            return
        for name, more in block.items():
            before = last.get(name)
            if name not in _GROWING or (block.get("signature") and more.startswith(before or "")):
                last[name] = before if more in {None, ""} else more
            else:
                last[name] = (before or "") + (more or "")

    def _take_call(self, piece: Any) -> Iterator[StreamEvent]:
        index = piece.index or 0
        call = self._by_index.get(index)
        is_new = index not in self._by_index or (piece.id and call and piece.id != call.id)
        if is_server_tool(piece.id):
            self._by_index[index] = None
            return
        if is_new:
            if len(self._calls) == self._most_calls:
                raise MalformedError(f"the answer has more than {self._most_calls} tool calls")
            call = _Call(len(self._calls), piece.id or "", piece.function.name or "")
            self._calls.append(call)
            self._by_index[index] = call
        if call is None:
            return
        call.pieces.append(piece.function.arguments or "")
        yield ToolCallDelta(call.index, call.id, call.name, call.pieces[-1])


def _as_whole(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block as it is in a whole answer: Anthropic's have no index, and take none back."""
    is_anthropics = block.get("type") in {"thinking", "redacted_thinking"}
    return {k: v for k, v in block.items() if not (is_anthropics and k == "index")}


def _model(chunk: Any) -> str:
    hidden = getattr(chunk, "_hidden_params", None) or {}
    return str(hidden.get("provider_response_model") or "")
