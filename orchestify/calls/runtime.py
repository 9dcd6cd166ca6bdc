"""What all routes of one registry share: the ledger, prices, policies' state, time and chance."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

from orchestify.calls.target import Target
from orchestify.calls.tracing import Tracer
from orchestify.core.policies import RateLimitConfig
from orchestify.errors import APIError, RateLimitError
from orchestify.events.events import BudgetSteppedDown, Events
from orchestify.health.forecast_alert import ForecastAlert
from orchestify.health.health import Health
from orchestify.lanes.anthropic.claude_models import MAX_TOKENS
from orchestify.lanes.lane import Lane
from orchestify.ledger.base import Ledger
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.memory import MemoryLedger
from orchestify.ledger.record import Record, utc_now
from orchestify.ledger.summary import token_usage
from orchestify.models.estimate import count_tokens
from orchestify.models.model_map import ModelEntry
from orchestify.models.price_book import PriceBook
from orchestify.models.pricing import CostRange, Price, cost_usd, highest_cost_usd
from orchestify.policy.breaker import BreakerSettings, CircuitBreaker
from orchestify.policy.budget import Budget, BudgetKey, period_bounds
from orchestify.policy.rate_limit import Limiter, RateLimiter, RateLimitState
from orchestify.resources.bounded import bounded_setdefault
from orchestify.response_cache.caches import ResponseCaches
from orchestify.values import NOTHING, CircuitState, CompletionRequest, TokenUsage, Usage

log = logging.getLogger("orchestify.usage")

UNKNOWN_OUTPUT_CAP = 8192  # tokens, where neither the request nor the model map has a cap
INPUT_MARGIN = 1.25  # the input estimate plus a quarter (design: worst case)
INPUT_AT_LEAST = 0.75
INPUT_TOKENS = 1_000  # of a call that is explained, where none are given
USUAL_OUTPUT = 4_096  # tokens expected of a model and an agent that have not answered yet
LEARNED_FROM = 5  # answers, before their sizes say what is to be expected
SIZES_KEPT = 100
DRAIN_STEP_S = 0.02  # between two looks at the calls that a closing registry waits for
IDLE_S = 0.5  # for a stream that nobody reads at the moment of closing
ENDING_S = 1.0  # for calls that were ended, to say so
COUNTS_MAX_TOKENS = frozenset({"openai", "azure", "bedrock", "bedrock_converse"})
"""Endpoints whose own token limits count the `max_tokens` of a request. Sources: OpenAI, "Rate
limits"; Azure, "Understanding rate limits"; Amazon Bedrock, "Token burndown"."""


TargetKey: TypeAlias = tuple[str, str, str]
"""Provider, model and credential: whom a 401, 402, 403 or 429 is about."""

LimiterKey: TypeAlias = tuple[str, str, str]
"""`provider` or `agent`, its name, and the limit as it is configured, as text."""

MakeLimiter: TypeAlias = Callable[[LimiterKey, RateLimitConfig], Limiter]


class Underway(Protocol):
    """A call that runs, as whoever closes sees it."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for it: a stream whose reader asks for nothing."""

    @property
    def lane(self) -> Lane | None:
        """The lane of the attempt under way, None where there is none."""

    def end(self) -> None:
        """End what it waits for, from any thread."""

    def abandon(self) -> None:
        """Book what is open, without waiting."""


class OutputSizes:
    """The output tokens of the last hundred answers; ordered as they come, not for each call."""

    __slots__ = ("_latest", "_ordered")

    def __init__(self) -> None:
        self._latest: deque[int] = deque()
        self._ordered: list[int] = []

    def add(self, tokens: int) -> None:
        """Take in the size of an answer, and let go of the oldest."""
        if len(self._latest) == SIZES_KEPT:
            del self._ordered[bisect_left(self._ordered, self._latest.popleft())]
        self._latest.append(tokens)
        insort(self._ordered, tokens)

    def most_of(self, unknown: int) -> int:
        """Return the 95th percentile, `unknown` before five answers have come."""
        count = len(self._ordered)
        return unknown if count < LEARNED_FROM else self._ordered[math.ceil(0.95 * count) - 1]


@dataclass(slots=True)
class Runtime:
    """The state that outlives a call.

    `clock` is monotonic, in seconds; `sleep` and `chance` (uniform in [0, 1)) are passed in so
    that tests can move time by hand and repeat a run. What a provider's answers teach is kept by
    whom it is about: `pauses` and `passed_until` by provider, model and credential, the breakers
    by provider and model (and their settings), the sizes of answers by provider, model and agent.
    `passed_until` is until when calls with another target pass one by whose 401, 402, 403 or 429
    named no time, and that error's class.
    `estimates` says whether somebody wants
    an attempt's worst case: a budget, a limit on tokens, a ledger that keeps records.
    `make_limiter` makes the limiters of providers and agents, where not in memory. `observers`
    are told of every attempt that has ended; `tracer` follows every call. `caches` keeps answers
    where that is configured. `under_way` has the
    calls that run, by id; once it `is_closed` none begins.
    """

    ledger: Ledger = field(default_factory=MemoryLedger)
    prices: PriceBook = field(default_factory=PriceBook)
    budgets: tuple[Budget, ...] = ()
    book: BudgetBook = field(default_factory=BudgetBook)
    events: Events = field(default_factory=Events)
    health: Health = field(default_factory=Health)
    forecast: ForecastAlert | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    estimates: bool = False
    make_limiter: MakeLimiter | None = None
    observers: tuple[Callable[[Record], None], ...] = ()
    tracer: Tracer | None = None
    caches: ResponseCaches = field(default_factory=ResponseCaches, repr=False)
    is_closed: bool = False
    under_way: dict[str, Underway] = field(default_factory=dict, repr=False)
    _breakers: dict[tuple[str, str, BreakerSettings], CircuitBreaker] = field(
        default_factory=dict, repr=False
    )
    _limiters: dict[tuple[str, str, str], Limiter] = field(default_factory=dict, repr=False)
    _matching: dict[tuple[str, str, str], tuple[Budget, ...]] = field(
        default_factory=dict, repr=False
    )
    _doubted: set[tuple[str, str]] = field(default_factory=set, repr=False)
    pauses: dict[TargetKey, RateLimiter] = field(default_factory=dict, repr=False)
    passed_until: dict[TargetKey, tuple[float, type[APIError]]] = field(
        default_factory=dict, repr=False
    )
    _told_steps: dict[tuple[BudgetKey, datetime, float, str, str, str], float] = field(
        default_factory=dict, repr=False
    )
    _key_calls: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)
    _outputs: dict[tuple[str, str, str], OutputSizes] = field(default_factory=dict, repr=False)

    def breaker(self, target: Target) -> CircuitBreaker:
        """Return the circuit breaker of the target, one for each provider and model."""
        key = (target.provider_id, target.model, target.breaker)
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = bounded_setdefault(
                self._breakers, key, self._new_breaker(target), may_go=_is_closed
            )
        return breaker

    def breakers(self) -> dict[tuple[str, str], CircuitBreaker]:
        """Return the breakers that have been used, by provider and model."""
        known = tuple(self._breakers.items())  # a thread may ask while a call adds one
        return {(provider, model): each for (provider, model, _), each in known}

    async def drain(self, wait_s: float) -> None:
        """Let no call begin any more, wait for those under way, and end what is left of them.

        A stream that nobody reads is waited for only shortly. What is ended is booked.
        """
        self.is_closed = True
        for step in range(math.ceil(wait_s / DRAIN_STEP_S)):
            left = list(self.under_way.values())
            if all(each.is_idle for each in left) and (not left or step * DRAIN_STEP_S >= IDLE_S):
                break
            await asyncio.sleep(DRAIN_STEP_S)
        for call in list(self.under_way.values()):
            call.end()
        for _ in range(math.ceil(ENDING_S / DRAIN_STEP_S)):
            if all(each.is_idle for each in list(self.under_way.values())):
                break
            await asyncio.sleep(DRAIN_STEP_S)
        for call in list(self.under_way.values()):
            call.abandon()

    def adopt(self, older: Runtime, providers: Collection[str]) -> None:
        """Go on with what `older`, whose place this takes, has learned of these providers.

        That is their breakers and their pauses after a 429; calls under way there count here too.
        """
        breakers, pauses = dict(older._breakers), dict(older.pauses)  # others may add to them
        self._breakers |= {key: each for key, each in breakers.items() if key[0] in providers}
        self.pauses |= {key: each for key, each in pauses.items() if key[0] in providers}
        passed = dict(older.passed_until)
        self.passed_until |= {key: each for key, each in passed.items() if key[0] in providers}

    def change(
        self,
        budgets: tuple[Budget, ...],
        changed: Collection[str],
        gone: Collection[LimiterKey],
    ) -> None:
        """Go on under a changed configuration; what was learned of unchanged providers stays.

        The `changed` providers begin with closed circuits; of the limiters only those `gone` are
        dropped. Calls that wait for a budget go on under its present limit.
        """
        self.budgets = budgets
        self._matching = {}
        self.estimates |= bool(budgets)
        for key in [each for each in tuple(self._breakers) if each[0] in changed]:
            self._breakers.pop(key, None)
        for limiter in gone:
            self._limiters.pop(limiter, None)
        self.book.change(budgets)

    def lanes_in_use(self) -> set[Lane]:
        """Return the lanes of the attempts under way."""
        lanes = (each.lane for each in tuple(self.under_way.values()))
        return {each for each in lanes if each is not None}

    def limiter(self, key: tuple[str, str, str], make: Callable[[], Limiter]) -> Limiter:
        """Return the limiter of a provider or an agent, made at its first use."""
        limiter = self._limiters.get(key)
        if limiter is None:
            limiter = self._limiters.setdefault(key, make())
        return limiter

    def limiter_states(self, kind: str) -> dict[str, RateLimitState]:
        """Return the state of each limiter of a kind (`provider`, `agent`) that is there."""
        known = tuple(self._limiters.items())  # a thread may ask while a call adds one
        return {name: each.state() for (its, name, _), each in known if its == kind}

    def pause(self, target: Target) -> RateLimiter:
        """Return what holds a target's key back after a 429, made at its first.

        It has the provider's rates, which the 429s of this key and model halve.
        """
        key = (target.provider_id, target.model, target.credential)
        pause = self.pauses.get(key)
        if pause is None:
            limit = {} if target.rate_limit is None else dict(target.rate_limit)
            pause = RateLimiter(**limit | {"concurrency": None}, clock=self.clock)
            pause = bounded_setdefault(self.pauses, key, pause, may_go=_is_over)
        return pause

    def pass_by(self, target: Target, because: type[APIError], for_s: float | None = None) -> None:
        """Let calls with another target go there for a while: no time was named."""
        key = (target.provider_id, target.model, target.credential)
        until = self.clock() + (target.retry.max_delay_s if for_s is None else for_s)
        self.passed_until.pop(key, None)
        bounded_setdefault(self.passed_until, key, (until, because))

    def key_calls(self, target: Target) -> int:
        """Return how many calls went out with the target's key, of a pool of keys."""
        return self._key_calls.get((target.provider_id, target.credential), 0)

    def note_key_call(self, target: Target) -> None:
        """Count a call with the target's key, of a pool of keys."""
        key = (target.provider_id, target.credential)
        self._key_calls[key] = self._key_calls.get(key, 0) + 1

    def paused_for_s(self, target: Target) -> float:
        """Return for how many seconds more the provider asked that nothing be sent."""
        pause = self.pauses.get((target.provider_id, target.model, target.credential))
        return 0.0 if pause is None else pause.resumes_in_s

    def passed_for_s(self, target: Target) -> tuple[float, type[APIError]]:
        """Return for how many seconds more calls with another target pass this one by, and why."""
        key = (target.provider_id, target.model, target.credential)
        until, because = self.passed_until.get(key, (0.0, RateLimitError))
        paused_s, passed_s = self.paused_for_s(target), until - self.clock()
        return (paused_s, RateLimitError) if paused_s >= passed_s else (passed_s, because)

    def limiters_of(self, target: Target) -> tuple[Limiter, ...]:
        """Return the limiters a call at the target passes, in order."""
        pause = self.pauses.get((target.provider_id, target.model, target.credential))
        return target.limiters if pause is None else (pause, *target.limiters)

    def price(self, target: Target, answered: str = "") -> Price | None:
        """Return the price of the target's model, else of the model that answered."""
        prices, key = self.prices, (target.provider_id, target.model, target.endpoint)
        price = prices.found.get(key) or prices.price(*key)
        if price is None and answered and answered != target.model:
            price = prices.price(target.provider_id, answered, target.endpoint)
        return price

    def entry(self, target: Target) -> ModelEntry | None:
        """Return what the model map knows of the target's model."""
        models, key = self.prices.model_map, (target.model, target.endpoint)
        return models.found.get(key) or models.entry(*key)

    def tokens(self, target: Target, request: CompletionRequest) -> tuple[int, int]:
        """Return an attempt's estimated input and its output cap, in tokens."""
        given = count_tokens(request.messages, request.tools, target.model)
        return given, self.output_cap(target, request)

    def output_cap(self, target: Target, request: CompletionRequest) -> int:
        """Return how many tokens an attempt may put out.

        The lanes add a thinking budget to an output cap that is no larger.
        """
        cap = request.max_tokens or self._usual_cap(target)
        budget = request.thinking.budget_tokens if request.thinking is not None else None
        if budget is not None and budget >= cap:
            cap += budget
        return cap

    def worst_case_usd(
        self, target: Target, tokens: tuple[int, int], options: Mapping[str, Any] = NOTHING
    ) -> Decimal | None:
        """Return what an attempt may cost at most; None where nobody knows a price."""
        price = self.price(target)
        if price is None:
            return None
        asked = target.options
        if options is not NOTHING:
            asked = {**asked, **options}
        return highest_cost_usd(price, int(tokens[0] * INPUT_MARGIN), tokens[1], asked)

    def expected_tokens(
        self, target: Target, agent: str, request: CompletionRequest, tokens: tuple[int, int]
    ) -> int:
        """Return what a rate limit reserves for an attempt: its input, and the output expected.

        That is the 95th percentile of the agent's answers at the model, from five of them on; but
        the cap that is sent where the vendor itself counts that.
        """
        if request.max_tokens is not None and target.endpoint in COUNTS_MAX_TOKENS:
            return sum(tokens)
        sizes = self._outputs.get((target.provider_id, target.model, agent))
        usual = USUAL_OUTPUT if sizes is None else sizes.most_of(USUAL_OUTPUT)
        return tokens[0] + min(tokens[1], usual)

    def note_output(self, target: Target, agent: str, output_tokens: int) -> None:
        """Learn the size of an answer."""
        key = (target.provider_id, target.model, agent)
        sizes = self._outputs.get(key)
        if sizes is None:
            sizes = bounded_setdefault(self._outputs, key, OutputSizes())
        sizes.add(output_tokens)

    def cost_range(self, target: Target, request: CompletionRequest) -> CostRange:
        """Return what an attempt costs: its input, a quarter less; at most its worst case."""
        price, tokens = self.price(target), self.tokens(target, request)
        if price is None:
            return CostRange()
        least_usd = cost_usd(price, Usage(int(tokens[0] * INPUT_AT_LEAST)))
        return CostRange(least_usd, self.worst_case_usd(target, tokens, request.price_terms))

    def budgets_of(
        self, target: Target, agent: str, labels: Mapping[str, str]
    ) -> tuple[Budget, ...]:
        """Return the budgets that a call of the agent at the target counts against.

        Of those that are per label it is the one of the call's value, if it has one.
        """
        key, matching = (target.provider_id, target.model, agent), self._matching
        known = matching.get(key)
        if known is None:
            known = tuple(
                own
                for each in self.budgets
                if each.matches(key[0], agent, key[1], labels)
                and (own := each.in_scope(labels)) is not None
            )
            if not any(each.match.labels or each.per for each in self.budgets):
                bounded_setdefault(matching, key, known)
        return known

    def tell_step(self, budget: Budget, at: float, agent: str, target: Target, to: Target) -> None:
        """Emit that calls step down from a target, once a period for each budget and step."""
        start = period_bounds(budget.period, utc_now())[0]
        key = (budget.key, start, at, agent, target.provider_id, target.model)
        if key not in self._told_steps:
            bounded_setdefault(self._told_steps, key, at)
            where = (agent, target.provider_id, target.model, to.provider_id, to.model)
            self.events.emit(BudgetSteppedDown(budget.name, at, *where, budget.value))

    def observe(self, record: Record, *, is_of_provider: bool = True) -> None:
        """Tell who observes of a completed attempt; say once what cannot be true of it.

        Health is told of what says something about the provider.
        """
        if is_of_provider:
            self.health.observe(record)
        if self.forecast is not None and self.forecast.limit_usd is not None:
            self.forecast.observe()
        for observer in self.observers:
            try:
                observer(record)
            except Exception as error:  # a host's own function
                log.error("an observer of attempts raised %s", type(error).__name__)
        for name in record.usage.invalid:
            if (record.provider, name) not in self._doubted:
                self._doubted.add((record.provider, name))
                log.warning("%s reports a %s that cannot be true", record.provider, name)

    def usage(self, *, agent: str, provider: str) -> TokenUsage:
        """Return an agent's usage since the last reset, or a provider's where `agent` is empty."""
        totals = self.ledger.totals
        return token_usage(totals.total(agent=agent) if agent else totals.total(provider=provider))

    def reset(self, *, agent: str, provider: str) -> None:
        """Start a new period for an agent, or for a provider where `agent` is empty."""
        axis, name = ("agent", agent) if agent else ("provider", provider)
        self.ledger.totals.reset(keep=lambda key: getattr(key, axis) != name)

    def _usual_cap(self, target: Target) -> int:
        """The output cap of a request that names none: what its lane, or its model, sets."""
        if target.provider_type == "anthropic":
            return MAX_TOKENS
        entry = self.entry(target)
        known = entry.max_output_tokens if entry is not None else None
        return known or UNKNOWN_OUTPUT_CAP

    def _new_breaker(self, target: Target) -> CircuitBreaker:
        events, where = self.events, (target.provider_id, target.model)  # all that it holds

        def tell(old: CircuitState, new: CircuitState) -> None:
            open_s = breaker.open_for_s if new == "open" else None
            events.circuit(*where, old, new, open_s)

        breaker = CircuitBreaker(target.breaker, clock=self.clock, on_change=tell)
        return breaker


def most_tokens(tokens: tuple[int, int]) -> int:
    """Return what an attempt of an estimated input and an output cap uses at most, in tokens."""
    return int(tokens[0] * INPUT_MARGIN) + tokens[1]


def _is_closed(breaker: CircuitBreaker) -> bool:
    return breaker.state == "closed"


def _is_over(pause: RateLimiter) -> bool:
    return pause.resumes_in_s <= 0
