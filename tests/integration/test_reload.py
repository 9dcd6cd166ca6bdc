"""A configuration that changes under calls: those under way end as they began, sessions stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify import ProviderRegistry, ServerError
from orchestify.core.config import Config, parse_config
from orchestify.testing import Reply, StubServer
from tests.ledgers import until

HELD = "held;text=done;delay_s=0.5"
STREAM = "stub;chunks=20;chunk_delay_s=0.02"
BUDGET = "budgets: [{name: all, limit_usd: LIMIT, on_unpriced: allow, period: day}]"


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


def config(server: StubServer, *names: str, key: str = "sk-any", more: str = "") -> Config:
    """Providers of one server, each an agent too."""
    lines = [
        f"  {name}: {{type: openai, base_url: '{server.openai_url}', api_key: {key}, "
        f"default_model: {name}, price: {{output_usd_per_mtok: 1000000}}}}"
        for name in names
    ]
    agents = [f"  {name}: {{provider: {name}}}" for name in names]
    retry = "retry: {max_attempts: 1}"
    return parse_config("\n".join([retry, "providers:", *lines, "agents:", *agents, more]))


async def test_an_unchanged_provider_keeps_its_connections(server: StubServer) -> None:
    async with ProviderRegistry.from_config(config(server, "a", "b")) as registry:
        await registry.get_for_agent("a").complete("hi")
        await registry.reload(config(server, "a", "c"))
        await registry.get_for_agent("a").complete("hi")
        assert server.connections.opened == 1


async def test_a_provider_that_is_no_more_closes_after_its_calls(server: StubServer) -> None:
    async with ProviderRegistry.from_config(config(server, "a", "b")) as registry:
        a = registry.get_for_agent("a")
        call = asyncio.create_task(a.complete("hi", model=HELD))
        await until(lambda: server.active == 1)
        await registry.reload(config(server, "b"))
        assert (await call).content == "done"
        await until(lambda: server.connections.open == 0)


async def test_a_stream_goes_on_to_its_end_at_a_provider_that_is_no_more(
    server: StubServer,
) -> None:
    async with ProviderRegistry.from_config(config(server, "a", "b")) as registry:
        stream = registry.get_for_agent("a").stream("hi", model=STREAM)
        first = await anext(stream)
        await registry.reload(config(server, "b"))
        rest = [text async for text in stream]
        assert first + "".join(rest) == stream.response.content
        await until(lambda: server.connections.open == 0)
        assert registry.get_usage_summary()["total"]["calls"] == 1


async def test_a_changed_key_goes_with_new_calls_and_not_with_those_under_way(
    server: StubServer,
) -> None:
    async with ProviderRegistry.from_config(config(server, "a", key="sk-old")) as registry:
        call = asyncio.create_task(registry.get_for_agent("a").complete("hi", model=HELD))
        await until(lambda: server.active == 1)
        await registry.reload(config(server, "a", key="sk-new"))
        await registry.get_for_agent("a").complete("hi")
        await call
        sent = [each.headers["authorization"] for each in server.requests]
        assert sorted(sent) == ["Bearer sk-new", "Bearer sk-old"]


async def test_an_object_held_from_before_still_answers(server: StubServer) -> None:
    async with ProviderRegistry.from_config(config(server, "a", "b")) as registry:
        held = registry.get_for_agent("a")
        await held.complete("hi")
        await registry.reload(config(server, "b"))
        await until(lambda: server.connections.open == 0)
        assert (await held.complete("hi")).provider == "a"


async def test_many_calls_during_many_reloads_all_end_well(server: StubServer) -> None:
    settings = [config(server, "a", key=f"sk-{number % 3}") for number in range(30)]
    async with ProviderRegistry.from_config(settings[0]) as registry:

        async def call() -> str:
            return (await registry.get_for_agent("a").complete("hi", model="m;text=ok")).content

        calls = []
        for each in settings:
            calls += [asyncio.create_task(call()) for _ in range(5)]
            await asyncio.sleep(0)
            await registry.reload(each)
        assert await asyncio.gather(*calls) == ["ok"] * 150
        assert registry.get_usage_summary()["total"]["calls"] == 150


async def test_the_circuit_of_an_unchanged_provider_stays_open_and_a_changed_ones_closes(
    server: StubServer,
) -> None:
    breaker = "circuit_breaker: {failures: 1}"
    async with ProviderRegistry.from_config(config(server, "a", "b", more=breaker)) as registry:
        server.script(Reply(status=500), model="a")
        with pytest.raises(ServerError):
            await registry.get_for_agent("a").complete("hi")
        await registry.reload(config(server, "a", more=breaker))
        assert registry.circuits() == {("a", "a"): "open"}
        await registry.reload(config(server, "a", key="sk-new", more=breaker))
        assert registry.circuits() == {}
        await registry.get_for_agent("a").complete("hi")


@pytest.mark.parametrize("url", [None, "sqlite"])
async def test_a_call_that_waits_for_a_budget_goes_on_under_the_raised_limit(
    server: StubServer, tmp_path: Path, url: str | None
) -> None:
    ledger = "" if url is None else f"\nledger: {{url: 'sqlite:///{tmp_path}/usage.db'}}"
    small, large = (BUDGET.replace("LIMIT", limit) + ledger for limit in ("15", "40"))
    async with ProviderRegistry.from_config(config(server, "a", more=small)) as registry:
        a = registry.get_for_agent("a")
        first = asyncio.create_task(a.complete("hi", model="m;delay_s=1.5", max_tokens=10))
        await until(lambda: server.active == 1)
        second = asyncio.create_task(a.complete("hi", model="n", max_tokens=10))
        await asyncio.sleep(0.2)
        assert len(server.requests) == 1
        await registry.reload(config(server, "a", more=large))
        await until(lambda: len(server.requests) == 2)
        assert not first.done()
        await asyncio.gather(first, second)


async def test_a_budget_in_a_database_keeps_its_spend_under_another_limit(
    server: StubServer, tmp_path: Path
) -> None:
    ledger = f"\nledger: {{url: 'sqlite:///{tmp_path}/usage.db'}}"
    before, after = (BUDGET.replace("LIMIT", limit) + ledger for limit in ("50", "60"))
    async with ProviderRegistry.from_config(config(server, "a", more=before)) as registry:
        answer = await registry.get_for_agent("a").complete("hi", max_tokens=10)
        await registry.reload(config(server, "a", more=after))
        await until(lambda: registry.budgets()[0].spent_usd == answer.cost_usd)
        assert [each.budget.limit_usd for each in registry.budgets()] == [Decimal(60)]


async def test_a_monitor_follows_the_providers(server: StubServer) -> None:
    async with ProviderRegistry.from_config(config(server, "a")) as registry:
        monitor = registry.monitor()
        await registry.reload(config(server, "b"))
        assert list(await monitor.check_now()) == ["b"]
