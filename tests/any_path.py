"""A server on loopback that gives one answer on every path: for protocols the stub has not."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Self

from aiohttp import web


class AnyPathServer:
    """Answers every request with the same status, headers and pieces of a body; notes them."""

    def __init__(
        self,
        body: bytes | Sequence[bytes] = b"{}",
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.body = [body] if isinstance(body, bytes) else body
        self.status, self.headers, self.tls = status, dict(headers or {}), tls
        self.requests: list[web.BaseRequest] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._answer))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        scheme, host = ("https", "localhost") if self.tls else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        self.requests.append(request)
        answer = web.StreamResponse(status=self.status, headers=self.headers)
        await answer.prepare(request)
        for piece in self.body:
            await answer.write(piece)
        return answer
