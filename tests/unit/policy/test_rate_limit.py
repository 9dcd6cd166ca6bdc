from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from orchestify.errors import RateLimitError
from orchestify.policy.rate_limit import LocalGrant, RateLimiter
from orchestify.policy.rate_limit_headers import RateHint
from orchestify.values import Priority
from tests.clock import ManualClock, idle

Make = Callable[..., RateLimiter]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make(clock: ManualClock) -> Make:
    return lambda **limits: RateLimiter(clock=clock, call_later=clock.call_later, **limits)


async def take(limiter: RateLimiter, times: int, tokens: int = 0) -> list[LocalGrant]:
    return [await limiter.acquire(tokens) for _ in range(times)]


def start(
    limiter: RateLimiter, log: list[str], name: str, tokens: int = 0, priority: Priority = "normal"
) -> asyncio.Task[LocalGrant]:
    async def go() -> LocalGrant:
        grant = await limiter.acquire(tokens, priority=priority)
        log.append(name)
        return grant

    return asyncio.create_task(go())


async def test_without_limits_everything_goes_at_once(make: Make) -> None:
    grants = await take(make(), 1000, tokens=1_000_000)
    assert len(grants) == 1000


async def test_a_burst_goes_at_once_and_the_rest_at_the_rate(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(requests_per_minute=60, burst=3)
    log: list[str] = []
    tasks = [start(limiter, log, str(number)) for number in range(6)]
    await clock.run(0)
    assert log == ["0", "1", "2"]
    await clock.run(0.9)
    assert log == ["0", "1", "2"]
    await clock.run(0.2)
    assert log == ["0", "1", "2", "3"]
    await clock.run(2)
    assert log == ["0", "1", "2", "3", "4", "5"]
    await asyncio.gather(*tasks)


async def test_without_a_burst_a_minutes_requests_may_go_at_once(make: Make) -> None:
    limiter = make(requests_per_minute=60)
    await take(limiter, 60)
    assert limiter.wait_s(0) == pytest.approx(1.0)


@pytest.mark.parametrize("algorithm", ["sliding_window", "fixed_window"])
async def test_a_burst_also_bounds_the_windows(make: Make, algorithm: str) -> None:
    limiter = make(requests_per_minute=60, burst=3, algorithm=algorithm)
    await take(limiter, 3)
    assert limiter.wait_s(0) == pytest.approx(1.0)


@pytest.mark.parametrize("algorithm", ["sliding_window", "fixed_window"])
async def test_a_window_lets_its_limit_through_and_the_rest_in_the_next(
    make: Make, clock: ManualClock, algorithm: str
) -> None:
    limiter = make(requests_per_minute=2, algorithm=algorithm)
    log: list[str] = []
    tasks = [start(limiter, log, str(number)) for number in range(4)]
    await clock.run(59.9)
    assert log == ["0", "1"]
    await clock.run(0.1)
    assert log == ["0", "1", "2", "3"]
    await asyncio.gather(*tasks)


async def test_the_days_limit_holds_beside_the_minutes(make: Make, clock: ManualClock) -> None:
    limiter = make(requests_per_minute=10, requests_per_day=12, algorithm="fixed_window")
    await take(limiter, 10)
    await clock.run(60)
    await take(limiter, 2)
    assert limiter.wait_s(0) == 86_340.0


async def test_tokens_are_charged_by_estimate(make: Make) -> None:
    limiter = make(tokens_per_minute=6000)
    grant = await limiter.acquire(5000)
    grant.settle(5000)
    assert limiter.wait_s(1000) == 0.0
    assert limiter.wait_s(1500) == 5.0


async def test_settling_gives_back_what_was_too_much(make: Make) -> None:
    limiter = make(tokens_per_minute=6000)
    grant = await limiter.acquire(6000)
    grant.settle(1000)
    grant.settle(0)
    assert limiter.wait_s(5000) == 0.0
    assert limiter.wait_s(5100) == 1.0


async def test_settling_owes_what_was_missing(make: Make) -> None:
    limiter = make(tokens_per_minute=6000)
    grant = await limiter.acquire(1000)
    grant.settle(7000)
    assert limiter.wait_s(0) == 10.0


async def test_a_refund_wakes_who_waits_for_it(make: Make, clock: ManualClock) -> None:
    limiter = make(tokens_per_minute=6000)
    grant = await limiter.acquire(6000)
    task = start(limiter, [], "waits", tokens=3000)
    await clock.run(1)
    grant.settle(2000)
    await clock.run(0)
    assert task.done()


async def test_more_tokens_than_the_bucket_go_when_it_is_full_and_leave_a_debt(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(tokens_per_minute=6000)
    (await limiter.acquire(100)).settle(100)
    task = start(limiter, [], "large", tokens=12_000)
    await clock.run(0.9)
    assert not task.done()
    await clock.run(0.1)
    (await task).settle(12_000)
    assert limiter.wait_s(0) == pytest.approx(60.0)


async def test_a_wait_that_cannot_fit_the_deadline_is_not_begun(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(requests_per_minute=60, burst=1)
    await take(limiter, 1)
    with pytest.raises(RateLimitError, match="it comes in 1 s") as caught:
        await limiter.acquire(0, deadline=0.5)
    assert caught.value.retry_after_s == 1.0
    await clock.run(1)
    await take(limiter, 1)


async def test_those_who_wait_already_count_against_a_deadline(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(requests_per_minute=60, burst=1)
    await take(limiter, 1)
    tasks = [start(limiter, [], "ahead") for _ in range(5)]
    await clock.run(0)
    with pytest.raises(RateLimitError) as caught:
        await limiter.acquire(0, deadline=5.5)
    assert caught.value.retry_after_s == pytest.approx(6.0)
    assert limiter.wait_s(0, priority="high") == pytest.approx(1.0)
    await clock.run(5)
    await asyncio.gather(*tasks)


async def test_a_turn_exactly_at_the_deadline_is_taken(make: Make, clock: ManualClock) -> None:
    limiter = make(requests_per_minute=60, burst=1)
    await take(limiter, 1)
    task = asyncio.create_task(limiter.acquire(0, deadline=1.0))
    await clock.run(1.0)
    assert (await task).tokens == 0


async def test_waiting_for_a_slot_ends_at_the_deadline(make: Make, clock: ManualClock) -> None:
    limiter = make(concurrency=1)
    await take(limiter, 1)
    task = asyncio.create_task(limiter.acquire(0, deadline=5.0))
    await clock.run(4.9)
    assert not task.done()
    await clock.run(0.1)
    with pytest.raises(RateLimitError) as caught:
        await task
    assert caught.value.retry_after_s is None


async def test_a_released_slot_goes_to_the_first_who_waits(make: Make, clock: ManualClock) -> None:
    limiter = make(concurrency=2)
    first, _second = await take(limiter, 2)
    log: list[str] = []
    tasks = [start(limiter, log, name) for name in ("a", "b")]
    await clock.run(10)
    assert log == []
    first.release()
    first.release()
    await clock.run(0)
    assert log == ["a"]
    (await tasks[0]).release()
    await clock.run(0)
    assert log == ["a", "b"]


async def test_priority_goes_first_and_then_the_order_of_arrival(make: Make) -> None:
    limiter = make(concurrency=1)
    (running,) = await take(limiter, 1)
    log: list[str] = []

    async def call(name: str, priority: Priority) -> None:
        grant = await limiter.acquire(0, priority=priority)
        log.append(name)
        grant.release()

    async with asyncio.TaskGroup() as calls:
        calls.create_task(call("low 1", "low"))
        calls.create_task(call("normal 1", "normal"))
        calls.create_task(call("high 1", "high"))
        calls.create_task(call("low 2", "low"))
        calls.create_task(call("normal 2", "normal"))
        calls.create_task(call("high 2", "high"))
        calls.create_task(call("medium", "medium"))
        calls.create_task(call("critical", "critical"))
        await idle()
        running.release()
    assert log == [
        *("critical", "high 1", "high 2", "normal 1", "normal 2", "medium", "low 1", "low 2"),
    ]


async def test_nobody_overtakes_within_a_priority(make: Make, clock: ManualClock) -> None:
    limiter = make(tokens_per_minute=6000)
    await limiter.acquire(5000)
    log: list[str] = []
    tasks = [start(limiter, log, "large", tokens=3000), start(limiter, log, "small", tokens=10)]
    await clock.run(1)
    assert log == []
    urgent = start(limiter, log, "urgent", tokens=10, priority="high")
    await clock.run(30)
    assert log == ["urgent", "large", "small"]
    await asyncio.gather(urgent, *tasks)


async def test_a_cancelled_waiter_gives_its_place_back_at_once(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(tokens_per_minute=6000)
    grant = await limiter.acquire(6000)
    grant.settle(6000)
    large, small = start(limiter, [], "large", tokens=6000), start(limiter, [], "small", tokens=100)
    await clock.run(1)
    assert not small.done()
    large.cancel()
    await clock.run(0)
    (await small).settle(100)
    assert limiter.wait_s(100) == pytest.approx(1.0)


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_takes_nothing(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(concurrency=1)
    (running,) = await take(limiter, 1)
    first, second = start(limiter, [], "first"), start(limiter, [], "second")
    await idle()
    running.release()
    first.cancel()
    await idle()
    assert first.cancelled()
    assert second.done()


async def test_after_a_429_nothing_goes_before_its_retry_after(
    make: Make, clock: ManualClock
) -> None:
    limiter = make()
    limiter.penalise(7.0)
    assert limiter.wait_s(0) == 7.0
    task = start(limiter, [], "waits")
    await clock.run(6.9)
    assert not task.done()
    await clock.run(0.1)
    assert task.done()


async def test_after_a_429_one_goes_and_the_rest_at_half_the_rate(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(requests_per_minute=600)
    limiter.penalise(5.0)
    log: list[str] = []
    tasks = [start(limiter, log, "waits") for _ in range(600)]
    await clock.run(5)
    assert len(log) == 1
    await clock.run(10)
    assert len(log) == 55  # 1 + 10 a second * (0.5 + 10 / 240) * 10 s, rounded down
    await clock.run(50)
    assert len(log) == 451  # 1 + 10 a second * 0.75 * 60 s
    await clock.run(14.9)
    assert len(log) == 600
    await asyncio.gather(*tasks)


async def test_one_pause_halves_once_however_many_429_there_are(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(requests_per_minute=60, burst=1)
    limiter.penalise(10.0)
    limiter.penalise(12.0)
    limiter.penalise(3.0)
    await clock.run(12)
    await take(limiter, 1)
    assert limiter.wait_s(0) == pytest.approx(1.97, abs=0.01)


async def test_calls_under_way_together_halve_once(make: Make, clock: ManualClock) -> None:
    limiter = make(requests_per_minute=60, burst=3)
    grants = await take(limiter, 3)
    for grant in grants:
        limiter.penalise(None, grant)
    assert limiter.wait_s(0) == pytest.approx(1.97, abs=0.01)
    await clock.run(2)
    (after,) = await take(limiter, 1)
    limiter.penalise(None, after)
    assert limiter.wait_s(0) == pytest.approx(3.51, abs=0.01)


async def test_the_429_of_a_waiting_call_is_felt_by_those_who_wait(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(requests_per_minute=60, burst=1)
    await take(limiter, 1)
    task = asyncio.create_task(limiter.acquire(0, deadline=3.0))
    await clock.run(0.5)
    limiter.penalise(30.0)
    await clock.run(0)
    with pytest.raises(RateLimitError):
        await task


async def test_a_providers_own_headers_pause_until_the_reset(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(requests_per_minute=60)
    limiter.learn(RateHint(remaining_requests=0, reset_requests_s=4.0, remaining_tokens=9))
    assert limiter.wait_s(0) == 4.0
    await clock.run(4)
    await take(limiter, 60)


async def test_headers_with_something_left_change_nothing(make: Make) -> None:
    limiter = make(requests_per_minute=60)
    limiter.learn(RateHint(remaining_requests=1, reset_requests_s=4.0))
    assert limiter.wait_s(0) == 0.0


async def test_a_preview_takes_nothing(make: Make) -> None:
    limiter = make(requests_per_minute=60, burst=1)
    assert [limiter.wait_s(0), limiter.wait_s(0)] == [0.0, 0.0]
    await take(limiter, 1)


def test_loops_in_several_threads_share_one_limit() -> None:
    limiter = RateLimiter(concurrency=3)
    running, most, done = 0, 0, 0
    lock = threading.Lock()

    async def call() -> None:
        nonlocal running, most, done
        grant = await limiter.acquire(0)
        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0)
        with lock:
            running -= 1
            done += 1
        grant.release()

    async def calls() -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*(call() for _ in range(100)))

    threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == 400
    assert most <= 3


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
async def test_what_is_given_back_once_goes_to_the_first_who_waits(
    make: Make, clock: ManualClock, algorithm: str
) -> None:
    limiter = make(requests_per_minute=1, tokens_per_minute=10, algorithm=algorithm)
    (unsent,) = await take(limiter, 1, tokens=10)
    log: list[str] = []
    tasks = [start(limiter, log, name, tokens=10) for name in ("first", "second")]
    await clock.run(0)
    assert log == []
    unsent.give_back()
    unsent.give_back()
    await clock.run(0)
    assert log == ["first"]
    await clock.run(120)
    assert log == ["first", "second"]
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
async def test_the_state_says_what_is_used_of_each_limit(
    make: Make, clock: ManualClock, algorithm: str
) -> None:
    limiter = make(
        requests_per_minute=60,
        requests_per_day=1000,
        tokens_per_minute=600,
        tokens_per_day=10_000,
        concurrency=5,
        algorithm=algorithm,
    )
    first, _ = await take(limiter, 2, tokens=100)
    first.settle(50)
    first.release()
    assert limiter.state().as_dict() == {
        "usage": {
            "requests_per_minute": {"used": 2, "limit": 60},
            "requests_per_day": {"used": 2, "limit": 1000},
            "tokens_per_minute": {"used": 150, "limit": 600},
            "tokens_per_day": {"used": 150, "limit": 10_000},
            "concurrency": {"used": 1, "limit": 5},
        },
        "wait_s": 0.0,
        "waiting": 0,
    }


async def test_the_state_of_a_used_up_limit_says_how_long_and_how_many_wait(
    make: Make, clock: ManualClock
) -> None:
    limiter = make(requests_per_minute=60, burst=2)
    await take(limiter, 2)
    waiting = start(limiter, [], "third")
    await clock.run(0)
    state = limiter.state()
    waiting.cancel()
    assert state.usage == {"requests_per_minute": (2, 2)}
    assert (state.wait_s, state.waiting) == (pytest.approx(2.0), 1)


async def test_what_flows_back_is_not_used_any_more(make: Make, clock: ManualClock) -> None:
    limiter = make(requests_per_minute=60)
    await take(limiter, 30)
    clock.advance(10)
    assert limiter.state().usage == {"requests_per_minute": (20, 60)}


async def test_a_burst_beside_a_window_has_its_own_usage(make: Make) -> None:
    limiter = make(requests_per_minute=60, burst=3, algorithm="sliding_window")
    await take(limiter, 2)
    assert limiter.state().usage == {"requests_per_minute": (2, 60), "burst": (2, 3)}
