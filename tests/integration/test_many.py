"""Many requests over the real call path: budgets and limits hold, and nothing booked is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify import BudgetExceededError, RateLimitError, Usage
from orchestify.testing import Reply, StubRequest, StubServer
from tests.ledgers import sqlite_rows, until
from tests.registries import registry_on

PRICE = {"input_usd_per_mtok": 100, "output_usd_per_mtok": 100}
USED = Usage(10, 40)
COST = Decimal("0.005")


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


async def test_a_budget_holds_over_all_of_them(server: StubServer) -> None:
    server.respond = lambda _: Reply(usage=USED)
    budget = {"name": "day", "limit_usd": 0.065, "period": "day"}
    agents = {"it": {"provider": "a", "max_tokens": 100}}
    async with registry_on(server, {"a": {"price": PRICE}}, agents, budgets=[budget]) as registry:
        agent = registry.get_for_agent("it")
        results = await agent.complete_many(["hi"] * 40, concurrency=10)
    answered = [result.response for result in results if result.response]
    refused = [result.error for result in results if result.error]
    assert len(answered) + len(refused) == 40
    assert {type(error) for error in refused} == {BudgetExceededError}
    assert len(answered) == server.account.received
    assert {response.cost_usd for response in answered} == {COST}
    assert Decimal("0.065") - COST * len(answered) < Decimal("0.011")  # one call's worst case
    assert len(answered) <= 13


async def test_a_limit_of_what_is_under_way_holds(server: StubServer) -> None:
    most = 0

    def respond(_: StubRequest) -> Reply:
        nonlocal most
        most = max(most, server.active)
        return Reply(delay_s=0.005)

    server.respond = respond
    async with registry_on(server, {"a": {"rate_limit": {"concurrency": 3}}}) as registry:
        results = await registry.get("a").complete_many(["hi"] * 30, concurrency=15)
    assert [result.error for result in results] == [None] * 30
    assert most == 3


async def test_each_gets_its_own_answer_and_failures_stay_where_they_are(
    server: StubServer,
) -> None:
    def respond(request: StubRequest) -> Reply:
        text = request.body["messages"][0]["content"]
        return Reply(status=429) if text == "7" else Reply(text=f"answer {text}")

    server.respond = respond
    async with registry_on(server, {"a": {}}) as registry:
        results = await registry.get("a").complete_many(map(str, range(20)))
    assert isinstance(results[7].error, RateLimitError)
    answers = [each.response.content for each in results if each.response]
    assert answers == [f"answer {number}" for number in range(20) if number != 7]


async def test_a_cancelled_reader_loses_nothing_booked(server: StubServer, tmp_path: Path) -> None:
    server.respond = lambda request: Reply(delay_s=60 if request.index >= 10 else 0)
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"}
    async with registry_on(server, {"a": {"price": PRICE}}, ledger=ledger) as registry:
        agent, read = registry.get("a"), 0

        async def reads() -> None:
            nonlocal read
            async with aclosing(agent.map(["hi"] * 100, concurrency=5, ordered=False)) as results:
                async for _ in results:
                    read += 1

        reading = asyncio.create_task(reads())
        await until(lambda: server.account.received == 15)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    rows = sqlite_rows(
        tmp_path / "usage.db", "SELECT outcome, count(*) FROM usage_records GROUP BY 1 ORDER BY 1"
    )
    assert rows == [("cancelled", 5), ("ok", 10)]
    assert read == 10
    assert server.account.received == 15


def test_a_script_asks_many_without_a_loop() -> None:
    with StubServer.in_thread() as server:
        server.respond = lambda request: Reply(text=request.body["messages"][0]["content"])
        provider = registry_on(server, {"a": {}}).get("a")
        results = provider.complete_many_sync(["one", "two"], concurrency=2)
    assert [each.response.content for each in results if each.response] == ["one", "two"]
