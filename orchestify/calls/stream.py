"""A stream as its reader sees it: text, or typed events, and the whole answer at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from orchestify.errors import OrchestifyError
from orchestify.values import (
    Attempt,
    LLMResponse,
    NativeEvent,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageUpdate,
)

ReaderEvent = TextDelta | ThinkingDelta | ToolCallDelta | NativeEvent | StreamEnd


class Underway(Protocol):
    """The call that a stream belongs to: its id, what it has tried, and how it is given up."""

    call_id: str

    @property
    def tried(self) -> tuple[Attempt, ...]:
        """The attempts so far; the one under way is the last, its outcome is `open`."""

    def abandon(self) -> None:
        """Book what is open, without waiting."""


class CompletionStream:
    """An answer that is arriving; nothing is sent before the first piece is asked for.

    Iterate over it for text, or over `events()` for text, thinking, tool calls and the end.
    After its end `response` is the whole answer. `aclose`, leaving `async with`, cancelling the
    task and losing the last reference all stop the provider, and what was used is booked. Where
    another task closes the stream, who reads it finds its end.

        async with provider.stream("hello") as stream:
            async for text in stream:
                print(text, end="", flush=True)
        print(stream.response.usage)
    """

    def __init__(
        self, events: AsyncGenerator[StreamEvent, None], call: Underway | None = None
    ) -> None:
        """`events` ends with `StreamEnd`; `call` is the one they belong to, where one is booked."""
        self._events = events
        self._call = call
        self._response: LLMResponse | None = None
        self._reader: asyncio.Task[object] | None = None
        self._let_go: asyncio.Event | None = None

    @property
    def response(self) -> LLMResponse:
        """The whole answer.

        Raises:
            OrchestifyError: the stream has not been read to its end.
        """
        if self._response is None:
            raise OrchestifyError("the stream has not ended; read it to its end first")
        return self._response

    @property
    def call_id(self) -> str:
        """The call's id, known before anything is sent; empty where no call is booked."""
        return "" if self._call is None else self._call.call_id

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What has been tried so far; once output has come, the last is who answers (`open`)."""
        return () if self._call is None else self._call.tried

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """Return the next piece of text.

        Raises:
            StreamInterruptedError: the stream was cut; it carries the text and usage so far.
            APIError: another subclass, before any output.
            AllTargetsFailedError: several targets were tried, and all failed.
        """
        while (event := await self._next()) is not None:
            if type(event) is TextDelta:
                return event.text
        raise StopAsyncIteration

    async def events(self) -> AsyncIterator[ReaderEvent]:
        """Iterate over typed events; the last is `StreamEnd`. Raises what iterating raises."""
        while (event := await self.next_event()) is not None:
            yield event

    async def next_event(self) -> ReaderEvent | None:
        """Return the next of `events()`, None at the end. Raises what iterating raises."""
        while (event := await self._next()) is not None:
            if not isinstance(event, UsageUpdate):
                return event
        return None

    async def aclose(self) -> None:
        """Stop the provider and book what was used; harmless at or after the end."""
        if self._reader is not None:
            if self._let_go is None:
                self._let_go = asyncio.Event()
                self._reader.cancel()
            await self._let_go.wait()
        await self._events.aclose()

    async def _next(self) -> StreamEvent | None:
        """Return the next event; None at the end, or where `aclose` ended the wait for it."""
        self._reader = asyncio.current_task()
        try:
            event = await anext(self._events, None)
        except asyncio.CancelledError:
            if self._let_go is None or self._reader is None or self._reader.uncancel():
                raise
            return None
        finally:
            self._reader = None
            if self._let_go is not None:
                self._let_go.set()
        if type(event) is StreamEnd:
            self._response = event.response
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._call is not None:
            self._call.abandon()

    def __repr__(self) -> str:
        state = "open" if self._response is None else "ended"
        return f"<CompletionStream {state}>"
