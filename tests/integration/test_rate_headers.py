"""What a provider's headers say of waiting, on refusals and on answers, over every kind of lane."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from orchestify import BudgetExceededError, ProviderRegistry, RateLimitError, StreamEnd
from orchestify.core.config import parse_config
from orchestify.testing import Reply, StubServer
from tests.faults import WAYS, Way, lab
from tests.lanes import KEY, LANE_NAME, LANES, LITELLMS_OWN_WARNINGS, Lane

pytestmark = LITELLMS_OWN_WARNINGS

Headers = Callable[[datetime], dict[str, str]]


def later(seconds: float, now: datetime) -> datetime:
    """Return a moment so many seconds from now."""
    return now + timedelta(seconds=seconds)


FORMS: list[tuple[str, Headers, float]] = [
    ("seconds", lambda now: {"Retry-After": "7"}, 7.0),
    ("part of a second", lambda now: {"Retry-After": "3.25"}, 3.25),
    ("date", lambda now: {"Retry-After": format_datetime(later(30, now), usegmt=True)}, 30.0),
    ("milliseconds", lambda now: {"retry-after-ms": "3500"}, 3.5),
    ("azure", lambda now: {"x-ms-retry-after-ms": "4500"}, 4.5),
    ("both", lambda now: {"retry-after-ms": "0", "Retry-After": "4"}, 4.0),
    (
        "openai",
        lambda now: {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1m30s",
            "x-ratelimit-remaining-tokens": "149000",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        90.0,
    ),
    (
        "anthropic",
        lambda now: {
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": later(40, now).isoformat(),
        },
        40.0,
    ),
    (
        "openrouter",
        lambda now: {
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(later(20, now).timestamp() * 1000)),
        },
        20.0,
    ),
]
UNSAID: list[tuple[str, Headers]] = [
    ("past date", lambda now: {"Retry-After": format_datetime(later(-60, now), usegmt=True)}),
    ("no number", lambda now: {"Retry-After": "soon"}),
    ("below zero", lambda now: {"Retry-After": "-3"}),
    ("none", lambda now: {}),
]


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lane", LANES[:4], ids=LANE_NAME)
@pytest.mark.parametrize(
    ("headers", "wait_s"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS]
)
async def test_every_form_of_retry_after_is_read_and_kept_to(
    server: StubServer, lane: Lane, way: Way, headers: Headers, wait_s: float
) -> None:
    async with lab(lane, lane.base_url(server)) as it:
        server.script(Reply(status=429, headers=headers(datetime.now(UTC))))
        refused = (await it.ask(way)).error
        held = (await it.ask(way, timeout_s=1.0)).error
    assert type(refused) is type(held) is RateLimitError
    assert refused.retry_after_s == pytest.approx(wait_s, abs=1.5)
    assert held.retry_after_s == pytest.approx(wait_s, abs=1.5)
    assert server.account.received == 1


@pytest.mark.parametrize("lane", LANES[:4], ids=LANE_NAME)
@pytest.mark.parametrize("headers", [form[1] for form in UNSAID], ids=[form[0] for form in UNSAID])
async def test_what_says_nothing_is_backed_off_from_as_usual(
    server: StubServer, lane: Lane, headers: Headers
) -> None:
    async with lab(lane, lane.base_url(server), max_attempts=2) as it:
        server.script(Reply(status=429, headers=headers(datetime.now(UTC))))
        seen = await it.ask("complete")
    assert seen.error is None
    assert [each.error for each in seen.records] == ["RateLimitError", ""]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lane", LANES[:4], ids=LANE_NAME)
async def test_each_attempt_is_one_request(server: StubServer, lane: Lane, way: Way) -> None:
    async with lab(lane, lane.base_url(server), max_attempts=4) as it:
        server.script(Reply(status=503), Reply(reset=True), Reply(status=429, retry_after="0.05"))
        seen = await it.ask(way)
    assert [each.outcome for each in seen.records] == ["failed", "failed", "failed", "ok"]
    assert seen.response is not None
    assert len(seen.response.attempts) == 4
    assert server.account.received == 4


USED_UP = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
LEFT = {"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "30s"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lane", LANES[:4], ids=LANE_NAME)
async def test_an_answer_that_used_the_limit_up_holds_the_next_call_back(
    server: StubServer, lane: Lane, way: Way
) -> None:
    async with lab(lane, lane.base_url(server)) as it:
        server.script(Reply(headers=LEFT), Reply(headers=USED_UP))
        answers = [await it.ask(way), await it.ask(way)]
        held = (await it.ask(way, timeout_s=1)).error
    assert [each.error for each in answers] == [None, None]
    assert type(held) is RateLimitError
    assert held.retry_after_s == pytest.approx(30.0, abs=1.5)
    assert server.account.received == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lane", LANES[:4], ids=LANE_NAME)
async def test_an_answer_keeps_only_the_headers_of_limits_and_the_requests_id(
    server: StubServer, lane: Lane, way: Way
) -> None:
    async with lab(lane, lane.base_url(server)) as it:
        server.script(Reply(headers={**LEFT, "Set-Cookie": "secret=1", "X-Other": "1"}))
        response = (await it.ask(way)).response
    assert response is not None
    kept = dict(response.headers)
    assert kept.pop("x-request-id", None) or kept.pop("request-id", None)
    assert kept == {"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "30s"}
    assert "ratelimit" not in repr(response)


def chain(server: StubServer, *budgets: dict[str, Any], **policies: Any) -> ProviderRegistry:
    """An agent with two providers, whose models' names keep their scripts apart."""
    provider = {"type": "openai", "api_key": KEY, "base_url": server.openai_url}
    return ProviderRegistry.from_config(
        parse_config(
            json.dumps(
                {
                    "providers": {
                        "one": {**provider, "default_model": "one", **policies},
                        "two": {**provider, "default_model": "two"},
                    },
                    "agents": {"it": {"provider": "one", "fallback": ["two"]}},
                    "retry": {"first_delay_s": 0.001, "max_delay_s": 1},
                    "budgets": list(budgets),
                }
            )
        )
    )


async def test_while_a_provider_asks_for_a_long_pause_calls_go_on_to_the_next(
    server: StubServer,
) -> None:
    server.script(Reply(status=429, retry_after="30"), model="one")
    async with chain(server) as registry:
        agent = registry.get_for_agent("it")
        first, second = await agent.complete("hi"), await agent.complete("hi")
        stream = agent.stream("hi")
        ends = [event async for event in stream.events() if isinstance(event, StreamEnd)]
    assert [each.outcome for each in first.attempts] == ["failed", "ok"]
    assert [each.outcome for each in second.attempts] == ["skipped", "ok"]
    assert [each.outcome for each in ends[0].response.attempts] == ["skipped", "ok"]
    assert [each.model for each in server.requests] == ["one", "two", "two", "two"]


async def test_our_own_limit_neither_slows_nor_judges_the_provider(server: StubServer) -> None:
    limit = {"requests_per_minute": 600, "burst": 1}
    async with chain(server, rate_limit=limit, circuit_breaker={"failures": 1}) as registry:
        one = registry.get("one")
        await one.complete("hi")
        with pytest.raises(RateLimitError, match="our own rate limit"):
            await one.complete("hi", timeout_s=0.01)
        health = registry.get_health()["one"]
        assert (health.calls, health.errors) == (1, {})
        await one.complete("hi", timeout_s=5)  # a tenth of a second later, at the full rate
    assert server.account.received == 2


async def test_what_was_never_sent_gives_its_turn_back(server: StubServer) -> None:
    limit = {"requests_per_minute": 1, "tokens_per_minute": 2_000_000}
    budget = {"name": "day", "limit_usd": 0.5, "period": "day"}
    price = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}
    async with chain(server, budget, rate_limit=limit, price=price) as registry:
        one = registry.get("one")
        with pytest.raises(BudgetExceededError):
            await one.complete("hi", max_tokens=1_000_000)
        await one.complete("hi", max_tokens=10, timeout_s=20)
    assert server.account.received == 1
