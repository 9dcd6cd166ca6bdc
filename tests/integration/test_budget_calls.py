"""Budgets over real calls: what is refused, what waits, what is booked, what is told.

A token costs a ten-thousandth of a dollar here, in and out. "hi" is taken for 8 tokens, so a
call of the agent, whose answers have 100 at most, costs 0.011 USD at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestify import (
    AllTargetsFailedError,
    APIError,
    BudgetExceededError,
    ProviderRegistry,
    RequestTimeoutError,
    Usage,
    scope,
)
from orchestify.events.events import BudgetThreshold, FallbackTaken, TargetSkipped
from orchestify.policy.budget import BudgetState
from orchestify.testing import Reply, StubServer
from tests.ledgers import until
from tests.registries import registry_on

PRICE = {"input_usd_per_mtok": 100, "output_usd_per_mtok": 100}
AGENTS = {"it": {"provider": "a", "max_tokens": 100}, "other": {"provider": "a"}}
USED = Usage(10, 40)
COST = Decimal("0.005")


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


def budgeted(server: StubServer, *budgets: dict[str, Any], **top: Any) -> ProviderRegistry:
    """A priced provider `a`, a free one `b`, and agents."""
    providers: dict[str, dict[str, Any]] = {"a": {"price": PRICE}, "b": {}, "unpriced": {}}
    providers["b"]["price"] = {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0}
    filled = [{"period": "day", **budget} for budget in budgets]
    return registry_on(server, providers, top.pop("agents", AGENTS), budgets=filled, **top)


def state(registry: ProviderRegistry, name: str) -> BudgetState:
    """How a budget stands."""
    runtime = registry._runtime
    return runtime.book.state(next(each for each in runtime.budgets if each.name == name))


async def test_a_call_over_the_limit_is_refused_unsent_and_says_all(server: StubServer) -> None:
    before = datetime.now(UTC)
    async with budgeted(server, {"name": "day", "limit_usd": 0.012}) as registry:
        server.script(Reply(usage=USED))
        agent = registry.get_for_agent("it")
        assert (await agent.complete("hi")).cost_usd == COST
        with pytest.raises(BudgetExceededError) as caught:
            await agent.complete("hi")
        summary = registry.get_usage_summary()["total"]
    error = caught.value
    assert error.budget == "day"
    assert error.remaining_usd == Decimal("0.007")
    assert error.worst_case_usd == Decimal("0.011")
    assert error.period_ends_at is not None
    assert timedelta(0) < error.period_ends_at - before <= timedelta(days=1)
    assert str(error).startswith("budget day: 0.007 of 0.012 USD left, the call may cost 0.011; ")
    assert server.account.received == 1
    assert (summary["attempts"], summary["cost_usd"]) == (1, 0.005)


async def test_calls_wait_for_holds_and_all_get_their_turn(server: StubServer) -> None:
    server.respond = lambda _: Reply(usage=USED, delay_s=0.01)
    async with budgeted(server, {"name": "day", "limit_usd": 0.065}) as registry:
        agent = registry.get_for_agent("it")
        calls = [agent.complete("hi", timeout_s=10) for _ in range(20)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        found = state(registry, "day")
    answered = [end for end in ends if not isinstance(end, BaseException)]
    refused = [end for end in ends if isinstance(end, BudgetExceededError)]
    assert len(answered) + len(refused) == 20
    assert found.spent_usd == COST * len(answered) == COST * server.account.received
    assert found.held_usd == 0
    assert found.spent_usd <= Decimal("0.065")
    assert Decimal("0.065") - found.spent_usd < Decimal("0.011")  # one call's worst case
    assert found.overrun_usd == 0


async def test_a_call_that_waits_for_room_is_refused_at_its_deadline(server: StubServer) -> None:
    server.script(Reply(usage=USED, slow_headers_s=3))
    async with budgeted(server, {"name": "day", "limit_usd": 0.02}) as registry:
        agent = registry.get_for_agent("it")
        first = asyncio.create_task(agent.complete("hi"))
        await until(lambda: server.account.received == 1)
        with pytest.raises(RequestTimeoutError, match=r"no turn at the budgets within 0\.5 s"):
            await agent.complete("hi", timeout_s=0.5)
        await first
    assert server.account.received == 1


async def test_a_budget_that_warns_refuses_nothing_and_tells_once(server: StubServer) -> None:
    server.respond = lambda _: Reply(usage=USED)
    told: list[BudgetThreshold] = []
    budget = {"name": "day", "limit_usd": 0.01, "mode": "warn", "alert_at": [0.5]}
    async with budgeted(server, budget) as registry:
        registry.on(told.append, BudgetThreshold)
        for _ in range(4):
            await registry.get_for_agent("it").complete("hi")
    assert [(each.budget, each.share, each.spent_usd) for each in told] == [
        ("day", 0.5, COST),
        ("day", 1.0, 2 * COST),
    ]


async def test_the_alert_of_a_days_cost_is_told(server: StubServer) -> None:
    server.respond = lambda _: Reply(usage=USED)
    told: list[BudgetThreshold] = []
    async with budgeted(server, alerts={"daily_cost_usd": 0.01}) as registry:
        registry.on(told.append, BudgetThreshold)
        for _ in range(3):
            await registry.get_for_agent("it").complete("hi")
        await registry.get("unpriced").complete("hi")
    assert told == [BudgetThreshold("alerts.daily_cost_usd", 1.0, 2 * COST, Decimal("0.01"))]


async def test_a_provider_that_bills_more_than_the_worst_case_is_booked_in_full(
    server: StubServer,
) -> None:
    server.script(Reply(usage=Usage(10, 1000)))
    async with budgeted(server, {"name": "day", "limit_usd": 0.02}) as registry:
        agent = registry.get_for_agent("it")
        response = await agent.complete("hi")
        found = state(registry, "day")
        with pytest.raises(BudgetExceededError) as caught:
            await agent.complete("hi")
    assert response.cost_usd == found.spent_usd == Decimal("0.101")
    assert found.overrun_usd == Decimal("0.090")
    assert caught.value.remaining_usd == 0


@pytest.mark.parametrize(
    ("said", "passes"), [({}, False), ({"on_unpriced": "warn"}, True), ({"mode": "warn"}, True)]
)
async def test_a_call_without_a_known_price(
    server: StubServer, caplog: pytest.LogCaptureFixture, said: dict[str, str], passes: bool
) -> None:
    async with budgeted(server, {"name": "day", "limit_usd": 1, **said}) as registry:
        calls = [registry.get("unpriced").complete("hi") for _ in range(2)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, BudgetExceededError)]
    assert server.account.received == (2 if passes else 0)
    assert len(refused) == (0 if passes else 2)
    assert caplog.text.count("budget day: calls without a known price pass") == int(passes)


async def test_an_explicit_zero_is_free(server: StubServer) -> None:
    async with budgeted(server, {"name": "day", "limit_usd": 0.000001}) as registry:
        response = await registry.get("b").complete("hi")
        assert (response.cost_usd, state(registry, "day").spent_usd) == (0, 0)


@pytest.mark.parametrize("match", [{"provider": "a"}, {"model": "a"}])
async def test_a_budget_of_a_target_passes_to_the_next(
    server: StubServer, match: dict[str, str]
) -> None:
    told: list[object] = []
    agents = {"it": {"provider": "a", "max_tokens": 100, "fallback": ["b"]}}
    budget = {"name": "small", "limit_usd": 0.001, "match": match}
    async with budgeted(server, budget, agents=agents) as registry:
        registry.on(told.append, TargetSkipped, FallbackTaken)
        response = await registry.get_for_agent("it").complete("hi")
    assert response.provider == "b"
    assert [(each.provider, each.outcome, each.error) for each in response.attempts] == [
        ("a", "skipped", "BudgetExceededError"),
        ("b", "ok", None),
    ]
    assert told == [TargetSkipped("it", "a", "a", "BudgetExceededError")]


@pytest.mark.parametrize("match", [{}, {"agent": "it"}])
async def test_any_other_budget_goes_on_to_a_cheaper_target(
    server: StubServer, match: dict[str, str]
) -> None:
    agents = {"it": {"provider": "a", "max_tokens": 100, "fallback": ["b"]}}
    budget = {"name": "small", "limit_usd": 0.001, "match": match}
    async with budgeted(server, budget, agents=agents) as registry:
        response = await registry.get_for_agent("it").complete("hi")
    assert response.provider == "b"
    assert server.account.received == 1


async def test_the_final_error_names_the_budget(server: StubServer) -> None:
    agents = {"it": {"provider": "a", "max_tokens": 100, "fallback": ["b"]}}
    budget = {"name": "small", "limit_usd": 0.001, "match": {"provider": "a"}}
    server.script(Reply(status=401, error="who are you"), model="b")
    async with budgeted(server, budget, agents=agents) as registry:
        with pytest.raises(AllTargetsFailedError) as caught:
            await registry.get_for_agent("it").complete("hi")
    first, second = str(caught.value).splitlines()[1:]
    assert first.startswith("a/a: BudgetExceededError: budget small: 0.001 of 0.001 USD left, ")
    assert second == "b/b: AuthenticationError: who are you"


async def test_a_budget_of_a_label_counts_what_has_it(server: StubServer) -> None:
    server.respond = lambda _: Reply(usage=USED)
    budget = {"name": "run", "limit_usd": 0.012, "match": {"label": {"run": "r1"}}}
    async with budgeted(server, budget) as registry:
        agent = registry.get_for_agent("it")
        await agent.complete("hi")
        with scope(run="r1"):
            await agent.complete("hi")
            with pytest.raises(BudgetExceededError):
                await agent.complete("hi")
        with scope(run="r2"):
            await agent.complete("hi")
        assert state(registry, "run").spent_usd == COST


async def test_every_end_of_a_call_frees_its_hold(server: StubServer) -> None:
    server.script(
        Reply(status=400),
        Reply(reset=True),
        Reply(status=503),
        Reply(words=9, cut_after=4),
        Reply(words=9, chunk_delay_s=0.05),
        Reply(words=9, chunk_delay_s=0.05),
        Reply(slow_headers_s=30),
    )
    async with budgeted(server, {"name": "day", "limit_usd": 1}) as registry:
        agent = registry.get_for_agent("it")
        for _ in range(3):
            await asyncio.gather(agent.complete("hi", max_attempts=1), return_exceptions=True)
        await asyncio.gather(drained(agent.stream("hi")), return_exceptions=True)
        closed = agent.stream("hi")
        await anext(closed)
        await closed.aclose()
        dropped = agent.stream("hi")
        await anext(dropped)
        del dropped
        waiting = asyncio.create_task(agent.complete("hi"))
        await until(lambda: server.account.received == 7)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert state(registry, "day").held_usd == 0
    await server.wait_idle()
    assert server.account.received == 7


async def drained(stream: AsyncIterator[str]) -> list[str]:
    """Read to the end."""
    return [piece async for piece in stream]


async def test_what_was_possibly_billed_is_told_alike_wherever_it_is_told(
    server: StubServer,
) -> None:
    async with budgeted(
        server, {"name": "day", "limit_usd": 1}, retry={"max_attempts": 1}
    ) as registry:
        server.script(Reply(status=504))
        with pytest.raises(APIError):
            await registry.get_for_agent("it").complete("hi")
        report = await registry.usage(("provider",))
        (explained,) = registry.explain("it").budgets
        (known,) = registry.budgets()
        summed = registry.get_usage_summary()["total"]["possible_usd"]
    told = (report.total.possible_usd, explained.possible_usd, known.possible_usd)
    assert told == (Decimal("0.011"),) * 3
    assert summed == 0.011
