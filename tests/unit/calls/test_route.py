"""The call path: its order, what each outcome costs and records, and who is tried next."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest

from orchestify.calls.call import CallState
from orchestify.calls.request import Call, Defaults, call_of
from orchestify.core.policies import RateLimitConfig
from orchestify.errors import (
    AllTargetsFailedError,
    APIConnectionError,
    APIError,
    AuthenticationError,
    BudgetExceededError,
    CircuitOpenError,
    ContentFilterError,
    ContextWindowError,
    InvalidParameterError,
    InvalidRequestError,
    InvalidResponseError,
    LedgerError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProviderNotFoundError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamInterruptedError,
    StructuredOutputError,
)
from orchestify.events.events import FallbackTaken, TargetSkipped
from orchestify.ledger.record import Record, scope
from orchestify.policy.breaker import BreakerSettings
from orchestify.policy.budget import Budget, CallFilter
from orchestify.policy.rate_limit import RateLimiter
from orchestify.policy.retry import RetryPolicy
from orchestify.policy.strategy import Strategy
from orchestify.values import (
    Attempt,
    CompletionRequest,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from tests.calls import HANG, USED, Bench, RecordingLedger, Scripted, answer
from tests.clock import idle
from tests.virtual import in_virtual_time

ONCE = RetryPolicy(max_attempts=1)
DAY = Budget("day", Decimal(1))
COST = Decimal("0.012")


async def read(stream: Any) -> str:
    return "".join([text async for text in stream])


class TestAnswers:
    async def test_one_call_is_one_request_and_one_record(self) -> None:
        bench, one = Bench(), Scripted()
        response = await bench.route(one).complete("hi")
        assert response.content == "yes"
        assert len(one.sent) == 1
        assert len(bench.ledger.opened) == 1
        assert bench.ledger.outcomes == [("one", "ok", "")]

    async def test_the_response_tells_what_only_the_call_knows(self) -> None:
        bench = Bench()
        response = await bench.route(Scripted()).complete("hi")
        assert response.provider == "one"
        assert response.model == "m"
        assert response.usage == Usage(10, 2)
        assert (response.tokens_input, response.tokens_output) == (10, 2)
        assert response.cost_usd == COST
        assert response.cost_source == "config"
        assert response.attempts == (Attempt("one", "m", "ok"),)
        assert response.call_id == bench.ledger.completed[0].call_id

    async def test_usage_that_was_not_reported_is_estimated(self) -> None:
        bench, one = Bench(), Scripted("one", answer("one two three", None))
        response = await bench.route(one).complete("hi")
        assert response.usage == Usage(8, 3, source="estimated")
        assert bench.ledger.completed[0].usage.source == "estimated"

    async def test_a_providers_own_cost_comes_before_the_price(self) -> None:
        told = answer("yes", cost_usd=Decimal("0.5"), cost_source="provider")
        response = await Bench().route(Scripted("one", told)).complete("hi")
        assert (response.cost_usd, response.cost_source) == (Decimal("0.5"), "provider")

    async def test_an_unknown_price_is_none(self) -> None:
        response = await Bench().route(Scripted("nobody")).complete("hi")
        assert response.cost_usd is None
        assert response.cost_source == "none"

    async def test_the_model_that_answered_is_recorded_beside_the_one_asked(self) -> None:
        bench, dated = Bench(), replace(answer(), model="m-2026-01-01")
        await bench.route(Scripted("one", dated)).complete("hi")
        record = bench.ledger.completed[0]
        assert (record.model, record.model_answered) == ("m", "m-2026-01-01")

    async def test_labels_and_the_agent_are_recorded(self) -> None:
        bench = Bench()
        with scope(run="r1"):
            await bench.route(Scripted(), agent="planner").complete("hi")
        assert bench.ledger.completed[0].labels == {"run": "r1"}
        assert bench.ledger.completed[0].agent == "planner"

    async def test_a_stream_is_recorded_at_its_end(self) -> None:
        bench = Bench()
        stream = bench.route(Scripted("one", "a b")).stream("hi")
        assert bench.ledger.opened == []
        assert await read(stream) == "ab"
        assert bench.ledger.outcomes == [("one", "ok", "")]
        assert stream.response.cost_usd == COST
        assert stream.response.attempts == (Attempt("one", "m", "ok"),)
        assert bench.ledger.completed[0].first_chunk_s == 0.0

    async def test_a_structured_answer_that_does_not_fit_is_booked_and_not_repeated(self) -> None:
        bench, one, two = Bench(), Scripted("one", "no json"), Scripted("two")
        with pytest.raises(StructuredOutputError) as caught:
            await bench.route(one, two).complete("hi", response_format={"type": "object"})
        assert caught.value.response.content == "no json"
        assert bench.ledger.outcomes == [("one", "ok", "")]
        assert two.sent == []

    async def test_a_streamed_structured_answer_is_parsed(self) -> None:
        stream = (
            Bench()
            .route(Scripted("one", '{"a":1}'))
            .stream("hi", response_format={"type": "object"})
        )
        await read(stream)
        assert stream.response.parsed == {"a": 1}


class TestRetry:
    async def test_what_may_succeed_later_is_tried_again(self) -> None:
        bench, one = Bench(), Scripted("one", ServerError(), APIConnectionError(), "yes")
        response = await bench.route(one).complete("hi")
        assert bench.naps == [0.5, 1.0]
        assert [each.outcome for each in response.attempts] == ["failed", "failed", "ok"]
        assert [each.error for each in response.attempts] == [
            "ServerError",
            "APIConnectionError",
            None,
        ]
        assert bench.ledger.outcomes == [
            ("one", "failed", "ServerError"),
            ("one", "failed", "APIConnectionError"),
            ("one", "ok", ""),
        ]
        assert [each.attempt for each in bench.ledger.completed] == [1, 2, 3]

    async def test_max_attempts_ends_it_with_the_last_error(self) -> None:
        last = ServerError(status=503)
        bench, one = Bench(), Scripted("one", ServerError(status=500), last)
        target = bench.target(one, retry=RetryPolicy(max_attempts=2))
        with pytest.raises(ServerError) as caught:
            await bench.route(target).complete("hi")
        assert caught.value is last
        assert len(one.sent) == 2

    async def test_the_caller_says_how_often(self) -> None:
        one = Scripted("one", ServerError())
        with pytest.raises(ServerError):
            await Bench().route(one).complete("hi", max_attempts=3)
        assert len(one.sent) == 3

    @pytest.mark.parametrize(
        "error",
        [
            AuthenticationError(),
            PermissionDeniedError(),
            ContextWindowError(),
            ContentFilterError(),
            InvalidRequestError(),
            ModelNotFoundError(),
            APIError(),
        ],
    )
    async def test_what_cannot_succeed_later_is_tried_once(self, error: APIError) -> None:
        bench, one = Bench(), Scripted("one", error)
        with pytest.raises(type(error)):
            await bench.route(one).complete("hi")
        assert bench.ledger.outcomes == [("one", "failed", type(error).__name__)]
        assert bench.naps == []

    @pytest.mark.parametrize(
        "error",
        [
            RateLimitError(),
            RequestTimeoutError(),
            APIConnectionError(),
            ServerError(),
            InvalidResponseError(),
            StreamInterruptedError(),
        ],
    )
    async def test_what_may_pass_is_tried_again(self, error: APIError) -> None:
        one = Scripted("one", error, "yes")
        assert (await Bench().route(one).complete("hi")).content == "yes"
        assert len(one.sent) == 2

    async def test_retry_after_is_waited_for_whole(self) -> None:
        bench, one = Bench(), Scripted("one", RateLimitError(retry_after_s=42.0), "yes")
        await bench.route(one).complete("hi")
        assert bench.naps == [42.0]

    async def test_a_long_retry_after_moves_on_while_a_target_remains(self) -> None:
        bench = Bench()
        one, two = Scripted("one", RateLimitError(retry_after_s=9.0)), Scripted("two")
        response = await bench.route(one, two).complete("hi")
        assert bench.naps == []
        assert [each.provider for each in response.attempts] == ["one", "two"]

    @pytest.mark.parametrize("retry_after_s", [None, 0.0, 0.5, 8.0])
    async def test_a_429_moves_on_at_once_while_a_target_remains_and_is_remembered(
        self, retry_after_s: float | None
    ) -> None:
        bench = Bench()
        one = Scripted("one", RateLimitError(retry_after_s=retry_after_s), "yes")
        two = Scripted("two")
        route = bench.route(one, two)
        assert (await route.complete("hi")).provider == "two"
        assert (await route.complete("hi")).provider == "two"
        assert len(one.sent) == 1
        assert bench.naps == []
        bench.clock.advance(8)
        assert (await route.complete("hi")).provider == "one"

    @pytest.mark.parametrize("refused", [AuthenticationError, PermissionDeniedError])
    async def test_a_refused_key_is_passed_by_while_another_target_remains(
        self, refused: type[APIError]
    ) -> None:
        bench, one = Bench(), Scripted("one", refused(), refused(), "yes")
        two = Scripted("two", "two", InvalidRequestError())
        route = bench.route(one, two)
        assert (await route.complete("hi")).provider == "two"
        with pytest.raises(AllTargetsFailedError) as caught:
            await route.complete("hi")
        assert type(caught.value.errors[0]) is refused
        assert len(one.sent) == 1
        with pytest.raises(refused):
            await bench.route(one).complete("hi")
        bench.clock.advance(8)
        assert (await route.complete("hi")).provider == "one"

    async def test_a_429_of_one_key_holds_back_no_other_key(self) -> None:
        bench = Bench()
        one = Scripted("one", RateLimitError(retry_after_s=3600.0), "yes")
        with pytest.raises(RateLimitError):
            await bench.route(bench.target(one, credential="a", retry=ONCE)).complete("hi")
        other = bench.target(one, credential="b", retry=ONCE)
        assert (await bench.route(other).complete("hi", timeout_s=5)).content == "yes"

    async def test_a_refusal_of_the_key_that_names_a_time_is_a_pause_of_the_key(self) -> None:
        bench = Bench()
        one = Scripted("one", PermissionDeniedError(retry_after_s=60.0), "yes")
        target = bench.target(one, credential="a")
        with pytest.raises(PermissionDeniedError):
            await bench.route(target).complete("hi")
        assert bench.runtime.paused_for_s(target) == 60
        assert bench.runtime.paused_for_s(bench.target(one, credential="b")) == 0

    async def test_what_5xx_teach_is_of_all_keys(self) -> None:
        bench, one = Bench(), Scripted("one", ServerError(status=503))
        once = replace(ONCE, max_attempts=5)
        with pytest.raises(ServerError):
            await bench.route(bench.target(one, credential="a", retry=once)).complete("hi")
        assert bench.runtime.breaker(bench.target(one, credential="b")).state == "open"

    async def test_the_last_target_is_waited_for(self) -> None:
        bench = Bench()
        one = Scripted("one", AuthenticationError())
        two = Scripted("two", RateLimitError(retry_after_s=99.0), "yes")
        await bench.route(one, two).complete("hi")
        assert bench.naps == [99.0]

    async def test_a_wait_that_cannot_fit_the_deadline_is_not_begun(self) -> None:
        bench, one = Bench(), Scripted("one", RateLimitError(retry_after_s=42.0), "yes")
        with pytest.raises(RateLimitError):
            await bench.route(one).complete("hi", timeout_s=42)
        assert bench.naps == []
        assert len(one.sent) == 1

    async def test_a_circuit_that_opens_meanwhile_ends_it_with_the_providers_error(self) -> None:
        bench, one = Bench(), Scripted("one", ServerError())
        target = bench.target(one, breaker=BreakerSettings(failures=2))
        with pytest.raises(ServerError):
            await bench.route(target).complete("hi")
        assert len(one.sent) == 2
        assert len(bench.naps) == 1

    async def test_a_stream_is_tried_again_before_its_first_output(self) -> None:
        bench = Bench()
        one = Scripted("one", [UsageUpdate(Usage(5, 0)), ServerError()], "a b")
        assert await read(bench.route(one).stream("hi")) == "ab"
        assert bench.ledger.outcomes == [("one", "failed", "ServerError"), ("one", "ok", "")]

    async def test_the_same_chance_makes_the_same_run(self) -> None:
        runs = []
        for _ in range(2):
            bench = Bench(chance=0.25)
            await bench.route(Scripted("one", ServerError(), ServerError(), "yes")).complete("hi")
            runs.append(bench.naps)
        assert runs == [[0.25, 0.5], [0.25, 0.5]]


class TestFallback:
    @pytest.mark.parametrize(
        "error",
        [
            AuthenticationError(),
            PermissionDeniedError(),
            RateLimitError(),
            ContextWindowError(),
            ModelNotFoundError(),
            RequestTimeoutError(),
            APIConnectionError(),
            ServerError(),
        ],
    )
    async def test_the_next_target_answers(self, error: APIError) -> None:
        bench, one, two = Bench(), Scripted("one", error), Scripted("two", "there")
        route = bench.route(bench.target(one, retry=ONCE), two)
        response = await route.complete("hi")
        assert response.content == "there"
        assert response.provider == "two"
        assert [each.outcome for each in response.attempts] == ["failed", "ok"]

    @pytest.mark.parametrize("error", [ContentFilterError(), InvalidRequestError()])
    async def test_the_callers_own_mistake_does_not_fall_back(self, error: APIError) -> None:
        two = Scripted("two")
        with pytest.raises(type(error)) as caught:
            await Bench().route(Scripted("one", error), two).complete("hi")
        assert caught.value is error
        assert two.sent == []

    async def test_an_agent_may_let_it_fall_back(self) -> None:
        one, two = Scripted("one", ContentFilterError()), Scripted("two")
        route = Bench().route(one, two, fallback_on=frozenset({"ContentFilterError"}))
        assert (await route.complete("hi")).provider == "two"

    async def test_several_failures_come_in_order_and_whole(self) -> None:
        first, second = AuthenticationError(), ModelNotFoundError(status=404)
        route = Bench().route(Scripted("one", first), Scripted("two", second))
        with pytest.raises(AllTargetsFailedError) as caught:
            await route.complete("hi")
        assert caught.value.errors == (first, second)
        assert str(caught.value).splitlines() == [
            "none of 2 targets answered:",
            "one/m: AuthenticationError: the key was not accepted; check the provider's api_key",
            "two/m: ModelNotFoundError: no such model, or the base_url is wrong",
        ]

    async def test_one_target_raises_its_own_error(self) -> None:
        error = AuthenticationError()
        with pytest.raises(AuthenticationError) as caught:
            await Bench().route(Scripted("one", error)).complete("hi")
        assert caught.value is error

    async def test_an_error_says_where_it_happened(self) -> None:
        with pytest.raises(ServerError) as caught:
            await Bench().route(Scripted("one", ServerError())).complete("hi", max_attempts=1)
        assert (caught.value.provider, caught.value.model) == ("one", "m")

    async def test_a_stream_falls_back_before_its_first_output(self) -> None:
        bench, one = Bench(), Scripted("one", AuthenticationError())
        stream = bench.route(one, Scripted("two", "a b")).stream("hi")
        assert await read(stream) == "ab"
        assert stream.response.provider == "two"
        assert [each.outcome for each in stream.response.attempts] == ["failed", "ok"]

    async def test_a_stream_never_falls_back_after_its_first_output(self) -> None:
        cut = StreamInterruptedError()
        one, two = Scripted("one", [TextDelta("a"), cut]), Scripted("two")
        stream = Bench().route(one, two).stream("hi")
        assert await anext(stream) == "a"
        with pytest.raises(StreamInterruptedError):
            await anext(stream)
        assert len(one.sent) == 1
        assert two.sent == []

    async def test_the_call_may_say_none(self) -> None:
        two = Scripted("two")
        with pytest.raises(AuthenticationError):
            await (
                Bench()
                .route(Scripted("one", AuthenticationError()), two)
                .complete("hi", fallback=False)
            )
        assert two.sent == []

    async def test_the_call_may_name_others(self) -> None:
        bench = Bench()
        others = {"two": Scripted("two", AuthenticationError()), "three": Scripted("three")}
        route = bench.route(
            Scripted("one", AuthenticationError()),
            Scripted("four"),
            resolve=lambda name, model: bench.target(others[name], model or "own"),
        )
        response = await route.complete("hi", fallback=["two", {"provider": "three", "model": "x"}])
        assert [(each.provider, each.model) for each in response.attempts] == [
            ("one", "m"),
            ("two", "own"),
            ("three", "x"),
        ]

    async def test_without_a_registry_another_provider_is_not_found(self) -> None:
        with pytest.raises(ProviderNotFoundError, match="no provider 'two'"):
            await Bench().route(Scripted()).complete("hi", fallback=["two"])

    async def test_the_call_may_name_another_model(self) -> None:
        bench, one = Bench(), Scripted()
        await bench.route(one).complete("hi", model="other")
        assert one.sent[0].model == "other"
        assert bench.ledger.completed[0].model == "other"

    async def test_each_target_is_asked_for_its_own_model(self) -> None:
        bench, two = Bench(), Scripted("two")
        route = bench.route(Scripted("one", AuthenticationError()), bench.target(two, "n"))
        await route.complete("hi", model="other", temperature=0.5)
        assert (two.sent[0].model, two.sent[0].temperature) == ("n", 0.5)

    async def test_fallbacks_and_skips_are_told(self) -> None:
        bench, seen = Bench(), []
        bench.runtime.events.on(seen.append)
        route = bench.route(
            bench.target(Scripted("one", AuthenticationError())),
            bench.target(Scripted("two"), "claude-3-opus-20240229"),
            bench.target(Scripted("three")),
            agent="planner",
        )
        await route.complete("hi", thinking=True)
        bench.runtime.events.close()
        assert seen == [
            FallbackTaken(
                "planner", "one", "m", "two", "claude-3-opus-20240229", "AuthenticationError"
            ),
            TargetSkipped("planner", "two", "claude-3-opus-20240229", "InvalidParameterError"),
        ]


class TestLacking:
    async def test_thinking_on_a_model_without_it_is_a_value_error(self) -> None:
        bench, one = Bench(), Scripted()
        route = bench.route(bench.target(one, "claude-3-opus-20240229"))
        with pytest.raises(ValueError, match="one/claude-3-opus-20240229: the model has no"):
            await route.complete("hi", thinking=True)
        assert one.sent == []
        assert bench.ledger.opened == []

    async def test_a_stream_says_the_same_on_iterating(self) -> None:
        bench = Bench()
        route = bench.route(bench.target(Scripted(), "claude-3-opus-20240229"))
        with pytest.raises(InvalidParameterError):
            await read(route.stream("hi", thinking=True))

    async def test_it_is_passed_over_where_another_target_has_it(self) -> None:
        bench, one = Bench(), Scripted()
        route = bench.route(bench.target(one, "claude-3-opus-20240229"), Scripted("two"))
        response = await route.complete("hi", thinking=True)
        assert response.provider == "two"
        assert one.sent == []

    async def test_the_final_error_says_so(self) -> None:
        bench = Bench()
        route = bench.route(
            bench.target(Scripted(), "claude-3-opus-20240229"),
            Scripted("two", AuthenticationError()),
        )
        with pytest.raises(AllTargetsFailedError) as caught:
            await route.complete("hi", thinking=True)
        assert [type(each) for each in caught.value.errors] == [
            InvalidParameterError,
            AuthenticationError,
        ]


class TestStrategy:
    async def test_round_robin_takes_turns(self) -> None:
        bench, one, two = Bench(), Scripted("one"), Scripted("two")
        route = bench.route(one, two, strategy=Strategy("round_robin"))
        answered = [(await route.complete("hi")).provider for _ in range(4)]
        assert answered == ["one", "two", "one", "two"]

    async def test_priority_stays_with_the_first(self) -> None:
        route = Bench().route(Scripted("one"), Scripted("two"))
        assert [(await route.complete("hi")).provider for _ in range(2)] == ["one", "one"]

    async def test_weighted_is_drawn(self) -> None:
        strategy = Strategy("weighted", weights=(0.0, 1.0))
        route = Bench().route(Scripted("one"), Scripted("two"), strategy=strategy)
        assert (await route.complete("hi")).provider == "two"

    async def test_health_goes_to_the_better_one(self) -> None:
        scores = {"one": 0.1, "two": 0.9}
        strategy = Strategy("health", score=lambda target: scores[target.provider_id])
        route = Bench().route(Scripted("one"), Scripted("two"), strategy=strategy)
        assert (await route.complete("hi")).provider == "two"

    async def test_a_model_for_the_call_is_of_the_agents_own_provider(self) -> None:
        bench, one, two = Bench(), Scripted("one"), Scripted("two")
        route = bench.route(one, two, strategy=Strategy("round_robin"))
        await route.complete("hi", model="other")
        await route.complete("hi", model="other")
        assert [each.model for each in one.sent] == ["other"]
        assert [each.model for each in two.sent] == ["m"]


class TestBreaker:
    async def test_an_open_circuit_sends_nothing_and_costs_nothing(self) -> None:
        bench, one = Bench(budgets=(DAY,)), Scripted("one", AuthenticationError())
        limiter = RateLimiter(requests_per_minute=1, clock=bench.clock)
        target = bench.target(one, limiters=(limiter,))
        open_circuit(bench, target)
        with pytest.raises(CircuitOpenError) as caught:
            await bench.route(target).complete("hi")
        assert caught.value.retry_after_s == 30.0
        assert one.sent == []
        assert bench.ledger.opened == []
        assert limiter.wait_s(0) == 0
        assert bench.spent("day") == (0, 0)

    async def test_an_open_circuit_is_a_skipped_attempt_and_the_next_target_answers(self) -> None:
        bench = Bench()
        target = bench.target(Scripted())
        open_circuit(bench, target)
        response = await bench.route(target, Scripted("two")).complete("hi")
        assert [(each.outcome, each.error) for each in response.attempts] == [
            ("skipped", "CircuitOpenError"),
            ("ok", None),
        ]

    async def test_five_failures_open_it(self) -> None:
        bench, one = Bench(), Scripted("one", ServerError())
        route = bench.route(bench.target(one, retry=ONCE))
        for _ in range(5):
            with pytest.raises(ServerError):
                await route.complete("hi")
        with pytest.raises(CircuitOpenError):
            await route.complete("hi")
        assert len(one.sent) == 5

    async def test_the_callers_mistakes_do_not_open_it(self) -> None:
        bench, one = Bench(), Scripted("one", InvalidRequestError())
        route = bench.route(one)
        for _ in range(6):
            with pytest.raises(InvalidRequestError):
                await route.complete("hi")
        assert len(one.sent) == 6

    async def test_cancelled_calls_do_not_open_it(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        target = bench.target(one)
        for _ in range(6):
            await cancelled(bench.route(target).complete("hi"), one)
        assert bench.runtime.breaker(target).state == "closed"

    async def test_streams_that_are_cut_open_it(self) -> None:
        bench, one = Bench(), Scripted("one", [TextDelta("a"), StreamInterruptedError()])
        target = bench.target(one, breaker=BreakerSettings(failures=2))
        for _ in range(2):
            with pytest.raises(StreamInterruptedError):
                await read(bench.route(target).stream("hi"))
        assert bench.runtime.breaker(target).state == "open"

    async def test_sixty_four_calls_on_a_half_open_circuit_send_one_probe(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        target = bench.target(one)
        open_circuit(bench, target)
        bench.clock.advance(30)
        route = bench.route(target)
        calls = [asyncio.create_task(route.complete("hi")) for _ in range(64)]
        await idle()
        assert len(one.sent) == 1
        await gathered_cancelled(calls)

    async def test_without_another_target_calls_wait_for_the_probe(self) -> None:
        bench, one = Bench(), Scripted("one", HANG, "yes")
        target = bench.target(one)
        open_circuit(bench, target)
        bench.clock.advance(30)
        probe = asyncio.create_task(bench.route(target).complete("hi"))
        await one.is_hanging.wait()
        waiting = [asyncio.create_task(bench.route(target).complete("hi")) for _ in range(5)]
        await idle()
        assert len(one.sent) == 1
        await gathered_cancelled([probe])
        assert [each.content for each in await asyncio.gather(*waiting)] == ["yes"] * 5

    async def test_with_another_target_calls_go_there_while_a_probe_runs(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        target = bench.target(one)
        open_circuit(bench, target)
        bench.clock.advance(30)
        probe = asyncio.create_task(bench.route(target).complete("hi"))
        await one.is_hanging.wait()
        assert (await bench.route(target, Scripted("two")).complete("hi")).provider == "two"
        await gathered_cancelled([probe])

    async def test_a_failed_probe_ends_the_wait_for_it(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        target = bench.target(one)
        open_circuit(bench, target)
        bench.clock.advance(30)
        permit = bench.runtime.breaker(target).admit()
        assert permit is not None
        waiting = asyncio.create_task(bench.route(target).complete("hi"))
        await idle()
        permit.failed()
        with pytest.raises(CircuitOpenError):
            await waiting
        assert one.sent == []

    async def test_a_streams_probe_is_judged_at_its_first_output(self) -> None:
        bench, one = Bench(), Scripted("one", [TextDelta("a"), HANG])
        target = bench.target(one)
        open_circuit(bench, target)
        bench.clock.advance(30)
        async with bench.route(target).stream("hi") as stream:
            assert await anext(stream) == "a"
            assert bench.runtime.breaker(target).state == "closed"

    async def test_a_probe_keeps_its_place_for_as_long_as_the_circuit_was_open(self) -> None:
        bench, one = Bench(), Scripted("one", HANG, "yes")
        target = bench.target(one)
        open_circuit(bench, target)
        bench.clock.advance(30)
        probe = asyncio.create_task(bench.route(target).complete("hi"))
        await one.is_hanging.wait()
        bench.clock.advance(30)
        assert (await bench.route(target).complete("hi")).content == "yes"
        assert bench.runtime.breaker(target).state == "closed"
        await gathered_cancelled([probe])

    async def test_sixty_four_calls_that_waited_for_their_turn_send_one_probe(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        limiter = RateLimiter(
            requests_per_minute=60, burst=1, clock=bench.clock, call_later=bench.clock.call_later
        )
        target = bench.target(one, limiters=(limiter,))
        open_circuit(bench, target)
        bench.clock.advance(30)
        await limiter.acquire(0)
        calls = [asyncio.create_task(bench.route(target).complete("hi")) for _ in range(64)]
        await bench.clock.run(29)
        assert len(one.sent) == 1
        await gathered_cancelled(calls)

    async def test_a_cancelled_probe_frees_its_place(self) -> None:
        bench, one = Bench(), Scripted("one", HANG, "yes")
        target = bench.target(one)
        open_circuit(bench, target)
        bench.clock.advance(30)
        await cancelled(bench.route(target).complete("hi"), one)
        assert bench.runtime.breaker(target).state == "half_open"
        assert (await bench.route(target).complete("hi")).content == "yes"
        assert bench.runtime.breaker(target).state == "closed"

    async def test_a_probe_that_is_out_of_budget_frees_its_place(self) -> None:
        bench = Bench(budgets=(replace(DAY, limit_usd=Decimal("0.001")),))
        target = bench.target(Scripted())
        open_circuit(bench, target)
        bench.clock.advance(30)
        with pytest.raises(BudgetExceededError):
            await bench.route(target).complete("hi")
        assert bench.runtime.breaker(target).allows()

    async def test_a_breaker_belongs_to_a_model(self) -> None:
        bench, one = Bench(), Scripted()
        open_circuit(bench, bench.target(one))
        assert (await bench.route(bench.target(one, "n")).complete("hi")).content == "yes"


class TestRateLimit:
    async def test_a_call_waits_for_its_turn(self) -> None:
        bench, one = Bench(), Scripted()
        route = bench.route(bench.target(one, limiters=(slow_limiter(bench),)))
        await route.complete("hi")
        second = asyncio.create_task(route.complete("hi"))
        await bench.clock.run(59)
        assert len(one.sent) == 1
        await bench.clock.run(1)
        assert len(one.sent) == 2
        await second

    async def test_a_wait_beyond_the_deadline_is_refused_at_once(self) -> None:
        bench, one = Bench(), Scripted()
        route = bench.route(bench.target(one, limiters=(slow_limiter(bench),)))
        await route.complete("hi")
        with pytest.raises(RateLimitError) as caught:
            await route.complete("hi", timeout_s=59)
        assert caught.value.retry_after_s == 60
        assert caught.value.provider == "one"
        assert len(one.sent) == 1
        assert len(bench.ledger.opened) == 1

    async def test_our_own_limit_is_not_a_429(self) -> None:
        bench, one = Bench(), Scripted()
        limiter = slow_limiter(bench)
        target = bench.target(one, limiters=(limiter,))
        await bench.route(target).complete("hi")
        with pytest.raises(RateLimitError):
            await bench.route(target).complete("hi", timeout_s=1)
        assert limiter.wait_s(0) == 60

    async def test_a_429_pauses_the_target_for_all_calls(self) -> None:
        bench = Bench()
        one = Scripted("one", RateLimitError(retry_after_s=20.0), "yes")
        target = bench.target(one, retry=ONCE)
        with pytest.raises(RateLimitError):
            await bench.route(target).complete("hi")
        with pytest.raises(RateLimitError) as caught:
            await bench.route(target).complete("hi", timeout_s=19)
        assert caught.value.retry_after_s == 20
        assert len(one.sent) == 1
        bench.clock.advance(20)
        assert (await bench.route(target).complete("hi")).content == "yes"

    async def test_a_long_pause_moves_other_calls_on_while_a_target_remains(self) -> None:
        bench, one = Bench(), Scripted("one", RateLimitError(retry_after_s=20.0))
        route = bench.route(one, Scripted("two"))
        await route.complete("hi")
        response = await route.complete("hi")
        assert [(each.outcome, each.error) for each in response.attempts] == [
            ("skipped", "RateLimitError"),
            ("ok", None),
        ]
        assert len(one.sent) == 1
        assert bench.naps == []

    async def test_a_429_of_one_model_pauses_no_other(self) -> None:
        bench, one = Bench(), Scripted("one", RateLimitError(retry_after_s=20.0), "yes")
        with pytest.raises(RateLimitError):
            await bench.route(bench.target(one, retry=ONCE)).complete("hi")
        assert (await bench.route(bench.target(one, "n")).complete("hi")).content == "yes"

    async def test_a_429_halves_the_rates_that_led_to_it(self) -> None:
        bench, one = Bench(), Scripted("one", RateLimitError(), "yes")
        limiter = RateLimiter(requests_per_minute=60, clock=bench.clock)
        limits = {"rate_limit": RateLimitConfig(requests_per_minute=60), "limiters": (limiter,)}
        target = bench.target(one, retry=ONCE, credential="a", **limits)
        with pytest.raises(RateLimitError):
            await bench.route(target).complete("hi")
        pause = bench.runtime.pause(target)
        await pause.acquire(0)
        assert 1.5 < pause.wait_s(0) < 2.5
        assert limiter.wait_s(0) == 0
        assert bench.runtime.limiters_of(replace(target, credential="b")) == (limiter,)

    async def test_tokens_are_corrected_after_the_answer(self) -> None:
        bench = Bench()
        bench.runtime.estimates = True
        limiter = RateLimiter(tokens_per_minute=120, clock=bench.clock)
        await bench.route(bench.target(Scripted(), limiters=(limiter,))).complete("hi")
        assert limiter.wait_s(108) == 0
        assert limiter.wait_s(109) > 0

    async def test_a_failure_that_was_not_billed_gives_its_tokens_back(self) -> None:
        bench = Bench()
        bench.runtime.estimates = True
        limiter = RateLimiter(tokens_per_minute=120, clock=bench.clock)
        target = bench.target(Scripted("one", AuthenticationError()), limiters=(limiter,))
        with pytest.raises(AuthenticationError):
            await bench.route(target).complete("hi")
        assert limiter.wait_s(120) == 0

    async def test_every_outcome_frees_its_slot(self) -> None:
        bench = Bench()
        limiter = RateLimiter(concurrency=1, clock=bench.clock)
        one = Scripted("one", "yes", AuthenticationError(), HANG, "yes")
        route = bench.route(bench.target(one, limiters=(limiter,)))
        await route.complete("hi")
        with pytest.raises(AuthenticationError):
            await route.complete("hi")
        await cancelled(route.complete("hi"), one)
        assert (await route.complete("hi")).content == "yes"

    async def test_a_cancelled_waiter_leaves_no_trace(self) -> None:
        bench, one = Bench(), Scripted()
        limiter = slow_limiter(bench)
        route = bench.route(bench.target(one, limiters=(limiter,)))
        await route.complete("hi")
        waiting = asyncio.create_task(route.complete("hi"))
        await idle()
        await gathered_cancelled([waiting])
        assert limiter.wait_s(0) == 60
        assert len(bench.ledger.opened) == 1


class TestBudget:
    async def test_the_worst_case_is_held_and_the_cost_is_booked(self) -> None:
        bench, one = Bench(budgets=(DAY,)), Scripted("one", HANG, "yes")
        call = asyncio.create_task(bench.route(one).complete("hi"))
        await one.is_hanging.wait()
        assert bench.spent("day") == (0, Decimal("0.11"))
        await gathered_cancelled([call])
        await bench.route(one).complete("hi")
        assert bench.spent("day") == (COST, 0)
        assert bench.book.state(DAY).possible_usd == Decimal("0.11")

    @pytest.mark.parametrize(
        ("step", "spent"),
        [
            ("yes", "0.012"),
            (AuthenticationError(), "0"),
            (RateLimitError(), "0"),
            (APIConnectionError(), "0"),
            (InvalidRequestError(), "0"),
            *((ServerError(status=status), "0") for status in (409, 500, 502, 503, 529)),
        ],
    )
    async def test_what_each_outcome_costs(self, step: Any, spent: str) -> None:
        bench, one = Bench(budgets=(DAY,)), Scripted("one", step)
        await asyncio.gather(
            bench.route(bench.target(one, retry=ONCE)).complete("hi"), return_exceptions=True
        )
        assert bench.spent("day") == (Decimal(spent), 0)

    @pytest.mark.parametrize(
        "step",
        [
            ServerError(),
            ServerError(status=504),
            ServerError(status=524),
            RequestTimeoutError(status=408),
            RequestTimeoutError(),
            StreamInterruptedError(),
        ],
    )
    async def test_what_may_be_billed_is_held_until_the_period_ends(self, step: Any) -> None:
        bench, one = Bench(budgets=(DAY,)), Scripted("one", step)
        await asyncio.gather(
            bench.route(bench.target(one, retry=ONCE)).complete("hi"), return_exceptions=True
        )
        assert bench.spent("day") == (0, 0)
        state = bench.book.state(DAY)
        assert state.possible_usd == Decimal("0.11")
        assert state.remaining_usd == DAY.limit_usd - Decimal("0.11")
        assert bench.ledger.totals.total().possible_usd == Decimal("0.11")
        bench.clock.advance(86_400)
        assert bench.book.state(DAY).possible_usd == 0

    async def test_without_a_budget_the_summary_knows_it_as_well(self) -> None:
        bench, one = Bench(), Scripted("one", RequestTimeoutError())
        with pytest.raises(RequestTimeoutError):
            await bench.route(bench.target(one, retry=ONCE)).complete("hi")
        assert bench.ledger.totals.total().possible_usd == Decimal("0.11")

    async def test_a_call_goes_on_to_a_cheaper_target_that_fits(self) -> None:
        bench = Bench(budgets=(replace(DAY, limit_usd=Decimal("0.05")),))
        cheap = bench.target(Scripted("two"), defaults=Defaults(max_tokens=10))
        response = await bench.route(Scripted(), cheap).complete("hi")
        assert [(each.provider, each.error) for each in response.attempts] == [
            ("one", "BudgetExceededError"),
            ("two", None),
        ]

    async def test_closing_releases_everything_though_a_step_raises(self) -> None:
        bench = Bench(budgets=(DAY,))
        limiter = RateLimiter(concurrency=1, clock=bench.clock)
        odd = answer(usage=replace(USED, output_tokens=cast("Any", "many")))
        one = Scripted("one", odd, "yes")
        target = bench.target(one, limiters=(limiter,))
        await asyncio.gather(bench.route(target).complete("hi"), return_exceptions=True)
        assert bench.spent("day")[1] == 0
        assert (await bench.route(target).complete("hi")).content == "yes"
        assert [each.outcome for each in bench.ledger.completed] == ["interrupted", "ok"]

    async def test_a_call_that_cannot_fit_is_refused_and_not_recorded(self) -> None:
        bench = Bench(budgets=(replace(DAY, limit_usd=Decimal("0.1")),))
        one = Scripted()
        with pytest.raises(BudgetExceededError) as caught:
            await bench.route(one).complete("hi")
        assert caught.value.worst_case_usd == Decimal("0.11")
        assert one.sent == []
        assert bench.ledger.opened == []

    async def test_a_budget_of_a_provider_passes_to_the_next_target(self) -> None:
        full = Budget("one", Decimal(0), match=CallFilter(provider="one"))
        bench, one = Bench(budgets=(full,)), Scripted()
        response = await bench.route(one, Scripted("two")).complete("hi")
        assert [(each.outcome, each.error) for each in response.attempts] == [
            ("skipped", "BudgetExceededError"),
            ("ok", None),
        ]

    async def test_a_budget_of_a_model_passes_to_the_next_target(self) -> None:
        full = Budget("m", Decimal(0), match=CallFilter(model="m"))
        bench = Bench(budgets=(full,))
        route = bench.route(Scripted(), bench.target(Scripted("two"), "n"))
        assert (await route.complete("hi")).provider == "two"

    @pytest.mark.parametrize(
        "match", [CallFilter(), CallFilter(agent="planner"), CallFilter(labels={"run": "r1"})]
    )
    async def test_any_other_budget_ends_the_call(self, match: CallFilter) -> None:
        bench = Bench(budgets=(Budget("full", Decimal(0), match=match),))
        two = Scripted("two")
        with scope(run="r1"), pytest.raises(BudgetExceededError):
            await bench.route(Scripted(), two, agent="planner").complete("hi")
        assert two.sent == []

    async def test_a_refused_call_gives_its_turn_back(self) -> None:
        bench = Bench(budgets=(replace(DAY, limit_usd=Decimal(0)),))
        limiter = RateLimiter(
            concurrency=1, requests_per_minute=1, tokens_per_minute=1000, clock=bench.clock
        )
        target = bench.target(Scripted(), limiters=(limiter,))
        with pytest.raises(BudgetExceededError):
            await bench.route(target).complete("hi")
        assert limiter.wait_s(1000) == 0
        await asyncio.wait_for(limiter.acquire(0), 1)

    async def test_a_call_waits_for_room_within_its_deadline(self) -> None:
        bench = Bench(budgets=(replace(DAY, limit_usd=Decimal("0.2")),))
        one = Scripted("one", [TextDelta("a"), HANG])
        stream = bench.route(one).stream("hi")
        await anext(stream)
        waiting = asyncio.create_task(bench.route(Scripted("two")).complete("hi"))
        await idle()
        assert not waiting.done()
        await stream.aclose()
        assert (await waiting).provider == "two"

    async def test_a_dropped_stream_is_settled_for_what_had_come(self) -> None:
        bench = Bench(budgets=(DAY,))
        stream = bench.route(Scripted("one", [TextDelta("one two "), HANG])).stream("hi")
        await anext(stream)
        del stream
        gc.collect()
        assert bench.spent("day") == (Decimal("0.010"), 0)

    async def test_a_stream_closed_after_the_provider_reported_usage_costs_that(self) -> None:
        bench = Bench(budgets=(DAY,))
        head = [UsageUpdate(Usage(40, 1)), TextDelta("one"), HANG]
        stream = bench.route(Scripted("one", head)).stream("hi")
        await anext(stream)
        await stream.aclose()
        assert bench.spent("day") == (Decimal("0.041"), 0)


class TestDeadline:
    @in_virtual_time
    async def test_the_call_ends_in_time(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        with pytest.raises(RequestTimeoutError) as caught:
            await bench.route(one).complete("hi", timeout_s=0.01)
        assert str(caught.value) == "one/m: no answer within 0.01 s"
        assert bench.ledger.outcomes == [("one", "failed", "RequestTimeoutError")]

    @in_virtual_time
    async def test_it_is_a_timeout_error(self) -> None:
        with pytest.raises(TimeoutError):
            await Bench().route(Scripted("one", HANG)).complete("hi", timeout_s=0.01)

    @pytest.mark.parametrize(
        ("given", "defaults", "status"),
        [
            ({"timeout_s": 0.01}, Defaults(), "unknown"),
            ({}, Defaults(timeout_s=0.01), "unavailable"),
            ({"timeout_s": 5}, Defaults(attempt_timeout_s=0.01), "unavailable"),
        ],
        ids=["the caller's", "configured", "an attempt's"],
    )
    @in_virtual_time
    async def test_a_callers_own_impatience_says_nothing_about_the_provider(
        self, given: dict[str, float], defaults: Defaults, status: str
    ) -> None:
        bench = Bench()
        target = bench.target(Scripted("one", HANG), defaults=defaults)
        for _ in range(5):
            with pytest.raises(RequestTimeoutError):
                await bench.route(target).complete("hi", max_attempts=1, **given)
        assert bench.runtime.health.stats("one").status == status

    @pytest.mark.parametrize(
        ("given", "defaults", "status"),
        [
            ({"timeout_s": 0.01}, Defaults(), ("unknown", "closed")),
            ({}, Defaults(timeout_s=0.01), ("unavailable", "open")),
            ({"timeout_s": 5}, Defaults(provider_timeout_s=0.01), ("unavailable", "open")),
            ({}, Defaults(stream_timeout_s=0.01), ("unknown", "closed")),
        ],
        ids=["the caller's", "configured", "the provider's", "the whole stream's"],
    )
    @in_virtual_time
    async def test_nor_does_it_where_a_stream_falls_silent(
        self, given: dict[str, float], defaults: Defaults, status: tuple[str, str]
    ) -> None:
        bench = Bench()
        target = bench.target(Scripted("one", [TextDelta("a"), HANG]), defaults=defaults)
        for _ in range(5):
            with pytest.raises(StreamInterruptedError):
                await read(bench.route(target).stream("hi", **given))
        found = bench.runtime.health.stats("one").status, bench.runtime.breaker(target).state
        assert found == status

    @in_virtual_time
    async def test_zero_is_no_time_at_all(self) -> None:
        with pytest.raises(RequestTimeoutError):
            await Bench().route(Scripted("one", HANG)).complete("hi", timeout_s=0)

    @in_virtual_time
    async def test_the_target_configures_it(self) -> None:
        bench = Bench()
        target = bench.target(Scripted("one", HANG), defaults=Defaults(timeout_s=0.01))
        with pytest.raises(RequestTimeoutError):
            await bench.route(target).complete("hi")

    @pytest.mark.parametrize("own", [{"provider_timeout_s": 0.02}, {"attempt_timeout_s": 0.02}])
    @in_virtual_time
    async def test_a_silent_target_leaves_time_for_the_next(self, own: dict[str, float]) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        target = bench.target(one, defaults=Defaults(max_tokens=100, **own))
        assert (await bench.route(target, Scripted("two")).complete("hi")).provider == "two"
        assert bench.ledger.outcomes == [
            ("one", "failed", "RequestTimeoutError"),
            ("two", "ok", ""),
        ]

    @pytest.mark.parametrize("own", [{"first_output_timeout_s": 0.02}, {"attempt_timeout_s": 0.02}])
    @in_virtual_time
    async def test_a_silent_stream_leaves_time_for_the_next(self, own: dict[str, float]) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        target = bench.target(one, defaults=Defaults(**own))
        stream = bench.route(target, Scripted("two", "a b")).stream("hi")
        assert [each async for each in stream] == ["a", "b"]
        assert one.closed_streams == 1

    @in_virtual_time
    async def test_a_first_output_limit_is_none_of_whole_answers(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        target = bench.target(one, defaults=Defaults(first_output_timeout_s=0.01))
        with pytest.raises(AllTargetsFailedError, match=r"within 0\.1 s"):
            await bench.route(Scripted("two", AuthenticationError()), target).complete(
                "hi", timeout_s=0.1
            )

    @in_virtual_time
    async def test_the_last_target_is_tried_again_after_a_limit_of_its_attempt(self) -> None:
        bench, one = Bench(), Scripted("one", HANG, "yes")
        target = bench.target(one, defaults=Defaults(attempt_timeout_s=0.02))
        assert (await bench.route(target).complete("hi")).attempts[0].error == "RequestTimeoutError"

    @pytest.mark.parametrize(
        ("left_s", "following", "limit_s"),
        [(600.0, 0, 600.0), (600.0, 1, 300.0), (600.0, 2, 200.0), (90.0, 2, 60.0), (30.0, 1, 30.0)],
    )
    async def test_a_stream_has_a_fair_part_until_its_first_output(
        self, left_s: float, following: int, limit_s: float
    ) -> None:
        bench = Bench()
        call = call_of("hi")
        state = CallState(call, "", bench.runtime, left_s, is_stream=True)
        state.deadline = state.leave_at = bench.clock() + left_s
        target = bench.target(Scripted())
        attempt = state.next_attempt(target, call.request(target.defaults, model="m"))
        assert state.limit_s(attempt, following) == limit_s
        state.is_stream = False
        assert state.limit_s(attempt, following) == left_s

    @in_virtual_time
    async def test_it_covers_all_targets(self) -> None:
        bench, two = Bench(), Scripted("two", HANG)
        with pytest.raises(AllTargetsFailedError) as caught:
            await bench.route(Scripted("one", AuthenticationError()), two).complete(
                "hi", timeout_s=0.01
            )
        assert [type(error) for error in caught.value.errors] == [
            AuthenticationError,
            RequestTimeoutError,
        ]
        assert bench.ledger.outcomes == [
            ("one", "failed", "AuthenticationError"),
            ("two", "failed", "RequestTimeoutError"),
        ]

    async def test_a_providers_own_timeout_is_not_the_deadline(self) -> None:
        bench, one = Bench(), Scripted("one", RequestTimeoutError("the provider's"), "yes")
        assert (await bench.route(one).complete("hi")).content == "yes"

    async def test_after_it_no_other_target_is_tried(self) -> None:
        class Late(Scripted):
            async def send(self, request: Any) -> Any:
                bench.clock.advance(10)
                return await super().send(request)

        bench, two = Bench(), Scripted("two")
        with pytest.raises(AuthenticationError):
            await bench.route(Late("one", AuthenticationError()), two).complete("hi", timeout_s=10)
        assert two.sent == []

    @in_virtual_time
    async def test_while_waiting_for_the_next_attempt(self) -> None:
        bench, one = Bench(), Scripted("one", ServerError())
        bench.runtime.sleep = asyncio.sleep
        target = bench.target(one, retry=RetryPolicy(2, 0.03, 0.03))
        bench.chance = 1.0
        with pytest.raises(RequestTimeoutError):
            await bench.route(target).complete("hi", timeout_s=0.031, max_attempts=9)
        assert set(bench.ledger.outcomes) == {("one", "failed", "ServerError")}

    @in_virtual_time
    async def test_while_waiting_for_a_turn(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        limiter = RateLimiter(concurrency=1)
        await limiter.acquire(0)
        target = bench.target(one, limiters=(limiter,))
        with pytest.raises((RequestTimeoutError, RateLimitError)):
            await bench.route(target).complete("hi", timeout_s=0.01)
        assert bench.ledger.opened == []

    async def test_a_call_that_a_limit_held_up_says_so(self) -> None:
        bench = Bench(budgets=(DAY,))
        limiter = RateLimiter(concurrency=1)
        await limiter.acquire(0)
        target = bench.target(Scripted("one", HANG), limiters=(limiter,))
        state = CallState(Call(messages=()), "", bench.runtime, 2.0)
        state.next_attempt(target, CompletionRequest(messages=(), model="m"))
        assert str(state.timed_out(target)) == (
            "one/m: no turn at the rate limits and budgets within 2 s"
        )

    @in_virtual_time
    async def test_a_call_that_the_ledger_held_up_says_so(self) -> None:
        class Stuck(RecordingLedger):
            async def open(self, record: Record) -> None:
                await asyncio.Event().wait()

        bench = Bench(ledger=Stuck())
        with pytest.raises(RequestTimeoutError, match=r"no turn at the ledger within 0\.01 s"):
            await bench.route(Scripted("one")).complete("hi", timeout_s=0.01)

    @in_virtual_time
    async def test_of_a_stream_it_ends_with_the_first_output(self) -> None:
        async def slow() -> str:
            text = await anext(stream)
            await asyncio.sleep(0.03)
            return text + await anext(stream)

        stream = Bench().route(Scripted("one", "a b")).stream("hi", timeout_s=0.02)
        assert await slow() == "ab"

    @in_virtual_time
    async def test_a_stream_without_output_is_closed_in_time(self) -> None:
        bench, one = Bench(), Scripted("one", [UsageUpdate(Usage(5, 0)), HANG])
        with pytest.raises(RequestTimeoutError):
            await read(bench.route(one).stream("hi", timeout_s=0.01))
        assert one.closed_streams == 1
        assert bench.ledger.outcomes == [("one", "failed", "RequestTimeoutError")]
        assert bench.ledger.completed[0].usage == Usage(5, 0)

    @in_virtual_time
    async def test_an_answer_that_comes_with_the_deadline_is_booked_once(self) -> None:
        class Swallowing(Scripted):
            async def send(self, request: Any) -> Any:
                try:
                    return await super().send(request)
                except asyncio.CancelledError:
                    return answer()

        bench = Bench()
        response = await bench.route(Swallowing("one", HANG)).complete("hi", timeout_s=0.01)
        assert response.content == "yes"
        assert bench.ledger.outcomes == [("one", "ok", "")]


class TestCancellation:
    async def test_a_cancelled_call_is_recorded_and_stays_cancelled(self) -> None:
        bench, one = Bench(budgets=(DAY,)), Scripted("one", HANG)
        await cancelled(bench.route(one).complete("hi"), one)
        assert bench.ledger.outcomes == [("one", "cancelled", "")]
        assert bench.spent("day") == (0, 0)
        assert bench.book.state(DAY).possible_usd == Decimal("0.11")

    async def test_a_call_cancelled_before_it_began_records_nothing(self) -> None:
        bench = Bench()
        call = asyncio.create_task(bench.route(Scripted()).complete("hi"))
        await gathered_cancelled([call])
        assert bench.ledger.opened == []

    async def test_a_call_cancelled_while_it_waits_to_retry_records_what_was_sent(self) -> None:
        bench, one = Bench(), Scripted("one", ServerError())
        bench.runtime.sleep = bench.clock.sleep
        call = asyncio.create_task(bench.route(one).complete("hi"))
        await idle()
        await gathered_cancelled([call])
        assert bench.ledger.outcomes == [("one", "failed", "ServerError")]

    async def test_a_call_cancelled_while_its_record_opens_is_the_ledgers_to_record(self) -> None:
        bench = Bench(ledger=SlowLedger(), budgets=(DAY,))
        one = Scripted()
        call = asyncio.create_task(bench.route(one).complete("hi"))
        await idle()
        await gathered_cancelled([call])
        assert bench.ledger.outcomes == [("one", "cancelled", "")]
        assert bench.ledger.totals.total().attempts == 1
        assert bench.spent("day") == (0, 0)
        assert one.sent == []

    async def test_a_ledger_that_cannot_open_ends_the_call_unsent(self) -> None:
        bench, one = Bench(ledger=FullLedger(), budgets=(DAY,)), Scripted()
        with pytest.raises(LedgerError):
            await bench.route(one, Scripted("two")).complete("hi")
        assert one.sent == []
        assert bench.ledger.completed == []
        assert bench.spent("day") == (0, 0)

    async def test_a_stream_cancelled_before_its_first_output(self) -> None:
        bench, one = Bench(), Scripted("one", HANG)
        await cancelled(read(bench.route(one).stream("hi")), one)
        assert bench.ledger.outcomes == [("one", "cancelled", "")]
        assert one.closed_streams == 1

    async def test_a_stream_cancelled_in_the_middle(self) -> None:
        bench, one = Bench(), Scripted("one", [TextDelta("one two "), HANG])
        await cancelled(read(bench.route(one).stream("hi")), one)
        assert bench.ledger.outcomes == [("one", "cancelled", "")]
        assert bench.ledger.completed[0].usage == Usage(8, 2, source="estimated")
        assert one.closed_streams == 1

    async def test_a_stream_closed_early(self) -> None:
        bench, one = Bench(), Scripted("one", "a b c")
        async with bench.route(one).stream("hi") as stream:
            await anext(stream)
        assert bench.ledger.outcomes == [("one", "cancelled", "")]
        assert one.closed_streams == 1

    async def test_a_stream_that_is_dropped_is_recorded_at_once_and_closed_soon(self) -> None:
        bench, one = Bench(), Scripted("one", "a b c")
        stream = bench.route(one).stream("hi")
        await anext(stream)
        del stream
        assert bench.ledger.outcomes == [("one", "cancelled", "")]
        await idle()
        assert one.closed_streams == 1

    async def test_a_stream_that_was_never_read_sends_and_records_nothing(self) -> None:
        bench, one = Bench(), Scripted()
        async with bench.route(one).stream("hi"):
            pass
        assert one.sent == []
        assert bench.ledger.opened == []

    async def test_closing_after_the_end_changes_nothing(self) -> None:
        bench = Bench()
        stream = bench.route(Scripted("one", "a b")).stream("hi")
        await read(stream)
        await stream.aclose()
        await stream.aclose()
        assert bench.ledger.outcomes == [("one", "ok", "")]

    async def test_thinking_and_arguments_count_as_used(self) -> None:
        bench = Bench()
        pieces = [ThinkingDelta("one two "), ToolCallDelta(0, "1", "t", '{"three": 4}'), HANG]
        stream = bench.route(Scripted("one", pieces)).stream("hi").events()
        await anext(stream)
        await anext(stream)
        await stream.aclose()
        del stream
        assert bench.ledger.completed[0].usage.output_tokens == 7
        assert bench.ledger.completed[0].usage.source == "estimated"


class TestCutStreams:
    async def test_a_cut_is_recorded_with_what_had_come(self) -> None:
        bench = Bench()
        cut = StreamInterruptedError()
        cut.usage = Usage(30, 1)
        one = Scripted("one", [TextDelta("one "), TextDelta("two three"), cut])
        with pytest.raises(StreamInterruptedError):
            await read(bench.route(one).stream("hi"))
        assert bench.ledger.outcomes == [("one", "interrupted", "StreamInterruptedError")]
        assert bench.ledger.completed[0].usage == Usage(30, 3, source="estimated")

    async def test_a_stream_without_its_end_is_a_cut(self) -> None:
        bench, one = Bench(), Scripted("one", [TextDelta("a")])
        with pytest.raises(StreamInterruptedError):
            await read(bench.route(one).stream("hi"))
        assert bench.ledger.outcomes == [("one", "interrupted", "StreamInterruptedError")]

    async def test_a_stream_of_nothing_is_a_cut_that_may_be_tried_again(self) -> None:
        bench, one = Bench(), Scripted("one", [], "a")
        assert await read(bench.route(one).stream("hi")) == "a"
        assert bench.ledger.outcomes[0] == ("one", "interrupted", "StreamInterruptedError")

    async def test_an_error_of_nobodys_is_recorded_too(self) -> None:
        bench, one = Bench(), Scripted("one", ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await bench.route(one, Scripted("two")).complete("hi")
        assert bench.ledger.outcomes == [("one", "failed", "ZeroDivisionError")]

    async def test_a_stream_may_end_with_the_first_event(self) -> None:
        bench, one = Bench(), Scripted("one", [StreamEnd(answer(""))])
        assert await read(bench.route(one).stream("hi")) == ""
        assert bench.ledger.outcomes == [("one", "ok", "")]


class TestFace:
    async def test_an_agents_usage_is_its_own(self) -> None:
        bench = Bench()
        planner, coder = (bench.route(Scripted(), agent=name) for name in ("planner", "coder"))
        await planner.complete("hi")
        await coder.complete("hi")
        await coder.complete("hi")
        assert (planner.get_usage().call_count, coder.get_usage().call_count) == (1, 2)
        coder.reset_usage()
        assert (planner.get_usage().call_count, coder.get_usage().call_count) == (1, 0)

    async def test_its_repr_names_the_chain(self) -> None:
        route = Bench().route(Scripted(), Scripted("two"), agent="planner")
        assert repr(route) == "<Route planner: one/m, two/m>"

    async def test_it_is_as_able_as_its_first_target(self) -> None:
        bench = Bench()
        route = bench.route(bench.target(Scripted(), "claude-3-opus-20240229"))
        assert route.supports_thinking() is False
        assert route.supports_tools() is True
        assert route.provider_type == "scripted"
        assert await route.list_models() is None


class SlowLedger(RecordingLedger):
    """A ledger whose opening takes for ever; it records what is cancelled meanwhile itself."""

    async def open(self, record: Record) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.complete(replace(record, outcome="cancelled"))
            raise


class FullLedger(RecordingLedger):
    """A ledger that cannot record anything."""

    async def open(self, record: Record) -> None:
        raise LedgerError("the disk is full")


def slow_limiter(bench: Bench) -> RateLimiter:
    return RateLimiter(requests_per_minute=1, clock=bench.clock, call_later=bench.clock.call_later)


def open_circuit(bench: Bench, target: Any) -> None:
    breaker = bench.runtime.breaker(target)
    for _ in range(5):
        permit = breaker.admit()
        assert permit is not None
        permit.failed()


async def cancelled(call: Any, provider: Scripted) -> None:
    """Run a call until its provider hangs, and cancel it there."""
    provider.is_hanging.clear()
    task = asyncio.ensure_future(call)
    await provider.is_hanging.wait()
    await gathered_cancelled([task])


async def gathered_cancelled(tasks: list[Any]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, (asyncio.CancelledError, CircuitOpenError))
