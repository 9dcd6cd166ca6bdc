"""A stream as its reader sees it: text or events, its end, and everything that can stop it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator
from decimal import Decimal

import pytest

from orchestify.calls.stream import CompletionStream
from orchestify.errors import OrchestifyError
from orchestify.policy.budget import Budget
from orchestify.values import (
    StreamEnd,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from tests.calls import HANG, Bench, Scripted, answer
from tests.clock import idle

EVENTS: list[StreamEvent] = [
    ThinkingDelta("hm"),
    TextDelta("one "),
    UsageUpdate(Usage(5, 1)),
    ToolCallDelta(0, "call_1", "look", "{}"),
    TextDelta("two"),
    StreamEnd(answer("one two")),
]


async def emitting(events: list[StreamEvent]) -> AsyncGenerator[StreamEvent, None]:
    for event in events:
        yield event


async def test_iterating_gives_the_text() -> None:
    stream = CompletionStream(emitting(EVENTS))
    assert [text async for text in stream] == ["one ", "two"]


async def test_events_are_typed_and_the_end_is_the_last() -> None:
    stream = CompletionStream(emitting(EVENTS))
    assert [event async for event in stream.events()] == [
        ThinkingDelta("hm"),
        TextDelta("one "),
        ToolCallDelta(0, "call_1", "look", "{}"),
        TextDelta("two"),
        StreamEnd(answer("one two")),
    ]


async def test_the_response_is_there_after_the_end() -> None:
    stream = CompletionStream(emitting(EVENTS))
    async for _ in stream:
        pass
    assert stream.response == answer("one two")
    assert repr(stream) == "<CompletionStream ended>"


async def test_the_response_is_there_after_the_last_event() -> None:
    stream = CompletionStream(emitting(EVENTS))
    async for _ in stream.events():
        pass
    assert stream.response == answer("one two")


async def test_before_the_end_there_is_no_response() -> None:
    stream = CompletionStream(emitting(EVENTS))
    await anext(stream)
    with pytest.raises(OrchestifyError, match="has not ended"):
        _ = stream.response
    assert repr(stream) == "<CompletionStream open>"


async def test_text_and_events_may_take_turns() -> None:
    stream = CompletionStream(emitting(EVENTS))
    assert await anext(stream) == "one "
    assert await anext(stream.events()) == ToolCallDelta(0, "call_1", "look", "{}")
    assert await anext(stream) == "two"


async def test_a_stream_that_has_ended_stays_ended() -> None:
    stream = CompletionStream(emitting(EVENTS))
    assert len([text async for text in stream]) == 2
    assert [text async for text in stream] == []


async def test_it_may_be_made_where_no_loop_runs() -> None:
    def make() -> CompletionStream:
        return Bench().route(Scripted("one", "a b")).stream("hi")

    stream = await asyncio.to_thread(make)
    assert [text async for text in stream] == ["a", "b"]


async def test_another_task_may_close_it_while_a_read_is_pending() -> None:
    bench, one = Bench(), Scripted("one", [TextDelta("one two "), HANG])
    stream = bench.route(one).stream("hi")
    reader = asyncio.create_task(collected(stream))
    await one.is_hanging.wait()
    await stream.aclose()
    assert await reader == ["one two "]
    assert one.closed_streams == 1
    assert bench.ledger.outcomes == [("one", "cancelled", "")]
    assert reader.cancelling() == 0


async def test_another_task_may_close_it_before_its_first_output() -> None:
    bench, one = Bench(), Scripted("one", HANG)
    stream = bench.route(one).stream("hi")
    reader = asyncio.create_task(collected(stream))
    await one.is_hanging.wait()
    await stream.aclose()
    assert await reader == []
    assert bench.ledger.outcomes == [("one", "cancelled", "")]


async def test_several_tasks_may_close_it_at_once() -> None:
    one = Scripted("one", [TextDelta("a"), HANG])
    stream = Bench().route(one).stream("hi")
    reader = asyncio.create_task(collected(stream))
    await one.is_hanging.wait()
    await asyncio.gather(*(stream.aclose() for _ in range(3)))
    assert await reader == ["a"]
    assert reader.cancelling() == 0


async def test_a_reader_of_events_that_is_closed_finds_the_end() -> None:
    async def read() -> list[StreamEvent]:
        return [event async for event in stream.events()]

    one = Scripted("one", [TextDelta("a"), HANG])
    stream = Bench().route(one).stream("hi")
    reader = asyncio.create_task(read())
    await one.is_hanging.wait()
    await stream.aclose()
    assert await reader == [TextDelta("a")]


async def test_a_reader_that_is_cancelled_as_well_stays_cancelled() -> None:
    one = Scripted("one", [TextDelta("a"), HANG])
    stream = Bench().route(one).stream("hi")
    reader = asyncio.create_task(collected(stream))
    await one.is_hanging.wait()
    closing = asyncio.create_task(stream.aclose())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader, closing])
    assert reader.cancelled()
    assert closing.exception() is None


async def test_breaking_off_its_events_is_recorded_when_the_last_reference_goes() -> None:
    bench, one = Bench(), Scripted("one", "a b c")
    async for _ in bench.route(one).stream("hi").events():
        break
    await idle()
    assert bench.ledger.outcomes == [("one", "cancelled", "")]
    assert one.closed_streams == 1


async def test_a_stream_in_a_cycle_is_recorded_by_the_collector() -> None:
    class Holder:
        stream: CompletionStream
        itself: Holder

    bench = Bench()
    holder = Holder()
    holder.stream, holder.itself = bench.route(Scripted("one", "a b")).stream("hi"), holder
    await anext(holder.stream)
    del holder
    gc.collect()
    assert bench.ledger.outcomes == [("one", "cancelled", "")]


def test_a_stream_outlives_its_loop_and_is_recorded_when_dropped() -> None:
    bench = Bench()
    stream = bench.route(Scripted("one", "a b")).stream("hi")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(anext(stream))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert bench.ledger.outcomes == [("one", "cancelled", "")]
    del stream
    assert len(bench.ledger.completed) == 1


def test_a_stream_whose_loop_was_merely_closed_is_recorded_when_dropped() -> None:
    bench = Bench()
    stream = bench.route(Scripted("one", "a b")).stream("hi")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(anext(stream))
    loop.close()
    assert bench.ledger.completed == []
    del stream
    assert bench.ledger.outcomes == [("one", "cancelled", "")]


async def test_a_stream_may_be_dropped_in_another_thread() -> None:
    bench = Bench()
    streams = [bench.route(Scripted("one", "a b")).stream("hi")]
    await anext(streams[0])
    thread = threading.Thread(target=streams.clear)
    thread.start()
    thread.join()
    assert bench.ledger.outcomes == [("one", "cancelled", "")]


@pytest.mark.parametrize("lock", ["book", "limiter", "breaker", "totals"])
async def test_a_stream_may_be_dropped_by_who_holds_a_lock(lock: str) -> None:
    """The garbage collector runs `__del__` anywhere, in the middle of our own locks too."""
    bench = Bench(budgets=(Budget("day", Decimal(1)),))
    target = bench.target(Scripted("one", "a b"))
    breaker = bench.runtime.breaker(target)
    permits = [breaker.admit() for _ in range(5)]
    stream = bench.route(target).stream("hi")
    await anext(stream)
    for permit in permits:
        assert permit is not None
        permit.failed()
    pause = bench.runtime.pause(target)
    locks = {
        "book": bench.book._store._lock,
        "limiter": pause._lock,
        "breaker": breaker._lock,
        "totals": bench.ledger.totals._lock,
    }

    def drop() -> None:
        nonlocal stream
        with locks[lock]:
            del stream

    dropping = threading.Thread(target=drop, daemon=True)
    dropping.start()
    dropping.join(5)
    assert not dropping.is_alive()
    assert bench.ledger.outcomes == [("one", "cancelled", "")]
    assert bench.ledger.totals.total().attempts == 1
    assert bench.spent("day")[1] == 0


def test_streams_on_two_loops_share_one_account() -> None:
    async def several() -> None:
        for _ in range(20):
            async with route.stream("hi") as stream:
                async for _ in stream:
                    await asyncio.sleep(0)

    bench = Bench()
    route = bench.route(Scripted("one", "a b"))
    threads = [threading.Thread(target=asyncio.run, args=(several(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert route.get_usage().call_count == 40


def test_the_same_route_serves_one_loop_after_another() -> None:
    async def one_call() -> str:
        return (await route.complete("hi")).content

    bench = Bench(budgets=(Budget("day", Decimal(1)),))
    route = bench.route(Scripted())
    assert [asyncio.run(one_call()) for _ in range(3)] == ["yes", "yes", "yes"]


async def collected(stream: CompletionStream) -> list[str]:
    return [text async for text in stream]
