"""Budgets of runs over real calls: by a label's value, by a scope, in tokens and calls, fitted.

A token costs a ten-thousandth of a dollar here, in and out. "hi" is taken for 8 tokens, so a
call of the agent, whose answers have 100 at most, costs 0.011 USD at most: 10 tokens in, 100 out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from orchestify import (
    BudgetExceededError,
    InvalidParameterError,
    ProviderRegistry,
    RunBudget,
    StepDown,
    Usage,
    scope,
)
from orchestify.events.events import BudgetThreshold
from orchestify.testing import Reply, StubServer
from tests.ledgers import until
from tests.registries import registry_on

PRICE = {"input_usd_per_mtok": 100, "output_usd_per_mtok": 100}
FREE = {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0}
AGENTS = {"it": {"provider": "a", "max_tokens": 100}, "free": {"provider": "b", "max_tokens": 100}}
USED = Usage(10, 40)
COST = Decimal("0.005")


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        server.respond = lambda _: Reply(usage=USED)
        yield server


def budgeted(server: StubServer, *budgets: dict[str, Any], **top: Any) -> ProviderRegistry:
    """A priced provider `a`, a free one `b`, one without a price, and agents."""
    providers: dict[str, dict[str, Any]] = {
        "a": {"price": PRICE},
        "b": {"price": FREE},
        "unpriced": {},
    }
    return registry_on(server, providers, AGENTS, budgets=list(budgets), **top)


PER_RUN = {"name": "run", "per": "label:run", "limit_usd": 0.012}


async def test_each_run_has_a_budget_of_its_own(server: StubServer) -> None:
    async with budgeted(server, PER_RUN) as registry:
        agent = registry.get_for_agent("it")
        for run in ("r1", "r2"):
            with scope(run=run):
                await agent.complete("hi")
                with pytest.raises(BudgetExceededError) as no:
                    await agent.complete("hi")
                (state,) = registry.budgets()
            assert (no.value.budget, no.value.value) == ("run", run)
            assert (state.spent_usd, state.remaining_usd) == (COST, Decimal("0.007"))
        await agent.complete("hi")
        await agent.complete("hi")
        assert registry.budgets() == []
    assert server.account.received == 4


async def test_a_thousand_values_do_not_fold_into_one(server: StubServer) -> None:
    async def run(agent: Any, number: int) -> None:
        with scope(run=f"run {number}"):
            await agent.complete("hi")

    async with budgeted(server, PER_RUN) as registry:
        agent = registry.get_for_agent("it")
        for first in range(0, 1100, 50):
            await asyncio.gather(*(run(agent, first + number) for number in range(50)))
        with scope(run="run 1099"), pytest.raises(BudgetExceededError):
            await agent.complete("hi")
        with scope(run="other"):
            assert [each.spent_usd for each in registry.budgets()] == [0]


async def test_a_scopes_own_budget_holds_in_it_and_beside_the_others(server: StubServer) -> None:
    async with budgeted(server, {**PER_RUN, "limit_usd": 1}) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1", budget=RunBudget(usd=0.012)):
            await agent.complete("hi")
            with pytest.raises(BudgetExceededError) as no:
                await agent.complete("hi")
            states = registry.budgets()
        with scope(run="r1"):
            await agent.complete("hi")
        with scope(run="r1", budget=RunBudget(usd=0.02)):
            assert (await agent.complete("hi")).cost_usd == COST
    assert str(no.value).startswith('budget scope {"run": "r1"}: 0.007 of 0.012 USD left, ')
    assert [(each.budget.name, each.spent_usd) for each in states] == [
        ("run", COST),
        ("scope", COST),
    ]


async def test_a_scopes_budget_needs_no_configuration(server: StubServer) -> None:
    async with budgeted(server) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1"), scope(task="t7", budget=RunBudget(usd=0.012)):
            await agent.complete("hi")
            with pytest.raises(BudgetExceededError):
                await agent.complete("hi")
        with scope(run="r2"), scope(task="t7", budget=RunBudget(usd=0.012)):
            await agent.complete("hi")
        await agent.complete("hi")


async def test_a_stream_has_the_scope_it_was_made_in_wherever_it_is_read(
    server: StubServer,
) -> None:
    async with budgeted(server) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1", budget=RunBudget(calls=2)):
            made = [agent.stream("hi"), agent.run_stream("hi"), agent.stream("hi")]
        for stream in made[:2]:
            assert [text async for text in stream]
        with scope(run="r2"), pytest.raises(BudgetExceededError) as no:
            await anext(made[2])
        report = await registry.usage(by="label:run")
    assert (no.value.budget, no.value.remaining_calls) == ("scope", 0)
    assert [(row.key, row.total.calls) for row in report.rows] == [(("r1",), 2)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"usd": "1"}, "usd of a RunBudget is a number"),
        ({"alert_at": 0.5}, r"alert_at of a RunBudget is a tuple of shares: \(0\.5, 0\.8\)"),
        ({"alert_at": ("0.5",)}, "alert_at of a RunBudget is a tuple"),
        ({"step_down": StepDown(0.5, provider="b")}, "step_down of a RunBudget is a tuple of Step"),
        ({"step_down": [{"at": 0.5}]}, "step_down of a RunBudget is a tuple of StepDown"),
    ],
)
def test_what_is_no_budget_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        RunBudget(**{"usd": 1, **given})


def test_what_is_no_step_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="the share of a step"):
        StepDown("x", provider="b")  # type: ignore[arg-type]


def test_a_scopes_budget_is_a_run_budget() -> None:
    with pytest.raises(InvalidParameterError, match="budget of a scope is a RunBudget"):
        scope(run="r1", budget=5).__enter__()  # type: ignore[arg-type]


def test_a_scopes_budget_needs_a_label() -> None:
    nobodys = scope(budget=RunBudget(usd=1))
    with pytest.raises(InvalidParameterError, match="needs a label that says whose it is"):
        nobodys.__enter__()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "limits usd, tokens or calls"),
        ({"usd": -1}, "usd of a RunBudget is from 0 to 1,000,000"),
        ({"usd": float("nan")}, "usd of a RunBudget is from 0"),
        ({"usd": "2"}, "usd of a RunBudget is a number"),
        ({"tokens": 1.5}, "tokens of a RunBudget is a whole number"),
        ({"calls": True}, "calls of a RunBudget is a whole number"),
        ({"usd": 1, "keep_days": 0}, "keep_days of a RunBudget is a whole number"),
        ({"usd": 1, "on_unpriced": "maybe"}, "on_unpriced of a RunBudget is block, warn or allow"),
    ],
)
def test_a_run_budget_that_cannot_be_meant_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        RunBudget(**given)


async def test_a_limit_on_tokens_holds_for_free_models_and_those_without_a_price(
    server: StubServer,
) -> None:
    async with budgeted(server, {"name": "t", "period": "day", "limit_tokens": 160}) as registry:
        await registry.get_for_agent("free").complete("hi")
        await registry.get("unpriced").complete("hi", max_tokens=100)
        with pytest.raises(BudgetExceededError) as no:
            await registry.get_for_agent("it").complete("hi")
        (state,) = registry.budgets()
    assert state.spent_tokens == 2 * USED.total_tokens
    assert (no.value.remaining_tokens, no.value.worst_case_tokens) == (60, 110)
    assert server.account.received == 2


async def test_a_limit_on_calls_counts_what_was_answered(server: StubServer) -> None:
    server.respond = None
    server.script(Reply(status=400), Reply(usage=USED), Reply(usage=USED))
    async with budgeted(server, {**PER_RUN, "limit_usd": 9, "limit_calls": 2}) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1"):
            await asyncio.gather(agent.complete("hi"), return_exceptions=True)
            await agent.complete("hi")
            await agent.complete("hi")
            with pytest.raises(BudgetExceededError, match="0 of 2 calls left"):
                await agent.complete("hi")
    assert server.account.received == 3


async def test_a_lost_call_stays_possible_in_every_unit(server: StubServer) -> None:
    server.respond = None
    server.script(Reply(reset=True))
    async with budgeted(server, {**PER_RUN, "limit_usd": 1, "limit_calls": 9}) as registry:
        with scope(run="r1"):
            call = registry.get_for_agent("it").complete("hi", max_attempts=1)
            await asyncio.gather(call, return_exceptions=True)
            (state,) = registry.budgets()
    assert state.possible == (Decimal("0.011"), 110, 1)
    assert state.spent == (0, 0, 0)
    assert (state.held_usd, state.held_tokens, state.held_calls) == (0, 0, 0)


async def test_a_threshold_names_the_run_and_what_is_limited(server: StubServer) -> None:
    told: list[BudgetThreshold] = []
    budget = {"name": "run", "per": "label:run", "limit_tokens": 500, "alert_at": [0.1]}
    async with budgeted(server, budget) as registry:
        registry.on(told.append, BudgetThreshold)
        for run in ("r1", "r2"):
            with scope(run=run):
                await registry.get_for_agent("it").complete("hi")
        await until(lambda: len(told) == 2)
    assert [(each.value, each.spent_tokens, each.limit_tokens) for each in told] == [
        ("r1", 50, 500),
        ("r2", 50, 500),
    ]
    assert told[0].limit_usd is None


FITTED = {**PER_RUN, "fit_output": True}


async def test_a_fitted_call_has_as_much_output_as_is_left(server: StubServer) -> None:
    async with budgeted(server, FITTED) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1"):
            whole = await agent.complete("hi")
            fitted = await agent.complete("hi")
            with pytest.raises(BudgetExceededError):
                await agent.complete("hi")
    sent = [each.body["max_tokens"] for each in server.requests]
    assert sent == [100, 60]  # 0.007 USD: 70 tokens, 10 of them for the input
    assert (whole.warnings, fitted.warnings) == ((), ("max_tokens_lowered",))


async def test_a_fitted_stream_is_told_too(server: StubServer) -> None:
    async with budgeted(server, FITTED) as registry:
        with scope(run="r1", budget=RunBudget(tokens=50, fit_output=True)):
            async with registry.get_for_agent("it").stream("hi") as stream:
                async for _ in stream:
                    pass
                response = stream.response
    assert server.requests[0].body["max_tokens"] == 40
    assert response.warnings == ("max_tokens_lowered",)


async def test_a_fitted_call_whose_answer_would_be_a_stump_is_refused(server: StubServer) -> None:
    async with budgeted(server, {**FITTED, "limit_usd": 0.0025}) as registry:
        with scope(run="r1"), pytest.raises(BudgetExceededError):
            await registry.get_for_agent("it").complete("hi")
    assert server.account.received == 0


async def test_fitted_calls_at_once_never_pass_the_limit(server: StubServer) -> None:
    server.respond = lambda asked: Reply(
        usage=Usage(8, asked.body["max_tokens"] // 2), delay_s=0.01
    )
    async with budgeted(server, {**FITTED, "limit_usd": 0.05}) as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1"):
            calls = [agent.complete("hi", timeout_s=20) for _ in range(30)]
            ends = await asyncio.gather(*calls, return_exceptions=True)
            (state,) = registry.budgets()
    answered = [end for end in ends if not isinstance(end, BaseException)]
    assert state.spent_usd == sum(end.cost_usd or 0 for end in answered) <= Decimal("0.05")
    assert state.held_usd == 0
    assert {type(end) for end in ends if isinstance(end, BaseException)} == {BudgetExceededError}
