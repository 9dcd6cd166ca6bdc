from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from orchestify.errors import InvalidParameterError, MissingExtraError
from orchestify.server.tenants.change_notices import RedisNotices
from tests.ledgers import until
from tests.redis_server import REDIS, RedisRelay, free_port, redis_prefix, redis_relay


@pytest.fixture
def prefix() -> Iterator[str]:
    with redis_prefix() as prefix:
        yield prefix


@pytest.fixture
async def relay(prefix: str) -> AsyncIterator[RedisRelay]:
    async with redis_relay() as relay:
        yield relay


@asynccontextmanager
async def heard_by(notices: RedisNotices, teller: RedisNotices) -> AsyncIterator[list[str]]:
    """What a listener hears, once it is known to listen."""
    heard: list[str] = []
    task = asyncio.create_task(notices.listen(heard.append))
    async with asyncio.timeout(20):
        while not heard:
            await teller.publish("first")
            await asyncio.sleep(0.02)
    yield heard
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await notices.aclose()
    await teller.aclose()


async def test_notice_reaches_the_other_processes(prefix: str) -> None:
    one, two = RedisNotices(REDIS, prefix), RedisNotices(REDIS, prefix)
    async with heard_by(one, two) as heard:
        await two.publish("acme")
        await one.publish("zoo")
        await until(lambda: heard[-2:] == ["acme", "zoo"])
    assert "*" not in heard


async def test_services_with_other_prefixes_do_not_hear_each_other(prefix: str) -> None:
    one, two = RedisNotices(REDIS, prefix), RedisNotices(REDIS, prefix)
    stranger = RedisNotices(REDIS, f"{prefix}-other")
    async with heard_by(one, two) as heard:
        await stranger.publish("strange")
        await two.publish("acme")
        await until(lambda: "acme" in heard)
        await stranger.aclose()
    assert "strange" not in heard


async def test_all_tenants_are_told_of_after_a_cut(
    prefix: str, relay: RedisRelay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "orchestify.notices")
    one, two = RedisNotices(relay.url, prefix), RedisNotices(REDIS, prefix)
    async with heard_by(one, two) as heard:
        await relay.cut()
        await until(lambda: "are not heard" in caplog.text)
        await asyncio.sleep(0.5)
        await relay.restore()
        await until(lambda: heard[-1] == "*")
        await two.publish("acme")
        await until(lambda: heard[-1] == "acme")
    assert caplog.text.count("are not heard") == 1
    assert caplog.messages[-1] == "redis answers again: changed tenants are heard of"


async def test_connection_that_died_without_a_word_is_left(prefix: str, relay: RedisRelay) -> None:
    one = RedisNotices(relay.url, prefix, quiet_s=0.1)
    async with heard_by(one, RedisNotices(REDIS, prefix)) as heard:
        await asyncio.sleep(0.5)
        assert "*" not in heard
        relay.hang()
        await asyncio.sleep(0.5)
        await relay.restore()
        await until(lambda: "*" in heard)


async def test_telling_where_redis_is_away_is_logged_once_and_fails_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notices = RedisNotices(f"redis://:a-password@127.0.0.1:{free_port()}")
    await notices.publish("acme")
    await notices.publish("acme")
    await notices.aclose()
    assert caplog.record_tuples == [
        (
            "orchestify.notices",
            logging.WARNING,
            "redis does not answer (ConnectionError): other processes are not told of changed "
            "tenants and find them in the database",
        )
    ]


async def test_redis_that_never_answers_holds_up_no_write(relay: RedisRelay) -> None:
    relay.hang()
    notices = RedisNotices(relay.url)
    async with asyncio.timeout(30):
        await notices.publish("acme")
    await notices.aclose()


def test_url_of_something_else_is_a_problem() -> None:
    with pytest.raises(InvalidParameterError, match="expected redis://"):
        RedisNotices("http://:a-password@host")


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[redis\]"):
        RedisNotices(REDIS)
