"""Two tenants with the same names in all: whatever one tries, nothing of the other's is reached."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from orchestify.core.config import Config
from orchestify.errors import (
    AuthenticationError,
    BudgetExceededError,
    InvalidParameterError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
)
from orchestify.events.events import BudgetThreshold, CircuitOpened
from orchestify.ledger.record import scope
from orchestify.server.tenants.tenant_providers import TenantProviders
from orchestify.testing import Reply, StubServer
from tests.ledgers import until
from tests.tenants import (
    DATABASES,
    TEST,
    Tenanted,
    agent,
    database_at,
    operators,
    provider,
    tenanted,
)

TENANTS = ("acme", "other")
BUDGET = {"name": "day", "limit_usd": 1, "period": "day", "alert_at": [0.5], "on_unpriced": "allow"}


@dataclass
class World:
    made: Tenanted
    server: StubServer

    async def registry(self, tenant: str) -> TenantProviders:
        return await self.made.tenants.get(tenant)

    async def call(self, tenant: str, model: str = "main/m", text: str = "hi") -> str:
        found = await self.made.tenants.get_provider(tenant, model)
        return (await found.complete(text, timeout_s=5)).content


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_at(request.param, tmp_path) as url:
        yield url


def base(server: StubServer) -> Config:
    house = {"type": "openai", "api_key": "operators", "base_url": server.openai_url}
    house |= {"default_model": "h", "rate_limit": {"requests_per_day": 2}}
    return operators(
        providers={"house": house},
        budgets=[BUDGET],
        retry={"max_attempts": 1},
        circuit_breaker={"failures": 1, "open_s": 60},
    )


@pytest.fixture
async def world(url: str) -> AsyncIterator[World]:
    async with StubServer() as server, tenanted(url, base(server)) as made:
        for tenant in TENANTS:
            price = {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0, "request_usd": 0.6}
            rows = {"base_url": server.openai_url, "default_model": "m", "price": price}
            main = provider("openai", f"sk-{tenant}", name="main", **rows)
            made.store.providers.add(tenant, main, TEST)
            own = agent("writer", provider="main", model_name=f"model-of-{tenant}")
            made.store.agents.add(tenant, own, TEST)
        yield World(made, server)


class TestKeys:
    async def test_each_calls_with_its_own_key_and_model(self, world: World) -> None:
        for tenant in TENANTS:
            await world.call(tenant, "agent:writer")
        sent = [(each.headers["authorization"], each.model) for each in world.server.requests]
        assert sent == [
            ("Bearer sk-acme", "model-of-acme"),
            ("Bearer sk-other", "model-of-other"),
        ]

    async def test_at_once_none_is_mixed_up(self, world: World) -> None:
        found = [await world.made.tenants.get_provider(each, "agent:writer") for each in TENANTS]
        calls = [each.complete("hi", max_tokens=1) for each in found]
        await asyncio.gather(*calls)
        pairs = {(each.headers["authorization"], each.model) for each in world.server.requests}
        assert pairs == {
            ("Bearer sk-acme", "model-of-acme"),
            ("Bearer sk-other", "model-of-other"),
        }

    async def test_no_key_of_anothers_is_in_its_registry(self, world: World) -> None:
        registry = await world.registry("acme")
        keys = {
            each.get_secret_value()
            for config in registry._config.providers.providers.values()
            if (each := config.api_key) is not None
        }
        assert keys == {"operators", "sk-acme"}

    async def test_a_tenants_base_url_gets_no_key_but_its_own(self, world: World) -> None:
        mine = provider("openai", name="house", base_url=world.server.openai_url)
        world.made.store.providers.add("acme", mine, TEST)
        await world.made.tenants.changed("acme")
        with pytest.raises(AuthenticationError):
            await world.call("acme", "house/h")
        await world.call("other", "house/h")
        sent = [each.headers.get("authorization") for each in world.server.requests]
        assert sent == [None, "Bearer operators"]


class TestProviders:
    async def test_a_name_of_anothers_leads_nowhere(self, world: World) -> None:
        secret = provider("openai", "sk-hidden", name="hidden", models=["hidden-model"])
        world.made.store.providers.add("other", secret, TEST)
        world.made.store.agents.add("other", agent("hidden", provider="hidden"), TEST)
        await world.made.tenants.changed("other")
        assert await world.made.tenants.get_provider("other", "hidden-model")
        for model in ("hidden/gpt-5.1", "hidden-model", "agent:hidden", "other/hidden", "other:m"):
            with pytest.raises(ModelNotFoundError):
                await world.made.tenants.get_provider("acme", model)
        registry = await world.registry("acme")
        assert "hidden" not in registry
        assert all("hidden" not in model for _, model in registry.named_models())

    async def test_a_change_of_ones_own_changes_nothing_of_anothers(self, world: World) -> None:
        before = await world.registry("other")
        row = world.made.store.providers.page("acme").rows[0]
        world.made.store.providers.update("acme", row.id, {"is_default": True}, TEST)
        await world.made.tenants.changed("acme")
        await world.registry("acme")
        assert await world.registry("other") is before


class TestLimits:
    async def test_one_that_used_up_its_limit_takes_none_of_anothers(self, world: World) -> None:
        for _ in range(2):
            await world.call("acme", "house/h")
        with pytest.raises(RateLimitError):
            await world.call("acme", "house/h")
        assert await world.call("other", "house/h")

    async def test_one_that_used_up_its_budget_takes_none_of_anothers(self, world: World) -> None:
        await world.call("acme")
        with pytest.raises(BudgetExceededError):
            await world.call("acme")
        assert await world.call("other")

    async def test_a_failing_provider_opens_only_its_own_circuit(self, world: World) -> None:
        world.server.script(Reply(status=500))
        with pytest.raises(ServerError):
            await world.call("acme")
        assert await world.call("other")
        assert (await world.registry("acme")).circuits() == {("main", "m"): "open"}
        assert (await world.registry("other")).circuits() == {("main", "m"): "closed"}


class TestAccounts:
    async def test_usage_is_its_own(self, world: World) -> None:
        with scope(run="r1"):
            await world.call("other", "agent:writer")
        registry = await world.registry("acme")
        for by in ("provider", "agent", "model", "day", "label:run", "tenant"):
            assert (await registry.usage(by=by)).rows == ()
        assert registry.get_usage_summary()["total"]["calls"] == 0
        assert (await registry.usage()).open == 0

    async def test_usage_of_anothers_cannot_be_asked_for(self, world: World) -> None:
        await world.call("other")
        registry = await world.registry("acme")
        with pytest.raises(InvalidParameterError):
            await registry.usage(where={"tenant": "other"})
        assert (await registry.usage(where={"tenant": "acme"})).rows == ()

    async def test_budgets_show_only_its_own(self, world: World) -> None:
        await world.call("other")
        assert (await (await world.registry("other")).usage()).total.cost_usd == Decimal("0.6")
        (state,) = await asyncio.to_thread((await world.registry("acme")).budgets)
        assert state.spent_usd == 0

    async def test_health_is_its_own(self, world: World) -> None:
        await world.call("other")
        registry = await world.registry("acme")
        assert registry.get_health()["main"].status == "unknown"
        assert await registry.health_history() == []

    async def test_events_are_its_own(self, world: World) -> None:
        seen: dict[str, list[Any]] = {tenant: [] for tenant in TENANTS}
        for tenant in TENANTS:
            (await world.registry(tenant)).on(seen[tenant].append)
        await world.call("other")
        world.server.script(Reply(status=500), model="broken")
        with pytest.raises(ServerError):
            await world.call("other", "house/broken")
        await until(lambda: len(seen["other"]) >= 2)
        kinds = {type(each) for each in seen["other"]}
        assert kinds >= {BudgetThreshold, CircuitOpened}
        assert seen["acme"] == []

    async def test_the_view_of_seed_004_says_whose_it_is(self, world: World) -> None:
        for tenant in TENANTS:
            await world.call(tenant)
        await world.made.ledger.usage()
        database = world.made.store.database
        query = "SELECT tenant_id, provider_name, request_count FROM llm_provider_usage"
        found = database.run(lambda each: each.exec_driver_sql(query).all())
        assert sorted(tuple(each) for each in found) == [("acme", "main", 1), ("other", "main", 1)]


SHARED = {
    *("Backend", "ReservationWorker"),  # the ledger's thread, which stamps whose each record is
    "ModelMap",  # read from LiteLLM's package once a process
    "Dialect",  # a row of constants
}
PLAIN = (str, bytes, int, float, bool, Decimal, type(None), type, types.ModuleType, Enum, Path)
PLAIN += (types.BuiltinFunctionType, types.GenericAlias)  # type: ignore[assignment]


def parts(thing: Any) -> Iterator[Any]:
    """What an object holds: its attributes, its items, what a function closes over."""
    if isinstance(thing, Mapping):
        yield from thing.values()
        yield from thing.keys()
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from thing
    elif isinstance(thing, types.FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or ())
    elif isinstance(thing, types.MethodType):
        yield thing.__self__
    elif type(thing).__module__.startswith("orchestify"):
        if is_dataclass(thing):
            yield from (getattr(thing, each.name) for each in fields(thing))
        yield from getattr(thing, "__dict__", {}).values()
        for kind in type(thing).__mro__:
            names = kind.__dict__.get("__slots__", ())
            yield from (getattr(thing, each) for each in names if hasattr(thing, each))
        if isinstance(thing, BaseModel):
            yield from (thing.__pydantic_private__ or {}).values()


def is_mutable(thing: Any) -> bool:
    if isinstance(thing, (dict, list, set)):
        return True
    ours = type(thing).__module__.startswith("orchestify") and not isinstance(thing, tuple)
    frozen = is_dataclass(thing) and type(thing).__dataclass_params__.frozen  # type: ignore[attr-defined]
    return ours and not frozen and not isinstance(thing, types.FunctionType)


def mutable_parts(root: Any) -> dict[int, Any]:
    seen: dict[int, Any] = {}
    found: dict[int, Any] = {}
    stack = [root]
    while stack:
        thing = stack.pop()
        if isinstance(thing, PLAIN) or id(thing) in seen or type(thing).__name__ in SHARED:
            continue
        seen[id(thing)] = thing
        if is_mutable(thing) and thing:
            found[id(thing)] = thing
        stack += parts(thing)
    return found


async def test_two_registries_share_nothing_that_can_change(world: World) -> None:
    for tenant in TENANTS:
        await world.call(tenant, "agent:writer")
        await world.call(tenant, "house/h")
    mine, theirs = [mutable_parts(await world.registry(each)) for each in TENANTS]
    assert len(mine) > 100
    assert [type(each) for key, each in mine.items() if key in theirs] == []
