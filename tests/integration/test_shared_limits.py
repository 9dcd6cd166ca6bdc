from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.core.policies import RateLimitConfig
from orchestify.errors import RateLimitError
from orchestify.policy.rate_limit import RateLimiter
from orchestify.providers.shared import SharedParts
from orchestify.shared_limits import (
    RedisConnection,
    RedisLimits,
    SharedRateLimiter,
    SharedSlidingWindow,
)
from orchestify.shared_limits.limiter import SharedGrant
from orchestify.values import Priority
from tests.ledgers import until
from tests.redis_server import (
    REDIS,
    RedisRelay,
    free_port,
    redis_entries,
    redis_keys,
    redis_prefix,
    redis_relay,
    redis_text,
)

HOUR_S = 3600


@pytest.fixture
def prefix() -> Iterator[str]:
    with redis_prefix() as prefix:
        yield prefix


@pytest.fixture
async def relay(prefix: str) -> AsyncIterator[RedisRelay]:
    async with redis_relay() as relay:
        yield relay


class CountingLink(RedisConnection):
    asked = 0

    async def take(self, key: str, limit: int, window_s: int, amount: int) -> bool | None:
        self.asked += 1
        return await super().take(key, limit, window_s, amount)


@asynccontextmanager
async def machine(
    prefix: str,
    *,
    url: str = REDIS,
    requests: int | None = None,
    tokens: int | None = None,
    window_s: int = HOUR_S,
    share: int | None = None,
    **local: Any,
) -> AsyncIterator[SharedRateLimiter]:
    """One process's side of a limit."""
    link = RedisConnection(url, prefix)
    limiter = SharedRateLimiter(
        link,
        RateLimiter(**local),
        requests=windows(link, "requests", requests, window_s, share),
        tokens=windows(link, "tokens", tokens, window_s, share),
    )
    yield limiter
    await link.aclose()


def windows(
    link: RedisConnection, key: str, limit: int | None, window_s: int, share: int | None
) -> list[SharedSlidingWindow]:
    return [] if limit is None else [SharedSlidingWindow(link, key, limit, window_s, share=share)]


async def take(limiter: SharedRateLimiter, count: int, tokens: int = 0) -> list[SharedGrant]:
    return [await limiter.acquire(tokens, deadline=soon()) for _ in range(count)]


async def is_full(limiter: SharedRateLimiter, tokens: int = 0) -> bool:
    try:
        await limiter.acquire(tokens, deadline=soon())
    except RateLimitError:
        return True
    return False


def soon() -> float:
    return time.monotonic() + 1


async def test_machines_count_their_requests_together(prefix: str) -> None:
    async with machine(prefix, requests=10) as one, machine(prefix, requests=10) as two:
        await take(one, 6)
        await take(two, 4)
        assert await is_full(one)
        assert await is_full(two)


async def test_full_window_says_when_it_opens(prefix: str) -> None:
    async with machine(prefix, requests=1) as one:
        await take(one, 1)
        with pytest.raises(RateLimitError, match="before its deadline; it comes in") as caught:
            await one.acquire(0, deadline=soon())
        assert 3590 < (caught.value.retry_after_s or 0) < 3601
        assert 3590 < one.wait_s(0) < 3601
        with pytest.raises(RateLimitError):
            await one.acquire(0, deadline=soon())


async def test_the_state_says_what_this_process_used_and_when_the_window_opens(
    prefix: str,
) -> None:
    async with machine(prefix, requests=1, requests_per_minute=60) as one:
        await take(one, 1)
        assert await is_full(one)
        state = one.state()
    assert state.usage == {"requests_per_minute": (1, 60)}
    assert 3590 < state.wait_s < 3601
    assert state.waiting == 0


async def test_what_an_estimate_missed_is_a_second_hit(prefix: str) -> None:
    async with machine(prefix, tokens=1000) as one, machine(prefix, tokens=1000) as two:
        (grant,) = await take(one, 1, tokens=100)
        assert redis_entries(prefix, "tokens") == 100
        grant.settle(950)
        grant.settle(5000)
        await until(lambda: redis_entries(prefix, "tokens") == 950)
        assert await is_full(two, tokens=51)
        await take(two, 1, tokens=50)


async def test_second_hit_goes_past_the_limit(prefix: str) -> None:
    async with machine(prefix, tokens=1000) as one, machine(prefix, tokens=1000) as two:
        (grant,) = await take(one, 1, tokens=600)
        await take(two, 1, tokens=400)
        grant.settle(900)
        await until(lambda: redis_entries(prefix, "tokens") == 1300)
        assert await is_full(two, tokens=1)


async def test_what_an_estimate_had_too_much_is_for_the_next_calls_here(prefix: str) -> None:
    async with machine(prefix, tokens=1000) as one, machine(prefix, tokens=1000) as two:
        (grant,) = await take(one, 1, tokens=1000)
        grant.settle(100)
        assert await is_full(two, tokens=1)
        await take(one, 1, tokens=900)
        assert await is_full(one, tokens=1)
        assert redis_entries(prefix, "tokens") == 1000


async def test_what_is_left_over_wakes_who_waits(prefix: str) -> None:
    async with machine(prefix, tokens=1000) as one:
        (grant,) = await take(one, 1, tokens=1000)
        waits = asyncio.create_task(one.acquire(500))
        await until(lambda: one.wait_s(0) > 0)
        grant.settle(400)
        async with asyncio.timeout(30):
            await waits


async def test_request_that_was_not_sent_is_for_the_next_call(prefix: str) -> None:
    async with machine(prefix, requests=1, tokens=100) as one:
        (grant,) = await take(one, 1, tokens=100)
        grant.give_back()
        grant.give_back()
        await take(one, 1, tokens=100)
        assert await is_full(one)
        assert redis_entries(prefix, "requests") == 1


async def test_tokens_that_find_no_room_take_no_request(prefix: str) -> None:
    async with machine(prefix, requests=2, tokens=100) as one:
        await take(one, 1, tokens=100)
        assert await is_full(one, tokens=1)
        assert await is_full(one, tokens=1)
        await take(one, 1, tokens=0)
        assert await is_full(one)


async def test_more_than_the_limit_goes_when_it_is_whole_and_leaves_a_debt(prefix: str) -> None:
    async with machine(prefix, tokens=100) as one, machine(prefix, tokens=100) as two:
        await take(one, 1, tokens=250)
        await until(lambda: redis_entries(prefix, "tokens") == 200)
        assert await is_full(two, tokens=1)


async def test_large_limit_is_counted_in_few_entries(prefix: str) -> None:
    async with machine(prefix, tokens=1_000_000) as one, machine(prefix, tokens=1_000_000) as two:
        await take(one, 20, tokens=25_000)
        await take(two, 20, tokens=24_900)
        assert await is_full(two, tokens=5000)
        assert redis_entries(prefix, "tokens") < 1000


async def test_high_priority_goes_first_and_equals_in_order(prefix: str) -> None:
    log: list[str] = []

    async def go(limiter: SharedRateLimiter, name: str, priority: Priority) -> None:
        await limiter.acquire(0, priority=priority)
        log.append(name)

    async with machine(prefix, requests=1, window_s=1) as one, asyncio.timeout(30):
        await take(one, 1)
        async with asyncio.TaskGroup() as group:
            for name, priority in (("low", "low"), ("first", "normal"), ("second", "normal")):
                group.create_task(go(one, name, priority))
            await until(lambda: one.wait_s(0) > 0)
            group.create_task(go(one, "high", "high"))
    assert log == ["high", "first", "second", "low"]


async def test_cancelled_wait_lets_the_next_one_go(prefix: str) -> None:
    async with machine(prefix, requests=1, window_s=1) as one, asyncio.timeout(30):
        await take(one, 1)
        first, second = (asyncio.create_task(one.acquire(0)) for _ in range(2))
        await until(lambda: one.wait_s(0) > 0)
        first.cancel()
        await second
        assert first.cancelled()


async def test_deadline_passes_while_others_are_ahead(prefix: str) -> None:
    async with machine(prefix, concurrency=1, requests=10) as one:
        (running,) = await take(one, 1)
        ahead = asyncio.create_task(one.acquire(0))
        await asyncio.sleep(0)
        with pytest.raises(RateLimitError, match="no turn"):
            await one.acquire(0, deadline=time.monotonic() + 0.05)
        running.release()
        async with asyncio.timeout(30):
            await ahead


async def test_slots_and_pauses_are_of_each_machine(prefix: str) -> None:
    async with (
        machine(prefix, requests=10, concurrency=1) as one,
        machine(prefix, requests=10, concurrency=1) as two,
    ):
        (grant,) = await take(one, 1)
        await take(two, 1)
        assert await is_full(one)
        one.penalise(30.0, grant)
        grant.release()
        assert 29 < one.wait_s(0) <= 30
        assert two.wait_s(0) == 0


async def test_many_waiters_ask_redis_one_at_a_time(prefix: str) -> None:
    link = CountingLink(REDIS, prefix)
    limiter = SharedRateLimiter(
        link, RateLimiter(), requests=windows(link, "requests", 20, 1, None)
    )
    async with asyncio.timeout(30):
        await asyncio.gather(*(limiter.acquire(0) for _ in range(60)))
    assert link.asked < 60 * 3
    await link.aclose()


async def test_refused_port_goes_on_at_this_machines_share(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"redis://user:a-password@127.0.0.1:{free_port()}"
    async with machine("p", url=url, requests=100, share=50) as one:
        await take(one, 50)
        assert await is_full(one)
        assert one._connection.state == "local"
    assert caplog.text.count("rate limits go on here") == 1
    assert "a-password" not in caplog.text


async def test_redis_that_never_answers_holds_up_few_calls(relay: RedisRelay) -> None:
    relay.hang()
    async with machine("p", url=relay.url, requests=1000) as one, asyncio.timeout(20):
        await take(one, 200)
        assert one._connection.state == "local"


async def test_what_was_taken_before_counts_when_redis_goes(prefix: str, relay: RedisRelay) -> None:
    async with machine(prefix, url=relay.url, requests=100, share=50) as one:
        await take(one, 40)
        await relay.cut()
        await take(one, 10)
        assert await is_full(one)


async def test_limits_are_shared_again_when_redis_is_back(
    prefix: str, relay: RedisRelay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with machine(prefix, url=relay.url, requests=100, share=50) as one:
        await relay.cut()
        await take(one, 10)
        await relay.restore()
        await comes_back(one)
        await take(one, 1)
        await until(lambda: redis_entries(prefix, "requests") == 11)
    assert caplog.text.count("answers again") == 1


async def test_share_bounds_the_short_window_that_redis_missed(
    prefix: str, relay: RedisRelay
) -> None:
    async with machine(prefix, url=relay.url, requests=20, share=10, window_s=50) as one:
        await relay.cut()
        (grant, *_) = await take(one, 9)
        await relay.restore()
        await comes_back(one)
        grant.settle(5)
        await take(one, 1)
        assert redis_entries(prefix, "requests") == 1
        assert await is_full(one)


async def test_error_that_redis_answers_fails_no_call(prefix: str) -> None:
    redis_text(f"{prefix}:requests/{HOUR_S}/1", "not a list")
    async with machine(prefix, requests=5) as one:
        await take(one, 5)
        assert await is_full(one)


async def test_settling_after_the_loop_has_gone_is_harmless(prefix: str) -> None:
    def grant() -> SharedGrant:
        async def run() -> SharedGrant:
            async with machine(prefix, tokens=100) as one:
                return await one.acquire(10)

        return asyncio.run(run())

    late = await asyncio.to_thread(grant)
    late.settle(50)
    late.release()


async def test_tenants_have_limits_of_their_own_and_keys_that_expire(prefix: str) -> None:
    limits = RedisLimits(REDIS, prefix)
    limit = RateLimitConfig(requests_per_minute=2, tokens_per_day=500)
    key = ("provider", "main", repr(limit))
    acme, again, other = (limits.for_tenant(each)(key, limit) for each in ("acme", "acme", "zoo"))
    for limiter in (acme, again, other):
        await limiter.acquire(100, deadline=soon())
    with pytest.raises(RateLimitError):
        await acme.acquire(100, deadline=soon())
    await other.acquire(100, deadline=soon())
    assert await limits.check() == "shared"
    await limits.aclose()
    lives = redis_keys(prefix)
    assert list(lives) == [
        f"{prefix}:limit/acme/provider/main/requests/60/1",
        f"{prefix}:limit/acme/provider/main/tokens/86400/1",
        f"{prefix}:limit/zoo/provider/main/requests/60/1",
        f"{prefix}:limit/zoo/provider/main/tokens/86400/1",
    ]
    assert min(lives.values()) > 0


async def test_limit_without_numbers_asks_nobody() -> None:
    limits = RedisLimits(f"redis://127.0.0.1:{free_port()}", machines=2)
    limit = RateLimitConfig(concurrency=3)
    limiter = limits.for_tenant("acme")(("provider", "main", ""), limit)
    assert isinstance(limiter, RateLimiter)
    assert limiter.concurrency == 3
    await limits.aclose()


async def test_check_finds_redis_away() -> None:
    limits = RedisLimits(f"redis://127.0.0.1:{free_port()}")
    assert await limits.check() == "shared"
    assert await limits.check() == "local"
    assert limits.state == "local"
    await limits.aclose()


async def test_registries_of_a_tenant_share_its_providers_limit(prefix: str) -> None:
    config = parse_config(
        """
        providers: {main: {type: mock, default_model: m, rate_limit: {requests_per_minute: 3}}}
        retry: {max_attempts: 1}
        """
    )
    machines = [RedisLimits(REDIS, prefix, machines=2) for _ in range(2)]
    registries = [
        await assembled(config, SharedParts(make_limiter=each.for_tenant("acme")))
        for each in machines
    ]
    for registry in (*registries, registries[0]):
        await registry.get("main").complete("hi")
    for registry in registries:
        with pytest.raises(RateLimitError, match="our own rate limit"):
            await registry.get("main").complete("hi", timeout_s=1)
        await registry.aclose()
    for each in machines:
        await each.aclose()


async def assembled(config: Any, shared: SharedParts) -> ProviderRegistry:
    return ProviderRegistry.assemble(config, shared)


async def comes_back(limiter: SharedRateLimiter) -> None:
    async with asyncio.timeout(20):
        while await limiter._connection.check() != "shared":  # noqa: ASYNC110 - asking is what helps
            await asyncio.sleep(0.1)
