"""One stream: its events, and what ended it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Protocol

import aiohttp

from orchestify.errors import APIError
from orchestify.lanes.answers import Answer, events_of, kept_headers, reading
from orchestify.lanes.failures import (
    MISSHAPEN,
    CutError,
    MalformedError,
    bare,
    interrupted,
    misread,
    refused_inline,
)
from orchestify.lanes.http.endpoint import IdleWatch, let_go, read_body
from orchestify.lanes.http.sse import ErrorData, EventReader
from orchestify.lanes.http.transport import FAILURES
from orchestify.lanes.parsing import BOUNDS, LARGE, AnswerBounds, OversizeError, parse_json
from orchestify.values import (
    LLMResponse,
    NativeEvent,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    UsageUpdate,
)

_NO_OUTPUT = (UsageUpdate, NativeEvent)


class OffLoop(Protocol):
    """Does work in a thread and returns what it returns."""

    def __call__(self, work: Callable[..., Any], /, *arguments: Any) -> Awaitable[Any]:
        """Do it."""


class StreamRun:
    """Reads one stream; `error` is what its `events` raise at their end, or None.

    `open_response` sends the request, `read_whole` reads an answer that is no stream after all,
    `explain` turns what failed into an error of ours, `off_loop` reads large events. From the
    first output on, `idle_timeout_s` limits the wait for the next piece; before it only the
    caller's deadline does, since models think in silence.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        open_response: Callable[[], Awaitable[aiohttp.ClientResponse]],
        read_whole: Callable[[bytes, Mapping[str, str]], Awaitable[LLMResponse]],
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
        self._size = 0
        self._reader = EventReader()
        self._response: aiohttp.ClientResponse | None = None
        self._watch: IdleWatch | None = None
        self._has_chunk = False
        self._has_output = False
        self._is_watched = False

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        """Yield what comes; the last is `StreamEnd`. Raises APIError."""
        piece = data = found = None
        try:
            self._response = response = await self._open_response()
            self._watch = watch = IdleWatch(response.content, self._idle_timeout_s)
            piece = await watch.read()
            if piece.lstrip()[:1] == b"{":
                for event in await self._whole_events(piece, response):
                    yield event
                return
            found = await self._next(watch, piece)
            while found is not None:
                for data in found:
                    events = self._take(data) if len(data) < LARGE else await self._take_large(data)
                    for event in events:
                        yield event
                found = await self._next(watch)
            for event in self._rest():
                yield event
            yield await self._end(response.headers)
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            self.error = await self._failed(error)
        finally:
            await self._close()
        if self.error is not None:
            piece = data = found = None  # no part of the answer stands in the frame that raises
            raise self.error  # here, so that it does not hold the library's frames either

    async def _whole_events(
        self, begun: bytes, response: aiohttp.ClientResponse
    ) -> list[StreamEvent]:
        """Return the events of an answer that is no stream."""
        body = await read_body(response, self._bounds.size, begun=begun)
        whole = await self._read_whole(body, kept_headers(response.headers))
        return [*events_of(whole), StreamEnd(whole)]

    async def _next(self, watch: IdleWatch, piece: bytes | None = None) -> list[str] | None:
        """Return the data of the next events, None where nothing is to come or needed.

        Raises MalformedError where too much has come.
        """
        if self._answer.ended:
            return None
        if self._has_output and not self._is_watched:
            self._is_watched = True
            watch.arm()
        try:
            piece = await watch.read() if piece is None else piece
        except FAILURES:
            if self._answer.complete:
                return None
            raise
        self._size += len(piece)
        if self._size > self._bounds.size:
            raise MalformedError(f"the answer is longer than {self._bounds.size >> 20} MiB")
        if len(self._reader.pending) + len(piece) < LARGE:
            return self._reader.feed(piece) if piece else None
        return await self._off_loop(self._reader.feed, piece) if piece else None

    async def _take_large(self, data: str) -> Sequence[StreamEvent]:
        return _joined(await self._off_loop(self._take, data))

    def _take(self, data: str) -> Sequence[StreamEvent]:
        """Return what one event brought. Raises MalformedError and RefusedError."""
        if data.__class__ is ErrorData:
            raise refused_inline(_value_in(data))
        try:
            chunk = parse_json(data, self._bounds)
        except OversizeError as error:
            raise MalformedError(str(error)) from None
        except ValueError:
            return self._take_text(data)
        if chunk.__class__ is not dict:
            return self._take_other(chunk)
        self._has_chunk = True
        try:
            events = self._answer.feed(chunk)
        except MISSHAPEN:
            raise misread("an event's data") from None
        if events and not self._has_output:
            self._has_output = any(event.__class__ not in _NO_OUTPUT for event in events)
            if self._has_output and self._watch is not None and len(data) < LARGE:
                self._is_watched = True
                self._watch.arm()
        return events

    def _take_text(self, data: str) -> Sequence[StreamEvent]:
        """Take data that is no JSON: the end, words to keep the connection alive, or half a chunk.

        Raises:
            MalformedError: it began as a chunk.
        """
        word = data.strip()
        if word == "[DONE]":
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

    def _rest(self) -> Sequence[StreamEvent]:
        """Return what the body ended with, behind its last blank line.

        Raises:
            MalformedError: the body was no event stream.
            CutError: it ended before the protocol's end.
        """
        events: Sequence[StreamEvent] = ()
        if not self._answer.ended:
            for data in self._reader.finish():
                if data.strip() == "[DONE]" or _is_json(data):
                    events = self._take(data)
        if not self._answer.complete:
            if not self._has_chunk:
                raise MalformedError("the answer is no event stream")
            raise CutError
        return events

    async def _end(self, headers: Mapping[str, str]) -> StreamEnd:
        if self._size < LARGE:
            return StreamEnd(self._response_with(headers))
        return StreamEnd(await self._off_loop(self._response_with, headers))

    def _response_with(self, headers: Mapping[str, str]) -> LLMResponse:
        with reading(self._answer):
            return self._answer.response(headers=kept_headers(headers))

    async def _failed(self, error: BaseException) -> APIError:
        explained = await self._explain(error)
        explained.usage = explained.usage or self._answer.usage
        if explained.cost_usd is None:
            explained.cost_usd = self._answer.cost_usd
        if self._has_output:
            return interrupted(explained, self._answer.text, explained.usage)
        return explained

    async def _close(self) -> None:
        if self._watch is not None:
            self._watch.disarm()
        if self._response is not None:
            await let_go(self._response, complete=self._answer.complete)


def _joined(events: Sequence[StreamEvent]) -> list[StreamEvent]:
    """Return events with the texts that follow one another as one: a large chunk may have many."""
    joined: list[StreamEvent] = []
    for kind, group in groupby(
        events, lambda event: (type(event), getattr(event, "is_refusal", 0))
    ):
        if kind[0] in (TextDelta, ThinkingDelta):
            alike = list(group)
            text = "".join([event.text for event in alike])  # type: ignore[union-attr]
            joined.append(replace(alike[0], text=text))  # type: ignore[arg-type]
        else:
            joined += group
    return joined


def _is_json(data: str) -> bool:
    try:
        parse_json(data)
    except ValueError:
        return False
    return True


def _value_in(data: str) -> Any:
    try:
        return parse_json(data)
    except ValueError:
        return data
