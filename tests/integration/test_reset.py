"""A new period loses no call that is under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.testing import StubServer
from tests.ledgers import sqlite_rows

CALLS = 200


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


def registry_at(server: StubServer, ledger: str | None = None) -> ProviderRegistry:
    written = {
        "providers": {
            name: {
                "type": "openai",
                "api_key": "test-key",
                "base_url": server.openai_url,
                "default_model": "stub;delay_s=0.03",
                "price": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1},
            }
            for name in ("one", "two")
        },
        "agents": {"planner": {"provider": "one"}, "reviewer": {"provider": "one"}},
        "ledger": {"url": ledger},
    }
    return ProviderRegistry.from_config(parse_config(json.dumps(written)))


async def test_a_call_under_way_is_counted_in_the_new_period(server: StubServer):
    async with registry_at(server) as registry:
        call = asyncio.create_task(registry.get("one").complete("hi"))
        await asyncio.sleep(0.01)
        registry.reset_all_usage()
        response = await call
        usage = registry.get("one").get_usage()
        report = await registry.usage()
    assert usage.call_count == 1
    assert usage.total_input == response.tokens_input
    assert (report.total.attempts, report.open) == (1, 0)


async def test_periods_add_up_to_all_calls(server: StubServer):
    counted = 0
    async with registry_at(server) as registry:
        calls = [asyncio.create_task(registry.get("one").complete("hi")) for _ in range(CALLS)]
        while not all(call.done() for call in calls):
            await asyncio.sleep(0.005)
            counted += registry.get_usage_summary()["total"]["attempts"]
            registry.reset_all_usage()
        counted += registry.get_usage_summary()["total"]["attempts"]
    assert counted == CALLS


async def test_an_agents_reset_leaves_the_others(server: StubServer):
    async with registry_at(server) as registry:
        planner, reviewer = map(registry.get_for_agent, ("planner", "reviewer"))
        await planner.complete("hi")
        await reviewer.complete("hi")
        call = asyncio.create_task(planner.complete("hi"))
        await asyncio.sleep(0.01)
        planner.reset_usage()
        assert planner.get_usage().call_count == 0
        await call
        assert planner.get_usage().call_count == 1
        assert reviewer.get_usage().call_count == 1


async def test_the_database_keeps_what_came_before_a_reset(server: StubServer, tmp_path: Path):
    async with registry_at(server, f"sqlite:///{tmp_path}/usage.db") as registry:
        await registry.get("two").complete("hi")
        call = asyncio.create_task(registry.get("two").complete("hi"))
        await asyncio.sleep(0.01)
        registry.reset_all_usage()
        await call
        assert registry.get_usage_summary()["total"]["attempts"] == 1
        assert (await registry.usage()).total.attempts == 2
    rows = sqlite_rows(tmp_path / "usage.db", "SELECT outcome FROM usage_records")
    assert rows == [("ok",), ("ok",)]
