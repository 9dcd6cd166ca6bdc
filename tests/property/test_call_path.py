"""What holds for every call, whatever its targets do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import given, settings, strategies as st

from orchestify import (
    AllTargetsFailedError,
    APIConnectionError,
    APIError,
    AuthenticationError,
    BudgetExceededError,
    InvalidRequestError,
    LLMProvider,
    LLMResponse,
    ProviderRegistry,
    RateLimitError,
    ServerError,
)
from orchestify.calls.request import Defaults
from orchestify.calls.route import Route
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.core.config import parse_config
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.models.price_book import PriceBook, configured_price
from orchestify.policy.breaker import BreakerSettings
from orchestify.policy.budget import Budget
from orchestify.policy.rate_limit import RateLimiter
from orchestify.policy.retry import RetryPolicy
from orchestify.values import CompletionRequest, StreamEvent, TextDelta
from tests.calls import RecordingLedger, answer, events_of, routed
from tests.virtual import run

SOON_S = 1e-6  # scheduling, where nothing takes time
PRICE = configured_price({"input_usd_per_mtok": 1000, "output_usd_per_mtok": 1000})


@dataclass(frozen=True)
class Step:
    """What a target does with one request, after a while."""

    after_s: float
    kind: str
    wait_s: float | None = None

    def error(self) -> APIError | None:
        """What it raises, None where it answers."""
        if self.kind == "busy":
            return RateLimitError(retry_after_s=self.wait_s)
        kinds: dict[str, type[APIError]] = {
            "broken": ServerError,
            "away": APIConnectionError,
            "locked": AuthenticationError,
            "refused": InvalidRequestError,
        }
        return kinds[self.kind]() if self.kind in kinds else None


KINDS = ["ok", "busy", "broken", "away", "locked", "refused", "hang", "cut"]
TIMES = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 10.0, 60.0])
STEPS = st.lists(
    st.builds(Step, TIMES, st.sampled_from(KINDS), st.none() | TIMES), min_size=1, max_size=6
)


class Timed(LLMProvider):
    """Does its steps in order; the last one repeats. `sent` holds the moments of requests."""

    provider_type = "timed"

    def __init__(self, provider_id: str, steps: Sequence[Step]) -> None:
        self.provider_id = provider_id
        self.steps = steps
        self.sent: list[float] = []

    async def send(self, request: CompletionRequest) -> LLMResponse:
        await self._next()
        return answer()

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        step = await self._next()
        if step.kind == "cut":
            yield TextDelta("half")
            return
        for event in events_of("all of it"):
            yield event

    async def _next(self) -> Step:
        step = self.steps[min(len(self.sent), len(self.steps) - 1)]
        self.sent.append(asyncio.get_running_loop().time())
        await asyncio.sleep(step.after_s)
        if step.kind == "hang":
            await asyncio.Event().wait()
        error = step.error()
        if error is not None:
            raise error
        return step


@dataclass(frozen=True)
class World:
    """A chain of targets, what they do, and the policies on the way."""

    steps: list[list[Step]]
    max_attempts: int
    max_delay_s: float
    failures: int
    requests_per_minute: int | None
    limit_usd: Decimal | None
    timeout_s: float
    is_stream: bool
    calls: int
    seed: int


WORLDS = st.builds(
    World,
    steps=st.lists(STEPS, min_size=1, max_size=3),
    max_attempts=st.integers(1, 4),
    max_delay_s=st.sampled_from([0.1, 2.0, 30.0]),
    failures=st.integers(1, 4),
    requests_per_minute=st.sampled_from([None, 1, 6, 60]),
    limit_usd=st.sampled_from([None, Decimal("0.1"), Decimal("0.5")]),
    timeout_s=st.sampled_from([0.05, 1.0, 7.0, 30.0, 100.0]),
    is_stream=st.booleans(),
    calls=st.integers(1, 4),
    seed=st.integers(0, 3),
)


@dataclass
class Trace:
    """What happened: when each target was sent to, and how and when each call ended."""

    sent: dict[str, list[float]]
    ends: list[tuple[str, float]]
    records: list[tuple[str, str, str]]
    held_usd: Decimal


async def played(world: World) -> Trace:
    """Let all calls of a world begin at once, and wait until they have ended."""
    loop = asyncio.get_running_loop()
    budgets = () if world.limit_usd is None else (Budget("day", world.limit_usd),)
    providers = [Timed(f"p{number}", steps) for number, steps in enumerate(world.steps)]
    runtime = Runtime(
        ledger=RecordingLedger(),
        prices=PriceBook({each.provider_id: PRICE for each in providers}, use_genai=False),
        budgets=budgets,
        book=BudgetBook(clock=loop.time),
        clock=loop.time,
        chance=Random(world.seed).random,  # noqa: S311 - it can be repeated
        estimates=bool(budgets),
    )
    targets = [
        Target(
            provider,
            provider.provider_id,
            "m",
            defaults=Defaults(max_tokens=50),
            retry=RetryPolicy(world.max_attempts, 1.0, world.max_delay_s),
            breaker=BreakerSettings(world.failures, 60, 5, 20),
            limiters=(RateLimiter(requests_per_minute=world.requests_per_minute, clock=loop.time),),
        )
        for provider in providers
    ]
    route = routed(Route(runtime, targets))
    ends = await asyncio.gather(*(ended(route, world) for _ in range(world.calls)))
    held = [runtime.book.state(each).held_usd for each in budgets]
    return Trace(
        {each.provider_id: each.sent for each in providers},
        list(ends),
        runtime.ledger.outcomes,
        sum(held, Decimal(0)),
    )


async def ended(route: LLMProvider, world: World) -> tuple[str, float]:
    """Make one call; return what came of it, and after how many seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    name = "ok"
    try:
        if world.is_stream:
            stream = route.stream("hi", timeout_s=world.timeout_s)
            await anext(stream)
            first_s = loop.time() - began
            await stream.aclose()
            return "stream", first_s
        await route.complete("hi", timeout_s=world.timeout_s)
    except (APIError, AllTargetsFailedError, BudgetExceededError) as error:
        name = type(error).__name__
    return name, loop.time() - began


@settings(max_examples=250, deadline=None)
@given(WORLDS)
def test_no_call_passes_its_deadline(world: World) -> None:
    trace = run(played(world))
    assert len(trace.ends) == world.calls
    assert max(took_s for _, took_s in trace.ends) <= world.timeout_s + SOON_S


@settings(max_examples=150, deadline=None)
@given(WORLDS)
def test_every_request_has_one_record_and_no_hold_is_left(world: World) -> None:
    trace = run(played(world))
    assert len(trace.records) == sum(map(len, trace.sent.values()))
    assert trace.held_usd == 0


@settings(max_examples=100, deadline=None)
@given(WORLDS)
def test_the_same_seed_gives_the_same_run(world: World) -> None:
    assert run(played(world)) == run(played(world))


POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "retry": st.fixed_dictionaries({"max_attempts": st.integers(1, 4)}),
        "circuit_breaker": st.fixed_dictionaries({"failures": st.integers(1, 3)}),
    },
)
CHAINS = st.lists(POLICIES, min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(CHAINS, POLICIES, POLICIES, st.lists(STEPS, min_size=3, max_size=3), st.integers(0, 9))
def test_a_call_sends_no_more_than_explain_promised(
    providers: list[dict[str, Any]],
    of_agent: dict[str, Any],
    top: dict[str, Any],
    steps: list[list[Step]],
    seed: int,
) -> None:
    names = [f"p{number}" for number in range(len(providers))]
    config = parse_config(
        json.dumps(
            {
                "providers": {
                    name: {"type": "external", "default_model": "m", **policies}
                    for name, policies in zip(names, providers, strict=True)
                },
                "agents": {"it": {"provider": names[0], "fallback": names[1:], **of_agent}},
                **top,
            }
        )
    )

    async def sent_and_promised() -> tuple[int, int]:
        async with ProviderRegistry.from_config(config) as registry:
            registry._runtime.clock = asyncio.get_running_loop().time
            registry._runtime.chance = Random(seed).random  # noqa: S311 - as above
            made = [Timed(name, each) for name, each in zip(names, steps, strict=False)]
            for provider in made:
                registry.register(provider.provider_id, provider)
            promised = registry.explain("it").attempts_at_most
            await asyncio.gather(
                registry.get_for_agent("it").complete("hi"), return_exceptions=True
            )
            return sum(len(each.sent) for each in made), promised

    sent, promised = run(sent_and_promised())
    assert 1 <= sent <= promised
