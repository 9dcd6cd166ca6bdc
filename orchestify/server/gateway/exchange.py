"""One call over HTTP in any protocol: reads the request, makes the call, writes its answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestify.calls.stream import CompletionStream, ReaderEvent
from orchestify.errors import OrchestifyError
from orchestify.lanes.large_json import LargeObject, steps_of
from orchestify.ledger.record import labelled
from orchestify.providers.base import LLMProvider
from orchestify.resources.json_steps import json_in_steps
from orchestify.resources.thread_pools import ThreadPools
from orchestify.server.access.authentication import require
from orchestify.server.gateway.call_headers import (
    answer_headers,
    cache_choice,
    call_headers,
    time_limit,
)
from orchestify.server.gateway.errors import (
    SHUTTING_DOWN,
    ErrorForm,
    HeaderPairs,
    error_answer,
    error_event,
)
from orchestify.server.gateway.kept_thinking import KeptThinking
from orchestify.server.gateway.unformed import completed, next_event
from orchestify.values import (
    LLMResponse,
    NativeEvent,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)

if TYPE_CHECKING:
    from orchestify.server.service import Service
    from orchestify.server.tenants.tenant_providers import TenantProviders


_STREAM_HEADERS: HeaderPairs = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the events back
]

_LARGE_BYTES = 256 << 10
_PARSE_THREADS = ThreadPools(1, "reading")

_EVENTS_A_TURN = 8

_SHUTDOWN_NOTICE_S = 1.0
"""How long writing the shutdown's error to a client may take."""


class Asked(Protocol):
    """What a request asks for: `arguments` are those of `complete` and `stream`.

    `labels` are the call's in the ledger, `warnings` words for what is not passed on.
    """

    model: str
    arguments: dict[str, Any]
    labels: dict[str, str]
    is_stream: bool
    warnings: tuple[str, ...]


class EventWriter(Protocol):
    """Writes one answer's events; `ending` follows the last."""

    ending: bytes

    def opening(self) -> str:
        """Return what comes before the first event."""

    def of(self, event: ReaderEvent) -> str:
        """Return what an event becomes; the end has several.

        Raises:
            OrchestifyError: the protocol cannot say it.
        """


AskedT = TypeVar("AskedT", bound=Asked)


class Exchange(Response, ABC, Generic[AskedT]):
    """Answers one request; a client that disconnects cancels the call at once.

    A failure before the first output has a status of its own; a later one is an event, and the
    protocol's end does not follow. The shutdown of the service, which cancels calls, is reported
    the same way. A protocol is a subclass.
    """

    error_form: ClassVar[ErrorForm]
    keep_alive: ClassVar[bytes]
    """What a stream sends where it would be silent too long."""

    keeps_thinking = True
    """Whether the answer's thinking is kept, for a client that may not send it back."""

    def __init__(self, request: Request, service: Service) -> None:
        self._service = service
        self._keep_alive_s = service.settings.keep_alive_s
        self._request = request
        self._sent = 0

    @abstractmethod
    def _parsed(self, body: bytes) -> AskedT:
        """Read a body; it may be called in a thread.

        Raises:
            InvalidParameterError: a field cannot be used; the message begins with its name.
        """

    @abstractmethod
    def _arguments(
        self, asked: AskedT, provider: LLMProvider, registry: TenantProviders
    ) -> dict[str, Any]:
        """Return the arguments of the call, as they are for what answers."""

    @abstractmethod
    def _body(self, response: LLMResponse, asked: AskedT) -> dict[str, Any]:
        """Return a whole answer, to be written as JSON.

        Raises:
            OrchestifyError: the protocol cannot say it.
        """

    @abstractmethod
    def _writer(self, call_id: str, asked: AskedT, *, names_provider: bool) -> EventWriter:
        """Return what writes a stream; with `names_provider` its headers could not tell."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        self._receive, self._send = receive, send
        self._has_begun = self._has_events = self._is_within_event = False
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
        status, headers, body = error_answer(error, self.error_form)
        await self._begin(status, headers)
        await self._end(body)

    async def _tell_shutdown(self) -> None:
        """Report the shutdown; in the middle of an event, or of a whole answer, that is cut off."""
        if self._has_events and not self._is_within_event:
            await self._end(self._event_of(SHUTTING_DOWN))
        elif not self._has_begun:
            await self._refuse(SHUTTING_DOWN)

    async def _serve(self) -> None:
        self._tenant = (await require(self._request, "call")).tenant_id
        with self._service.call_slots.slot_of(self._tenant):
            await self._answer(await self._read())

    async def _read(self) -> AskedT:
        """Return what is asked for; a tenant's large bodies are parsed in a thread, one by one."""
        pieces = [piece async for piece in self._request.stream()]
        await self._service.turns.take(self._tenant)
        if sum(map(len, pieces)) <= _LARGE_BYTES:
            return self._parsed(b"".join(pieces))
        return await _PARSE_THREADS.run(self._tenant, lambda: self._parsed(b"".join(pieces)))

    async def _answer(self, asked: AskedT) -> None:
        async with self._service.tenants.use(self._tenant) as registry:
            provider = registry.find(asked.model)
            arguments = self._arguments(asked, provider, registry)
            arguments |= time_limit(self._request.headers) | cache_choice(self._request.headers)
            if self.keeps_thinking:
                self._thinking = KeptThinking(
                    self._service.conversations, self._tenant, asked.model
                )
                self._messages = await self._thinking.restored(arguments["messages"])
                arguments["messages"] = self._messages
            with labelled(asked.labels):
                if asked.is_stream:
                    await self._stream(provider.stream(**arguments), asked)
                else:
                    await self._complete(provider, arguments, asked)

    async def _complete(
        self, provider: LLMProvider, arguments: dict[str, Any], asked: AskedT
    ) -> None:
        async with CancelOnDisconnect(self._receive) as client:
            response = await completed(provider, arguments)
            await self._keep(response)
        if client.has_disconnected:
            return
        body = self._body(response, asked)
        if isinstance(response.raw_response, LargeObject):
            *pieces, last = await _PARSE_THREADS.run(self._tenant, _pieces_of, body)
        else:
            pieces, last = [], json.dumps(body).encode()
        length = (b"content-length", str(sum(map(len, pieces), len(last))).encode())
        kind = (b"content-type", b"application/json")
        await self._begin(200, [kind, length, *answer_headers(response, asked.warnings)])
        for piece in pieces:
            await self._write(piece)
        await self._end(last)

    async def _stream(self, stream: CompletionStream, asked: AskedT) -> None:
        async with CancelOnDisconnect(self._receive) as client, stream, self._kept_alive(stream):
            last = await self._relay(stream, asked)
        if not client.has_disconnected:
            await self._end(last)

    async def _relay(self, stream: CompletionStream, asked: AskedT) -> bytes:
        """Send what comes, and return what is to be sent last.

        Raises:
            OrchestifyError: before anything was sent.
        """
        text, events = "", None
        try:
            while (event := await next_event(stream)) is not None:
                if events is None:
                    is_early = self._has_begun
                    if not is_early:
                        told = call_headers(stream.call_id, stream.attempts, asked.warnings)
                        await self._begin_events(told)
                    events = self._writer(stream.call_id, asked, names_provider=is_early)
                    text = events.opening()
                if _is_large(event):
                    await self._write_large(text, events, event)
                    text = ""
                    continue
                if type(event) is StreamEnd:
                    await self._keep(event.response)
                    return (text + events.of(event)).encode() + events.ending
                for part in _parts_of(event):
                    text += events.of(part)
                    if text:
                        await self._write_event(text)
                    text = ""
        except OrchestifyError as error:
            if not self._has_events:
                raise
            return text.encode() + self._event_of(error)
        return b""

    async def _write_event(self, text: str) -> None:
        """Send an event; a few go in each of the tenant's turns."""
        await self._write(text.encode())
        self._sent += 1
        if not self._sent % _EVENTS_A_TURN:
            await self._service.turns.take(self._tenant)

    async def _write_large(self, text: str, events: EventWriter, event: ReaderEvent) -> None:
        """Send a text and what a large event becomes, which is written in a thread."""
        if type(event) is StreamEnd:
            await self._keep(event.response)
        written = await _PARSE_THREADS.run(self._tenant, events.of, event)
        self._is_within_event = True
        for step in chain((text,) if text else (), steps_of(written)):
            await self._write(step.encode())
        self._is_within_event = False
        if type(event) is StreamEnd:
            await self._write(events.ending)

    async def _keep(self, response: LLMResponse) -> None:
        if self.keeps_thinking:
            await self._thinking.keep(self._messages, response)

    @contextlib.asynccontextmanager
    async def _kept_alive(self, stream: CompletionStream) -> AsyncIterator[None]:
        """Send something after each `keep_alive_s` of silence, so that no proxy ends the stream.

        The first one begins the answer, before anybody knows who will answer it.
        """
        if self._keep_alive_s is None:
            yield
            return
        task = asyncio.create_task(self._break_silence(stream, self._keep_alive_s))
        try:
            yield
        finally:
            task.cancel()

    async def _break_silence(self, stream: CompletionStream, every_s: float) -> None:
        self._wrote_at = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, self._wrote_at + every_s - time.monotonic()))
            if self._is_within_event:  # whose reader has enough to take
                self._wrote_at = time.monotonic()
            elif time.monotonic() - self._wrote_at >= every_s:
                if not self._has_begun:
                    await self._begin_events(call_headers(stream.call_id, ()))
                await self._write(self.keep_alive)

    async def _begin_events(self, headers: HeaderPairs) -> None:
        self._has_events = True
        await self._begin(200, _STREAM_HEADERS + headers)

    async def _begin(self, status: int, headers: HeaderPairs) -> None:
        self._has_begun = True
        self._request_id = dict(headers).get(b"request-id", b"").decode()
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, body: bytes) -> None:
        self._wrote_at = time.monotonic()
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body})

    def _event_of(self, error: OrchestifyError | HTTPException) -> bytes:
        return error_event(error, self.error_form, request_id=self._request_id)


def _pieces_of(body: dict[str, Any]) -> list[bytes]:
    """Return a large answer as JSON, in pieces of which each is written at once."""
    pieces, piece = [], bytearray()
    for step in json_in_steps(body, ascii_only=True):
        piece += step.encode()
        if len(piece) >= _LARGE_BYTES:
            pieces.append(bytes(piece))
            piece.clear()
    return [*pieces, bytes(piece)]


def _is_large(event: ReaderEvent) -> bool:
    """Whether an event passes on, or ends, what came as a large text."""
    if type(event) is NativeEvent:
        return isinstance(event.event, LargeObject)
    return type(event) is StreamEnd and isinstance(event.response.raw_response, LargeObject)


def _parts_of(event: ReaderEvent) -> Iterable[ReaderEvent]:
    """Return an event whose text is large as several: each is written at once."""
    if isinstance(event, (TextDelta, ThinkingDelta)):
        if len(event.text) > _LARGE_BYTES:
            return (replace(event, text=step) for step in steps_of(event.text))
    elif isinstance(event, ToolCallDelta) and len(event.arguments) > _LARGE_BYTES:
        return (replace(event, arguments=step) for step in steps_of(event.arguments))
    return (event,)


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
