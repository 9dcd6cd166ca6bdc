"""What the answers of all protocols have in common: finish words, tool calls, the stream's face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from types import NoneType
from typing import Any, Protocol

from orchestify.lanes.classify import MINIMAX, REQUEST_ID_HEADERS, Failure
from orchestify.lanes.failures import (
    MISSHAPEN,
    MalformedError,
    RefusedError,
    UnusableError,
    misread,
)
from orchestify.lanes.parsing import encodable, encodable_text, parse_json
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

MODEL_CHARS = 200
"""What of the name of the model that answered is kept."""


class Answer(Protocol):
    """An answer that grows: each protocol has one.

    `complete` says that the answer is whole, `ended` that nothing more comes.
    """

    usage: Usage | None
    complete: bool
    ended: bool

    @property
    def cost_usd(self) -> Decimal | None:
        """What the provider says that the answer cost so far."""

    @property
    def text(self) -> str:
        """All text so far."""

    def feed(self, chunk: Any) -> Sequence[StreamEvent]:
        """Take one event's data and return what it brought."""

    def done(self) -> None:
        """Take the protocol-independent end of a stream, `[DONE]`: it proves nothing by itself."""

    def skip(self, what: str) -> None:
        """Count something that could not be read and costs the answer nothing."""

    def response(self, raw: Any = None, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
        """Return the whole answer; `headers` are those it keeps."""


@contextmanager
def reading(answer: Answer) -> Iterator[None]:
    """Give what fails in reading an answer the tokens and the cost that the answer reports.

    Raises:
        RefusedError, MalformedError: as they came; any other misreading is a MalformedError.
    """
    try:
        try:
            yield
        except MISSHAPEN:
            raise misread("the answer") from None
    except UnusableError as error:
        error.usage, error.cost_usd = answer.usage, answer.cost_usd
        raise


_STOP = ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "finish", "endoftext")
_LENGTH = (
    *("length", "max_tokens", "model_length", "model_context_window_exceeded", "token_limit"),
    *("max_output_tokens", "error_limit"),
)
_TOOL_CALLS = ("tool_calls", "function_call", "tool_use", "tool_call")
_FILTERED = (
    *("content_filter", "content_filtered", "sensitive", "safety", "recitation", "language"),
    *("prohibited_content", "blocklist", "spii", "image_safety", "image_prohibited_content"),
    *("image_recitation", "guardrail_intervened", "error_toxic", "model_armor"),
)
# Sources: OpenAI, "finish_reason"; Anthropic and Bedrock, "Stop reasons"; Google, "FinishReason",
# which compatible endpoints pass on, as a number too; Cohere; Mistral (model_length), Together
# (eos), Z.ai (sensitive), watsonx (token_limit, eos_token).
FINISH: Mapping[str, FinishReason] = {
    **dict.fromkeys((*_STOP, "1"), "stop"),
    **dict.fromkeys((*_LENGTH, "2"), "length"),
    **dict.fromkeys(_TOOL_CALLS, "tool_calls"),
    **dict.fromkeys((*_FILTERED, "3", "4", "6", "7", "8", "9", "11"), "content_filter"),
    "refusal": "refusal",
    "pause_turn": "pause",
    "compaction": "pause",
}
# The provider gave up in the middle. Sources: OpenRouter, DeepSeek, Z.ai, Google, Bedrock, vLLM,
# Cohere, watsonx.
FAILED = frozenset(
    {
        *(
            "error",
            "insufficient_system_resource",
            "network_error",
            "abort",
            "timeout",
            "cancelled",
        ),
        *("malformed_response", "malformed_model_output", "other", "no_image", "image_other"),
        *("user_cancel", "time_limit", "not_finished", "5"),
    }
)
# A call went wrong; where one came all the same, it is the answer. Sources: Google, Bedrock.
FAILED_CALLS = frozenset(
    {
        *("malformed_function_call", "malformed_tool_use", "unexpected_tool_call"),
        *("too_many_tool_calls", "missing_thought_signature", "10", "12", "13"),
    }
)
_KNOWN = frozenset({*FINISH, *FAILED, *FAILED_CALLS})


def kept_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return, in lower case, the headers that tell rate limits and the request's id."""
    return {
        lower: value if value.isascii() else encodable_text(value)
        for name, value in headers.items()
        if "ratelimit" in (lower := name.lower()) or lower in REQUEST_ID_HEADERS
    }


def is_finish_word(word: Any) -> bool:
    """Whether a word says, in any protocol, why an answer ended."""
    return _known(word) in _KNOWN


def finish_reason(word: Any, *, has_calls: bool, has_output: bool = True) -> FinishReason:
    """Return our word: a stop with tool calls is `tool_calls` (a forced tool ends so).

    `tool_calls` without a call leaves nothing to do: that is `stop`. A word that nobody knows, or
    none, is `stop` beside output.

    Raises:
        RefusedError: the provider gave up in the middle of the answer.
        MalformedError: the word is none, or nothing came and no known word says why.
    """
    if isinstance(word, bool) or not isinstance(word, (str, int, float, NoneType)):
        raise misread("the finish reason")
    known = _known(word)
    if known in FAILED or (known in FAILED_CALLS and not has_calls):
        raise RefusedError(Failure(500, f"the provider gave up in the middle: {known}"))
    reason = FINISH.get(known)
    if reason is None and not has_output:
        raise MalformedError("the answer is empty, and nothing says why it ended")
    if reason in (None, "stop", "tool_calls"):
        return "tool_calls" if has_calls else "stop"
    return reason


def _known(word: Any) -> str:
    """Return a word as the tables have it, from `function_call_filter: MALFORMED_FUNCTION_CALL`."""
    if isinstance(word, float) and word.is_integer():
        word = int(word)
    if isinstance(word, bool) or not isinstance(word, (str, int)):
        return ""
    lower = str(word)[:100].lower().strip()
    lower = lower.removeprefix("finishreason.").removeprefix("finish_reason_")
    if lower in _KNOWN:
        return lower
    parts = [*(part.strip() for part in reversed(lower.split(":")))]
    return next((part for part in parts if part in _KNOWN), lower)


def text_in(value: Any, what: str) -> str:
    """Return an essential text; None counts as empty.

    Raises:
        MalformedError: it is of another type.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise misread(what)
    return value


def name_in(value: Any) -> str:
    """Return a name or an id as it can be encoded, empty where it is no text."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else encodable_text(value)


def tool_call(call_id: str, name: str, arguments: str) -> ToolCall:
    """Return a call whose arguments came as text; nothing at all counts as no arguments."""
    try:
        parsed = encodable(parse_json(arguments)) if arguments.strip() else {}
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        return ToolCall(call_id, name, parsed, arguments)
    return ToolCall(call_id, name, {}, arguments, valid=False)


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


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether an answer with status 200, or an event of a stream, is an error by its shape.

    What says so itself is one whatever stands beside it; else a message is, where no answer and no
    usage is.
    """
    error = body.get("error")
    if any(error.values()) if isinstance(error, Mapping) else error:
        return True
    if body.get("object") == "error" or body.get("type") == "error":
        return True
    own = body.get(MINIMAX)
    if isinstance(own, Mapping) and own.get("status_code") not in (None, 0, "0"):
        return True
    if "choices" in body or "content" in body or "type" in body or body.get("usage"):
        return False
    return any(body.get(name) for name in ("message", "detail", "errors"))


_GROWING = ("text", "summary", "data", "thinking")


class ThinkingBlocks:
    """The blocks of one answer in the order they came; a piece continues the block before it.

    It does where type and index are the same. Pieces are joined once, at the end.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[dict[str, Any], dict[str, list[Any]]]] = []

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def begin(self, block: Mapping[str, Any]) -> None:
        """Add a block that continues none."""
        self._blocks.append((dict(block), {}))

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add a piece of a block, or a whole one."""
        last = self._blocks[-1][0] if self._blocks else None
        if last is None or any(last.get(name) != piece.get(name) for name in ("type", "index")):
            last = {name: piece.get(name) for name in ("type", "index") if name in piece}
            self._blocks.append((last, {}))
        growing = self._blocks[-1][1]
        for name, value in piece.items():
            if name in _GROWING and value:
                growing.setdefault(name, []).append(value)
            if value is not None or name not in last:
                last[name] = value

    def whole(self) -> tuple[dict[str, Any], ...]:
        """Return the blocks."""
        return tuple(
            encodable(fields | {name: _joined(pieces) for name, pieces in growing.items()})
            for fields, growing in self._blocks
        )


def _joined(pieces: list[Any]) -> Any:
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return [each for piece in pieces for each in piece]
    return pieces[-1]
