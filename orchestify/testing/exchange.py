"""One request's answer on its way to the socket, with the delays and faults of its reply."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

from orchestify.testing.account import Outcome, StubRequest
from orchestify.testing.answer import Answer, Events, RefusedError
from orchestify.testing.reply import DEFAULT_REPLY, Reply, Writes
from orchestify.testing.wire import Wire
from orchestify.values import Usage

_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_GARBAGE = b"<html><head><title>502 Bad Gateway</title></head><body>stub</body></html>"
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, with no time to linger


class Exchange:
    """Sends the answer to one request and notes in `seen` what was sent."""

    __slots__ = ("_http", "_request_id", "_seen", "_wire", "reply")

    def __init__(self, http: web.BaseRequest, seen: StubRequest, wire: Wire) -> None:
        self._http = http
        self._seen = seen
        self._wire = wire
        self._request_id = f"req_stub{seen.index:016x}"
        self.reply: Reply = DEFAULT_REPLY

    async def send_refused(self, refused: RefusedError) -> web.StreamResponse:
        """Send the error that the real server would."""
        body = self._wire.encode_error(
            refused.status, refused.message, self._request_id, refused.param
        )
        return await self.send_body(body, status=refused.status, outcome="error")

    async def send_failure(self) -> web.StreamResponse:
        """Send what the reply has in place of an answer: an error, garbage, or nothing."""
        reply = self.reply
        await _pause(reply.slow_headers_s + reply.delay_s)
        if reply.reset:
            self._reset()
            self._seen.outcome = "cut"
            return web.Response()
        if reply.raw_body is not None:
            kind = _SSE if self._seen.stream else _JSON
            return await self.send_body(reply.raw_body, status=reply.status, kind=kind)
        if reply.garbage:
            body, kind = _GARBAGE, _HTML
        else:
            body, kind = self._error(), _JSON
        return await self.send_body(body, status=reply.error_status, kind=kind, outcome="error")

    async def send_answer(self, answer: Answer, writes: Writes) -> web.StreamResponse:
        """Send an answer as JSON or as a stream, as the request asked for it."""
        if self._seen.stream:
            return await self._send_events(self._wire.encode_events(answer), writes)
        return await self.send_whole(self._wire.encode(answer), answer.usage)

    async def send_whole(self, body: bytes, usage: Usage | None) -> web.StreamResponse:
        """Send an answer as JSON; `usage` is what it reports and what is billed."""
        await _pause(self.reply.slow_headers_s + self.reply.delay_s)
        if self.reply.error_after is not None:
            return await self.send_body(self._error(), outcome="error")
        self._seen.billed = usage
        return await self.send_body(body, usage=usage)

    async def send_body(
        self,
        body: bytes,
        *,
        status: int = 200,
        kind: str = _JSON,
        usage: Usage | None = None,
        outcome: Outcome = "whole",
    ) -> web.StreamResponse:
        """Send a body, half of it where the reply has a fault; `usage` is what it reports."""
        reply, seen = self.reply, self._seen
        seen.status = status
        if reply.stop_after is None or outcome == "error":
            whole = web.Response(status=status, body=body, headers=self._headers(kind))
            await whole.prepare(self._http)
            await whole.write_eof()
            seen.reported = usage
            seen.outcome = outcome
            return whole
        half = web.StreamResponse(status=status, headers=self._headers(kind))
        if reply.eof_after is None:
            half.content_length = len(body)
        await half.prepare(self._http)
        await half.write(body[: len(body) // 2])
        return await self._break_off(half)

    async def _send_events(self, events: Events, writes: Writes) -> web.StreamResponse:
        seen = self._seen
        try:
            await _pause(self.reply.slow_headers_s)
            return await self._send_stream(events, writes)
        finally:
            seen.billed = events.usage_of(seen.chunks_sent, whole=seen.outcome == "whole")

    async def _send_stream(self, events: Events, writes: Writes) -> web.StreamResponse:
        reply, seen = self.reply, self._seen
        seen.status = reply.status
        response = web.StreamResponse(status=reply.status, headers=self._headers(_SSE))
        await response.prepare(self._http)
        await _pause(reply.delay_s)
        pieces = events.pieces[: reply.stop_after]
        ending = self._ending(events)
        if writes == "each" or reply.chunk_delay_s:
            await self._write_each(response, events, pieces)
            await response.write(ending)
        else:
            body = b"".join((events.opening, *pieces, ending))
            await self._write_joined(response, events, body, writes)
            seen.chunks_sent = len(pieces)
        if reply.stop_after is not None:
            return await self._break_off(response)
        seen.reported = events.reported
        await response.write_eof()
        seen.outcome = "whole" if reply.done else "cut"
        return response

    async def _write_each(
        self, response: web.StreamResponse, events: Events, pieces: list[bytes]
    ) -> None:
        """Write piece by piece; between them others have their turn, the client as well."""
        seen, delay_s = self._seen, self.reply.chunk_delay_s
        await response.write(events.opening)
        seen.reported = events.opening_usage
        for piece in pieces:
            await asyncio.sleep(delay_s)
            await response.write(piece)
            seen.chunks_sent += 1

    async def _write_joined(
        self, response: web.StreamResponse, events: Events, body: bytes, writes: Writes
    ) -> None:
        """Write in writes of one size; a client that leaves has been told what came till then."""
        size = writes if isinstance(writes, int) else len(body)
        for start in range(0, len(body), size):
            await response.write(body[start : start + size])
            if start + size >= len(events.opening):
                self._seen.reported = events.opening_usage
            await asyncio.sleep(0)

    def _ending(self, events: Events) -> bytes:
        """Return what follows the last piece."""
        if self.reply.error_after is not None:
            return self._wire.as_event(self._error())
        if self.reply.stop_after is not None:
            return b""
        return events.ending + (events.done if self.reply.done else b"")

    async def _break_off(self, response: web.StreamResponse) -> web.StreamResponse:
        """End an answer that is not whole as the reply says."""
        if self.reply.stall_after is not None:
            await _stall()
        self._seen.outcome = "cut"
        if self.reply.cut_after is None:
            await response.write_eof()
        elif self.reply.reset:
            self._reset()
        elif self._http.transport is not None:
            self._http.transport.close()
        return response

    def _reset(self) -> None:
        """Close the connection with RST, so that the client sees `ConnectionResetError`."""
        if self._http.transport is not None:
            connection: socket.socket = self._http.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            self._http.transport.abort()

    def _error(self) -> bytes:
        error = self.reply.error
        if isinstance(error, Mapping):
            return json.dumps(dict(error)).encode()
        status = self.reply.error_status if self.reply.error_status >= 400 else 500
        message = error or f"the stub was told to fail with status {status}"
        return self._wire.encode_error(status, message, self._request_id, None)

    def _headers(self, kind: str) -> dict[str, str]:
        headers = {"Content-Type": kind, self._wire.request_id: self._request_id}
        if self.reply.retry_after is not None:
            headers["Retry-After"] = self.reply.retry_after
        return headers | dict(self.reply.headers)


async def _pause(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


async def _stall() -> None:
    """Wait until the client leaves or the server closes; both cancel this."""
    await asyncio.Event().wait()
