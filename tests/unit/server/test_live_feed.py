"""One state for all readers: computed at most once an interval, and never for nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestify.errors import AccessError, LedgerError
from orchestify.server.live.feed import PING_S, Feed
from tests.ledgers import until

LONG_S = 1_000_000.0


@dataclass
class Account:
    """What is computed: a count, and what is to fail. `free` lets it go on."""

    value: int = 0
    asked: int = 0
    error: Exception | None = None
    free: asyncio.Event = field(default_factory=asyncio.Event)
    now: float = 0.0

    async def compute(self) -> dict[str, Any]:
        self.asked += 1
        await self.free.wait()
        if self.error is not None:
            raise self.error
        return {"at": f"{self.asked}", "problem": "", "value": self.value}

    def feed(self, **given: Any) -> Feed:
        return Feed(self.compute, clock=lambda: self.now, **{"every_s": 0.01, **given})


@pytest.fixture
async def account() -> Account:
    made = Account()
    made.free.set()
    return made


async def _next(events: AsyncIterator[bytes]) -> Any:
    async with asyncio.timeout(20):
        event = await anext(events)
    assert event.startswith(b"data: ")
    return json.loads(event[6:])


async def test_however_many_ask_it_is_computed_once(account: Account) -> None:
    account.free.clear()
    feed = account.feed(every_s=10.0)
    asking = [asyncio.create_task(feed.state()) for _ in range(50)]
    await asyncio.sleep(0)
    account.free.set()
    bodies = await asyncio.gather(*asking)
    assert (account.asked, len(set(bodies))) == (1, 1)
    account.now = 9.0
    await feed.state()
    assert account.asked == 1
    account.now = 11.0
    await feed.state()
    assert account.asked == 2


async def test_a_reader_that_leaves_ends_nothing_for_the_others(account: Account) -> None:
    account.free.clear()
    feed = account.feed()
    leaving, staying = (asyncio.create_task(feed.state()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    account.free.set()
    assert json.loads(await staying)["value"] == 0
    assert account.asked == 1


async def test_a_stream_has_each_state_that_is_new(account: Account) -> None:
    events = account.feed(stream_s=LONG_S).events()
    first = await _next(events)
    account.value, account.now = 5, 1.0
    second = await _next(events)
    assert (first["value"], second["value"]) == (0, 5)


async def test_a_stream_without_news_says_only_that_it_lives(account: Account) -> None:
    events = account.feed(stream_s=LONG_S).events()
    await _next(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # it goes on, and notes when it last said something
    account.now = PING_S + 1
    async with asyncio.timeout(20):
        assert (await waiting).startswith(b": ")
    assert account.asked >= 2


async def test_a_stream_ends_so_that_its_token_is_asked_again(account: Account) -> None:
    events = account.feed(stream_s=60.0).events()
    await _next(events)
    account.now = 61.0
    async with asyncio.timeout(20):
        assert [each async for each in events] == []


async def test_closing_ends_all_streams(account: Account) -> None:
    feed = account.feed(every_s=LONG_S, stream_s=LONG_S)
    streams = [feed.events() for _ in range(3)]
    for events in streams:
        await _next(events)
    assert feed.readers == 3
    waiting = [asyncio.ensure_future(anext(events)) for events in streams]
    await asyncio.sleep(0)
    feed.close()
    async with asyncio.timeout(20):
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in ended] == [StopAsyncIteration] * 3
    assert feed.readers == 0


async def test_a_stream_whose_reader_leaves_is_no_reader(account: Account) -> None:
    feed = account.feed(stream_s=LONG_S)
    events = feed.events()
    await _next(events)
    await events.aclose()  # type: ignore[attr-defined]  # what a server does
    assert feed.readers == 0


async def test_readers_are_bounded(account: Account) -> None:
    feed = account.feed(stream_s=LONG_S, most_readers=2)
    for events in [feed.events(), feed.events()]:
        await _next(events)
    with pytest.raises(AccessError, match="2 readers look at this live view already") as refused:
        feed.events()
    assert refused.value.status == 429


async def test_what_fails_is_told_beside_what_was_known(account: Account) -> None:
    feed = account.feed()
    account.value = 7
    await feed.state()
    account.error, account.now = LedgerError("the database is away"), 1.0
    told = json.loads(await feed.state())
    account.error, account.now = None, 2.0
    again = json.loads(await feed.state())
    assert (told["value"], told["problem"]) == (7, "the database is away")
    assert (again["value"], again["problem"]) == (7, "")


async def test_closing_waits_for_what_is_computed(account: Account) -> None:
    account.free.clear()
    feed = account.feed()
    asking = asyncio.create_task(feed.state())
    await until(lambda: account.asked == 1)
    await feed.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asking
