"""What the policies promise whatever happens, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import combinations

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestify.errors import BudgetExceededError, RateLimitError, ServerError
from orchestify.ledger.budgets.memory_store import MemoryStore
from orchestify.ledger.budgets.reservation import Reservation
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.policy.breaker import BreakerSettings, CircuitBreaker, Permit
from orchestify.policy.budget import Amount, Budget
from orchestify.policy.rate_limit import RateLimiter
from orchestify.policy.retry import RetryPolicy
from orchestify.policy.strategy import Strategy
from tests.clock import ManualClock, idle

LIMIT = 600  # tokens a minute
RATE = 10.0  # the same a second

pauses_s = st.one_of(st.just(0.0), st.floats(0.0, 90.0))
requests = st.lists(st.tuples(pauses_s, st.integers(0, LIMIT)), min_size=1, max_size=40)


def granted(
    limiter: RateLimiter, clock: ManualClock, wanted: Sequence[tuple[float, int]]
) -> list[tuple[float, int]]:
    """Ask for tokens at once or not at all; return the times and amounts that were granted."""

    async def ask() -> list[tuple[float, int]]:
        log = []
        for pause_s, tokens in wanted:
            clock.advance(pause_s)
            try:
                await limiter.acquire(tokens, deadline=clock())
            except RateLimitError:
                continue
            log.append((clock(), tokens))
        return log

    return asyncio.run(ask())


@given(requests)
def test_a_bucket_never_grants_more_than_capacity_and_rate_times_time(
    wanted: list[tuple[float, int]],
) -> None:
    clock = ManualClock()
    log = granted(RateLimiter(tokens_per_minute=LIMIT, clock=clock), clock, wanted)
    for first, last in combinations(range(len(log) + 1), 2):
        span_s = log[last - 1][0] - log[first][0]
        assert sum(tokens for _, tokens in log[first:last]) <= LIMIT + RATE * span_s + 1e-3


@given(requests, st.lists(st.floats(0.0, 20.0), max_size=3))
def test_a_penalty_never_makes_a_bucket_grant_more(
    wanted: list[tuple[float, int]], retries_after_s: list[float]
) -> None:
    clock = ManualClock()
    limiter = RateLimiter(tokens_per_minute=LIMIT, clock=clock)
    for retry_after_s in retries_after_s:
        limiter.penalise(retry_after_s)
    log = granted(limiter, clock, wanted)
    assert all(at >= max(retries_after_s, default=0.0) for at, _ in log)
    assert sum(tokens for _, tokens in log) <= LIMIT + RATE * clock() + 1e-3


@given(requests)
def test_no_sliding_window_holds_more_than_the_limit(wanted: list[tuple[float, int]]) -> None:
    clock = ManualClock()
    limiter = RateLimiter(tokens_per_minute=LIMIT, algorithm="sliding_window", clock=clock)
    log = granted(limiter, clock, wanted)
    for begin, _ in log:
        assert sum(tokens for at, tokens in log if begin <= at < begin + 59.99) <= LIMIT


@given(requests)
def test_no_fixed_window_holds_more_than_the_limit(wanted: list[tuple[float, int]]) -> None:
    clock = ManualClock()
    limiter = RateLimiter(tokens_per_minute=LIMIT, algorithm="fixed_window", clock=clock)
    log = granted(limiter, clock, wanted)
    for begin, _ in log:
        assert sum(tokens for at, tokens in log if at // 60 == begin // 60) <= LIMIT


class Crowd:
    """Tasks that each want one grant or hold, keep it for a while, and end it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.tasks: list[asyncio.Task[None]] = []

    async def play(
        self, steps: Sequence[tuple[str, float]], start: Callable[[float], asyncio.Task[None]]
    ) -> None:
        for action, number in steps:
            if action == "start":
                self.tasks.append(start(number))
            elif action == "cancel" and self.tasks:
                self.tasks[int(number) % len(self.tasks)].cancel()
            elif action == "pass":
                await self.clock.run(number)
        await self.clock.run(100_000)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(50, 700)),
        st.tuples(st.just("start"), st.integers(200, 400)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("pass"), st.floats(0.0, 20.0)),
    ),
    min_size=5,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps, st.sampled_from(["token_bucket", "sliding_window", "fixed_window"]))
def test_every_waiter_ends_and_no_slot_is_lost(
    played: list[tuple[str, float]], algorithm: str
) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        limiter = RateLimiter(
            tokens_per_minute=LIMIT,
            concurrency=2,
            algorithm=algorithm,  # type: ignore[arg-type]
            clock=clock,
            call_later=clock.call_later,
        )
        running = 0

        async def call(tokens: int) -> None:
            nonlocal running
            grant = await limiter.acquire(tokens, deadline=clock() + 300 if tokens % 2 else None)
            running += 1
            assert running <= 2
            try:
                await clock.sleep(tokens % 7)
            finally:
                running -= 1
                grant.settle(tokens // 2)
                grant.release()

        crowd = Crowd(clock)
        await crowd.play(played, lambda number: asyncio.create_task(call(int(number))))
        ends = await asyncio.gather(*crowd.tasks, return_exceptions=True)
        unexpected = [end for end in ends if isinstance(end, AssertionError)]
        assert not unexpected
        assert running == 0
        assert limiter.wait_s(LIMIT) == 0.0
        both = [await limiter.acquire(1, deadline=clock()) for _ in range(2)]
        assert len(both) == 2

    asyncio.run(scenario())


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 100))
def test_spent_and_held_never_pass_a_hard_limit_and_every_reservation_ends(
    played: list[tuple[str, float]], share: int
) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        book = BudgetBook(MemoryStore(clock.utc), clock=clock, call_later=clock.call_later)
        budgets = [Budget("all", Decimal(1200), period="ever"), Budget("day", Decimal(900))]
        budgets.append(Budget("minute", Decimal(700), period="minute"))
        held: list[Reservation] = []

        def check() -> None:
            for state in (book.state(budget) for budget in budgets):
                assert state.held_usd >= 0
                assert state.spent_usd + state.held_usd <= state.budget.limit_usd

        async def call(amount: int) -> None:
            chosen = budgets[: 1 + amount % 3]
            deadline = clock() + 30 if amount % 2 else None
            hold = await book.reserve(chosen, Decimal(amount), deadline)
            held.append(hold)
            check()
            try:
                await clock.sleep(amount % 11)
            finally:
                book.settle(hold, Amount(Decimal(amount * share) / 100))
                check()

        crowd = Crowd(clock)
        await crowd.play(played, lambda number: asyncio.create_task(call(int(number))))
        ends = await asyncio.gather(*crowd.tasks, return_exceptions=True)
        allowed = (BudgetExceededError, asyncio.CancelledError, type(None))
        assert [end for end in ends if not isinstance(end, allowed)] == []
        assert [hold for hold in held if hold.is_open] == []
        assert [book.state(budget).held_usd for budget in budgets] == [0, 0, 0]

    asyncio.run(scenario())


class BreakerMachine(RuleBasedStateMachine):
    """Any order of admissions, verdicts (late ones too) and passing time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.changes: list[tuple[str, str]] = []
        self.breaker = CircuitBreaker(
            BreakerSettings(failures=3),
            clock=self.clock,
            on_change=lambda *change: self.changes.append(change),
        )
        self.permits: list[Permit] = []
        self.probes: list[Permit] = []  # of the present half-open time, the latest last
        self.next_probe_at = 0.0

    @rule()
    def admit(self) -> None:
        was, could = self.breaker.state, self.breaker.allows()
        permit = self.breaker.admit()
        assert (permit is not None) == could
        if permit is None:
            return
        assert was != "open"
        if was == "half_open":
            assert self.clock() >= self.next_probe_at
            assert permit.limit_s is not None
            self.probes.append(permit)
            self.next_probe_at = self.clock() + permit.limit_s
        self.permits.append(permit)

    @precondition(lambda self: self.permits)
    @rule(number=st.integers(0, 100), verdict=st.sampled_from(["succeeded", "failed", "released"]))
    def end(self, number: int, verdict: str) -> None:
        permit = self.permits.pop(number % len(self.permits))
        was = self.breaker.state
        getattr(permit, verdict)()
        if permit in self.probes:
            after = {"succeeded": "closed", "failed": "open", "released": "half_open"}
            assert self.breaker.state == after[verdict]
            if verdict != "released" or permit is self.probes[-1]:
                self.next_probe_at = 0.0
            self.probes = [
                each for each in self.probes if verdict == "released" and each is not permit
            ]
        elif was != "closed":
            assert self.breaker.state == was

    @rule()
    def fail_often(self) -> None:
        while self.breaker.state == "closed":
            permit = self.breaker.admit()
            assert permit is not None
            permit.failed()

    @rule(seconds=st.sampled_from([0.5, 29.5, 30.0, 61.0, 300.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def changes_follow_each_other(self) -> None:
        states = ["closed", *(new for _, new in self.changes)]
        assert [old for old, _ in self.changes] == states[:-1]

    @invariant()
    def it_is_never_open_for_longer_than_the_maximum(self) -> None:
        assert 0.0 <= self.breaker.open_for_s <= 300.0


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def run_of(seed: int) -> list[str]:
    """Play calls with fallback, retries, limits and a breaker; return what happened when."""
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    clock, log = ManualClock(), []
    limiter = RateLimiter(requests_per_minute=60, burst=2, clock=clock, call_later=clock.call_later)
    strategy = Strategy[str]("weighted", weights=(2, 1), random=dice.random)
    retry = RetryPolicy()
    breaker = CircuitBreaker(clock=clock)

    async def call(name: int) -> None:
        order = strategy.order(["a", "b"])
        for attempt in range(1, 6):
            grant = await limiter.acquire(1)
            permit = breaker.admit()
            log.append(f"{clock():.6f} {name} {order} {attempt} {permit is not None}")
            ok = dice.random() < 0.4
            grant.release()
            if permit is not None:
                (permit.succeeded if ok else permit.failed)()
            delay_s = None if ok else retry.delay_s(ServerError(), attempt, dice.random)
            if delay_s is None:
                return
            await clock.sleep(delay_s)

    async def scenario() -> None:
        calls = [asyncio.create_task(call(name)) for name in range(10)]
        await clock.run(1000)
        await asyncio.gather(*calls)
        await idle()

    asyncio.run(scenario())
    return log


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1_000_000))
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    assert run_of(seed) == run_of(seed)
