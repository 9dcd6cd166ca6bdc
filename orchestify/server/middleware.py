"""ASGI middleware: the limit on bodies, security headers, and errors that nobody foresaw."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestify.server.api.errors import http_error_response, log_unexpected

_REST_BYTES = 1 << 20
_ENDING = "the service is ending; try again"
_FAILED = "the service failed; its log says where"

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What an answer says where it does not say otherwise; no CORS, for browsers are no callers."""

_ADDED = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class BodyLimit:
    """Refuses a body of more than `limit_bytes` with 413, as it is read.

    What is no conversation has at most 1 MiB of it.
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
        declared = Headers(scope=scope).get("content-length", "")
        digits = declared if len(declared) < 16 else "9" * 16
        is_too_large = digits.isdecimal() and int(digits) > limit
        size = 0

        async def counted() -> Message:
            nonlocal size
            message: Message = {} if is_too_large else await receive()
            size += len(message.get("body", b""))
            if is_too_large or size > limit:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)


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
                answer = http_error_response(scope["path"], HTTPException(503, _ENDING))
                await answer(scope, receive, send)
        except Exception as error:
            log_unexpected(error)
            if has_begun:
                raise ConnectionAbortedError("the answer was cut off") from None
            answer = http_error_response(scope["path"], HTTPException(500, _FAILED))
            await answer(scope, receive, send)
