"""What is kept of conversations: sealed, each tenant's own, bounded, for an hour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from typing import TypeAlias

import pytest_asyncio
import redis

from orchestify.server.conversations import KeptConversations
from orchestify.server.conversations.kept import RESPONSES, THINKING
from orchestify.server.conversations.memory import MemoryValues
from orchestify.server.conversations.redis import RedisValues
from orchestify.shared_limits import RedisConnection
from orchestify.vault.cipher import Cipher, new_encryption_key
from tests.redis_server import REDIS, redis_keys, redis_prefix


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_text_comes_back_to_its_tenant_and_key_alone() -> None:
    kept = KeptConversations()
    await kept.put("acme", "a", "secret thoughts")
    assert await kept.get("acme", ["a", "b"]) == ["secret thoughts", None]
    assert await kept.get("other", ["a"]) == [None]


async def test_a_text_ends_with_its_hour() -> None:
    clock = Clock()
    kept = KeptConversations(clock=clock)
    await kept.put("acme", "a", "one")
    clock.now += THINKING.keep_s - 1
    before = await kept.get("acme", ["a"])
    clock.now += 1
    assert (before, await kept.get("acme", ["a"])) == (["one"], [None])


async def test_what_is_forgotten_is_gone_for_one_tenant() -> None:
    kept = KeptConversations()
    await kept.put("acme", "a", "one")
    await kept.put("other", "a", "two")
    assert await kept.forget("acme")
    assert not kept.may_have("acme")
    assert await kept.get("acme", ["a"]) == [None]
    assert await kept.get("other", ["a"]) == ["two"]


async def test_what_is_too_long_is_not_kept() -> None:
    kept = KeptConversations()
    await kept.put("acme", "a", "x" * (THINKING.chars + 1))
    assert not kept.may_have("acme")


async def test_what_is_dropped_is_gone_for_one_key() -> None:
    kept = KeptConversations()
    await kept.put("acme", "a", "one")
    await kept.put("acme", "b", "two")
    assert await kept.drop("acme", "a")
    assert await kept.get("acme", ["a", "b"]) == [None, "two"]


async def test_responses_are_kept_for_a_day() -> None:
    clock = Clock()
    kept = KeptConversations(bounds=RESPONSES, clock=clock)
    await kept.put("acme", "a", "one")
    clock.now += 24 * 3600 - 1
    before = await kept.get("acme", ["a"])
    clock.now += 1
    assert (before, await kept.get("acme", ["a"])) == (["one"], [None])


def test_names_of_texts_depend_on_the_encryption_key() -> None:
    one, two = (KeptConversations(Cipher([("key", new_encryption_key())])) for _ in range(2))
    assert one.key_of("hello") == one.key_of("hello")
    assert one.key_of("hello") != one.key_of("hello there")
    assert one.key_of("hello") != two.key_of("hello")


@pytest_asyncio.fixture
async def shared() -> AsyncIterator[tuple[KeptConversations, KeptConversations, str]]:
    """What two processes keep over one Redis, and the prefix of its keys."""
    with redis_prefix() as prefix:
        cipher = Cipher([("key", new_encryption_key())])
        connections = [RedisConnection(REDIS, prefix) for _ in range(2)]
        one, two = (KeptConversations(cipher, each) for each in connections)
        yield one, two, prefix
        for each in connections:
            await each.aclose()


Shared: TypeAlias = tuple[KeptConversations, KeptConversations, str]


async def test_processes_share_over_redis_what_is_sealed_and_expires(shared: Shared) -> None:
    one, two, prefix = shared
    await one.put("acme", "a", "secret thoughts")
    assert await two.get("acme", ["b", "a"]) == [None, "secret thoughts"]
    assert await two.get("other", ["a"]) == [None]
    lives = redis_keys(prefix)
    assert len(lives) == 2
    assert all(0 < each <= THINKING.keep_s for each in lives.values())
    with closing(redis.Redis.from_url(REDIS)) as client:
        values = [client.get(key) for key in lives if ":value:" in key]
    assert values
    assert not any(b"secret" in value for value in values)


async def test_what_one_process_forgets_is_forgotten_by_all(shared: Shared) -> None:
    one, two, prefix = shared
    await one.put("acme", "a", "one")
    await two.put("other", "a", "two")
    assert await two.forget("acme")
    assert await one.get("acme", ["a"]) == [None]
    assert await one.get("other", ["a"]) == ["two"]
    assert [key for key in redis_keys(prefix) if "acme" in key and ":value:" in key] == []


async def test_what_one_process_drops_is_dropped_by_all(shared: Shared) -> None:
    one, two, _ = shared
    await one.put("acme", "a", "one")
    await one.put("acme", "b", "two")
    assert await two.drop("acme", "a")
    assert await one.get("acme", ["a", "b"]) == [None, "two"]


async def test_two_kinds_of_texts_do_not_meet_in_redis(shared: Shared) -> None:
    one, _, prefix = shared
    connection = RedisConnection(REDIS, prefix)
    other = KeptConversations(Cipher([("key", new_encryption_key())]), connection, RESPONSES)
    await one.put("acme", "a", "one")
    assert await other.get("acme", ["a"]) == [None]
    assert await other.forget("acme")
    await connection.aclose()
    assert await one.get("acme", ["a"]) == ["one"]


async def test_what_was_kept_while_redis_was_away_is_forgotten_too() -> None:
    clock = Clock()
    memory = MemoryValues(THINKING.keep_s, 100, 100, clock)
    memory.put("acme", "a", "one")
    assert memory.get("acme", "a", since=clock.now) is None
    assert memory.get("acme", "a", since=clock.now - 1) == "one"


async def test_redis_keeps_a_tenants_newest(shared: Shared) -> None:
    _, _, prefix = shared
    connection = RedisConnection(REDIS, prefix)
    clock = Clock()
    values = RedisValues(connection, "kept", 60, 2, clock)
    for key in "abc":
        clock.now += 1
        await values.put("acme", key, key)
    found = await values.get("acme", ["a", "b", "c"])
    await connection.aclose()
    assert found == (0.0, [None, "b", "c"])


async def test_while_redis_is_away_memory_keeps() -> None:
    connection = RedisConnection("redis://127.0.0.1:1/0")
    kept = KeptConversations(Cipher([("key", new_encryption_key())]), connection)
    await kept.put("acme", "a", "one")
    assert await kept.get("acme", ["a"]) == ["one"]
    assert not await kept.forget("acme")
    assert await kept.get("acme", ["a"]) == [None]
    await connection.aclose()


async def test_without_an_encryption_key_nothing_goes_to_redis(shared: Shared) -> None:
    _, _, prefix = shared
    connection = RedisConnection(REDIS, prefix)
    kept = KeptConversations(None, connection)
    await kept.put("acme", "a", "one")
    await connection.aclose()
    assert await kept.get("acme", ["a"]) == ["one"]
    assert redis_keys(prefix) == {}


def test_a_tenant_that_keeps_too_much_loses_its_oldest() -> None:
    values = MemoryValues(60, tenant_bytes=10, all_bytes=100)
    values.put("acme", "a", "12345")
    values.put("acme", "b", "12345")
    values.put("other", "a", "12345")
    values.put("acme", "c", "12345")
    found = [values.get("acme", key) for key in "abc"]
    assert found == [None, "12345", "12345"]
    assert values.get("other", "a") == "12345"


def test_where_all_keep_too_much_the_largest_makes_room() -> None:
    values = MemoryValues(60, tenant_bytes=10, all_bytes=12)
    values.put("small", "a", "123")
    values.put("large", "a", "12345")
    values.put("large", "b", "12345")
    assert values.get("large", "a") is None
    assert (values.get("small", "a"), values.get("large", "b")) == ("123", "12345")


def test_a_value_of_a_key_takes_the_place_of_the_one_before() -> None:
    values = MemoryValues(60, tenant_bytes=10, all_bytes=100)
    values.put("acme", "a", "1234567")
    values.put("acme", "a", "7654321")
    assert values.get("acme", "a") == "7654321"
    assert "acme" in values
    values.forget("acme")
    assert "acme" not in values
