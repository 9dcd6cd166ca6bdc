"""A stream of bytes that is read by a direct lane's reader, without a network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import aiohttp

from orchestify.errors import APIError
from orchestify.lanes.answers import Answer
from orchestify.lanes.classify import build_error
from orchestify.lanes.failures import RefusedError
from orchestify.lanes.http.transport import transport_error
from orchestify.lanes.stream import StreamRun
from orchestify.values import LLMResponse, StreamEnd, StreamEvent


class Bytes:
    """A response whose body comes in the pieces that are given."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self.content = self
        self.headers: Mapping[str, str] = {}

    async def read(self, size: int) -> bytes:
        """Return the next piece, empty at the end."""
        return next(self._pieces, b"")

    def at_eof(self) -> bool:
        """Whether nothing more comes."""
        return True

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


async def read_stream(
    answer: Answer,
    *pieces: bytes,
    read_whole: Callable[[bytes], LLMResponse] | None = None,
) -> tuple[list[StreamEvent], LLMResponse | APIError]:
    """Return a stream's events without its end, and the answer or the error it ended with."""

    async def open_response() -> aiohttp.ClientResponse:
        return cast("aiohttp.ClientResponse", Bytes(pieces))

    async def whole(body: bytes, headers: Mapping[str, str]) -> LLMResponse:
        assert read_whole is not None, "no whole answer was expected"
        return read_whole(body)

    async def explain(error: BaseException) -> APIError:
        if isinstance(error, RefusedError):
            return build_error(error.failure)
        return transport_error(error, None)

    def at_once(work: Callable[..., Any], /, *arguments: Any) -> Awaitable[Any]:
        async def result() -> Any:
            return work(*arguments)

        return result()

    run = StreamRun(
        answer,
        open_response=open_response,
        read_whole=whole,
        explain=explain,
        off_loop=at_once,
        idle_timeout_s=None,
    )
    events: list[StreamEvent] = []
    try:
        async for event in run.events():
            events.append(event)  # noqa: PERF401 - those before an error count
    except APIError as error:
        return events, error
    end = events.pop()
    assert isinstance(end, StreamEnd)
    return events, end.response
