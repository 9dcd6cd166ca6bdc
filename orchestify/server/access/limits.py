"""Limits on what is sent here, and the headers on every answer: plain ASGI, no more."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestify.errors import AccessError

_MINUTE_S = 60.0
_KEYS = 10_000
_REST_BYTES = 1 << 20

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What an answer says where it does not say otherwise; no CORS, for browsers are no callers."""

_ADDED = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


@dataclass(slots=True)
class Pace:
    """At most `per_minute` requests a minute for each key, all at once or spread; in this process.

    The 10,000 keys that asked last are remembered; who is forgotten starts anew.
    Source: the generic cell rate algorithm, ITU-T I.371.
    """

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    _free_at: OrderedDict[str, float] = field(default_factory=OrderedDict, repr=False)

    def take(self, key: str) -> float:
        """Take one request; return 0, or after how many seconds there is one again."""
        now, step_s = self.clock(), _MINUTE_S / self.per_minute
        free_at = max(self._free_at.get(key, 0.0), now) + step_s
        wait_s = free_at - now - _MINUTE_S
        if wait_s > step_s / 1000:  # more than rounding
            return wait_s
        self._free_at[key] = free_at
        self._free_at.move_to_end(key)
        if len(self._free_at) > _KEYS:
            self._free_at.popitem(last=False)
        return 0.0

    def wait_s(self, key: str) -> float:
        """Return after how many seconds there is a request again, and take none."""
        step_s = _MINUTE_S / self.per_minute
        return max(0.0, self._free_at.get(key, 0.0) + step_s - self.clock() - _MINUTE_S)


@dataclass(slots=True)
class Places:
    """At most `most` calls of each tenant at a time, in this process: each holds connections."""

    most: int
    _taken: Counter[str] = field(default_factory=Counter, repr=False)

    @contextmanager
    def one_of(self, tenant: str) -> Iterator[None]:
        """Hold one of a tenant's places until the block ends.

        Raises:
            AccessError: 429, all are taken.
        """
        if self._taken[tenant] >= self.most:
            raise AccessError(
                f"{self.most} calls of this tenant are under way here; come again when one has "
                "ended",
                status=429,
                retry_after_s=1.0,
            )
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]


def neighbourhood(remote: str) -> str:
    """Return what one sender can vary no further: an IPv4 address, an IPv6 network of 64 bits."""
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


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
