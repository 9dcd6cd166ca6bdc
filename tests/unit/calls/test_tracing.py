"""The call path's hook for tracers: each call begins once and ends once, whatever happens."""

from __future__ import annotations

import asyncio
import gc
from decimal import Decimal

import pytest

from orchestify import ProviderRegistry
from orchestify.calls.request import Defaults
from orchestify.calls.stream import CompletionStream
from orchestify.calls.tracing import Ending, TracedAttempt, TracedCall
from orchestify.core.config import parse_config
from orchestify.errors import (
    AllTargetsFailedError,
    InvalidParameterError,
    ProviderNotFoundError,
    RequestTimeoutError,
    ServerError,
    StreamInterruptedError,
    StructuredOutputError,
)
from orchestify.policy.budget import Budget
from orchestify.providers.shared import SharedParts
from orchestify.values import LLMResponse, TextDelta
from tests.calls import HANG, Bench, Scripted


class Recorder:
    """A tracer, and a trace, that remember what they are told, in order."""

    def __init__(self) -> None:
        self.calls: list[TracedCall] = []
        self.attempts: list[TracedAttempt] = []
        self.endings: list[Ending] = []
        self.told: list[str] = []

    def start(self, call: TracedCall) -> Recorder:
        self.calls.append(call)
        self.told.append("start")
        return self

    def attempted(self, attempt: TracedAttempt) -> None:
        self.attempts.append(attempt)
        self.told.append(attempt.outcome)

    def ended(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.told.append("end")


async def drained(stream: CompletionStream) -> list[str]:
    return [text async for text in stream]


def traced(*budgets: Budget) -> tuple[Bench, Recorder]:
    bench, recorder = Bench(budgets), Recorder()
    bench.runtime.tracer = recorder
    return bench, recorder


async def test_an_answered_call_begins_and_ends_once() -> None:
    bench, recorder = traced()
    response = await bench.route(Scripted("one"), agent="planner").complete("hi", temperature=0.5)
    (call,) = recorder.calls
    assert recorder.told == ["start", "ok", "end"]
    assert recorder.endings == [response]
    assert (call.call_id, call.agent, call.is_stream) == (response.call_id, "planner", False)
    assert (call.target.provider_id, call.request.model) == ("one", "m")
    assert (call.request.temperature, call.request.max_tokens) == (0.5, 100)


async def test_an_attempt_tells_what_it_used_and_cost() -> None:
    bench, recorder = traced()
    await bench.route(Scripted("one")).complete("hi")
    (attempt,) = recorder.attempts
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (10, 2)
    assert attempt.cost_usd == Decimal("0.012")
    assert (attempt.target.model, attempt.error, attempt.first_chunk_s) == ("m", "", None)


async def test_retries_and_fallbacks_are_attempts_of_one_call() -> None:
    bench, recorder = traced()
    failing = Scripted("one", ServerError("down"))
    await bench.route(failing, Scripted("two")).complete("hi", max_attempts=2)
    assert recorder.told == ["start", "failed", "failed", "ok", "end"]
    assert [each.target.provider_id for each in recorder.attempts] == ["one", "one", "two"]
    assert [each.error for each in recorder.attempts] == ["ServerError", "ServerError", ""]
    assert recorder.calls[0].target.lane is failing


async def test_a_call_that_fails_ends_with_what_it_raises() -> None:
    bench, recorder = traced()
    route = bench.route(Scripted("one", ServerError("a")), Scripted("two", ServerError("b")))
    with pytest.raises(AllTargetsFailedError) as raised:
        await route.complete("hi", max_attempts=1)
    assert recorder.told == ["start", "failed", "failed", "end"]
    assert recorder.endings == [raised.value]


async def test_a_target_whose_circuit_is_open_is_a_skipped_attempt() -> None:
    bench, recorder = traced()
    failing = Scripted("one", *[ServerError("down")] * 5)
    route = bench.route(failing, Scripted("two"))
    for _ in range(5):
        await route.complete("hi", max_attempts=1)
    recorder.told.clear()
    await route.complete("hi", max_attempts=1)
    assert recorder.told == ["start", "skipped", "ok", "end"]
    assert recorder.attempts[-2].error == "CircuitOpenError"


async def test_a_call_without_room_in_its_budget_is_a_skipped_attempt() -> None:
    bench, recorder = traced(Budget("small", Decimal("0.001")))
    with pytest.raises(Exception, match="small"):
        await bench.route(Scripted("one")).complete("hi")
    assert recorder.told == ["start", "skipped", "end"]


async def test_a_cancelled_call_ends_once() -> None:
    bench, recorder = traced()
    provider = Scripted("one", HANG)
    task = asyncio.create_task(bench.route(provider).complete("hi"))
    await provider.is_hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.told == ["start", "cancelled", "end"]
    assert isinstance(recorder.endings[0], asyncio.CancelledError)


async def test_a_call_out_of_time_ends_with_its_timeout() -> None:
    bench, recorder = traced()
    with pytest.raises(RequestTimeoutError):
        await bench.route(Scripted("one", HANG)).complete("hi", timeout_s=0.01)
    assert recorder.told == ["start", "failed", "end"]
    assert isinstance(recorder.endings[0], RequestTimeoutError)


async def test_an_answer_of_the_wrong_form_is_one_attempt_that_went_well() -> None:
    bench, recorder = traced()
    with pytest.raises(StructuredOutputError):
        await bench.route(Scripted("one", "no json")).complete("hi", response_format={})
    assert recorder.told == ["start", "ok", "end"]
    assert isinstance(recorder.endings[0], StructuredOutputError)


@pytest.mark.data_of("litellm")
async def test_a_request_that_no_target_can_take_still_ends() -> None:
    bench, recorder = traced()
    target = bench.target(Scripted("one"), "gpt-3.5-turbo", endpoint="openai")
    with pytest.raises(InvalidParameterError):
        await bench.route(target).complete("hi", thinking=True)
    assert recorder.told == ["start", "end"]


async def test_a_call_that_names_no_known_target_does_not_begin() -> None:
    bench, recorder = traced()
    with pytest.raises(ProviderNotFoundError):
        await bench.route(Scripted("one")).complete("hi", fallback=["nobody"])
    assert recorder.told == []


async def test_a_stream_begins_when_it_is_first_read_and_ends_with_its_answer() -> None:
    bench, recorder = traced()
    stream = bench.route(Scripted("one", "one two")).stream("hi")
    assert recorder.told == []
    assert await drained(stream) == ["one", "two"]
    assert recorder.told == ["start", "ok", "end"]
    assert recorder.endings == [stream.response]
    assert recorder.calls[0].is_stream
    assert recorder.attempts[0].first_chunk_s is not None


async def test_a_stream_that_is_cut_ends_with_the_interruption() -> None:
    bench, recorder = traced()
    stream = bench.route(Scripted("one", [TextDelta("a"), StreamInterruptedError()])).stream("hi")
    with pytest.raises(StreamInterruptedError):
        await drained(stream)
    assert recorder.told == ["start", "interrupted", "end"]
    assert isinstance(recorder.endings[0], StreamInterruptedError)


async def test_a_stream_without_its_protocols_end_ends_as_interrupted() -> None:
    bench, recorder = traced()
    stream = bench.route(Scripted("one", [TextDelta("a")])).stream("hi")
    with pytest.raises(StreamInterruptedError):
        await drained(stream)
    assert recorder.told == ["start", "interrupted", "end"]


async def test_a_stream_that_fails_before_its_output_ends_once() -> None:
    bench, recorder = traced()
    route = bench.route(Scripted("one", ServerError("down")), Scripted("two", "yes"))
    assert await drained(route.stream("hi", max_attempts=1)) == ["yes"]
    assert recorder.told == ["start", "failed", "ok", "end"]


async def test_a_stream_closed_early_ends_once() -> None:
    bench, recorder = traced()
    async with bench.route(Scripted("one", "one two three")).stream("hi") as stream:
        assert await anext(stream) == "one"
    assert recorder.told == ["start", "cancelled", "end"]
    assert isinstance(recorder.endings[0], GeneratorExit)


async def test_a_stream_whose_reader_is_cancelled_ends_once() -> None:
    bench, recorder = traced()
    provider = Scripted("one", [TextDelta("a"), HANG])
    task = asyncio.create_task(drained(bench.route(provider).stream("hi")))
    await provider.is_hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.told == ["start", "cancelled", "end"]
    assert isinstance(recorder.endings[0], asyncio.CancelledError)


async def test_a_stream_that_is_dropped_ends_once() -> None:
    bench, recorder = traced()
    stream = bench.route(Scripted("one", "one two three")).stream("hi")
    assert await anext(stream) == "one"
    del stream
    gc.collect()
    await asyncio.sleep(0.01)
    assert recorder.told == ["start", "cancelled", "end"]


async def test_a_stream_closed_at_its_end_is_not_ended_twice() -> None:
    bench, recorder = traced()
    async with bench.route(Scripted("one", "one")).stream("hi") as stream:
        [event async for event in stream.events()]
        await stream.aclose()
    assert recorder.told == ["start", "ok", "end"]


async def test_a_stream_that_nobody_reads_does_not_begin() -> None:
    bench, recorder = traced()
    await bench.route(Scripted("one")).stream("hi").aclose()
    assert recorder.told == []


async def test_the_callers_own_model_is_the_one_asked_for() -> None:
    bench, recorder = traced()
    target = bench.target(Scripted("one"), defaults=Defaults(temperature=0.1))
    response: LLMResponse = await bench.route(target).complete("hi", model="other")
    assert recorder.calls[0].request.model == "other"
    assert recorder.calls[0].request.temperature == 0.1
    assert recorder.attempts[0].target.model == "other"
    assert response.content == "yes"


async def test_a_registrys_surroundings_may_bring_the_tracer() -> None:
    recorder = Recorder()
    config = parse_config("providers: {one: {type: mock, default_model: m}}")
    registry = ProviderRegistry.assemble(config, SharedParts(tracer=recorder))
    await registry.get("one").complete("hi")
    registry.trace(None)
    await registry.get("one").complete("hi")
    assert recorder.told == ["start", "ok", "end"]
