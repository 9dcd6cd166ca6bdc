"""One stream: its events, and what ended it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

import aiohttp
from msgspec import DecodeError
from msgspec.json import decode

from orchestify.core.providers import AnswerBounds
from orchestify.errors import APIError
from orchestify.lanes.answers import Answer, unusable
from orchestify.lanes.failures import (
    MISSHAPEN,
    UNREADABLE,
    CutError,
    IdleError,
    MalformedError,
    bare,
    interrupted,
    misread,
    refused_inline,
)
from orchestify.lanes.http.endpoint import PIECE_BYTES, kept_headers, let_go, read_body
from orchestify.lanes.http.sse import ErrorData, EventReader, LargeErrorData
from orchestify.lanes.http.transport import FAILURES
from orchestify.lanes.large_json import Body, LargeObject, OversizeError
from orchestify.lanes.parsing import (
    BOUNDS,
    LARGE,
    MAX_DEPTH,
    parse_json,
)
from orchestify.values import (
    LLMResponse,
    NativeEvent,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageUpdate,
)

DONE = "[DONE]"
"""The data of the event that ends a stream of Chat Completions."""

_NO_OUTPUT = (UsageUpdate, NativeEvent)


class OffLoop(Protocol):
    """Does work in a thread and returns what it returns."""

    def __call__(self, work: Callable[..., Any], /, *arguments: Any) -> Awaitable[Any]:
        """Do it."""


class StreamRun:
    """Reads one stream; `error` is what its `events` raise at their end, or None.

    `open_response` sends the request, `read_whole` reads an answer that is no stream after all,
    `explain` turns what failed into an error of ours, `off_loop` reads large events. From the
    first output on, `idle_timeout_s` limits the wait for the next piece (one timer, moved on as
    it fires; the time that the reader takes between two does not count); before it only the
    caller's deadline does, since models think in silence.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        open_response: Callable[[], Awaitable[aiohttp.ClientResponse]],
        read_whole: Callable[[Body, Mapping[str, str]], Awaitable[LLMResponse]],
        explain: Callable[[BaseException], Awaitable[APIError]],
        off_loop: OffLoop,
        idle_timeout_s: float | None,
        bounds: AnswerBounds = BOUNDS,
    ) -> None:
        self.error: APIError | None = None
        self._answer = answer
        self._open_response = open_response
        self._read_whole = read_whole
        self._explain = explain
        self._off_loop = off_loop
        self._idle_timeout_s = idle_timeout_s
        self._bounds = bounds
        self._reader = EventReader(bounds.max_bytes)
        self._response: aiohttp.ClientResponse | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_since: float | None = None
        self._has_chunk = False
        self._has_output = False

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        """Yield what comes; the last is `StreamEnd`. Raises APIError."""
        answer, reader, off_loop = self._answer, self._reader, self._off_loop
        few = min(MAX_DEPTH, self._bounds.max_json_objects)
        piece = data = found = chunk = events = cut = None
        async with self:
            response = self._response = await self._open_response()
            begun = piece = await response.content.read(PIECE_BYTES)
            is_whole = begun.lstrip()[:1] == b"{"
            while piece and not is_whole:
                is_large = len(reader.pending) + len(piece) >= LARGE
                found = await off_loop(reader.feed, piece) if is_large else reader.feed(piece)
                for data in found:
                    is_small = len(data) < LARGE and data.count("{") + data.count("[") <= few  # type: ignore[arg-type]
                    try:
                        chunk = decode(data) if is_small and data.__class__ is str else None
                    except DecodeError:
                        chunk = None
                    is_chunk = chunk.__class__ is dict
                    self._has_chunk |= is_chunk
                    events = answer.feed(chunk) if is_chunk else await self._taken(data)
                    if events and not self._has_output:
                        self._note_output(events)
                    for event in events:
                        yield event
                self._waiting_since = time.monotonic()
                try:
                    piece = b"" if answer.ended else await response.content.read(PIECE_BYTES)
                except FAILURES as error:
                    piece, cut = b"", error
                self._waiting_since = None
            events = await self._whole(begun, response) if is_whole else await self._rest(cut)
            for event in events:
                yield event
            if not is_whole:
                yield await self._end(response.headers)
        if self.error is not None:
            # no part of the answer stands in the frame that raises
            piece = data = found = chunk = events = cut = None
            begun = b""
            raise self.error  # here, so that it does not hold the library's frames either

    async def __aenter__(self) -> None:
        """Begin to read; what fails until the end of the block becomes `error`."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            if isinstance(error, asyncio.CancelledError):
                raise bare(error)
            if isinstance(error, MISSHAPEN) and self._response is not None:
                error = misread("an event's data")
            if not isinstance(error, FAILURES):
                return False
            self.error = await self._failed(error)
            return True
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._response is not None:
                await let_go(self._response, complete=self._answer.complete)

    def _note_output(self, events: Sequence[StreamEvent]) -> None:
        """Begin to limit the wait for the next piece, once the first output has come."""
        self._has_output = any(event.__class__ not in _NO_OUTPUT for event in events)
        idle_s = self._idle_timeout_s
        if self._has_output and idle_s is not None:
            self._timer = asyncio.get_running_loop().call_later(idle_s, self._check_idle, idle_s)

    def _check_idle(self, idle_s: float) -> None:
        left_s = idle_s
        if self._waiting_since is not None:
            left_s -= time.monotonic() - self._waiting_since
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._check_idle, idle_s)
        elif self._response is not None:
            self._response.content.set_exception(IdleError())

    async def _whole(self, begun: bytes, response: aiohttp.ClientResponse) -> Sequence[StreamEvent]:
        """Return the events of an answer that is no stream."""
        body = await read_body(response, self._bounds.max_bytes, begun=begun)
        whole = await self._read_whole(body, kept_headers(response.headers))
        return [*_events_of(whole), StreamEnd(whole)]

    async def _taken(self, data: str | bytearray) -> Sequence[StreamEvent]:
        """Return what one event brought that is large, or no small object of strict JSON."""
        if len(data) < LARGE:
            return self._take(data)
        return await self._off_loop(self._take_large, data)  # type: ignore[no-any-return]

    def _take_large(self, data: str | bytearray) -> Sequence[StreamEvent]:
        return _joined(self._take(data))

    def _take(self, data: str | bytearray) -> Sequence[StreamEvent]:
        """Return what one event brought. Raises MalformedError and RefusedError."""
        if isinstance(data, (ErrorData, LargeErrorData)):
            raise refused_inline(_value_in(data))
        if data.__class__ is str and data == DONE:
            return self._take_text(data)
        try:
            chunk = parse_json(data, self._bounds)
        except OversizeError as error:
            raise MalformedError(str(error)) from None
        except ValueError:
            return self._take_text(data)
        if not isinstance(chunk, dict):
            return self._take_other(chunk)
        self._has_chunk = True
        try:
            return self._answer.feed(chunk)
        except MISSHAPEN:
            raise misread("an event's data") from None

    def _take_text(self, data: str | bytearray) -> Sequence[StreamEvent]:
        """Take data that is no JSON: the end, words to keep the connection alive, or half a chunk.

        Raises:
            MalformedError: it began as a chunk.
        """
        word = _word_of(data)
        if word == DONE:
            self._has_chunk = True
            self._answer.done()
        elif word[:1] in ("{", "["):
            raise MalformedError("an event's data is no JSON")
        else:
            self._answer.skip("data")
        return ()

    def _take_other(self, value: Any) -> Sequence[StreamEvent]:
        if isinstance(value, list):
            raise misread("an event's data")
        self._answer.skip("data")
        return ()

    async def _rest(self, cut: BaseException | None) -> Sequence[StreamEvent]:
        """Return what the body ended with, behind its last blank line.

        Raises:
            MalformedError: the body was no event stream.
            CutError: it ended before the protocol's end, or what cut it.
        """
        if cut is not None and not self._answer.complete:
            raise cut
        events: Sequence[StreamEvent] = ()
        if not self._answer.ended:
            is_large = len(self._reader.pending) >= LARGE
            events = await self._off_loop(self._take_last) if is_large else self._take_last()
        if events and not self._has_output:
            self._note_output(events)
        if not self._answer.complete:
            if not self._has_chunk:
                raise MalformedError("the answer is no event stream")
            raise CutError
        return events

    def _take_last(self) -> Sequence[StreamEvent]:
        events: Sequence[StreamEvent] = ()
        for data in self._reader.finish():
            if _word_of(data) == DONE or _is_json(data):
                events = self._take(data) if len(data) < LARGE else self._take_large(data)
        return events

    async def _end(self, headers: Mapping[str, str]) -> StreamEnd:
        if self._reader.size < LARGE:
            return StreamEnd(self._response_with(headers))
        return StreamEnd(await self._off_loop(self._large_response, headers))

    def _large_response(self, headers: Mapping[str, str]) -> LLMResponse:
        response = self._response_with(headers)
        return replace(response, raw_response=LargeObject(response.raw_response))

    def _response_with(self, headers: Mapping[str, str]) -> LLMResponse:
        try:
            return self._answer.response(headers=kept_headers(headers))
        except UNREADABLE as error:
            raise unusable(error, self._answer) from None

    async def _failed(self, error: BaseException) -> APIError:
        explained = await self._explain(error)
        explained.usage = explained.usage or self._answer.usage
        if explained.cost_usd is None:
            explained.cost_usd = self._answer.cost_usd
        if self._has_output:
            return interrupted(explained, self._answer.text, explained.usage)
        return explained


def _joined(events: Sequence[StreamEvent]) -> list[StreamEvent]:
    """Return events with all texts of a kind as one: a large chunk may have very many.

    Each stands where the first of its kind does.
    """
    texts: dict[tuple[Any, ...], list[str]] = {}
    joined: list[tuple[StreamEvent, tuple[Any, ...]]] = []
    waiting = events if isinstance(events, list) else list(events)
    waiting.reverse()
    while waiting:
        event = waiting.pop()  # not all at once: they may be a million
        kind = (event.__class__, getattr(event, "is_refusal", False))
        is_text = isinstance(event, (TextDelta, ThinkingDelta))
        if not is_text or kind not in texts:
            joined.append((event, kind))
        if isinstance(event, (TextDelta, ThinkingDelta)):
            texts.setdefault(kind, []).append(event.text)
    return [
        replace(event, text="".join(texts[kind]))
        if isinstance(event, (TextDelta, ThinkingDelta))
        else event
        for event, kind in joined
    ]


def _word_of(data: str | bytearray) -> str:
    """Return the word that data is: of large data its beginning."""
    word = data.strip()
    return word if isinstance(word, str) else word[:20].decode("utf-8", "replace")


def _is_json(data: str | bytearray) -> bool:
    try:
        parse_json(data)
    except ValueError:
        return False
    return True


def _value_in(data: str | bytearray) -> Any:
    try:
        return parse_json(data)
    except ValueError:
        return data if isinstance(data, str) else data[:LARGE].decode("utf-8", "replace")


def _events_of(response: LLMResponse) -> list[StreamEvent]:
    """Return a whole answer as the pieces of a stream, without its end."""
    events: list[StreamEvent] = []
    if response.thinking is not None and response.thinking.text:
        events.append(ThinkingDelta(response.thinking.text))
    if response.content:
        events.append(TextDelta(response.content))
    for index, call in enumerate(response.tool_calls):
        events.append(ToolCallDelta(index, call.id, call.name, call.raw_arguments or ""))
    return events
