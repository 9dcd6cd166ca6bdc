"""What a cache finds and keeps, and how equal calls at once become one request."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import Any

import pytest

from orchestify.errors import OrchestifyError
from orchestify.response_cache.cache import AGAIN, Flight, ResponseCache
from orchestify.response_cache.kept_answer import KeptAnswer
from orchestify.response_cache.memory_store import MemoryStore
from orchestify.response_cache.store import Bounds, Found, Place, Store
from orchestify.values import LLMResponse
from orchestify.vault.cipher import Cipher
from tests import virtual
from tests.ledgers import until

HOUR = Bounds(3600, 100)
ANSWER: LLMResponse = LLMResponse("four", "m", 3, 1, "stop", cost_usd=Decimal("0.01"))
CIPHER = Cipher.from_env({"ENCRYPTION_KEY": "awUYdnsTSfEbysD9lcFozCsIjOJdKqRQq9k8NfxiHII="})
OTHER_KEY = Cipher.from_env({"ENCRYPTION_KEY": "A" * 43 + "="})


class ScriptedStore(MemoryStore):
    """A store in memory that tells what it holds; `asked` says who asks elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[Place, str] = {}
        self.noted: dict[Place, str] = {}
        self.is_away = False

    async def find(self, place: Place, owner: str, lease_s: float) -> Found:
        if self.is_away:
            raise OrchestifyError("it is away")
        if place in self.texts:
            return Found(self.texts[place])
        return Found(None, self.noted.setdefault(place, owner) == owner)

    async def keep(self, place: Place, owner: str, text: str, bounds: Bounds) -> None:
        self.texts[place] = text
        self.noted.pop(place, None)

    async def give_up(self, place: Place, owner: str) -> None:
        self.noted.pop(place, None)


def cache_of(store: Store | None = None, **changes: Any) -> ResponseCache:
    return ResponseCache(store or ScriptedStore(), HOUR, **changes)


async def flight_of(cache: ResponseCache, key: str = "k", wait_s: float = 60.0) -> Flight:
    """The flight under which a call is to ask."""
    found = await cache.find(key, wait_s)
    assert isinstance(found, Flight)
    return found


async def kept_in(cache: ResponseCache, key: str = "k", wait_s: float = 60.0) -> str:
    """The text of the answer that is found."""
    found = await cache.find(key, wait_s)
    assert isinstance(found, KeptAnswer)
    return found.response.content


async def test_what_was_answered_is_found() -> None:
    cache = cache_of()
    (await flight_of(cache)).answered(ANSWER)
    await cache.aclose()
    assert await kept_in(cache) == "four"


async def test_it_is_found_before_the_store_has_it() -> None:
    cache = cache_of()
    (await flight_of(cache)).answered(ANSWER)
    assert await kept_in(cache) == "four"


async def test_those_who_wait_get_the_answer_of_the_one_who_asks() -> None:
    cache = cache_of()
    leader = await flight_of(cache)
    waiting = [asyncio.create_task(kept_in(cache)) for _ in range(5)]
    await asyncio.sleep(0)
    leader.answered(ANSWER)
    assert await asyncio.gather(*waiting) == ["four"] * 5


async def test_where_it_fails_each_asks_for_itself() -> None:
    cache = cache_of()
    leader = await flight_of(cache)
    waiting = [asyncio.create_task(flight_of(cache)) for _ in range(5)]
    await asyncio.sleep(0)
    leader.give_up()
    assert len({each.id for each in await asyncio.gather(*waiting)}) == 5


async def test_where_it_was_cancelled_one_asks_in_its_place() -> None:
    cache = cache_of()
    leader = await flight_of(cache)
    waiting = [asyncio.create_task(cache.find("k", 60)) for _ in range(5)]
    await asyncio.sleep(0)
    leader.give_up(AGAIN)
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    second = done.pop().result()
    assert isinstance(second, Flight)
    second.answered(ANSWER)
    rest = [each for each in await asyncio.gather(*waiting) if each is not second]
    assert [type(each) for each in rest] == [KeptAnswer] * 4


async def test_a_waiter_that_is_cancelled_harms_no_other() -> None:
    cache = cache_of()
    leader = await flight_of(cache)
    waiting = [asyncio.create_task(kept_in(cache)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    leader.answered(ANSWER)
    assert await waiting[1] == "four"


def test_who_waits_too_long_asks_for_itself() -> None:
    async def work() -> float:
        cache, loop = cache_of(), asyncio.get_running_loop()
        await asyncio.create_task(flight_of(cache))
        await flight_of(cache, wait_s=30.0)
        return loop.time()

    assert virtual.run(work()) == pytest.approx(30.0, abs=0.1)


async def test_who_would_wait_for_itself_asks() -> None:
    cache = cache_of()
    leader = await flight_of(cache)
    assert (await flight_of(cache)).id != leader.id
    leader.answered(ANSWER)
    assert await kept_in(cache) == "four"


def test_a_store_that_hangs_is_away(caplog: pytest.LogCaptureFixture) -> None:
    class HangingStore(ScriptedStore):
        async def find(self, place: Place, owner: str, lease_s: float) -> Found:
            await asyncio.Event().wait()
            raise AssertionError

    async def work() -> float:
        (await flight_of(cache_of(HangingStore()))).give_up()
        return asyncio.get_running_loop().time()

    assert virtual.run(work()) == pytest.approx(5.0, abs=0.1)
    assert "away, calls go on without it: nothing for 5 s" in caplog.text


async def test_what_another_process_asks_is_waited_for() -> None:
    store, looks = ScriptedStore(), list[float]()
    place = Place("", "3600-100", "k")
    store.noted[place] = "another process"

    async def look_later(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            await store.keep(place, "another process", sealed(store), HOUR)

    assert await kept_in(cache_of(store, sleep=look_later)) == "four"
    assert looks == [0.05, 0.1, 0.2]


async def test_but_not_for_longer_than_the_call_has_time() -> None:
    store, looks = ScriptedStore(), list[float]()
    store.noted[Place("", "3600-100", "k")] = "another process"

    async def look_later(seconds: float) -> None:
        looks.append(seconds)

    flight = await flight_of(cache_of(store, sleep=look_later), wait_s=0.2)
    assert flight.is_noted is False
    assert sum(looks) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("reason", ["length", "content_filter", "refusal", "pause"])
async def test_an_answer_that_is_not_whole_is_not_kept(reason: str) -> None:
    store = ScriptedStore()
    cache = cache_of(store)
    (await flight_of(cache)).answered(LLMResponse("fo", "m", 3, 1, reason))
    await cache.aclose()
    assert (store.texts, store.noted) == ({}, {})


async def test_an_answer_that_was_refreshed_takes_the_place_of_the_older() -> None:
    cache = cache_of()
    (await flight_of(cache)).answered(ANSWER)
    await cache.aclose()
    cache.refreshing("k").answered(LLMResponse("five", "m", 3, 1, "stop"))
    assert await kept_in(cache) == "five"


async def test_where_a_refresh_fails_those_who_wait_get_what_is_kept() -> None:
    cache = cache_of()
    (await flight_of(cache)).answered(ANSWER)
    await cache.aclose()
    refresh = cache.refreshing("k")
    waiting = [asyncio.create_task(kept_in(cache)) for _ in range(3)]
    await asyncio.sleep(0)
    refresh.give_up()
    assert await asyncio.gather(*waiting) == ["four"] * 3


async def test_a_text_is_sealed_where_there_is_a_key() -> None:
    store = ScriptedStore()
    cache = cache_of(store, cipher=CIPHER)
    (await flight_of(cache)).answered(ANSWER)
    await cache.aclose()
    assert not any("four" in text for text in store.texts.values())
    assert await kept_in(cache) == "four"


def test_without_the_key_nobody_can_try_guesses_at_a_digest() -> None:
    assert cache_of().key("model", b"body") == cache_of().key("model", b"body")
    assert cache_of(cipher=CIPHER).key("model", b"body") != cache_of().key("model", b"body")


@pytest.mark.parametrize(
    "parts", [("mod", b"elbody"), (b"body", "model"), ("model", b"body", ""), ("Model", b"body")]
)
def test_no_two_requests_share_a_digest(parts: tuple[Any, ...]) -> None:
    assert cache_of().key(*parts) != cache_of().key("model", b"body")


def test_no_two_tenants_share_a_digest() -> None:
    assert cache_of(tenant="a").key("x") != cache_of(tenant="b").key("x")


@pytest.mark.parametrize("damage", ["another's", "another key's", "cut", "other form"])
async def test_what_cannot_be_read_is_asked_anew_and_told_once_without_its_text(
    damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = ScriptedStore()
    cache = cache_of(store, cipher=OTHER_KEY if damage == "another key's" else None)
    (await flight_of(cache)).answered(ANSWER)
    await cache.aclose()
    place, text = store.texts.popitem()
    spoilt = {
        "another's": text.replace("\nk\n", "\nl\n"),
        "another key's": text,
        "cut": text[:-20],
        "other form": text.replace('"form":1', '"form":0'),
    }
    store.texts[place] = spoilt[damage]
    reader = cache_of(store, cipher=CIPHER if damage == "another key's" else None)
    with caplog.at_level(logging.WARNING):
        (await flight_of(reader)).give_up()
        (await flight_of(reader)).give_up()
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "cannot be read" in caplog.text
    assert "four" not in caplog.text


async def test_a_store_that_is_away_fails_no_call_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = ScriptedStore()
    store.is_away = True
    cache = cache_of(store)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            (await flight_of(cache, f"k{number}")).give_up()
    assert [each.getMessage() for each in caplog.records] == [
        "the response cache's store is away, calls go on without it: it is away"
    ]


async def test_who_is_cancelled_while_it_looks_leaves_no_note() -> None:
    store = ScriptedStore()

    class SlowStore(ScriptedStore):
        async def find(self, place: Place, owner: str, lease_s: float) -> Found:
            await store.find(place, owner, lease_s)
            await asyncio.Event().wait()
            raise AssertionError

        async def give_up(self, place: Place, owner: str) -> None:
            await store.give_up(place, owner)

    cache = cache_of(SlowStore())
    looking = asyncio.create_task(cache.find("k", 60))
    await until(lambda: bool(store.noted))
    looking.cancel()
    await asyncio.wait((looking,))
    await cache.aclose()
    assert store.noted == {}


async def test_a_stream_whose_loop_is_gone_leaves_nobody_waiting() -> None:
    cache = cache_of()
    flight = await flight_of(cache)
    await asyncio.to_thread(flight.give_up)
    assert (await flight_of(cache, wait_s=0.0)).id != flight.id


def sealed(store: ScriptedStore) -> str:
    """The text of the answer as another process keeps it under `k`."""
    kept = (
        '{"form":1,"content":"four","model":"m","finish_reason":"stop","raw_response":null,'
        '"tool_calls":[],"thinking":null,"usage":{},"cost_usd":null,"warnings":[]}'
    )
    return f"\nk\n{kept}"
