from __future__ import annotations

import asyncio

import pytest

from orchestify.errors import APIConnectionError, InvalidParameterError, RateLimitError
from orchestify.health.health import Health
from orchestify.health.monitor import Check, CheckCall, Monitor, check_all
from tests.clock import ManualClock, idle


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def well() -> bool:
    return True


async def unwell() -> bool:
    return False


async def without_free_request() -> None:
    return None


async def refused() -> bool:
    raise APIConnectionError("connection refused", provider="main")


async def limited() -> bool:
    raise RateLimitError(provider="main")


async def leaky() -> bool:
    raise ValueError("https://main.example/?key=sk-secret")


async def hanging() -> bool:
    await asyncio.Event().wait()
    return True


async def test_checks_tell_what_they_found(clock: ManualClock) -> None:
    checks: dict[str, CheckCall] = {
        "well": well,
        "unwell": unwell,
        "unasked": without_free_request,
        "refused": refused,
        "limited": limited,
        "leaky": leaky,
    }
    assert await check_all(checks, clock=clock) == {
        "well": Check(True, 0.0),
        "unwell": Check(False, 0.0, "the check failed"),
        "unasked": Check(None, 0.0, "no free request to check with"),
        "refused": Check(False, 0.0, "APIConnectionError: main: connection refused"),
        "limited": Check(None, 0.0, "RateLimitError: main: the provider's rate limit was reached"),
        "leaky": Check(False, 0.0, "ValueError"),
    }


async def test_hanging_check_is_ended_and_holds_up_no_other(clock: ManualClock) -> None:
    found = await check_all({"hanging": hanging, "well": well}, timeout_s=0, clock=clock)
    assert found == {
        "hanging": Check(False, 0.0, "no answer in 0 s"),
        "well": Check(True, 0.0),
    }


async def test_checks_run_at_once(clock: ManualClock) -> None:
    both = asyncio.Barrier(2)

    async def meets() -> bool:
        await both.wait()
        return True

    found = await check_all({"a": meets, "b": meets}, clock=clock)
    assert [check.ok for check in found.values()] == [True, True]


async def test_no_checks_find_nothing() -> None:
    assert await check_all({}) == {}


async def test_cancelled_check_all_cancels_its_checks() -> None:
    cancelled: list[bool] = []

    async def waits() -> bool:
        try:
            return await hanging()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    task = asyncio.create_task(check_all({"a": waits}))
    await idle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [True]


async def test_monitor_checks_at_once_and_then_every_interval(clock: ManualClock) -> None:
    times: list[float] = []

    async def check() -> bool:
        times.append(clock())
        return True

    health = Health(clock=clock, now=clock.utc)
    async with Monitor({"main": check}, health, interval_s=30, sleep=clock.sleep, clock=clock):
        await clock.run(65)
    await clock.run(300)
    assert times == [0.0, 30.0, 60.0]
    assert health.stats("main").status == "healthy"


async def test_a_provider_is_checked_in_its_own_interval_whatever_the_others_take(
    clock: ManualClock,
) -> None:
    times: dict[str, list[float]] = {"often": [], "rarely": []}

    async def often() -> bool:
        times["often"].append(clock())
        return True

    async def rarely() -> bool:
        times["rarely"].append(clock())
        await clock.sleep(8)
        return True

    checks: dict[str, CheckCall] = {"often": often, "rarely": rarely}
    async with Monitor(
        checks,
        Health(clock=clock, now=clock.utc),
        interval_s=20,
        intervals_s={"often": 5},
        sleep=clock.sleep,
        clock=clock,
    ):
        await clock.run(30)
    assert times == {"often": [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0], "rarely": [0.0, 28.0]}


@pytest.mark.parametrize("interval_s", [0, -1, float("nan"), float("inf")])
def test_an_interval_that_is_no_time_is_refused(interval_s: float) -> None:
    with pytest.raises(InvalidParameterError, match="main: expected seconds above 0"):
        Monitor({"main": well}, Health(), intervals_s={"main": interval_s})


async def test_monitor_reads_its_checks_anew(clock: ManualClock) -> None:
    health = Health(clock=clock, now=clock.utc)
    checks: dict[str, CheckCall] = {"main": well}
    async with Monitor(checks, health, sleep=clock.sleep, clock=clock):
        await clock.run(1)
        checks["late"] = refused
        await clock.run(30)
    assert health.stats("late").status == "unavailable"


async def test_check_now_returns_the_health_of_each(clock: ManualClock) -> None:
    health = Health(clock=clock, now=clock.utc)
    found = await Monitor({"a": well, "b": unwell}, health, clock=clock).check_now()
    assert {name: each.status for name, each in found.items()} == {
        "a": "healthy",
        "b": "unavailable",
    }


async def test_monitor_stops_in_the_middle_of_a_check(clock: ManualClock) -> None:
    health = Health(clock=clock, now=clock.utc)
    async with Monitor({"main": hanging}, health, sleep=clock.sleep, clock=clock):
        await idle()
    assert len(asyncio.all_tasks()) == 1
    assert health.all() == {}


async def test_running_monitor_is_not_entered_twice(clock: ManualClock) -> None:
    monitor = Monitor({}, Health(), sleep=clock.sleep)
    async with monitor:
        with pytest.raises(InvalidParameterError, match="is running already"):
            await monitor.__aenter__()


async def test_what_ends_a_monitor_early_is_raised_at_its_end() -> None:
    async def broken(seconds: float) -> None:
        raise OSError("no timer")

    with pytest.raises(OSError, match="no timer"):
        async with Monitor({}, Health(), sleep=broken):
            await idle()
