"""Stepping down: from a share of a budget on, calls go to cheaper targets first.

A token costs a ten-thousandth of a dollar at `a`, a hundredth of that at `b`, in and out. A call
uses 50 tokens: 0.005 USD at `a`. With "hi" and 100 tokens of output it may cost 0.011 USD there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestify import (
    BudgetExceededError,
    BudgetSteppedDown,
    InvalidParameterError,
    ProviderRegistry,
    RunBudget,
    StepDown,
    Usage,
    scope,
)
from orchestify.testing import Reply, StubServer
from tests.ledgers import until
from tests.registries import registry_on

DEAR = {"input_usd_per_mtok": 100, "output_usd_per_mtok": 100}
CHEAP = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}
FREE = {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0}
AGENTS = {
    "it": {"provider": "a", "max_tokens": 100},
    "frugal": {"provider": "c", "max_tokens": 7},
}


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        server.respond = lambda _: Reply(usage=Usage(10, 40))
        yield server


def stepping(server: StubServer, *steps: dict[str, Any], **more: Any) -> ProviderRegistry:
    """A dear provider `a`, a cheap one `b`, a free one `c`, and a budget with steps."""
    providers: dict[str, dict[str, Any]] = {
        "a": {"price": DEAR},
        "b": {"price": CHEAP},
        "c": {"price": FREE},
    }
    ledger = more.pop("ledger", {})
    budget = {"name": "run", "per": "label:run", "limit_usd": 0.02, "step_down": steps, **more}
    return registry_on(server, providers, AGENTS, budgets=[budget], ledger=ledger)


def models_sent(server: StubServer) -> list[str]:
    return [each.model for each in server.requests]


TO_B = {"at": 0.5, "provider": "b", "model": "small"}
TO_FRUGAL = {"at": 0.9, "agent": "frugal"}


@pytest.mark.parametrize("is_stored", [False, True])
async def test_calls_go_to_the_steps_target_from_its_share_on(
    server: StubServer, tmp_path: Path, is_stored: bool
) -> None:
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"} if is_stored else {}
    told: list[BudgetSteppedDown] = []
    async with stepping(server, TO_B, ledger=ledger, limit_usd=0.03) as registry:
        registry.on(told.append, BudgetSteppedDown)
        agent = registry.get_for_agent("it")
        with scope(run="r1"):
            responses = [await agent.complete("hi") for _ in range(5)]
        with scope(run="r2"):
            await agent.complete("hi")
        await until(lambda: len(told) == 1)
    assert models_sent(server) == ["a", "a", "a", "small", "small", "a"]
    assert [each.warnings for each in responses] == [(), (), (), *[("stepped_down:run",)] * 2]
    assert [(each.provider, each.outcome, each.error) for each in responses[3].attempts] == [
        ("a", "skipped", "StepDue"),
        ("b", "ok", None),
    ]
    assert told == [BudgetSteppedDown("run", 0.5, "it", "a", "a", "b", "small", "r1")]


async def test_an_agents_targets_come_with_its_own_parameters(server: StubServer) -> None:
    async with stepping(server, {**TO_FRUGAL, "at": 0.25}) as registry:
        with scope(run="r1"):
            await registry.get_for_agent("it").complete("hi")
            await registry.get_for_agent("it").complete("hi")
        by_agent = registry.get_usage_summary()["by_agent"]
    assert [(each.model, each.body["max_tokens"]) for each in server.requests] == [
        ("a", 100),
        ("c", 7),
    ]
    assert {name: row["calls"] for name, row in by_agent.items()} == {"it": 2}


async def test_the_last_step_that_is_due_is_taken(server: StubServer) -> None:
    server.respond = lambda _: Reply(usage=Usage(10, 180))
    async with stepping(server, TO_B, TO_FRUGAL) as registry:
        with scope(run="r1"):
            await registry.get_for_agent("it").complete("hi")
            await registry.get_for_agent("it").complete("hi")
    assert models_sent(server) == ["a", "c"]


async def test_before_a_refusal_the_steps_that_fit_are_taken(server: StubServer) -> None:
    async with stepping(server, TO_B, TO_FRUGAL, limit_usd=0.01) as registry:
        with scope(run="r1"):
            response = await registry.get_for_agent("it").complete("hi")
    assert models_sent(server) == ["small"]
    assert [(each.provider, each.outcome, each.error) for each in response.attempts] == [
        ("a", "skipped", "BudgetExceededError"),
        ("b", "ok", None),
    ]
    assert response.warnings == ("stepped_down:run",)


async def test_where_no_step_fits_either_the_call_is_refused(server: StubServer) -> None:
    async with stepping(server, TO_B, limit_usd=0.00001) as registry:
        with scope(run="r1"), pytest.raises(BudgetExceededError) as no:
            await registry.get_for_agent("it").complete("hi")
    assert no.value.budget == "run"
    assert server.account.received == 0


async def test_behind_a_step_that_fails_stands_the_agents_own_chain(server: StubServer) -> None:
    server.respond = lambda asked: (
        Reply(status=500) if asked.model == "small" else Reply(usage=Usage(10, 40))
    )
    async with stepping(server, TO_B, limit_usd=0.03) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1"):
            for _ in range(3):
                await agent.complete("hi")
            response = await agent.complete("hi", max_attempts=1)
    assert models_sent(server) == ["a", "a", "a", "small", "a"]
    assert response.warnings == ()


async def test_streams_step_down_too(server: StubServer) -> None:
    async with stepping(server, {**TO_B, "at": 0.2}) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1"):
            await agent.complete("hi")
            async with agent.stream("hi") as stream:
                assert [piece async for piece in stream]
            response = stream.response
    assert models_sent(server) == ["a", "small"]
    assert response.warnings == ("stepped_down:run",)


async def test_nothing_stays_held_where_a_call_steps_down(server: StubServer) -> None:
    async with stepping(server, {**TO_B, "at": 0.2}, TO_FRUGAL) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1"):
            await agent.complete("hi")
            await asyncio.gather(*(agent.complete("hi") for _ in range(20)))
            (state,) = registry.budgets()
    assert (state.held_usd, state.held_tokens, state.held_calls) == (0, 0, 0)
    assert state.spent_usd == Decimal("0.005") + 20 * Decimal("0.00005")


async def test_a_scopes_budget_has_steps(server: StubServer) -> None:
    async with stepping(server) as registry:
        steps = (StepDown(0.5, agent="frugal"), StepDown(0.3, provider="b"))
        with scope(run="r1", budget=RunBudget(usd=0.016, step_down=steps)):
            for _ in range(2):
                await registry.get_for_agent("it").complete("hi")
    assert models_sent(server) == ["a", "b"]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            StepDown(0.01, provider="zz"),
            "provider 'zz' is not registered; there are: a, b, c",
        ),
        (
            StepDown(0.01, agent="frugl"),
            "agent 'frugl' is not configured; there are: it, frugal",
        ),
    ],
)
async def test_a_scopes_step_to_a_name_that_is_not_there_is_refused(
    server: StubServer, step: StepDown, message: str
) -> None:
    async with stepping(server) as registry:
        with scope(run="r1", budget=RunBudget(usd=1, step_down=(step,))):
            agent = registry.get_for_agent("it")
            for call in (agent.complete, agent.embed):
                with pytest.raises(InvalidParameterError) as no:
                    await call("hi")
                assert str(no.value) == f'step_down of the budget scope {{"run": "r1"}}: {message}'
            with pytest.raises(InvalidParameterError, match="step_down"):
                agent.stream("hi")
    assert server.account.received == 0


async def test_a_scopes_step_to_what_is_off_is_left_out(server: StubServer) -> None:
    providers: dict[str, dict[str, Any]] = {"a": {"price": DEAR}, "d": {"enabled": False}}
    agents = {"late": {"provider": "a", "enabled": False}}
    steps = (StepDown(0.1, provider="d"), StepDown(0.2, agent="late"))
    async with registry_on(server, providers, agents) as registry:
        with scope(run="r1", budget=RunBudget(usd=1, step_down=steps)):
            assert (await registry.get("a").complete("hi", max_tokens=100)).provider == "a"


async def test_a_step_to_what_is_off_is_no_step(server: StubServer) -> None:
    providers: dict[str, dict[str, Any]] = {"a": {"price": DEAR}, "b": {"enabled": False}}
    budget = {"name": "day", "period": "day", "limit_usd": 1, "step_down": [{**TO_B, "at": 0.001}]}
    async with registry_on(server, providers, {"it": AGENTS["it"]}, budgets=[budget]) as registry:
        responses = [await registry.get_for_agent("it").complete("hi") for _ in range(2)]
    assert [(each.provider, each.warnings) for each in responses] == [("a", ())] * 2


@pytest.mark.parametrize(
    "given",
    [
        {"at": 0.5},
        {"at": 0.5, "agent": "a", "provider": "b"},
        {"at": 0.5, "agent": "a", "model": "m"},
        {"at": 0, "agent": "a"},
        {"at": 1.1, "agent": "a"},
    ],
)
def test_a_step_that_leads_nowhere_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="step of a budget"):
        StepDown(**given)
