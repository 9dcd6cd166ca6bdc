"""Many requests at once: each is a call of its own, and an error is a result.

    requests ── taken one at a time ──> `concurrency` workers ── complete ──> results, read one
                                                                              at a time

What is under way or not yet read is bounded, so that any number of requests takes the same memory:
as they come, there are as many as are asked at once; in order, 16 times as many.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orchestify.batches.requests import RequestLike, request_of
from orchestify.calls.request import CallKeywords, ThinkingLike, ToolLike
from orchestify.errors import InvalidParameterError, OrchestifyError
from orchestify.ledger.record import SCOPE, Scope, in_scope, labelled
from orchestify.values import LLMResponse

CONCURRENCY = 20
_AHEAD = 16  # times the concurrency: what was taken and has not been read, where order is kept


Requests: TypeAlias = Iterable[RequestLike] | AsyncIterable[RequestLike]
Complete: TypeAlias = Callable[..., Awaitable[LLMResponse]]


class ManyKeywords(CallKeywords, total=False):
    """What all requests of `map` share, as `complete` takes it; a request's own words win."""

    model: str | None
    temperature: float | None
    max_tokens: int | None
    tools: Iterable[ToolLike] | None
    thinking: ThinkingLike | None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one request: a `response`, or else the `error` that `complete` raised.

    `index` is the request's place among all, from 0; `custom_id` is what its caller named it.
    """

    index: int
    custom_id: str | None = None
    response: LLMResponse | None = field(default=None, repr=False)
    error: OrchestifyError | None = None


def map_requests(
    complete: Complete,
    requests: Requests,
    concurrency: int,
    shared: ManyKeywords,
    *,
    ordered: bool,
) -> AsyncGenerator[BatchResult, None]:
    """Ask each request by `complete`, `concurrency` of them at once; see `LLMProvider.map`.

    Raises:
        InvalidParameterError: an argument cannot be used; nothing was sent.
    """
    if isinstance(requests, (str, bytes, Mapping)) or not isinstance(
        requests, (Iterable, AsyncIterable)
    ):
        raise InvalidParameterError("requests are several; put a single one into a list")
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise InvalidParameterError("concurrency is a whole number of at least 1")
    if (tools := shared.get("tools")) is not None:
        shared = {**shared, "tools": tuple(tools)}
    most = concurrency * _AHEAD if ordered else concurrency
    work = _Work(complete, shared, _Source(requests), asyncio.Semaphore(most))
    return work.results(concurrency, ordered=ordered)


@dataclass(slots=True)
class _Work:
    """The workers of one `map`, and what came of theirs that nobody has read.

    `room` is for requests that were taken and whose result has not been read. `scope` is what was
    in force where `map` was called: results may be read elsewhere. A worker's own task comes at its
    end.
    """

    complete: Complete
    shared: ManyKeywords = field(repr=False)
    source: _Source
    room: asyncio.Semaphore
    scope: Scope = field(default_factory=SCOPE.get)
    came: asyncio.Queue[BatchResult | asyncio.Task[None]] = field(default_factory=asyncio.Queue)

    async def results(
        self, concurrency: int, *, ordered: bool
    ) -> AsyncGenerator[BatchResult, None]:
        """Yield the results; whoever leaves early cancels what is under way."""
        with in_scope(self.scope):
            tasks = [asyncio.create_task(self._work()) for _ in range(concurrency)]
        early: dict[int, BatchResult] = {}
        due = 0
        try:
            for task in tasks:
                task.add_done_callback(self.came.put_nowait)
            left = concurrency
            while left:
                came = await self.came.get()
                if isinstance(came, asyncio.Task):
                    came.result()
                    left -= 1
                    continue
                early[came.index] = came
                next_one = due if ordered else came.index
                while (result := early.pop(next_one, None)) is not None:
                    self.room.release()
                    yield result
                    due = next_one = next_one + 1
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.source.error is not None:
            raise self.source.error

    async def _work(self) -> None:
        """Ask one request after the other until there are no more."""
        while True:
            await self.room.acquire()
            taken = await self.source.take()
            if taken is None:
                self.room.release()
                return
            self.came.put_nowait(await self._result(*taken))

    async def _result(self, index: int, given: RequestLike) -> BatchResult:
        custom_id = given.get("custom_id") if isinstance(given, Mapping) else None
        try:
            request = request_of(given)
            custom_id = request.custom_id
            with labelled(request.labels) if request.labels else nullcontext():
                response = await self.complete(**{**self.shared, **request.arguments})
        except OrchestifyError as error:
            return BatchResult(index, custom_id, error=error.with_traceback(None))
        return BatchResult(index, custom_id, response)


class _Source:
    """The requests, numbered from 0 and taken one at a time; the iterable's own error ends them."""

    def __init__(self, requests: Requests) -> None:
        self.error: Exception | None = None
        self._requests = aiter(requests) if isinstance(requests, AsyncIterable) else iter(requests)
        self._turn = asyncio.Lock()
        self._taken = 0
        self._has_ended = False

    async def take(self) -> tuple[int, RequestLike] | None:
        """Return the next request and its number; None where there are no more."""
        async with self._turn:
            if self._has_ended:
                return None
            try:
                request = await self._next()
            except Exception as error:  # the caller's own iterable failed
                self.error, request = error, _END
            if request is _END:
                self._has_ended = True
                return None
            self._taken += 1
            return self._taken - 1, request

    async def _next(self) -> Any:
        if isinstance(self._requests, Iterator):
            return next(self._requests, _END)
        return await anext(self._requests, _END)


_END = object()
