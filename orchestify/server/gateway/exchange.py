"""One chat completion over HTTP: the request is read, the call made, its answer written."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestify.calls.stream import CompletionStream, ReaderEvent
from orchestify.errors import OrchestifyError, StructuredOutputError
from orchestify.ledger.record import scope as labelled
from orchestify.providers.base import LLMProvider
from orchestify.resources.thread_pools import ThreadPools
from orchestify.server.access.limits import Places
from orchestify.server.access.requiring import require
from orchestify.server.gateway.answer import answer_body, answer_headers, call_headers
from orchestify.server.gateway.chunks import DONE, Chunks
from orchestify.server.gateway.disconnect import Attended
from orchestify.server.gateway.errors import ENDING, Pairs, event_of, told
from orchestify.server.gateway.models import speaks_openai
from orchestify.server.gateway.request import ChatRequest, chat_request, time_limit
from orchestify.values import LLMResponse, StreamEnd

if TYPE_CHECKING:
    from orchestify.server.tenants.registry import TenantRegistry

_STREAM_HEADERS: Pairs = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the events back
]

_LARGE_BYTES = 256 << 10
_READERS = ThreadPools(1, "reading")

_FAREWELL_S = 1.0
"""How long a client may take to hear that the service ends."""


class ChatExchange(Response):
    """Answers one request; a client that goes ends the call at once.

    What fails before the first output is told by its status, what fails after it by an event;
    then there is no `[DONE]`. So is the end of the service, which cancels what is under way.
    """

    def __init__(self, request: Request, tenants: TenantRegistry, places: Places) -> None:
        self._request = request
        self._tenants = tenants
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        self._receive, self._send = receive, send
        self._has_begun = self._has_events = False
        try:
            await self._serve()
        except ClientDisconnect:
            return
        except (OrchestifyError, HTTPException) as error:
            if self._has_begun:
                raise
            await self._refuse(error)
        except asyncio.CancelledError:  # a client that goes is met by `Attended`
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._break_off()

    async def _refuse(self, error: OrchestifyError | HTTPException) -> None:
        status, headers, body = told(error)
        await self._begin(status, headers)
        await self._end(body)

    async def _break_off(self) -> None:
        """Tell that the service ends; an answer of known length that has begun is cut."""
        if self._has_events:
            await self._end(event_of(ENDING))
        elif not self._has_begun:
            await self._refuse(ENDING)

    async def _serve(self) -> None:
        tenant = (await require(self._request, "call")).tenant_id
        with self._places.one_of(tenant):
            await self._answer(tenant, await self._read(tenant))

    async def _read(self, tenant: str) -> ChatRequest:
        """Return what is asked for; a tenant's large bodies are parsed in a thread, one by one."""
        body = await self._request.body()
        if len(body) <= _LARGE_BYTES:
            return chat_request(body)
        return await _READERS.run(tenant, chat_request, body)

    async def _answer(self, tenant: str, asked: ChatRequest) -> None:
        async with self._tenants.use(tenant) as registry:
            provider = registry.find(asked.model)
            arguments = {**asked.arguments, **time_limit(self._request.headers)}
            if asked.passed_on and speaks_openai(provider):
                arguments["options"] = asked.passed_on
            with labelled(**asked.labels):
                if asked.is_stream:
                    await self._stream(provider.stream(**arguments), asked)
                else:
                    await self._complete(provider, arguments)

    async def _complete(self, provider: LLMProvider, arguments: dict[str, Any]) -> None:
        async with Attended(self._receive) as client:
            response = await _completed(provider, arguments)
        if client.has_gone:
            return
        body = answer_body(response)
        length = (b"content-length", str(len(body)).encode())
        kind = (b"content-type", b"application/json")
        await self._begin(200, [kind, length, *answer_headers(response)])
        await self._end(body)

    async def _stream(self, stream: CompletionStream, asked: ChatRequest) -> None:
        async with Attended(self._receive) as client, stream:
            last = await self._relay(stream, asked)
        if not client.has_gone:
            await self._end(last)

    async def _relay(self, stream: CompletionStream, asked: ChatRequest) -> bytes:
        """Send what comes, and return what is to be sent last.

        Raises:
            OrchestifyError: before any output.
        """
        text, chunks = "", None
        try:
            while (event := await _next(stream)) is not None:
                if chunks is None:
                    headers = call_headers(stream.call_id, stream.attempts)
                    await self._begin(200, _STREAM_HEADERS + headers)
                    self._has_events = True
                    model = stream.attempts[-1].model if stream.attempts else asked.model
                    chunks = Chunks(stream.call_id, model, include_usage=asked.include_usage)
                    text = chunks.opening()
                text += chunks.of(event)
                if type(event) is StreamEnd:
                    return text.encode() + DONE
                await self._write(text.encode())
                text = ""
        except OrchestifyError as error:
            if chunks is None:
                raise
            return text.encode() + event_of(error)
        return b""

    async def _begin(self, status: int, headers: Pairs) -> None:
        self._has_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body})


async def _completed(provider: LLMProvider, arguments: dict[str, Any]) -> LLMResponse:
    """Return the answer, also where it does not fit the form: the protocol's clients check that."""
    try:
        return await provider.complete(**arguments)
    except StructuredOutputError as error:
        response: LLMResponse = error.response
    return response


async def _next(stream: CompletionStream) -> ReaderEvent | None:
    """Return a stream's next event; its end also where the answer does not fit the form."""
    try:
        return await stream.next_event()
    except StructuredOutputError as error:
        return StreamEnd(error.response)
