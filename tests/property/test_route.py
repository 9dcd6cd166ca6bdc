"""The call path under failures at random: what must hold whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

from hypothesis import given, settings, strategies as st

from orchestify import errors
from orchestify.errors import APIError, OrchestifyError
from orchestify.policy.breaker import BreakerSettings, CircuitBreaker
from orchestify.policy.budget import Budget, CallFilter
from orchestify.policy.rate_limit import RateLimiter
from orchestify.policy.retry import RetryPolicy
from orchestify.values import CompletionRequest, LLMResponse, TextDelta, Usage, UsageUpdate
from tests.calls import HANG, Bench, Scripted, answer

FAILURES = [
    "AuthenticationError",
    "RateLimitError",
    "ContextWindowError",
    "ContentFilterError",
    "InvalidRequestError",
    "RequestTimeoutError",
    "APIConnectionError",
    "ServerError",
    "InvalidResponseError",
    "StreamInterruptedError",
]
TIMEOUT_S = 60
ATTEMPTS = 3

failures = st.builds(
    lambda name, wait_s: getattr(errors, name)(retry_after_s=wait_s),
    st.sampled_from(FAILURES),
    st.sampled_from([None, None, 0.0, 5.0, 9.0, 100.0]),
)
replies = st.sampled_from(["yes", answer("one two", None), answer("dear", Usage(10, 9000))])
pieces = st.lists(
    st.sampled_from([TextDelta("one "), UsageUpdate(Usage(5, 1)), "the end"]) | failures,
    max_size=4,
)
calls = st.tuples(
    st.sampled_from(["complete", "read", "close", "drop", "cancel"]), st.integers(0, 12)
)


def steps(hangs: bool) -> st.SearchStrategy[list[Any]]:
    one = failures | replies | pieces
    return st.lists(one | st.just(HANG) if hangs else one, min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    first=steps(hangs=True),
    second=steps(hangs=True),
    made=st.lists(calls, min_size=1, max_size=5),
    limit_usd=st.sampled_from([Decimal("0.05"), Decimal("0.3"), Decimal(100)]),
    concurrency=st.sampled_from([1, 2]),
)
def test_whatever_happens_everything_that_was_begun_is_ended_once(
    first: list[Any],
    second: list[Any],
    made: list[tuple[str, int]],
    limit_usd: Decimal,
    concurrency: int,
) -> None:
    async def run() -> None:
        bench = Bench(
            budgets=(
                Budget("all", limit_usd),
                Budget("one", limit_usd / 2, match=CallFilter(provider="one")),
            )
        )
        limiter = RateLimiter(
            concurrency=concurrency, clock=bench.clock, call_later=bench.clock.call_later
        )
        route = bench.route(
            *(
                bench.target(
                    each,
                    retry=RetryPolicy(ATTEMPTS),
                    breaker=BreakerSettings(failures=2),
                    limiters=(limiter,),
                )
                for each in (Scripted("one", *first), Scripted("two", *second))
            )
        )
        tasks = [asyncio.create_task(make(route, how, after)) for how, after in made]
        await bench.clock.run(2 * TIMEOUT_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bench.clock.run(0)

        opened = Counter(record.id for record in bench.ledger.opened)
        completed = Counter(record.id for record in bench.ledger.completed)
        assert opened == completed
        assert set(opened.values()) <= {1}
        assert bench.spent("all")[1] == 0
        assert bench.spent("one")[1] == 0
        assert limiter._running == 0
        assert len(limiter._queue) == 0
        at_most = ATTEMPTS * 2
        assert all(count <= at_most for count in sent_by_call(bench).values())
        no_probe_is_left(bench)

    finished(run())


@settings(max_examples=150, deadline=None)
@given(
    scripts=st.lists(st.lists(failures | replies, min_size=1, max_size=8), min_size=1, max_size=3),
    attempts=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_a_call_keeps_its_promises(scripts: list[list[Any]], attempts: int, seed: int) -> None:
    async def run() -> tuple[list[float], list[tuple[str, str, str]], str]:
        bench = Bench()
        bench.runtime.chance = random.Random(seed).random  # noqa: S311 - jitter
        providers = [Scripted(str(number), *script) for number, script in enumerate(scripts)]
        route = bench.route(
            *(bench.target(each, retry=RetryPolicy(attempts)) for each in providers)
        )
        (ended,) = await asyncio.gather(
            route.complete("hi", timeout_s=TIMEOUT_S), return_exceptions=True
        )
        if isinstance(ended, LLMResponse):
            told = [each for each in ended.attempts if each.outcome != "skipped"]
            assert len(told) == len(bench.ledger.completed)
        else:
            assert isinstance(ended, APIError) or len(scripts) > 1
        assert bench.clock() < TIMEOUT_S
        assert all(len(each.sent) <= attempts for each in providers)
        return bench.naps, bench.ledger.outcomes, type(ended).__name__

    assert finished(run()) == finished(run())


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(
        st.sampled_from(["yes", HANG]) | st.builds(errors.ServerError), min_size=1, max_size=6
    ),
    waves=st.integers(1, 4),
)
def test_never_two_probes_at_once(script: list[Any], waves: int) -> None:
    async def run() -> None:
        bench = Bench()
        one = Probed("one", *script)
        target = bench.target(
            one,
            retry=RetryPolicy(max_attempts=1),
            breaker=BreakerSettings(failures=1, open_s=1, max_open_s=1),
        )
        one.breaker = bench.runtime.breaker(target)
        permit = one.breaker.admit()
        assert permit is not None
        permit.failed()
        for _ in range(waves):
            bench.clock.advance(1)
            wave = [asyncio.create_task(bench.route(target).complete("hi")) for _ in range(8)]
            await bench.clock.run(0)
            for task in wave:
                task.cancel()
            await asyncio.gather(*wave, return_exceptions=True)
        assert one.most_probes == 1

    finished(run())


class Probed(Scripted):
    """Counts the calls that are there at once while the circuit is half open."""

    breaker: CircuitBreaker
    probes = most_probes = 0

    async def send(self, request: CompletionRequest) -> LLMResponse:
        if self.breaker.state != "half_open":
            return await super().send(request)
        self.probes += 1
        self.most_probes = max(self.most_probes, self.probes)
        try:
            await asyncio.sleep(0)
            return await super().send(request)
        finally:
            self.probes -= 1


async def make(route: Any, how: str, after: int) -> None:
    """Make one call, and end it in one of the ways a caller can, `after` turns later."""
    try:
        if how == "complete":
            await route.complete("hi", timeout_s=TIMEOUT_S)
        elif how == "cancel":
            call = asyncio.ensure_future(route.complete("hi", timeout_s=TIMEOUT_S))
            try:
                await turns(after)
            finally:
                call.cancel()
                await asyncio.wait([call])
                call.cancelled() or call.exception()
        else:
            await stream(route, how, after)
    except OrchestifyError:
        pass


async def stream(route: Any, how: str, after: int) -> None:
    opened = route.stream("hi", timeout_s=TIMEOUT_S)
    if how == "read":
        async for _ in opened:
            await asyncio.sleep(0)
    elif how == "drop":
        async for _ in opened.events():
            break
    else:
        reading = asyncio.ensure_future(anext(opened, None))
        try:
            await turns(after)
        finally:
            await opened.aclose()
            await asyncio.wait([reading])
            reading.cancelled() or reading.exception()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def sent_by_call(bench: Bench) -> Counter[str]:
    return Counter(record.call_id for record in bench.ledger.opened)


def no_probe_is_left(bench: Bench) -> None:
    bench.clock.advance(1000)
    assert all(breaker.allows() for breaker in bench.runtime.breakers().values())


def finished(run: Coroutine[Any, Any, Any]) -> Any:
    """Run it; nothing in it waits in real time, so ten seconds are for ever."""
    return asyncio.run(asyncio.wait_for(run, 10))
