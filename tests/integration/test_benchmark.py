"""The benchmark of `providers test`: what short streamed answers take at one provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from orchestify.providers.benchmark import benchmark
from orchestify.providers.provider_check import try_providers
from orchestify.testing import Reply, StubServer
from orchestify.values import Usage
from tests.registries import registry_on

PRICED = {"price": {"input_usd_per_mtok": 0, "output_usd_per_mtok": 1000}}
ANSWER = Reply(text="one, two, three", usage=Usage(input_tokens=5, output_tokens=10))


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        server.respond = lambda _: ANSWER
        yield server


async def test_it_streams_as_often_as_it_is_told_and_sums_up(server: StubServer) -> None:
    async with registry_on(server, {"a": PRICED}) as registry:
        found = await benchmark(registry.get("a"), 5)
        booked = registry.get_usage_summary()["total"]
    assert (found.calls, found.errors, found.output_tokens) == (5, {}, 50)
    assert (found.cost_usd, found.unpriced_calls) == (Decimal("0.05"), 0)
    assert (booked["attempts"], booked["cost_usd"]) == (5, 0.05)
    assert [each.body["stream"] for each in server.requests] == [True] * 5


async def test_its_times_are_in_order(server: StubServer) -> None:
    server.respond = lambda _: Reply(text="one two", slow_headers_s=0.02, chunk_delay_s=0.02)
    async with registry_on(server, {"a": {}}) as registry:
        found = await benchmark(registry.get("a"), 3)
    assert found.first_output_p50_s is not None
    assert found.first_output_p95_s is not None
    assert found.latency_p50_s is not None
    assert found.latency_p95_s is not None
    assert 0.02 <= found.first_output_p50_s < found.latency_p50_s <= found.latency_p95_s
    assert found.first_output_p50_s <= found.first_output_p95_s
    assert found.tokens_per_s is not None
    assert 0 < found.tokens_per_s < 10_000


async def test_one_call_is_its_own_median(server: StubServer) -> None:
    async with registry_on(server, {"a": {}}) as registry:
        found = await benchmark(registry.get("a"), 1)
    assert found.latency_p50_s == found.latency_p95_s


async def test_calls_that_fail_are_counted_by_their_class_and_not_timed(
    server: StubServer,
) -> None:
    replies = iter([Reply(status=500), ANSWER, Reply(status=429), ANSWER])
    server.respond = lambda _: next(replies)
    async with registry_on(server, {"a": {"circuit_breaker": {"failures": 100}}}) as registry:
        found = await benchmark(registry.get("a"), 4)
    assert (found.calls, found.errors) == (4, {"ServerError": 1, "RateLimitError": 1})
    assert (found.output_tokens, found.cost_usd, found.unpriced_calls) == (20, None, 2)


async def test_where_no_call_is_answered_there_are_no_times(server: StubServer) -> None:
    server.respond = lambda _: Reply(status=500)
    async with registry_on(server, {"a": {}}) as registry:
        found = await benchmark(registry.get("a"), 2)
    assert (found.latency_p50_s, found.latency_p95_s, found.tokens_per_s) == (None, None, None)
    assert found.errors == {"ServerError": 2}


async def test_a_spent_budget_ends_it(server: StubServer) -> None:
    budget = {"name": "small", "limit_usd": 0.3, "period": "ever"}  # 256 tokens are 0.256 USD
    async with registry_on(server, {"a": PRICED}, budgets=[budget]) as registry:
        found = await benchmark(registry.get("a"), 50)
    assert (found.calls, found.errors) == (6, {"BudgetExceededError": 1})


async def test_a_trial_has_one_where_it_is_asked_for(server: StubServer) -> None:
    async with registry_on(server, {"a": {}, "b": {"api_key": "wrong-key"}}) as registry:
        without, _ = await try_providers(registry)
        timed, locked = await try_providers(registry, calls=2)
    assert without.benchmark is None
    assert timed.benchmark is not None
    assert timed.benchmark.calls == 2
    assert locked.benchmark is None
