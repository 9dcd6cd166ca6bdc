"""What ends a stream from our side: its time, silence, or more output than a budget holds."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from orchestify.calls.attempt import AttemptState
from orchestify.errors import StreamInterruptedError
from orchestify.models.estimate import estimate_output_tokens, family_of
from orchestify.values import StreamEnd, StreamEvent, TextDelta, UsageUpdate


class StreamBounds:
    """Bounds one stream that has begun: a block in which its events are read.

        with bounds:
            bounds.wait()
            async for event in source:
                bounds.came(event)
                ...
                bounds.wait()

    It lasts `whole_s` in all, and between two pieces of output the wait for the next is
    `silence_s` at most, whatever else keeps the connection alive. One timer a stream, moved on
    as it fires; it cancels the wait, and `ended_by` says what that stands for. Where a hard
    budget holds the attempt's worst case, it ends once more than that has come: by more than the
    estimate's error, or by the provider's own count.
    """

    __slots__ = (
        *("_attempt", "_chars", "_count_at", "_deadline", "_error", "_is_over", "_loop", "_most"),
        *("_seen", "_silence_s", "_since", "_task", "_texts", "_timer", "_whole_s"),
    )

    def __init__(self, attempt: AttemptState, silence_s: float, whole_s: float | None) -> None:
        self._attempt = attempt
        self._silence_s = silence_s
        self._whole_s = whole_s
        self._loop = asyncio.get_running_loop()
        lasted_s = attempt.runtime.clock() - attempt.started
        self._deadline = None if whole_s is None else self._loop.time() + whole_s - lasted_s
        self._since: float | None = None
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: StreamInterruptedError | None = None
        self._texts: list[str] = []
        self._most = _most_tokens(attempt)
        self._seen = self._chars = 0
        self._count_at = (self._most or 0) * _error_factor(attempt)
        self._is_over = False

    def wait(self) -> None:
        """Note that the next event is waited for.

        Raises:
            StreamInterruptedError: the time is up, or more came than is held.
        """
        if self._most is not None:
            self._count(self._most)
        if self._error is not None:
            raise self._error
        if self._since is None:
            self._since = self._loop.time()
        self._task = asyncio.current_task()

    def came(self, event: StreamEvent) -> None:
        """Note what has come.

        Raises:
            StreamInterruptedError: it is more, though the provider has counted too much already.
        """
        self._task = None
        if type(event) is UsageUpdate:
            return
        self._since = None
        if self._is_over and type(event) is not StreamEnd:
            raise self._cut("the stream went on beyond what the budget holds for it")
        if type(event) is TextDelta:
            self._texts.append(event.text)

    def ended_by(self, error: BaseException) -> BaseException:
        """Return what ended the stream: where the timer cancelled the wait, the error it meant."""
        if not isinstance(error, asyncio.CancelledError) or self._error is None:
            return error
        task = asyncio.current_task()
        return error if task is None or task.uncancel() else self._error

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._task = None
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        """End the stream where its time is up, else look again when that may be."""
        now = self._loop.time()
        silent_at = (now if self._since is None else self._since) + self._silence_s
        if self._deadline is not None and now >= self._deadline:
            self._error = self._cut(f"the stream lasted stream_timeout_s ({self._whole_s:g} s)")
            self._error.trips_breaker = False
        elif self._task is not None and now >= silent_at:
            self._error = self._cut(f"no output came within timeout_s ({self._silence_s:g} s)")
        else:
            when = silent_at if self._task is not None else now + self._silence_s
            if self._deadline is not None:
                when = min(when, self._deadline)
            self._timer = self._loop.call_at(when, self._check)
            return
        if self._task is not None:
            self._task.cancel()

    def _count(self, most: int) -> None:
        """Count what has come; a text has no more tokens than characters, so this is rare."""
        attempt = self._attempt
        self._is_over = attempt.usage.output_tokens > most
        for piece in attempt.pieces[self._seen :]:
            self._chars += len(piece)
        self._seen = len(attempt.pieces)
        if self._chars <= self._count_at:
            return
        tokens = estimate_output_tokens("".join(attempt.pieces), attempt.request.model)
        left = most * _error_factor(attempt) - tokens
        if left < 0:
            raise self._cut(
                f"the stream brought about {tokens:,} tokens, and the budget holds {most:,} for it"
            )
        self._count_at = self._chars + max(left, self._chars / 10)

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
