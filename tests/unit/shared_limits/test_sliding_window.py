from __future__ import annotations

import sys
from collections import deque

import pytest

from orchestify.errors import InvalidParameterError, MissingExtraError
from orchestify.shared_limits import RedisConnection, RedisLimits, SharedSlidingWindow
from tests.clock import ManualClock

DAY_S = 86_400
REDIS = "redis://127.0.0.1:6379"


class MemoryLink(RedisConnection):
    """Windows on a clock moved by hand, that can be away."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.entries: deque[float] = deque()  # newest first
        self.is_away = False
        self.asked = 0

    async def take(self, key: str, limit: int, window_s: int, amount: int) -> bool | None:
        self.asked += 1
        if self.is_away:
            return None
        oldest = self.entries[limit - amount] if limit - amount < len(self.entries) else None
        if oldest is not None and oldest > self.clock() - window_s:
            return False
        self.entries.extendleft([self.clock()] * amount)
        return True

    async def opens_in_s(self, key: str, limit: int, window_s: int) -> float | None:
        if self.is_away:
            return None
        inside = [each for each in self.entries if each > self.clock() - window_s]
        return inside[-1] + window_s - self.clock() if inside else 0.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def link(clock: ManualClock) -> MemoryLink:
    return MemoryLink(clock)


def window(link: MemoryLink, limit: int, window_s: int = 60, share: int | None = None):
    return SharedSlidingWindow(
        link, "k", limit, window_s, share=share, clock=link.clock, chance=lambda: 0.5
    )


async def test_wait_is_until_the_oldest_leaves_and_a_step(link: MemoryLink) -> None:
    one = window(link, 2)
    await one.take(1, link.clock())
    link.clock.advance(10)
    await one.take(1, link.clock())
    assert await one.take(1, link.clock()) == pytest.approx(50.06)
    link.clock.advance(50.06)
    assert await one.take(1, link.clock()) == 0


async def test_rest_of_a_unit_is_used_before_more_is_paid(link: MemoryLink) -> None:
    one = window(link, 100_000)
    for _ in range(128):
        assert await one.take(1, link.clock()) == 0
    assert link.asked == 1
    assert len(link.entries) == 1
    await one.take(1, link.clock())
    assert len(link.entries) == 2


async def test_what_was_left_over_is_worth_nothing_when_its_window_is_over(
    link: MemoryLink,
) -> None:
    one = window(link, 100)
    taken_at = link.clock()
    await one.take(100, taken_at)
    one.correct(-90, taken_at)
    link.clock.advance(61)
    await one.take(90, link.clock())
    assert len(link.entries) == 190


async def test_payment_that_found_redis_away_is_made_later(link: MemoryLink) -> None:
    one = window(link, 100)
    taken_at = link.clock()
    await one.take(10, taken_at)
    one.correct(20, taken_at)
    link.is_away = True
    await one.pay()
    assert one.owes
    link.is_away = False
    await one.pay()
    assert not one.owes
    assert len(link.entries) == 30


async def test_day_pays_what_was_taken_while_redis_was_away(link: MemoryLink) -> None:
    one = window(link, 100, DAY_S, share=50)
    link.is_away = True
    taken_at = link.clock()
    assert await one.take(30, taken_at) == 0
    one.correct(-10, taken_at)
    link.is_away = False
    assert await one.take(70, link.clock()) == 0
    assert len(link.entries) == 90


async def test_short_window_does_not_pay_but_keeps_to_its_share(link: MemoryLink) -> None:
    one = window(link, 100, 60, share=50)
    link.is_away = True
    taken_at = link.clock()
    assert await one.take(30, taken_at) == 0
    one.correct(-10, taken_at)
    link.is_away = False
    assert await one.take(31, link.clock()) == 60
    assert await one.take(30, link.clock()) == 0
    assert len(link.entries) == 30
    link.clock.advance(62)
    assert await one.take(100, link.clock()) == 0


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "limits.aio.storage", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[redis\]"):
        RedisLimits(REDIS)


@pytest.mark.parametrize("url", ["http://:pw@host", "redis://:pw@host:port", "", "redis://:pw@["])
def test_url_of_something_else_is_a_problem_that_shows_no_password(url: str) -> None:
    with pytest.raises(InvalidParameterError, match="expected redis://") as caught:
        RedisLimits(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://user:pw@host/3", "rediss://host:6380", "unix:///run/redis.sock", "redis://"]
)
def test_every_kind_of_url_is_taken(url: str) -> None:
    assert RedisLimits(url).state == "shared"
