"""What every place for kept answers does: memory, the ledger's database, Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from orchestify.errors import OrchestifyError
from orchestify.ledger.sql.schema import kept_answers
from orchestify.ledger.sql.upkeep import drop_answers
from orchestify.response_cache.caches import connection_to
from orchestify.response_cache.memory_store import MemoryStore
from orchestify.response_cache.redis_store import RedisStore
from orchestify.response_cache.sql_store import SqlStore
from orchestify.response_cache.store import Bounds, Found, Place, Store
from tests.ledgers import database, postgres_schema
from tests.redis_server import REDIS, free_port, redis_prefix

HOUR = Bounds(3600, 100)
MOMENT = Bounds(0.3, 100)
TWO = Bounds(3600, 2)
HERE = Place("acme", "hours", "k1")
SHARED = ["sqlite", "postgres", "redis"]


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    with ExitStack() as stack:
        if request.param == "memory":
            yield MemoryStore()
        elif request.param == "redis":
            prefix = stack.enter_context(redis_prefix())
            async with aclosing(
                RedisStore(lambda: connection_to(REDIS, prefix), is_own=True)
            ) as redis:
                yield redis
        else:
            url = "sqlite:///usage.db"
            if request.param == "postgres":
                url = stack.enter_context(postgres_schema())
            opened = database(url, tmp_path)
            stack.callback(opened.dispose)
            yield SqlStore(opened)


each_store = pytest.mark.parametrize("store", ["memory", *SHARED], indirect=True)
each_shared_store = pytest.mark.parametrize("store", SHARED, indirect=True)


async def kept(store: Store, *places: Place) -> list[str | None]:
    """What is found at each place."""
    return [(await store.find(each, "reader", 0.001)).text for each in places]


@each_store
async def test_a_text_is_found_where_it_was_kept_and_nowhere_else(store: Store) -> None:
    await store.keep(HERE, "a", "a text: ü", HOUR)
    others = (HERE._replace(tenant="b"), HERE._replace(cache="b"), HERE._replace(key="b"))
    assert await kept(store, HERE, *others) == ["a text: ü", None, None, None]


@each_store
async def test_a_later_text_takes_the_place_of_an_earlier_one(store: Store) -> None:
    await store.keep(HERE, "a", "one", HOUR)
    await store.keep(HERE, "b", "two", HOUR)
    assert await kept(store, HERE) == ["two"]


@each_store
async def test_a_text_ends_with_its_time(store: Store) -> None:
    await store.keep(HERE, "a", "one", MOMENT)
    await until_gone(store, HERE)


@each_store
async def test_the_oldest_make_room(store: Store) -> None:
    places = [HERE._replace(key=f"k{number}") for number in range(4)]
    for each in places:
        await store.keep(each, "a", each.key, TWO)
    assert await kept(store, *places) == [None, None, "k2", "k3"]


@each_shared_store
async def test_the_oldest_of_all_caches_make_room_where_the_bound_is_over_all(store: Store) -> None:
    places = [Place("acme", f"cache-{number}", "k") for number in range(3)]
    others = Place("other", "cache", "k")
    await store.keep(others, "a", "theirs", TWO)
    for each in places:
        await store.keep(each, "a", each.cache, TWO._replace(is_over_all=True))
    assert await kept(store, *places, others) == [None, "cache-1", "cache-2", "theirs"]


@each_store
async def test_clearing_drops_a_tenants_texts_or_all(store: Store) -> None:
    theirs = [Place(each, "hours", "k") for each in ("acme", "acme*", "other")]
    for each in theirs:
        await store.keep(each, "a", each.tenant, HOUR)
    assert await store.clear("acme*") == 1
    assert await kept(store, *theirs) == ["acme", None, "other"]
    assert await store.clear(None) == 2
    assert await kept(store, *theirs) == [None, None, None]


@each_shared_store
async def test_the_first_who_finds_nothing_asks_and_others_are_told(store: Store) -> None:
    assert await store.find(HERE, "a", 60) == Found(None, is_ours=True)
    assert await store.find(HERE, "b", 60) == Found(None, is_ours=False)
    await store.keep(HERE, "a", "one", HOUR)
    assert await store.find(HERE, "b", 60) == Found("one")


@each_shared_store
async def test_who_gives_up_lets_another_ask(store: Store) -> None:
    await store.find(HERE, "a", 60)
    await store.give_up(HERE, "b")  # not its own
    assert await store.find(HERE, "b", 60) == Found(None, is_ours=False)
    await store.give_up(HERE, "a")
    assert await store.find(HERE, "b", 60) == Found(None, is_ours=True)


@each_shared_store
async def test_who_died_is_waited_for_as_long_as_it_said(store: Store) -> None:
    await store.find(HERE, "a", 0.3)
    while not (await store.find(HERE, "b", 60)).is_ours:
        pass
    assert await store.find(HERE, "c", 60) == Found(None, is_ours=False)


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
async def test_what_is_over_is_deleted_by_the_ledgers_upkeep(store: SqlStore) -> None:
    await store.keep(HERE, "a", "one", MOMENT)
    await store.keep(HERE._replace(key="k2"), "a", "two", HOUR)
    while not store._database.run(drop_answers):
        pass
    assert store._database.run(lambda c: c.scalar(select(func.count(kept_answers.c.key)))) == 1


async def test_memory_holds_a_tenants_bytes_and_those_of_all() -> None:
    store = MemoryStore(tenant_bytes=10, all_bytes=15)
    places = [Place("a", "x", "1"), Place("a", "y", "2"), Place("b", "x", "3")]
    for each in places:
        await store.keep(each, "a", "12345678", HOUR)
    await store.keep(Place("b", "x", "4"), "a", "more than ten", HOUR)
    assert await kept(store, *places, Place("b", "x", "4")) == [None, None, "12345678", None]


async def test_memory_drops_what_is_over_in_caches_that_nobody_writes_to() -> None:
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    await store.keep(HERE, "a", "one", HOUR)
    now[0] = 3601.0
    await store.keep(Place("acme", "other", "k"), "a", "two", HOUR)
    assert await store.clear(None) == 1


async def test_a_redis_that_is_away_says_so() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    async with aclosing(RedisStore(lambda: connection_to(url), is_own=True)) as store:
        with pytest.raises(OrchestifyError, match="redis is away"):
            await store.find(HERE, "a", 60)


async def until_gone(store: Store, place: Place) -> None:
    """Return once nothing is found any more."""
    while await kept(store, place) != [None]:
        pass
