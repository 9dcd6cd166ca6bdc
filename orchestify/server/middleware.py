"""ASGI middleware: bodies limited and decompressed, security headers, errors nobody foresaw."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestify.server.api.errors import FAILED, http_error_response, log_unexpected
from orchestify.server.gateway.errors import (
    SHUTTING_DOWN,
    new_request_id,
    request_id_headers,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_REST_BYTES = 1 << 20
_SMALL_BYTES = 4 << 10  # of what is compressed; more is decompressed in a thread
_PREFLIGHT_S = 600  # a browser asks again after that

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What an answer says where it does not say otherwise; pages call by `GatewayCors` alone."""

_ADDED = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class BodyLimit:
    """Refuses a body of more than `limit_bytes` with 413, as it is read, and decompresses it.

    The limit is of what is decompressed; requests that are no calls have at most 1 MiB of it.
    gzip, deflate and zstd are read, any other `Content-Encoding` is refused with 415.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; what reads too much of its body meets the refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_call = scope["path"].startswith("/v1/")
        limit = self._limit_bytes if is_call else min(self._limit_bytes, _REST_BYTES)
        await self._app(scope, _LimitedBody(scope, receive, limit).receive, send)


class _LimitedBody:
    """A request's body as it comes in: counted, and decompressed where it is compressed."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        headers = Headers(scope=scope)
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._is_whole = False
        self._encoding = headers.get("content-encoding", "identity").strip().lower()
        self._decoder: _Members | None = None
        declared = headers.get("content-length", "")
        digits = declared if len(declared) < 16 else "9" * 16
        self._is_too_large = digits.isdecimal() and int(digits) > limit

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            HTTPException: 413 beyond the limit, 415 for an encoding that is not known, 400 for a
                body that is not in its encoding.
        """
        if self._is_too_large:
            raise self._too_large()
        if self._encoding not in _DECODERS:
            raise HTTPException(415, f"the body's content-encoding is not {_KNOWN_ENCODINGS}")
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        message["body"] = await self._decoded(
            message.get("body", b""), is_last=not message.get("more_body", False)
        )
        self._size += len(message["body"])
        if self._size > self._limit:
            raise self._too_large()
        return message

    def _too_large(self) -> HTTPException:
        size = f"{self._limit / (1 << 20):g} MiB"
        option = f", by `serve --max-body {self._limit >> 20}`" if self._limit > _REST_BYTES else ""
        return HTTPException(413, f"the body is larger than the {size} that this takes{option}")

    async def _decoded(self, piece: bytes, *, is_last: bool) -> bytes:
        make = _DECODERS[self._encoding]
        if make is None or (not piece and self._decoder is None):
            return piece
        room = self._limit - self._size + 1  # one more says that it is too large
        try:
            if self._decoder is None:
                self._decoder = _Members(make, make(piece))
            found = b""
            if len(piece) > _SMALL_BYTES:
                found = await asyncio.to_thread(self._decoder.decompress, piece, room)
            elif piece:
                found = self._decoder.decompress(piece, room)
        except _BROKEN:
            raise HTTPException(400, f"the body is not {self._encoding}") from None
        if is_last and len(found) < room and not self._decoder.is_whole:
            raise HTTPException(400, f"the body is not whole {self._encoding}")
        return found


class _Decoder(Protocol):
    """What decompresses a stream in pieces, at most so much at a time."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was seen."""

    @property
    def unused_data(self) -> bytes:
        """What came behind the end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return what came of `data`, at most `max_length` bytes of it."""


class _Members:
    """Decompresses a body of one compressed stream or several, one behind the other.

    Sources: RFC 1952, 2.2, for gzip; RFC 8878, 3, for zstd.
    """

    def __init__(self, make: Callable[[bytes], _Decoder], first: _Decoder) -> None:
        self._make = make
        self._decoder = first

    @property
    def is_whole(self) -> bool:
        """Whether the last stream has ended."""
        return self._decoder.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return what came of `data`, at most `max_length` bytes of it."""
        found: list[bytes] = []
        while data and max_length:
            if self._decoder.eof:
                self._decoder = self._make(data)
            found.append(self._decoder.decompress(data, max_length))
            max_length -= len(found[-1])
            data = self._decoder.unused_data if self._decoder.eof else b""
        return b"".join(found)


def _deflate(first: bytes) -> _Decoder:
    """Return a decoder of zlib's format, or of the raw one that some clients send instead."""
    is_zlib = len(first) > 1 and first[0] & 15 == 8 and int.from_bytes(first[:2], "big") % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


_DECODERS: Mapping[str, Callable[[bytes], _Decoder] | None] = {
    "identity": None,
    "gzip": lambda _: zlib.decompressobj(zlib.MAX_WBITS | 16),
    "x-gzip": lambda _: zlib.decompressobj(zlib.MAX_WBITS | 16),
    "deflate": _deflate,
    "zstd": lambda _: zstd.ZstdDecompressor(),
}
_KNOWN_ENCODINGS = "gzip, deflate or zstd"
_BROKEN = (zlib.error, zstd.ZstdError, EOFError)


class SecurityHeaders:
    """Adds the headers that keep browsers from doing with an answer what it is not for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = list(message.get("headers", ()))
                names = {name for name, _ in said}
                message["headers"] = said + [each for each in _ADDED if each[0] not in names]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class RequestIds:
    """Names the request in the answers of the gateway that no call and no error gave an id to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name == b"request-id" for name, _ in headers):
                    message["headers"] = headers + request_id_headers(new_request_id())
            await send(message)

        is_call = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await self._app(scope, receive, with_id if is_call else send)


class GatewayCors(CORSMiddleware):
    """Lets pages of some origins call the gateway; tokens come in headers, so none in cookies."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),
            expose_headers=("*",),
            max_age=_PREFLIGHT_S,
        )
        self._beneath = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; those of the other endpoints as if there were no origins."""
        is_call = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await (super().__call__ if is_call else self._beneath)(scope, receive, send)


class Unexpected:
    """Answers 500 where something fails that nobody foresaw, and logs where, without any value."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; an answer that has begun is cut off, as the server does it."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:  # the server ends, and waits no longer
            if not has_begun:
                answer = http_error_response(scope, SHUTTING_DOWN)
                await answer(scope, receive, send)
        except Exception as error:
            log_unexpected(error)
            if has_begun:
                raise ConnectionAbortedError("the answer was cut off") from None
            answer = http_error_response(scope, HTTPException(500, FAILED))
            await answer(scope, receive, send)
