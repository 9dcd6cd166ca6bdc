"""A stream that has begun: its events, booked as they come, and what ends it from our side."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import NamedTuple

from orchestify.calls.call import AttemptState, CallState
from orchestify.errors import StreamInterruptedError
from orchestify.models.estimate import estimate_output_tokens, family_of
from orchestify.values import (
    StreamEnd,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageUpdate,
)


class ReplayedStream(NamedTuple):
    """A kept stream: all of its events, the whole answer at their end."""

    events: tuple[StreamEvent, ...]


class OpenedStream:
    """A stream whose first output has come: its attempt, its source and the events so far.

    It lasts `stream_timeout_s` in all, and between two pieces of output the wait for the next is
    the call's or the provider's time at most, whatever else keeps the connection alive. One timer
    a stream, moved on as it fires; it cancels the wait. Where a hard budget holds the attempt's
    worst case, the stream ends once more than that has come: by more than the estimate's error, or
    by the provider's own count.
    """

    def __init__(
        self,
        state: CallState,
        attempt: AttemptState,
        source: AsyncGenerator[StreamEvent, None],
        head: list[StreamEvent],
    ) -> None:
        own = attempt.target.defaults
        self._state = state
        self._attempt = attempt
        self._source = source
        self._head = head
        self._silence_s = min(state.timeout_s, own.provider_timeout_s or state.timeout_s)
        self._whole_s = own.stream_timeout_s
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf
        if self._whole_s is not None:
            lasted_s = attempt.runtime.clock() - attempt.started
            self._deadline = self._loop.time() + self._whole_s - lasted_s
        self._waiting_since: float | None = None  # since the last output
        self._waiting: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: StreamInterruptedError | None = None
        self._texts: list[str] = []
        self._most = _most_tokens(attempt)
        self._chars = 0
        self._count_at = math.inf if self._most is None else self._most * _error_factor(attempt)
        self._is_over = self._is_due = False

    def __repr__(self) -> str:
        return f"<OpenedStream {self._attempt.target.provider_id}>"

    @staticmethod
    async def events(
        opening: Callable[[], Awaitable[OpenedStream | ReplayedStream]],
    ) -> AsyncGenerator[StreamEvent, None]:
        """Open a stream and yield its events; whatever ends them closes the account.

        Raises:
            StreamInterruptedError: the stream was cut, the time is up, or more came than is held.
            APIError: another subclass. AllTargetsFailedError: none could be opened.
        """
        self = await opening()
        if isinstance(self, ReplayedStream):
            for event in self.events:
                yield event
            return
        attempt, loop = self._attempt, self._loop
        self._state.end_stream = self.end
        async with aclosing(self._source):
            try:
                self._check_time()
                for event in self._head:
                    yield self._noted(event)
                if self._is_due or self._chars > self._count_at:
                    self._check_bounds()
                self._waiting_since, self._waiting = loop.time(), asyncio.current_task()
                async for event in self._source:
                    self._waiting = None
                    if type(event) is TextDelta and not self._is_over:
                        self._waiting_since = None
                        self._texts.append(event.text)
                        attempt.pieces.append(event.text)
                        self._chars += len(event.text)
                        yield event
                    else:
                        yield self._noted(event)
                    if self._is_due or self._chars > self._count_at:
                        self._check_bounds()
                    self._waiting_since = self._waiting_since or loop.time()
                    self._waiting = asyncio.current_task()
                self._require_end()
            except BaseException as error:
                ended = self._meant_by(error)
                attempt.fail(ended)
                self._state.ended(ended)
                if ended is not error:
                    raise ended from None
                raise
            finally:
                self._stop_waiting()

    def end(self, what: str) -> None:
        """End the stream, on its loop: now where an event is awaited, else as one is asked for."""
        self._error, self._is_due = self._cut(what), True
        self._error.trips_breaker = False
        if self._waiting is not None:
            self._waiting.cancel()

    def _noted(self, event: StreamEvent) -> StreamEvent:
        """Keep what an event tells for the account; the end is booked and completed.

        Raises:
            StreamInterruptedError: it is more, though the provider has counted too much already.
        """
        attempt = self._attempt
        if isinstance(event, UsageUpdate):
            attempt.usage, self._is_due = event.usage, True
            return event
        self._waiting_since = None
        if isinstance(event, StreamEnd):
            return StreamEnd(self._state.answered(attempt, event.response))
        if self._is_over:
            raise self._cut("the stream went on beyond what the budget holds for it")
        text = ""
        if isinstance(event, (TextDelta, ThinkingDelta)):
            text = event.text
        elif isinstance(event, ToolCallDelta):
            text = event.arguments
        if isinstance(event, TextDelta):
            self._texts.append(text)
        attempt.pieces.append(text)
        self._chars += len(text)
        return event

    def _require_end(self) -> None:
        """Raise StreamInterruptedError where the source is over, and the protocol's end was not."""
        if not self._attempt.closed:
            target = self._attempt.target
            raise StreamInterruptedError(provider=target.provider_id, model=target.model)

    def _stop_waiting(self) -> None:
        self._waiting = self._state.end_stream = None
        if self._timer is not None:
            self._timer.cancel()

    def _check_time(self) -> None:
        """End the stream where its time is up, else look again when that may be."""
        now = self._loop.time()
        silent_at = (now if self._waiting_since is None else self._waiting_since) + self._silence_s
        if now >= self._deadline:
            self._error = self._cut(f"the stream lasted stream_timeout_s ({self._whole_s:g} s)")
            self._error.trips_breaker = False
        elif self._waiting is not None and now >= silent_at:
            self._error = self._cut(f"no output came within timeout_s ({self._silence_s:g} s)")
            self._error.trips_breaker = self._silence_s != self._state.call.timeout_s
        else:
            when = silent_at if self._waiting is not None else now + self._silence_s
            self._timer = self._loop.call_at(min(when, self._deadline), self._check_time)
            return
        self._is_due = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _check_bounds(self) -> None:
        """Count what has come. Raises StreamInterruptedError: the time is up, or it is too much."""
        self._is_due = False
        if self._most is not None:
            self._is_over = self._attempt.usage.output_tokens > self._most
            if self._chars > self._count_at:
                self._count(self._most)
        if self._error is not None:
            raise self._error

    def _count(self, most: int) -> None:
        """Estimate what has come; a text has no more tokens than characters, so this is rare."""
        attempt = self._attempt
        tokens = estimate_output_tokens(attempt.pieces, attempt.request.model)
        left = most * _error_factor(attempt) - tokens
        if left < 0:
            raise self._cut(
                f"the stream brought about {tokens:,} tokens, and the budget holds {most:,} for it"
            )
        self._count_at = self._chars + max(left, self._chars / 10)

    def _meant_by(self, error: BaseException) -> BaseException:
        """Return what ended the stream: where the timer cancelled the wait, the error it meant."""
        if not isinstance(error, asyncio.CancelledError) or self._error is None:
            return error
        task = asyncio.current_task()
        return error if task is None or task.uncancel() else self._error

    def _cut(self, what: str) -> StreamInterruptedError:
        target, usage = self._attempt.target, self._attempt.usage
        error = StreamInterruptedError(what, provider=target.provider_id, model=target.model)
        error.text = "".join(self._texts)
        error.usage = None if usage.source == "unknown" else usage
        return error


def _most_tokens(attempt: AttemptState) -> int | None:
    """The output that a hard budget holds for an attempt, None where none does."""
    is_held = attempt.reservation is not None and attempt.record.cost_at_most_usd is not None
    if not is_held or all(budget.mode != "hard" for budget in attempt.budgets):
        return None
    return attempt.runtime.output_cap(attempt.target, attempt.request)


def _error_factor(attempt: AttemptState) -> float:
    """How much more than the cap the estimate may say of an answer that keeps to it."""
    return 1 + max(0.25, family_of(attempt.request.model).error_99)
