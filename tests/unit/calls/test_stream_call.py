"""What a stream tells of its call before it has ended."""

from __future__ import annotations

from orchestify.calls.stream import CompletionStream
from orchestify.errors import ServerError
from tests.calls import Bench, Scripted, events_of


async def _nothing():  # type: ignore[no-untyped-def]
    for event in events_of("one"):
        yield event


async def test_the_call_id_is_known_before_anything_is_sent() -> None:
    provider = Scripted("one", events_of("one two"))
    stream = Bench().route(provider).stream("hi")
    call_id = stream.call_id
    assert (len(call_id), provider.sent, stream.attempts) == (32, [], ())
    assert [text async for text in stream] == ["one", "two"]
    assert stream.response.call_id == call_id


async def test_after_the_first_output_the_last_attempt_is_who_answers() -> None:
    bench = Bench()
    targets = [Scripted("one", ServerError()), Scripted("two", events_of("a b"))]
    async with bench.route(*targets).stream("hi", max_attempts=1) as stream:
        assert await anext(stream) == "a"
        assert [(each.provider, each.outcome) for each in stream.attempts] == [
            ("one", "failed"),
            ("two", "open"),
        ]
        assert [text async for text in stream] == ["b"]
    assert [each.outcome for each in stream.attempts] == ["failed", "ok"]
    assert stream.attempts == stream.response.attempts


async def test_a_stream_that_is_not_booked_has_no_call() -> None:
    async with CompletionStream(_nothing()) as stream:
        assert (stream.call_id, stream.attempts) == ("", ())
