"""Pools of keys over real calls: which key a call goes out with, which rests, what is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestify import (
    AllTargetsFailedError,
    LLMMessage,
    ProviderRegistry,
    RateLimitError,
    ServerError,
    scope,
)
from orchestify.errors import AuthenticationError
from orchestify.providers.targets import key_fingerprint
from orchestify.testing import Reply, StubServer
from orchestify.testing.account import StubRequest
from tests.registries import registry_on

KEYS = ["sk-first-of-the-pool", "sk-second-of-the-pool", "sk-third-of-the-pool"]
FIRST, SECOND, THIRD = KEYS


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


def pooled(server: StubServer, spread: str = "fill_first", **more: Any) -> ProviderRegistry:
    """A provider `a` with three keys, and one `b` with one."""
    pool = {"api_key": None, "api_keys": KEYS, "spread": spread, **more}
    agents = {"it": {"provider": "a"}, "chained": {"provider": "a", "fallback": ["b"]}}
    return registry_on(server, {"a": pool, "b": {}}, agents)


def key_of(request: StubRequest) -> str:
    return request.headers["Authorization"].removeprefix("Bearer ")


def keys_sent(server: StubServer) -> list[str]:
    return [key_of(each) for each in server.requests]


def refusing(server: StubServer, reply: Reply, *keys: str) -> None:
    """Let the server refuse these keys."""
    server.respond = lambda asked: reply if key_of(asked) in keys else Reply()


async def test_fill_first_goes_on_to_the_next_key_once_one_is_at_its_limit(
    server: StubServer,
) -> None:
    refusing(server, Reply(status=429, headers={"Retry-After": "60"}), FIRST)
    async with pooled(server) as registry:
        agent = registry.get_for_agent("it")
        response = await agent.complete("hi")
        await agent.complete("hi")
    assert keys_sent(server) == [FIRST, SECOND, SECOND]
    assert [(each.outcome, each.error) for each in response.attempts] == [
        ("failed", "RateLimitError"),
        ("ok", None),
    ]


async def test_other_keys_are_no_retries(server: StubServer) -> None:
    refusing(server, Reply(status=429), FIRST, SECOND)
    async with pooled(server) as registry:
        await registry.get_for_agent("it").complete("hi", max_attempts=1)
    assert keys_sent(server) == KEYS


async def test_a_key_rests_for_all_agents_and_alone(server: StubServer) -> None:
    refusing(server, Reply(status=429, headers={"Retry-After": "60"}), SECOND)
    async with pooled(server, "least_used") as registry:
        for name in ("it", "chained", "it", "chained", "it", "chained"):
            await registry.get_for_agent(name).complete("hi")
    assert Counter(keys_sent(server)) == {FIRST: 3, SECOND: 1, THIRD: 3}


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_key_that_is_refused_rests(server: StubServer, status: int) -> None:
    refusing(server, Reply(status=status), FIRST)
    async with pooled(server) as registry:
        for _ in range(3):
            await registry.get("a").complete("hi")
    assert keys_sent(server) == [FIRST, SECOND, SECOND, SECOND]


async def test_where_all_keys_are_refused_the_call_fails_or_falls_back(server: StubServer) -> None:
    refusing(server, Reply(status=401), *KEYS)
    async with pooled(server) as registry:
        with pytest.raises(AuthenticationError):
            await registry.get_for_agent("it").complete("hi")
        assert (await registry.get_for_agent("chained").complete("hi")).provider == "b"
    assert keys_sent(server)[:3] == KEYS


async def test_where_all_keys_rest_the_chain_goes_on_without_a_request(server: StubServer) -> None:
    refusing(server, Reply(status=429, headers={"Retry-After": "60"}), *KEYS)
    async with pooled(server) as registry:
        with pytest.raises(RateLimitError):
            await registry.get_for_agent("it").complete("hi", timeout_s=5)
        response = await registry.get_for_agent("chained").complete("hi")
    assert [each.provider for each in response.attempts] == ["a", "b"]
    assert keys_sent(server)[:3] == KEYS
    assert len(keys_sent(server)) == 4


async def test_a_server_that_is_down_is_not_asked_with_every_key(server: StubServer) -> None:
    server.respond = lambda _: Reply(status=500)
    async with pooled(server) as registry:
        with pytest.raises(ServerError):
            await registry.get_for_agent("it").complete("hi")
    assert keys_sent(server) == [FIRST, FIRST]


async def test_least_used_spreads_calls_evenly(server: StubServer) -> None:
    async with pooled(server, "least_used") as registry:
        agent = registry.get_for_agent("it")
        await asyncio.gather(*(agent.complete(f"call {number}") for number in range(30)))
    assert Counter(keys_sent(server)) == dict.fromkeys(KEYS, 10)


async def test_sticky_keeps_a_conversation_with_its_key_and_spreads_them(
    server: StubServer,
) -> None:
    async with pooled(server, "sticky") as registry:
        agent = registry.get_for_agent("it")
        for number in range(30):
            begun = [LLMMessage("system", "Be brief."), LLMMessage("user", f"question {number}")]
            answer = await agent.complete(begun)
            await agent.complete([*begun, answer.to_message(), LLMMessage("user", "And then?")])
    sent = keys_sent(server)
    assert sent[::2] == sent[1::2]
    assert set(sent) == set(KEYS)


async def test_sticky_may_go_by_a_label(server: StubServer) -> None:
    async with pooled(server, "sticky", sticky_by="label:run") as registry:
        agent = registry.get_for_agent("it")
        for number in range(10):
            with scope(run="r1", task=str(number)):
                await agent.complete(f"question {number}")
    assert len(set(keys_sent(server))) == 1


async def test_a_stream_goes_by_the_label_it_was_made_with(server: StubServer) -> None:
    async with pooled(server, "sticky", sticky_by="label:run") as registry:
        agent = registry.get_for_agent("it")
        with scope(run="r1"):
            made = [agent.stream(f"question {number}") for number in range(10)]
        for stream in made:
            assert [text async for text in stream]
    assert len(set(keys_sent(server))) == 1


async def test_a_conversation_comes_back_to_its_key(server: StubServer) -> None:
    async with pooled(server, "sticky") as registry:
        await registry.get("a").complete("hello")
        (own,) = keys_sent(server)
        refusing(server, Reply(status=429, headers={"Retry-After": "0.2"}), own)
        await registry.get("a").complete("hello")
        refusing(server, Reply(status=429))
        await asyncio.sleep(0.3)
        await registry.get("a").complete("hello")
    sent = keys_sent(server)
    assert (sent[1], sent[3]) == (own, own)
    assert sent[2] != own


async def test_streams_go_by_the_pool_too(server: StubServer) -> None:
    refusing(server, Reply(status=429), FIRST)
    async with pooled(server) as registry, registry.get_for_agent("it").stream("hi") as stream:
        assert [piece async for piece in stream]
    assert keys_sent(server) == [FIRST, SECOND]


async def test_one_call_may_name_a_model_and_keep_the_pool(server: StubServer) -> None:
    refusing(server, Reply(status=429), FIRST)
    async with pooled(server) as registry:
        await registry.get_for_agent("it").complete("hi", model="another")
    assert [(key_of(each), each.model) for each in server.requests] == [
        (FIRST, "another"),
        (SECOND, "another"),
    ]


async def test_a_provider_of_its_own_has_its_pool(server: StubServer) -> None:
    refusing(server, Reply(status=429), FIRST)
    async with pooled(server) as registry:
        provider = registry.get("a")
        alone = type(provider)("alone", provider.config)  # type: ignore[attr-defined, call-arg]
        await alone.complete("hi")
        await alone.aclose()
    assert keys_sent(server) == [FIRST, SECOND]


async def test_an_agents_own_key_is_the_only_one(server: StubServer) -> None:
    pool = {"api_key": None, "api_keys": KEYS}
    agents = {"it": {"provider": "a", "api_key": "sk-the-agents-own"}}
    async with registry_on(server, {"a": pool}, agents) as registry:
        await registry.get_for_agent("it").complete("hi")
    assert keys_sent(server) == ["sk-the-agents-own"]


@pytest.mark.parametrize("is_stored", [False, True])
async def test_usage_by_key_is_a_report(
    server: StubServer, tmp_path: Path, is_stored: bool
) -> None:
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"} if is_stored else {}
    pool = {"api_key": None, "api_keys": KEYS[:2], "spread": "least_used"}
    async with registry_on(server, {"a": pool, "b": {}}, ledger=ledger) as registry:
        for _ in range(4):
            await registry.get("a").complete("hi")
        await registry.get("b").complete("hi")
        report = await registry.usage(("provider", "key"))
        of_one = await registry.usage("provider", where={"key": report.rows[0].key[1]})
    config = registry._config.providers.providers["a"]
    prints = sorted(key_fingerprint(key) for key in config.keys)
    assert [row.key for row in report.rows][:2] == [("a", each) for each in prints]
    assert [row.total.calls for row in report.rows] == [2, 2, 1]
    assert of_one.total.calls == 2
    assert not any(FIRST[3:] in each for each in prints)


async def test_no_key_is_in_an_error(server: StubServer) -> None:
    refusing(server, Reply(status=401, error=f"no such key: {FIRST} {SECOND} {THIRD}"), *KEYS)
    async with pooled(server) as registry:
        with pytest.raises((AuthenticationError, AllTargetsFailedError)) as caught:
            await registry.get_for_agent("it").complete("hi")
    assert "of-the-pool" not in str(caught.value)


async def test_a_pool_has_one_budget(server: StubServer) -> None:
    price = {"input_usd_per_mtok": 0, "output_usd_per_mtok": 100}
    pool = {"api_key": None, "api_keys": KEYS, "price": price, "spread": "least_used"}
    budget = {"name": "a", "match": {"provider": "a"}, "limit_usd": 1, "period": "day"}
    async with registry_on(server, {"a": pool}, budgets=[budget]) as registry:
        costs = [(await registry.get("a").complete("hi")).cost_usd or Decimal(0) for _ in range(6)]
        (state,) = registry.budgets()
    assert state.spent_usd == sum(costs)
