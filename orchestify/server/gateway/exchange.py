"""One chat completion over HTTP: reads the request, makes the call, writes its answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestify.calls.stream import CompletionStream, ReaderEvent
from orchestify.errors import OrchestifyError, StructuredOutputError
from orchestify.ledger.record import scope as labelled
from orchestify.providers.base import LLMProvider
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.routed import RoutedProvider
from orchestify.resources.thread_pools import ThreadPools
from orchestify.server.access.authentication import require
from orchestify.server.access.limits import CallSlots
from orchestify.server.gateway.answer import (
    DONE,
    ChunkWriter,
    answer_body,
    answer_headers,
    call_headers,
)
from orchestify.server.gateway.errors import SHUTTING_DOWN, HeaderPairs, error_answer, error_event
from orchestify.server.gateway.request import ChatRequest, chat_request, time_limit
from orchestify.values import LLMResponse, StreamEnd

if TYPE_CHECKING:
    from orchestify.server.tenants.registry import TenantRegistry


_STREAM_HEADERS: HeaderPairs = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the events back
]

_COMMENT = b": keep-alive\n\n"
_LARGE_BYTES = 256 << 10
_PARSE_THREADS = ThreadPools(1, "reading")

_SHUTDOWN_NOTICE_S = 1.0
"""How long writing the shutdown's error to a client may take."""


class ChatExchange(Response):
    """Answers one request; a client that disconnects cancels the call at once.

    A failure before the first output has a status of its own; a later one is an event, and no
    `[DONE]` follows. The shutdown of the service, which cancels calls, is reported the same way.
    """

    def __init__(
        self,
        request: Request,
        tenants: TenantRegistry,
        call_slots: CallSlots,
        keep_alive_s: float | None = None,
    ) -> None:
        self._keep_alive_s = keep_alive_s
        self._request = request
        self._tenants = tenants
        self._call_slots = call_slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        self._receive, self._send = receive, send
        self._has_begun = self._has_events = False
        self._wrote_at = 0.0
        try:
            await self._serve()
        except ClientDisconnect:
            return
        except (OrchestifyError, HTTPException) as error:
            if self._has_begun:
                raise
            await self._refuse(error)
        except (
            asyncio.CancelledError
        ):  # a client that disconnects is handled by `CancelOnDisconnect`
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SHUTDOWN_NOTICE_S):
                    await self._tell_shutdown()

    async def _refuse(self, error: OrchestifyError | HTTPException) -> None:
        status, headers, body = error_answer(error)
        await self._begin(status, headers)
        await self._end(body)

    async def _tell_shutdown(self) -> None:
        """Report the shutdown; an answer of known length that has begun is cut off."""
        if self._has_events:
            await self._end(error_event(SHUTTING_DOWN))
        elif not self._has_begun:
            await self._refuse(SHUTTING_DOWN)

    async def _serve(self) -> None:
        tenant = (await require(self._request, "call")).tenant_id
        with self._call_slots.slot_of(tenant):
            await self._answer(tenant, await self._read(tenant))

    async def _read(self, tenant: str) -> ChatRequest:
        """Return what is asked for; a tenant's large bodies are parsed in a thread, one by one."""
        body = await self._request.body()
        if len(body) <= _LARGE_BYTES:
            return chat_request(body)
        return await _PARSE_THREADS.run(tenant, chat_request, body)

    async def _answer(self, tenant: str, asked: ChatRequest) -> None:
        async with self._tenants.use(tenant) as registry:
            provider = registry.find(asked.model)
            arguments = {**asked.arguments, **time_limit(self._request.headers)}
            if asked.passed_on and _speaks_openai(provider):
                arguments["options"] = asked.passed_on
            with labelled(**asked.labels):
                if asked.is_stream:
                    await self._stream(provider.stream(**arguments), asked)
                else:
                    await self._complete(provider, arguments)

    async def _complete(self, provider: LLMProvider, arguments: dict[str, Any]) -> None:
        async with CancelOnDisconnect(self._receive) as client:
            response = await _completed(provider, arguments)
        if client.has_disconnected:
            return
        body = answer_body(response)
        length = (b"content-length", str(len(body)).encode())
        kind = (b"content-type", b"application/json")
        await self._begin(200, [kind, length, *answer_headers(response)])
        await self._end(body)

    async def _stream(self, stream: CompletionStream, asked: ChatRequest) -> None:
        async with CancelOnDisconnect(self._receive) as client, stream, self._kept_alive(stream):
            last = await self._relay(stream, asked)
        if not client.has_disconnected:
            await self._end(last)

    async def _relay(self, stream: CompletionStream, asked: ChatRequest) -> bytes:
        """Send what comes, and return what is to be sent last.

        Raises:
            OrchestifyError: before anything was sent.
        """
        text, chunks = "", None
        try:
            while (event := await _next(stream)) is not None:
                if chunks is None:
                    is_early = self._has_begun
                    if not is_early:
                        await self._begin_events(call_headers(stream.call_id, stream.attempts))
                    model = stream.attempts[-1].model if stream.attempts else asked.model
                    chunks = ChunkWriter(
                        stream.call_id,
                        model,
                        include_usage=asked.include_usage,
                        names_provider=is_early,
                    )
                    text = chunks.opening()
                text += chunks.of(event)
                if type(event) is StreamEnd:
                    return text.encode() + DONE
                await self._write(text.encode())
                text = ""
        except OrchestifyError as error:
            if not self._has_events:
                raise
            return text.encode() + error_event(error)
        return b""

    @contextlib.asynccontextmanager
    async def _kept_alive(self, stream: CompletionStream) -> AsyncIterator[None]:
        """Send a comment after each `keep_alive_s` of silence, so that no proxy ends the stream.

        The first one begins the answer, before anybody knows who will answer it.
        """
        if self._keep_alive_s is None:
            yield
            return
        task = asyncio.create_task(self._send_comments(stream, self._keep_alive_s))
        try:
            yield
        finally:
            task.cancel()

    async def _send_comments(self, stream: CompletionStream, every_s: float) -> None:
        self._wrote_at = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, self._wrote_at + every_s - time.monotonic()))
            if time.monotonic() - self._wrote_at >= every_s:
                if not self._has_begun:
                    await self._begin_events(call_headers(stream.call_id, ()))
                await self._write(_COMMENT)

    async def _begin_events(self, headers: HeaderPairs) -> None:
        self._has_events = True
        await self._begin(200, _STREAM_HEADERS + headers)

    async def _begin(self, status: int, headers: HeaderPairs) -> None:
        self._has_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, body: bytes) -> None:
        self._wrote_at = time.monotonic()
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


class CancelOnDisconnect:
    """Cancels the task inside the block when the client disconnects; it goes on after the block.

        async with CancelOnDisconnect(receive) as client:
            ...                 # a call that no client waits for is cancelled
        if client.has_disconnected: ...

    The request's body must have been read. A cancellation by anybody else passes.
    """

    def __init__(self, receive: Receive) -> None:
        self.has_disconnected = False
        self._receive = receive

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one
        self._task = task
        self._watch = asyncio.create_task(self._wait())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._watch.cancel()
        return (
            self.has_disconnected and self._task.uncancel() == 0 and kind is asyncio.CancelledError
        )

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_disconnected = True
        self._task.cancel()


def _speaks_openai(provider: LLMProvider) -> bool:
    """Say whether every target of a provider takes the fields of OpenAI's protocol."""
    if not isinstance(provider, (ConfiguredProvider, RoutedProvider)):
        return False
    return all(each.provider_type == "openai" for each in provider.route.targets)
