"""One stream: its events, and what ended it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

import aiohttp

from orchestify.errors import APIError
from orchestify.lanes.answers import Answer, events_of, kept_headers
from orchestify.lanes.failures import (
    MISSHAPEN,
    CutError,
    MalformedError,
    bare,
    interrupted,
)
from orchestify.lanes.http.endpoint import IdleWatch, let_go, read_body
from orchestify.lanes.http.sse import EventReader
from orchestify.lanes.http.transport import FAILURES
from orchestify.values import LLMResponse, NativeEvent, StreamEnd, StreamEvent, UsageUpdate

_NO_OUTPUT = (UsageUpdate, NativeEvent)


class StreamRun:
    """Reads one stream; `error` is what its `events` raise at their end, or None.

    `open_response` sends the request, `read_whole` reads an answer that is no stream after all,
    `explain` turns what failed into an error of ours. From the first output on, `idle_timeout_s`
    limits the wait for the next piece; before it only the caller's deadline does, since models
    think in silence.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        open_response: Callable[[], Awaitable[aiohttp.ClientResponse]],
        read_whole: Callable[[bytes, Mapping[str, str]], LLMResponse],
        explain: Callable[[BaseException], APIError],
        idle_timeout_s: float | None,
    ) -> None:
        self.error: APIError | None = None
        self._answer = answer
        self._open_response = open_response
        self._read_whole = read_whole
        self._explain = explain
        self._idle_timeout_s = idle_timeout_s
        self._reader = EventReader()
        self._response: aiohttp.ClientResponse | None = None
        self._watch: IdleWatch | None = None
        self._has_data = False
        self._has_output = False

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        """Yield what comes; the last is `StreamEnd`. Raises APIError."""
        piece = body = data = None
        try:
            self._response = response = await self._open_response()
            self._watch = watch = IdleWatch(response.content, self._idle_timeout_s)
            piece = await watch.read()
            if piece.lstrip()[:1] == b"{":
                body = piece + await read_body(response)
                whole = self._read_whole(body, kept_headers(response.headers))
                for event in events_of(whole):
                    yield event
                yield StreamEnd(whole)
                return
            while piece:
                for data in self._reader.feed(piece):
                    for event in self._take(data):
                        yield event
                piece = await self._next(watch)
            for event in self._rest():
                yield event
            yield self._end(response.headers)
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            self.error = self._failed(error)
        finally:
            await self._close()
        if self.error is not None:
            piece = body = data = None  # no part of the answer stands in the frame that raises
            raise self.error  # here, so that it does not hold the library's frames either

    async def _next(self, watch: IdleWatch) -> bytes:
        """Return the next piece, empty where nothing is to come or nothing more is needed."""
        if self._answer.ended:
            return b""
        try:
            return await watch.read()
        except FAILURES:
            if self._answer.complete:
                return b""
            raise

    def _take(self, data: str) -> Sequence[StreamEvent]:
        """Return what one event brought. Raises MalformedError and RefusedError."""
        self._has_data = True
        try:
            events = self._answer.feed(json.loads(data))
        except MISSHAPEN:
            return self._take_misshapen(data)
        if events and not self._has_output:
            self._has_output = any(event.__class__ not in _NO_OUTPUT for event in events)
            if self._has_output and self._watch is not None:
                self._watch.arm()
        return events

    def _take_misshapen(self, data: str) -> Sequence[StreamEvent]:
        if data.strip() == "[DONE]":
            self._answer.complete = self._answer.ended = True
            return ()
        what = "of another shape than the protocol's" if _is_json(data) else "no JSON"
        raise MalformedError(f"an event's data is {what}") from None

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
            if not self._has_data:
                raise MalformedError("the answer is no event stream")
            raise CutError
        return events

    def _end(self, headers: Mapping[str, str]) -> StreamEnd:
        try:
            return StreamEnd(self._answer.response(headers=kept_headers(headers)))
        except MISSHAPEN:
            raise MalformedError("an event's data is of another shape") from None

    def _failed(self, error: BaseException) -> APIError:
        explained = self._explain(error)
        if self._has_output:
            return interrupted(explained, self._answer.text, self._answer.usage)
        return explained

    async def _close(self) -> None:
        if self._watch is not None:
            self._watch.disarm()
        if self._response is not None:
            await let_go(self._response, complete=self._answer.complete)


def _is_json(data: str) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
