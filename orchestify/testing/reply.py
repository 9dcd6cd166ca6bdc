"""What the stub server is told to answer: `Reply`, in code or in the name of the model.

A model's name may carry directives after it, so that tests which run at once need no shared
queue:

    stub;status=429;retry_after=1
    stub;chunks=50;chunk_delay_s=0.01;cut_after=3
    stub;text=hello%3B there;usage=input_tokens:100,cache_read:40,output_tokens:5
    stub;tool_calls=get_weather,get_time;reset=false

The grammar: `model *(";" field ["=" value])`. A field is one of `Reply`'s (all but `headers` and
`raw_body`), a value is percent-decoded, and a field without a value is true. What is answered to
does not hold the directives: `"model"` is then `stub`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

from orchestify.values import ToolCall, Usage

Writes: TypeAlias = Literal["each", "all"] | int

NAMED_ERRORS: Mapping[str, int] = {"context_window": 400, "content_filter": 400, "quota": 429}
"""Errors that `Reply.error` may name, and the status they have where none is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of the stub server. What is left out follows from the request.

    What is said
        `text` is cut into `chunks` pieces (into words where None); without a `text`, as many words
        are made up as `words` or `chunks` say. `thinking` is sent whether or not it was asked for,
        and `""` sends none. An empty `arguments` of a tool call is filled from the tool's schema.
        `finish_reason` is one of ours, or any word of the provider's. `model` is the one that
        claims to have answered. `usage` is ours (inclusive counts); a mapping is sent as it
        stands, and an empty one leaves the usage out. `cost_usd` is added as `usage.cost`, as
        OpenRouter does (OpenAI's protocol only).
    Errors
        `status` from 400 on answers with the provider's error body; `error` is its message, a
        whole body, or one of `context_window`, `content_filter` and `quota`, which are written as
        the provider writes them. `retry_after` becomes that header: seconds or a date.
        `inline_error` sends the error with status 200.
    Time, in seconds
        `slow_headers_s` passes before the headers; `delay_s` before a JSON answer, or between a
        stream's headers and its first event; `chunk_delay_s` before each piece.
    Faults
        After that many pieces of output (0: after the opening events; never past the last piece,
        so the protocol's end is not sent) `cut_after` hangs up, `eof_after` ends the body as if
        all were well, `stall_after` stays silent with the connection open and `error_after` sends
        the protocol's error event. In a JSON answer the first three happen after half of the body,
        and `error_after` is an `inline_error`. `done=False` leaves out only the last mark
        (`[DONE]`, `message_stop`). `reset` hangs up with RST, before any answer or where
        `cut_after` says. `garbage` is a page of HTML, `raw_body` any bytes at all.
    Writes
        `writes` is `each` (one write a piece), `all` (one write for everything) or a number of
        bytes per write, whatever they cut through; None is the server's.
    """

    text: str | None = field(default=None, repr=False)
    words: int | None = None
    chunks: int | None = None
    thinking: str | None = field(default=None, repr=False)
    tool_calls: tuple[ToolCall, ...] | None = None
    finish_reason: str | None = None
    refusal: str | None = field(default=None, repr=False)
    model: str | None = None
    usage: Usage | Mapping[str, Any] | None = None
    cost_usd: float | None = None
    status: int = 200
    error: str | Mapping[str, Any] | None = field(default=None, repr=False)
    retry_after: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    inline_error: bool = False
    slow_headers_s: float = 0.0
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    cut_after: int | None = None
    eof_after: int | None = None
    stall_after: int | None = None
    error_after: int | None = None
    done: bool = True
    reset: bool = False
    garbage: bool = False
    raw_body: bytes | None = field(default=None, repr=False)
    writes: Writes | None = None

    def __post_init__(self) -> None:
        faults = (self.cut_after, self.eof_after, self.stall_after, self.error_after)
        if sum(fault is not None for fault in faults) > 1:
            raise ValueError("a reply has one of cut_after, eof_after, stall_after, error_after")
        if self.error is not None and not self.is_error and self.error_after is None:
            raise ValueError("a reply with an error needs a status from 400 on, or inline_error")
        for count in (self.words, self.chunks, self.writes):
            if isinstance(count, int) and count < 1:
                raise ValueError("words, chunks and writes are at least 1")

    @property
    def is_error(self) -> bool:
        """Whether nothing but an error is answered."""
        return self.error_status >= 400 or self.inline_error

    @property
    def is_failure(self) -> bool:
        """Whether something else than an answer is sent: an error, garbage, or nothing."""
        hangs_up = self.reset and self.cut_after is None
        return self.is_error or self.garbage or hangs_up or self.raw_body is not None

    @property
    def error_status(self) -> int:
        """The HTTP status: the one given, or the one that a named error has."""
        if self.status == 200 and isinstance(self.error, str) and not self.inline_error:
            return NAMED_ERRORS.get(self.error, 200)
        return self.status

    @property
    def stop_after(self) -> int | None:
        """The number of pieces after which a fault ends the stream, None where none does."""
        for fault in (self.cut_after, self.eof_after, self.stall_after, self.error_after):
            if fault is not None:
                return fault
        return None


DEFAULT_REPLY = Reply()


def parse_reply(directives: str) -> Reply:
    """Return the reply that `field=value;field=value` describes.

    Raises: ValueError naming the field that is unknown or has no such value.
    """
    fields: dict[str, Any] = {}
    for directive in filter(None, directives.split(";")):
        name, given, value = directive.partition("=")
        reader = _READERS.get(name.strip())
        if reader is None:
            raise ValueError(f"unknown field {name.strip()!r} among the model's directives")
        try:
            fields[name.strip()] = reader(unquote(value) if given else "true")
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"field {name.strip()!r} of the model has no such value") from None
    return Reply(**fields)


@lru_cache(maxsize=1024)
def split_model(model: str) -> tuple[str, Reply]:
    """Return the model's name without its directives, and the reply that they ask for.

    Raises: ValueError as `parse_reply` does.
    """
    name, _, directives = model.partition(";")
    return name, parse_reply(directives) if directives else DEFAULT_REPLY


def _bool(value: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[value.lower()]


def _writes(value: str) -> Writes:
    return value if value in ("each", "all") else int(value)  # type: ignore[return-value]


def _tool_calls(value: str) -> tuple[ToolCall, ...]:
    return tuple(ToolCall("", name) for name in filter(None, value.split(",")))


def _usage(value: str) -> Usage | Mapping[str, Any]:
    pairs = (part.split(":", 1) for part in filter(None, value.split(",")))
    counts = {name.strip(): int(count) for name, count in pairs}
    return Usage(**counts) if counts else {}  # type: ignore[arg-type]


_READERS: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("text", "thinking", "finish_reason", "refusal", "model", "error"), str),
    **dict.fromkeys(("words", "chunks", "status"), int),
    **dict.fromkeys(("cut_after", "eof_after", "stall_after", "error_after"), int),
    **dict.fromkeys(("slow_headers_s", "delay_s", "chunk_delay_s", "cost_usd"), float),
    **dict.fromkeys(("inline_error", "done", "reset", "garbage"), _bool),
    "retry_after": str,
    "tool_calls": _tool_calls,
    "usage": _usage,
    "writes": _writes,
}
