"""The tool loop: turns, limits, errors told to the model, what runs at once and how it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from orchestify.core.config import parse_config
from orchestify.errors import (
    AuthenticationError,
    InvalidParameterError,
    OrchestifyError,
    RunLimitError,
)
from orchestify.ledger.record import scope
from orchestify.providers import ProviderRegistry
from orchestify.providers.base import LLMProvider
from orchestify.tools.results import AnswerEnd, RunEnd, RunResult, ToolEnd, ToolResult, ToolStart
from orchestify.values import (
    ImagePart,
    LLMMessage,
    LLMResponse,
    StreamEnd,
    TextDelta,
    TextPart,
    ToolCall,
    ToolChoice,
    Usage,
)
from tests.calls import HANG, Scripted, Step

CONFIG = """
providers:
  one: {type: external, price: {input_usd_per_mtok: 1000, output_usd_per_mtok: 1000}}
agents:
  worker: {provider: one, tools: [look]}
retry: {max_attempts: 1}
"""


def calls(*given: ToolCall, text: str = "", finish: str = "tool_calls") -> LLMResponse:
    """An answer of 10 tokens in and 2 out that calls tools: it costs 0.012 USD."""
    return LLMResponse(text, "m", 10, 2, finish, tool_calls=given, usage=Usage(10, 2))


def call(name: str = "look", id_: str = "c1", **arguments: Any) -> ToolCall:
    return ToolCall(id_, name, arguments)


LAST = LLMResponse("done", "m", 10, 2, "stop", usage=Usage(10, 2))


def look(what: str = "it") -> str:
    """Look at something."""
    return f"saw {what}"


class Bench:
    """A registry with one scripted provider."""

    def __init__(self, *steps: Step, config: str = CONFIG) -> None:
        self.own = Scripted("one", *steps)
        self.registry = ProviderRegistry.from_config(parse_config(config))
        self.registry.register("one", self.own)
        self.provider = self.registry.get("one")

    async def told(self, *functions: Any, **given: Any) -> Any:
        """Run, and return what the model was told by the last tool's result."""
        await self.provider.run("hi", tools=functions, **given)
        return self.own.sent[-1].messages[-1].content


class TestTurns:
    async def test_tools_run_until_an_answer_calls_none(self) -> None:
        bench = Bench(calls(call(what="a")), calls(call(what="b", id_="c2")), LAST)
        result = await bench.provider.run("hi", tools=[look])
        assert result.content == "done"
        assert result.response is result.turns[-1].response
        assert [each.role for each in result.messages] == [
            *("user", "assistant", "tool", "assistant", "tool", "assistant"),
        ]
        assert [each.content for each in result.messages if each.role == "tool"] == [
            *("saw a", "saw b"),
        ]
        assert (result.usage.total_input, result.usage.total_output) == (30, 6)
        assert (result.usage.call_count, result.cost_usd) == (3, Decimal("0.036"))
        assert bench.registry.get_usage_summary()["total"]["calls"] == 3

    async def test_a_conversation_goes_on_from_a_runs_messages(self) -> None:
        bench = Bench(calls(call()), LAST)
        first = await bench.provider.run("hi", tools=[look])
        second = await bench.provider.run([*first.messages, LLMMessage("user", "more")])
        assert second.content == "done"
        assert len(bench.own.sent[-1].messages) == 5

    async def test_without_tools_it_is_one_answer(self) -> None:
        bench = Bench(LAST)
        result = await bench.provider.run("hi")
        assert (result.content, len(result.turns)) == ("done", 1)
        assert bench.own.sent[0].tools == ()

    async def test_what_is_given_holds_for_every_answer(self) -> None:
        bench = Bench(calls(call()), LAST)
        await bench.provider.run("hi", tools=[look], temperature=0.5, max_tokens=9, seed=3)
        sent = [(each.temperature, each.max_tokens, each.seed) for each in bench.own.sent]
        assert sent == [(0.5, 9, 3), (0.5, 9, 3)]

    @pytest.mark.parametrize("choice", ["required", "look"])
    async def test_a_forced_call_is_forced_once(self, choice: str) -> None:
        bench = Bench(calls(call()), LAST)
        await bench.provider.run("hi", tools=[look], tool_choice=choice)
        modes = [each.tool_choice and each.tool_choice.mode for each in bench.own.sent]
        assert modes == ["required" if choice == "required" else "tool", "auto"]

    async def test_calls_one_by_one_hold_for_every_answer(self) -> None:
        bench = Bench(calls(call()), LAST)
        choice = ToolChoice("required", parallel=False)
        await bench.provider.run("hi", tools=[look], tool_choice=choice)
        assert bench.own.sent[-1].tool_choice == ToolChoice("auto", parallel=False)

    async def test_a_paused_answer_goes_on(self) -> None:
        paused = LLMResponse("wait", "m", 1, 1, "pause", usage=Usage(1, 1))
        bench = Bench(paused, LAST)
        result = await bench.provider.run("hi", tools=[look])
        assert [each.role for each in result.messages] == ["user", "assistant", "assistant"]

    @pytest.mark.parametrize("finish", ["refusal", "content_filter"])
    async def test_a_refused_answers_calls_are_not_run(self, finish: str) -> None:
        result = await Bench(calls(call(), finish=finish)).provider.run("hi", tools=[look])
        assert (result.response.finish_reason, result.turns[0].results) == (finish, ())

    async def test_results_are_in_the_calls_order(self) -> None:
        first_may_end = asyncio.Event()

        async def wait() -> str:
            await first_may_end.wait()
            return "first"

        async def free() -> str:
            first_may_end.set()
            return "second"

        bench = Bench(calls(call("wait"), call("free", "c2")), LAST)
        result = await bench.provider.run("hi", tools=[wait, free])
        assert [each.content for each in result.turns[0].results] == ["first", "second"]
        assert [each.tool_call_id for each in result.messages[2:4]] == ["c1", "c2"]

    async def test_the_answers_form_is_that_of_the_last(self) -> None:
        class Seen(BaseModel):
            what: str

        last = LLMResponse('{"what": "a"}', "m", 1, 1, "stop", usage=Usage(1, 1))
        result = await Bench(calls(call()), last).provider.run(
            "hi", tools=[look], response_format=Seen
        )
        assert result.parsed == Seen(what="a")

    def test_it_has_a_synchronous_face(self) -> None:
        assert Bench(calls(call()), LAST).provider.run_sync("hi", tools=[look]).content == "done"


class TestTools:
    async def test_a_registered_one_goes_by_its_name(self) -> None:
        bench = Bench(calls(call("see")), LAST)
        bench.registry.register_tool("see", look)
        result = await bench.provider.run("hi", tools=["see"])
        assert result.turns[0].results[0].content == "saw it"

    async def test_a_registered_one_goes_by_its_schema(self) -> None:
        bench = Bench(calls(call()), LAST)
        bench.registry.register_tool("look", look)
        schema = {"type": "function", "function": {"name": "look", "description": "Mine"}}
        result = await bench.provider.run("hi", tools=[schema])
        assert bench.own.sent[0].tools[0].description == "Mine"
        assert result.turns[0].results[0].content == "saw it"

    async def test_an_agents_are_those_of_its_configuration(self) -> None:
        bench = Bench(calls(call()), LAST)
        agent = bench.registry.get_for_agent("worker")
        bench.registry.register_tool("look", look)
        assert (await agent.run("hi")).turns[0].results[0].content == "saw it"

    async def test_a_plain_call_of_an_agent_sends_none(self) -> None:
        bench = Bench(LAST)
        await bench.registry.get_for_agent("worker").complete("hi")
        assert bench.own.sent[0].tools == ()

    async def test_an_agents_that_nobody_registered_is_named(self) -> None:
        agent = Bench(LAST).registry.get_for_agent("worker")
        with pytest.raises(InvalidParameterError, match=r"no function .* 'look'; register it"):
            await agent.run("hi")

    async def test_one_that_the_provider_runs_needs_no_function(self) -> None:
        bench = Bench(LAST)
        search = {"type": "web_search_20250305", "name": "web_search"}
        await bench.provider.run("hi", tools=[search, look])
        assert [each.name for each in bench.own.sent[0].tools] == ["web_search", "look"]

    async def test_a_schema_without_a_function_is_refused(self) -> None:
        bench = Bench(LAST)
        with pytest.raises(InvalidParameterError, match="'other'"):
            await bench.provider.run("hi", tools=[{"name": "other"}])
        assert bench.own.sent == []

    async def test_two_of_one_name_are_refused(self) -> None:
        with pytest.raises(InvalidParameterError, match="two tools are named 'look'"):
            await Bench(LAST).provider.run("hi", tools=[look, look])

    async def test_one_alone_needs_no_list(self) -> None:
        bench = Bench(LAST)
        await bench.provider.run("hi", tools=look)
        assert [each.name for each in bench.own.sent[0].tools] == ["look"]

    async def test_no_tools_at_all_are_an_agents_choice_too(self) -> None:
        bench = Bench(LAST)
        await bench.registry.get_for_agent("worker").run("hi", tools=[])
        assert bench.own.sent[0].tools == ()


class TestTold:
    @pytest.mark.parametrize(
        ("asked", "what"),
        [
            (call("loook"), "error: there is no such tool; there are: look"),
            (call(where="x"), "error: the arguments do not fit: where: Extra inputs are not per"),
            (ToolCall("c1", "look", {}, "{", valid=False), "error: the arguments are no JSON obj"),
        ],
    )
    async def test_a_call_that_cannot_be_made(self, asked: ToolCall, what: str) -> None:
        assert (await Bench(calls(asked), LAST).told(look)).startswith(what)

    @pytest.mark.parametrize(
        "kind", [RuntimeError, StopIteration, SystemExit, KeyboardInterrupt, RecursionError]
    )
    async def test_an_error_is_told_by_its_class_alone(
        self, kind: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise kind("secret")

        bench = Bench(calls(call("fail")), LAST)
        result = await bench.provider.run("hi", tools=[fail])
        (failed,) = result.turns[0].results
        assert failed.content == f"error: fail raised {kind.__name__}"
        assert (failed.outcome, str(failed.exception)) == ("raised", "secret")
        assert caplog.messages == [f"tool fail raised {kind.__name__}"]
        assert "secret" not in repr(result)

    async def test_an_error_of_a_coroutine_is_told(self) -> None:
        async def fail() -> None:
            raise asyncio.CancelledError

        assert await Bench(calls(call("fail")), LAST).told(fail) == (
            "error: fail raised CancelledError"
        )

    async def test_a_coroutine_that_hangs_is_ended(self) -> None:
        ended = asyncio.Event()

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        told = await Bench(calls(call("hang")), LAST).told(hang, tool_timeout_s=0.01)
        assert told == "error: no result within 0.01 s"
        assert ended.is_set()

    async def test_a_coroutine_that_will_not_end_is_left(self) -> None:
        may_end = asyncio.Event()

        async def stubborn() -> None:
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue

        told = await Bench(calls(call("stubborn")), LAST).told(stubborn, tool_timeout_s=0.01)
        assert told == "error: no result within 0.01 s"
        may_end.set()

    async def test_a_thread_that_hangs_is_left(self) -> None:
        may_end = threading.Event()
        told = await Bench(calls(call("wait")), LAST).told(
            named("wait", lambda: str(may_end.wait(30))), tool_timeout_s=0.01
        )
        assert told == "error: no result within 0.01 s"
        may_end.set()

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ("text", "text"),
            (None, "null"),
            ({"a": Decimal("1.5")}, '{"a":"1.5"}'),
            ([1, "two"], '[1,"two"]'),
            ((), "[]"),
            (b"bytes", '"bytes"'),
            (ToolCall("c", "n"), '{"id":"c","name":"n","arguments":{},"raw_arguments":null,'),
            (object(), "error: give returned a object that is no JSON"),
            (b"\xff", "error: give returned a bytes that is no JSON"),
            (float("nan"), "error: give returned a float that is no JSON"),
            ({"a": [float("-inf")]}, "error: give returned a dict that is no JSON"),
            ({"a": "NaN, no Infinity"}, '{"a":"NaN, no Infinity"}'),
        ],
    )
    async def test_a_result_is_text_or_json(self, value: Any, told: str) -> None:
        bench = Bench(calls(call("give")), LAST)
        assert (await bench.told(named("give", lambda: value))).startswith(told)

    async def test_a_result_without_an_end_is_told(self) -> None:
        round_: list[Any] = []
        round_.append(round_)
        bench = Bench(calls(call("give")), LAST)
        assert "is no JSON" in await bench.told(named("give", lambda: round_))

    async def test_parts_stay_parts(self) -> None:
        image = ImagePart(url="https://example.com/a.png")
        parts = [TextPart("a"), image]
        bench = Bench(calls(call("give")), LAST)
        assert await bench.told(named("give", lambda: parts)) == (TextPart("a"), image)

    @pytest.mark.parametrize(
        ("value", "length"),
        [("x" * 100_000, 100_000), ("x" * 100_001, 100_000), ("é" * 60_000, 50_000)],
    )
    async def test_a_result_of_more_than_100_kb_is_cut(self, value: str, length: int) -> None:
        told = await Bench(calls(call("give")), LAST).told(named("give", lambda: value))
        kept, _, mark = told.partition("\n")
        assert len(kept) == length
        expected = f"[cut: the first 100,000 bytes of {len(value):,} characters]"
        assert mark == ("" if len(value) == 100_000 else expected)

    async def test_parts_are_cut_together(self) -> None:
        parts = [TextPart("x" * 60_000), TextPart("y" * 60_000), TextPart("z")]
        told = await Bench(calls(call("give")), LAST).told(named("give", lambda: parts))
        assert [each.text.partition("\n")[0] for each in told] == ["x" * 60_000, "y" * 40_000, ""]

    async def test_calls_of_an_answer_that_was_cut_are_not_run(self) -> None:
        seen: list[str] = []
        bench = Bench(calls(call(what="a"), call(id_="c2"), finish="length"), LAST)
        told = await bench.told(named("look", lambda what="it": seen.append(what)))
        assert seen == []
        assert told.startswith("error: the answer was cut at its length")

    async def test_a_cut_answer_without_calls_is_the_last(self) -> None:
        cut = LLMResponse("so far", "m", 1, 1, "length", usage=Usage(1, 1))
        result = await Bench(cut).provider.run("hi", tools=[look])
        assert (result.content, result.response.finish_reason) == ("so far", "length")


def named(name: str, function: Any) -> Any:
    """A function of another name."""
    function.__name__ = name
    return function


class TestAtOnce:
    async def test_eight_run_at_once(self) -> None:
        running, most, all_run = 0, 0, asyncio.Event()

        async def step() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 8:
                all_run.set()
            await all_run.wait()
            running -= 1

        asked = [call("step", f"c{number}") for number in range(20)]
        result = await Bench(calls(*asked), LAST).provider.run("hi", tools=[step])
        assert most == 8
        assert [each.outcome for each in result.turns[0].results] == ["ok"] * 20

    async def test_plain_functions_run_in_threads_at_once(self) -> None:
        together = threading.Barrier(8, timeout=30)
        names: set[str] = set()

        def meet() -> None:
            together.wait()
            names.add(threading.current_thread().name)

        asked = [call("meet", f"c{number}") for number in range(8)]
        result = await Bench(calls(*asked), LAST).provider.run("hi", tools=[meet])
        assert [each.outcome for each in result.turns[0].results] == ["ok"] * 8
        assert names == {"orchestify-tool"}

    async def test_threads_see_the_callers_scope(self) -> None:
        bench = Bench(calls(call("ask")), LAST)

        def ask() -> str:
            return bench.provider.complete_sync("inner").content

        with scope(run="r1"):
            await bench.provider.run("hi", tools=[ask])
        report = await bench.registry.usage(by="label:run")
        assert [(row.key, row.total.calls) for row in report.rows] == [(("r1",), 3)]

    async def test_a_run_that_is_read_elsewhere_has_the_scope_it_was_made_in(self) -> None:
        bench = Bench([StreamEnd(calls(call("ask")))], LAST, [StreamEnd(LAST)])

        async def ask() -> str:
            return (await bench.provider.complete("inner")).content

        with scope(run="r1"):
            run = bench.provider.run_stream("hi", tools=[ask])
        assert [text async for text in run] == []
        report = await bench.registry.usage(by="label:run")
        assert [(row.key, row.total.calls) for row in report.rows] == [(("r1",), 3)]


class TestLimits:
    async def test_max_turns_ends_it_before_more_tools_run(self) -> None:
        seen: list[str] = []
        bench = Bench(calls(call()))
        with pytest.raises(RunLimitError, match=r"^max_turns: 2 answers came") as caught:
            await bench.provider.run(
                "hi", tools=[named("look", lambda: seen.append("x"))], max_turns=2
            )
        assert len(seen) == 1
        assert caught.value.limit == "max_turns"
        result: RunResult = caught.value.result
        assert (len(result.turns), result.usage.call_count) == (2, 2)
        assert [each.role for each in result.messages] == ["user", "assistant", "tool"]

    async def test_ten_turns_where_nothing_is_said(self) -> None:
        bench = Bench(calls(call()))
        with pytest.raises(RunLimitError):
            await bench.provider.run("hi", tools=[look])
        assert len(bench.own.sent) == 10

    async def test_an_answer_that_may_cost_too_much_is_not_asked_for(self) -> None:
        bench = Bench(calls(call()))
        with pytest.raises(RunLimitError, match=r"^max_cost_usd: 0\.012 of 0\.24 USD") as caught:
            await bench.provider.run("hi", tools=[look], max_tokens=100, max_cost_usd=0.24)
        assert (caught.value.limit, len(bench.own.sent)) == ("max_cost_usd", 1)
        assert len(caught.value.result.turns) == 1

    async def test_a_first_answer_that_may_cost_too_much_has_no_result(self) -> None:
        with pytest.raises(RunLimitError) as caught:
            await Bench(LAST).provider.run("hi", max_tokens=100, max_cost_usd=0.01)
        result: RunResult = caught.value.result
        assert (result.turns, result.content, result.cost_usd) == ((), "", Decimal(0))
        with pytest.raises(OrchestifyError, match="before its first answer"):
            _ = result.response

    async def test_a_cost_that_nobody_knows_has_no_limit(self) -> None:
        bench = Bench(LAST, config="providers: {one: {type: external}}")
        with pytest.raises(InvalidParameterError, match="max_cost_usd needs the price"):
            await bench.provider.run("hi", max_cost_usd=1)
        assert bench.own.sent == []

    async def test_the_dearest_target_must_fit(self) -> None:
        config = (
            CONFIG
            + """
default_provider: one
"""
        )
        dear = "{type: external, price: {input_usd_per_mtok: 9000, output_usd_per_mtok: 9000}}"
        config = config.replace("agents:", f"  two: {dear}\nagents:").replace(
            "{provider: one, tools: [look]}", "{provider: one, fallback: [two]}"
        )
        bench = Bench(LAST, config=config)
        bench.registry.register("two", Scripted("two", LAST))
        agent = bench.registry.get_for_agent("worker")
        assert (await agent.run("hi", max_tokens=100, max_cost_usd=1.5)).content == "done"
        with pytest.raises(RunLimitError):
            await agent.run("hi", max_tokens=100, max_cost_usd=0.5)
        assert await agent.run("hi", max_tokens=100, max_cost_usd=0.5, fallback=False)

    async def test_an_answer_that_does_not_come_in_time_is_cancelled_and_booked(self) -> None:
        bench = Bench(calls(call()), HANG)
        with pytest.raises(RunLimitError, match=r"^timeout_s: no last answer within") as caught:
            await bench.provider.run("hi", tools=[look], timeout_s=1.5)
        assert (caught.value.limit, len(caught.value.result.turns)) == ("timeout_s", 1)
        usage = await bench.registry.usage()
        assert (usage.total.calls, usage.total.cancelled) == (1, 1)

    async def test_a_tool_that_does_not_end_in_time_is_ended(self) -> None:
        ended = asyncio.Event()

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        with pytest.raises(RunLimitError, match="timeout_s"):
            await Bench(calls(call("hang"))).provider.run("hi", tools=[hang], timeout_s=1)
        assert ended.is_set()

    async def test_a_providers_own_error_ends_it_as_it_is(self) -> None:
        bench = Bench(calls(call()), AuthenticationError())
        with pytest.raises(AuthenticationError):
            await bench.provider.run("hi", tools=[look], timeout_s=60)

    @pytest.mark.parametrize(
        ("given", "what"),
        [
            ({"max_turns": 0}, "max_turns is above 0, not 0"),
            ({"max_turns": 1.5}, "max_turns is a whole number, not a float"),
            ({"max_turns": True}, "max_turns is a whole number, not a bool"),
            ({"max_cost_usd": float("inf")}, "max_cost_usd is above 0, not inf"),
            ({"timeout_s": float("nan")}, "timeout_s is above 0, not nan"),
            ({"tool_timeout_s": "60"}, "tool_timeout_s is a number, not a str"),
            ({"temperature": -1}, "temperature is at least 0"),
            ({"tool_choice": "other"}, "tool_choice is auto, none, required"),
        ],
    )
    async def test_what_cannot_be_used_is_named_before_anything_is_sent(
        self, given: dict[str, Any], what: str
    ) -> None:
        bench = Bench(LAST)
        with pytest.raises(InvalidParameterError, match=what):
            bench.provider.run_stream("hi", tools=[look], **given)

    @pytest.mark.parametrize("name", ["native", "timeouts"])
    async def test_a_keyword_that_is_none_of_ours(self, name: str) -> None:
        with pytest.raises(TypeError, match=f"a run got an unexpected keyword argument '{name}'"):
            await Bench(LAST).provider.run("hi", **{name: 1})  # type: ignore[arg-type]

    async def test_none_says_nothing(self) -> None:
        given: dict[str, Any] = {"max_turns": None, "timeout_s": None, "model": None}
        assert (await Bench(LAST).provider.run("hi", **given)).content == "done"


class TestCancelling:
    async def test_tools_are_ended_and_the_answers_booked(self) -> None:
        started, ended = asyncio.Event(), asyncio.Event()

        async def hang() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        bench = Bench(calls(call("hang")))
        task = asyncio.create_task(bench.provider.run("hi", tools=[hang]))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()
        assert bench.registry.get_usage_summary()["total"]["calls"] == 1

    async def test_an_answer_under_way_is_booked(self) -> None:
        bench = Bench(HANG)
        task = asyncio.create_task(bench.provider.run("hi", tools=[look]))
        await bench.own.is_hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await bench.registry.usage()).total.cancelled == 1


class TestStream:
    def bench(self) -> Bench:
        first = [TextDelta("one "), StreamEnd(calls(call(what="a"), text="one "))]
        return Bench(first, [TextDelta("two"), StreamEnd(LAST)])

    async def test_it_is_the_text_of_all_answers(self) -> None:
        async with self.bench().provider.run_stream("hi", tools=[look]) as stream:
            assert [text async for text in stream] == ["one ", "two"]
        assert (stream.result.content, len(stream.result.turns)) == ("done", 2)

    async def test_its_events_say_what_happens(self) -> None:
        stream = self.bench().provider.run_stream("hi", tools=[look])
        events = [event async for event in stream.events()]
        assert [type(each) for each in events] == [
            *(TextDelta, AnswerEnd, ToolStart, ToolEnd, TextDelta, AnswerEnd, RunEnd),
        ]
        assert isinstance(events[3], ToolEnd)
        assert isinstance(events[3].result, ToolResult)
        assert events[3].result.content == "saw a"

    async def test_a_stream_that_is_left_books_its_answer(self) -> None:
        bench = Bench([TextDelta("one "), HANG])
        async with bench.provider.run_stream("hi", tools=[look]) as stream:
            assert await anext(stream) == "one "
        assert bench.own.closed_streams == 1
        assert (await bench.registry.usage()).total.cancelled == 1
        with pytest.raises(OrchestifyError, match="read it to its end"):
            _ = stream.result
        assert stream.so_far.turns == ()

    async def test_its_time_bounds_a_stream_that_falls_silent(self) -> None:
        bench = Bench([TextDelta("one "), HANG])
        stream = bench.provider.run_stream("hi", tools=[look], timeout_s=1.5)
        with pytest.raises(RunLimitError, match="timeout_s"):
            async for _ in stream:
                pass
        assert bench.own.closed_streams == 1

    async def test_the_turns_before_an_error_are_at_hand(self) -> None:
        bench = Bench([StreamEnd(calls(call()))], [AuthenticationError()])
        stream = bench.provider.run_stream("hi", tools=[look])
        with pytest.raises(AuthenticationError):
            await anext(stream)
        assert len(stream.so_far.turns) == 1
        assert len(stream.so_far.messages) == 3

    async def test_an_own_class_without_a_registry_has_no_events(self) -> None:
        class Own(LLMProvider):
            provider_type = "own"

            async def complete(self, messages: Any, **given: Any) -> LLMResponse:  # type: ignore[override]
                return LAST

            async def stream(self, messages: Any, **given: Any) -> AsyncIterator[str]:  # type: ignore[override]
                yield "text"

        assert (await Own().run("hi")).content == "done"
        with pytest.raises(InvalidParameterError, match=r"Own\.stream has no events"):
            await anext(Own().run_stream("hi"))


async def test_nothing_of_prompts_and_results_is_in_logs_and_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def secret() -> str:
        raise RuntimeError("password-1")

    bench = Bench(calls(call("secret", what="password-2")))
    with caplog.at_level(logging.DEBUG), pytest.raises(RunLimitError) as caught:
        await bench.provider.run("password-3", tools=[secret], max_turns=2)
    assert "password" not in f"{caplog.text} {caught.value!r} {caught.value} {caught.value.result}"
