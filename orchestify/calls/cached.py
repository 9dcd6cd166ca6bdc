"""The response cache's step in a call: a kept answer in place of an attempt, or one to be kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from decimal import Decimal
from typing import TypeVar, cast

from orchestify.calls.call import CallState, call_log
from orchestify.calls.opened_stream import ReplayedStream
from orchestify.calls.structured import parsed_answer
from orchestify.calls.target import Target
from orchestify.calls.tracing import TracedAttempt
from orchestify.errors import StructuredOutputError
from orchestify.ledger.record import Record, utc_now
from orchestify.resources.log_fields import log_fields
from orchestify.response_cache.cache import AGAIN, Flight, ResponseCache
from orchestify.response_cache.kept_answer import KeptAnswer, as_hit
from orchestify.values import (
    Attempt,
    CompletionRequest,
    LLMResponse,
    NativeEvent,
    StreamEnd,
    StreamEvent,
    Usage,
    UsageUpdate,
)

WAITED_SHARE = 0.5
"""The part of the time left that a call waits for an equal one; with the rest it asks itself."""

T = TypeVar("T")


async def from_cache(
    state: CallState,
    target: Target,
    cache: ResponseCache,
    request: CompletionRequest,
    ask: Callable[[], Awaitable[T]],
) -> T:
    """Return the answer that is kept of an equal request at the target, else what `ask` brings.

    A kept answer is booked as one that was cached, and passes no policy: nothing is sent. Raises
    what `ask` does.
    """
    started, key = state.runtime.clock(), _key_of(state, target, cache, request)
    if key is None:
        return await ask()
    if state.call.response_cache == "refresh":
        found: KeptAnswer | Flight = cache.refreshing(key)
    else:
        found = await cache.find(key, WAITED_SHARE * state.remaining_s())
    if isinstance(found, KeptAnswer):
        hit = _parsed(found.response, request)
        if hit is not None:
            complete = _booked(state, target, hit, started)
            if not state.is_stream:
                return cast("T", complete)
            return cast("T", ReplayedStream((*(found.events or ()), StreamEnd(complete))))
        found = cache.asking(key)
    state.flight = found
    found.events = [] if state.is_stream else None
    try:
        return await ask()
    except BaseException as error:
        state.flight = None
        found.give_up(_after(error, state))
        raise


async def recorded(
    state: CallState, flight: Flight, source: AsyncGenerator[StreamEvent, None]
) -> AsyncGenerator[StreamEvent, None]:
    """Yield a stream's events, and record them for those who ask for the same later."""
    events = flight.events = list[StreamEvent]()
    has_output = False  # until then the call may try again
    try:
        async with aclosing(source):
            async for event in source:
                if not isinstance(event, (UsageUpdate, StreamEnd)):
                    events.append(event)
                    has_output |= not isinstance(event, NativeEvent) or event.is_output
                yield event
    except BaseException as error:
        if has_output:
            flight.give_up(_after(error, state))
        raise


def _after(error: BaseException, state: CallState) -> str | None:
    """What those who wait are told: after a call that was let go one of them asks in its place."""
    if state.is_out_of_time or not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return None
    ended = "open" if state.attempt is None else state.attempt.outcome
    return AGAIN if ended in {"open", "cancelled"} else None


def _key_of(
    state: CallState, target: Target, cache: ResponseCache, request: CompletionRequest
) -> str | None:
    """Return the digest of all that decides the answer; None where nobody can tell."""
    try:
        form = target.lane.wire_form(request, stream=state.is_stream)
    except Exception:  # it cannot be sent, as its lane will say
        return None
    if form is None:
        return None
    credentials = sorted(each.key for each in target.keys) or [target.key]
    native = request.native.protocol if request.native is not None else ""
    return cache.key(target.model, native, *credentials, b"", form)


def _parsed(response: LLMResponse, request: CompletionRequest) -> LLMResponse | None:
    """Return a kept answer in the form asked for; None where it does not fit this call's class."""
    if request.response_format is None:
        return response
    try:
        return parsed_answer(response, request.response_format)
    except StructuredOutputError:
        return None


def _told(record: Record) -> dict[str, object]:
    return {
        "call_id": record.call_id,
        "provider": record.provider,
        "model": record.model,
        "agent": record.agent,
        "saved_usd": record.saved_usd,
        "latency_s": record.latency_s,
    }


def _booked(state: CallState, target: Target, kept: LLMResponse, started: float) -> LLMResponse:
    """Book a kept answer and return it with what only the call knows."""
    runtime, number = state.runtime, len(state.attempts) + 1
    latency_s = runtime.clock() - started
    record = Record(
        id=f"{state.call_id}-{number}",
        call_id=state.call_id,
        attempt=number,
        started_at=utc_now(),
        provider=target.provider_id,
        agent=state.agent,
        model=target.model,
        model_answered=kept.model,
        outcome="cached",
        usage=Usage(),
        cost_usd=Decimal(0),
        cost_source="cache",
        cost_at_most_usd=Decimal(0),
        latency_s=latency_s,
        labels=state.scope.labels,
        key=target.key,
        saved_usd=kept.cost_usd,
    )
    runtime.ledger.book(record)
    runtime.observe(record)
    if call_log.isEnabledFor(logging.DEBUG):
        log_fields(call_log, logging.DEBUG, "answer_cached", _told(record))
    state.attempts.append(Attempt(target.provider_id, target.model, "cached", None, latency_s))
    complete = as_hit(
        kept,
        provider=target.provider_id,
        latency_s=latency_s,
        attempts=tuple(state.attempts),
        call_id=state.call_id,
    )
    if state.trace is not None:
        state.trace.attempted(
            TracedAttempt(
                target=target,
                outcome="cached",
                error="",
                latency_s=latency_s,
                first_chunk_s=None,
                usage=Usage(),
                cost_usd=Decimal(0),
            )
        )
    state.ended(complete)
    return complete
