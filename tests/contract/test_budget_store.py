"""What every store of budgets does, in memory and in both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify.errors import BudgetExceededError
from orchestify.ledger.budgets.memory_store import MemoryStore
from orchestify.ledger.budgets.reservation import Reservation
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.policy.budget import Amount, Budget
from tests.clock import ManualClock
from tests.ledgers import database, postgres_schema, until

DAY = Budget("day", Decimal(10))
AGENT = Budget("agent", Decimal(2))
MINUTE = Budget("minute", Decimal(1), period="minute")
RUN = Budget("run", Decimal(2), period="ever", per="run", keep_days=36_500)
TOKENS = Budget("tokens", period="day", limit_tokens=1000)
CALLS = Budget("calls", period="day", limit_calls=2)
ROLLING = Budget("rolling", Decimal(10), period="rolling_24h", alert_at=(0.5,))
HOUR_S, KEPT_S = 3600, 36_500 * 86_400  # beyond the present, which the database goes by
TOLD = Budget("told", Decimal(1), period="minute", alert_at=(0.5, 0.8))


def usd(text: str) -> Decimal:
    return Decimal(text)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield {"memory": "", "sqlite": "sqlite:///usage.db"}[request.param]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def told() -> list[tuple[str, float, Decimal]]:
    return []


@pytest.fixture
async def book(
    url: str, clock: ManualClock, told: list[tuple[str, float, Decimal]], tmp_path: Path
) -> AsyncIterator[BudgetBook]:
    times = {"clock": clock, "call_later": clock.call_later}

    def tell(state, share):
        told.append((state.budget.name, share, state.spent_usd))

    if not url:
        yield BudgetBook(MemoryStore(clock.utc, tell), **times)
        return
    ledger = SqlLedger(database(url, tmp_path), now=clock.utc)
    yield ledger.budget_book(tell, **times)
    await ledger.aclose()


def start(
    book: BudgetBook, amount: str, *budgets: Budget, deadline: float | None = None
) -> asyncio.Task[Reservation]:
    return asyncio.create_task(book.reserve(budgets, usd(amount), deadline))


async def reserve(book: BudgetBook, amount: str, *budgets: Budget) -> Reservation:
    async with asyncio.timeout(30):
        return await book.reserve(budgets, usd(amount))


async def waits(*tasks: asyncio.Task[Reservation]) -> bool:
    """Whether none of them comes to an end while the store has time for it."""
    await asyncio.wait(tasks, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
    return not any(task.done() for task in tasks)


async def ends(*tasks: asyncio.Task[Reservation]) -> None:
    async with asyncio.timeout(30):
        await asyncio.wait(tasks)


async def comes_to(book: BudgetBook, budget: Budget, spent: str, held: str) -> None:
    def figures() -> tuple[Decimal, Decimal]:
        state = book.state(budget)
        return state.spent_usd, state.held_usd

    await until(lambda: figures() == (usd(spent), usd(held)))


async def test_a_reservation_is_held_in_all_budgets(book: BudgetBook) -> None:
    hold = await reserve(book, "1.5", DAY, AGENT)
    await comes_to(book, DAY, "0", "1.5")
    await comes_to(book, AGENT, "0", "1.5")
    book.settle(hold, Amount(usd("0.25")))
    await comes_to(book, DAY, "0.25", "0")
    await comes_to(book, AGENT, "0.25", "0")


async def test_a_budget_that_nobody_used_is_whole(book: BudgetBook) -> None:
    state = book.state(AGENT)
    assert (state.remaining_usd, state.end) == (usd("2"), datetime(2025, 4, 1, tzinfo=UTC))


async def test_a_refusal_by_one_budget_holds_nothing_in_the_others(book: BudgetBook) -> None:
    with pytest.raises(BudgetExceededError):
        await reserve(book, "2.01", DAY, AGENT)
    await comes_to(book, DAY, "0", "0")


async def test_what_fits_to_the_last_cent_passes(book: BudgetBook) -> None:
    book.settle(await reserve(book, "1.5", AGENT), Amount(usd("1.3")))
    assert (await reserve(book, "0.7", AGENT)).amount.usd == usd("0.7")


async def test_a_refusal_says_which_budget_what_is_left_and_when_it_ends(
    book: BudgetBook,
) -> None:
    book.settle(await reserve(book, "1.5", AGENT), Amount(usd("1.5")))
    with pytest.raises(BudgetExceededError) as caught:
        await reserve(book, "0.75", DAY, AGENT)
    error = caught.value
    assert error.budget == "agent"
    assert error.remaining_usd == usd("0.5")
    assert error.worst_case_usd == usd("0.75")
    assert error.period_ends_at == datetime(2025, 4, 1, tzinfo=UTC)
    assert str(error) == (
        "budget agent: 0.5 of 2 USD left, the call may cost 0.75; "
        "its period ends at 2025-04-01 00:00 UTC"
    )


async def test_released_and_settled_holds_end_once(book: BudgetBook) -> None:
    hold = await reserve(book, "1", DAY)
    book.release(hold)
    book.settle(hold, Amount(usd("1")))
    book.release(hold)
    book.settle(await reserve(book, "1", DAY), Amount(usd("0.5")))
    await comes_to(book, DAY, "0.5", "0")


async def test_a_call_waits_for_holds_and_goes_when_they_settle_lower(book: BudgetBook) -> None:
    first = await reserve(book, "1.5", AGENT)
    second = start(book, "1", AGENT)
    assert await waits(second)
    book.settle(first, Amount(usd("0.5")))
    await ends(second)
    assert second.result().amount.usd == usd("1")


async def test_a_call_that_waits_is_refused_once_too_much_is_spent(book: BudgetBook) -> None:
    first = await reserve(book, "1.5", AGENT)
    second = start(book, "1", AGENT)
    assert await waits(second)
    book.settle(first, Amount(usd("1.5")))
    with pytest.raises(BudgetExceededError, match=r"budget agent: 0\.5 of 2 USD left"):
        await second


async def test_a_wait_ends_at_the_deadline(book: BudgetBook, clock: ManualClock) -> None:
    await reserve(book, "1.5", AGENT)
    second = start(book, "1", AGENT, deadline=5.0)
    assert await waits(second)
    await clock.run(4.9)
    assert not second.done()
    await clock.run(0.1)
    with pytest.raises(BudgetExceededError, match="left until the call's deadline"):
        await second
    await comes_to(book, AGENT, "0", "1.5")


async def test_a_deadline_that_has_come_lets_pass_what_fits(book: BudgetBook) -> None:
    task = start(book, "2", AGENT, deadline=0.0)
    await ends(task)
    assert task.result().is_open


async def test_those_who_wait_go_in_the_order_they_came(book: BudgetBook) -> None:
    first = await reserve(book, "2", AGENT)
    large, small = start(book, "1.5", AGENT), start(book, "0.6", AGENT)
    assert await waits(large, small)
    book.release(first)
    await ends(large)
    assert await waits(small)
    book.release(large.result())
    await ends(small)


async def test_a_newcomer_does_not_overtake_who_waits(book: BudgetBook) -> None:
    first = await reserve(book, "1.5", AGENT)
    large = start(book, "1.5", AGENT)
    assert await waits(large)
    small = start(book, "0.1", AGENT)
    assert await waits(small)
    book.release(first)
    await ends(large, small)


async def test_who_waits_for_one_budget_does_not_stop_calls_of_the_others(
    book: BudgetBook,
) -> None:
    await reserve(book, "1.5", DAY, AGENT)
    waiting = start(book, "1.5", DAY, AGENT)
    assert await waits(waiting)
    assert (await reserve(book, "8", DAY)).is_open
    waiting.cancel()
    await ends(waiting)


async def test_who_moves_on_to_another_full_budget_lets_the_next_one_through(
    book: BudgetBook,
) -> None:
    agent_hold = await reserve(book, "2", AGENT)
    day_hold = await reserve(book, "9", DAY)
    both, only_agent = start(book, "1.5", AGENT, DAY), start(book, "0.5", AGENT)
    assert await waits(both, only_agent)
    book.release(agent_hold)
    await ends(only_agent)
    assert await waits(both)
    book.release(day_hold)
    await ends(both)


async def test_a_cancelled_waiter_gives_its_place_back(book: BudgetBook) -> None:
    await reserve(book, "1", AGENT)
    large, small = start(book, "1.5", AGENT), start(book, "0.5", AGENT)
    assert await waits(large, small)
    large.cancel()
    await ends(large, small)
    assert small.result().is_open
    await comes_to(book, AGENT, "0", "1.5")


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_holds_nothing(
    book: BudgetBook,
) -> None:
    first = await reserve(book, "2", AGENT)
    second, third = start(book, "2", AGENT), start(book, "1", AGENT)
    assert await waits(second, third)
    book.release(first)
    second.cancel()
    await ends(second, third)
    assert third.result().is_open
    await comes_to(book, AGENT, "0", "1")


async def test_a_new_period_begins_with_nothing_spent(book: BudgetBook, clock: ManualClock) -> None:
    book.settle(await reserve(book, "1", MINUTE), Amount(usd("1")))
    await comes_to(book, MINUTE, "1", "0")
    clock.advance(60)
    await comes_to(book, MINUTE, "0", "0")
    await reserve(book, "1", MINUTE)


async def test_a_hold_is_booked_in_the_period_it_was_reserved_in(
    book: BudgetBook, clock: ManualClock, told: list[tuple[str, float, Decimal]]
) -> None:
    hold = await reserve(book, "1", TOLD)
    clock.advance(60)
    await reserve(book, "0.25", TOLD)
    book.settle(hold, Amount(usd("0.5")))
    await until(lambda: told == [("told", 0.5, usd("0.5"))])
    await comes_to(book, TOLD, "0", "0.25")


async def test_who_waits_goes_on_when_a_new_period_begins(
    book: BudgetBook, clock: ManualClock
) -> None:
    await reserve(book, "1", MINUTE)
    first, second = start(book, "0.5", MINUTE), start(book, "0.5", MINUTE)
    assert await waits(first, second)
    await clock.run(60)
    await ends(first, second)


async def test_thresholds_are_told_once_a_period(
    book: BudgetBook, clock: ManualClock, told: list[tuple[str, float, Decimal]]
) -> None:
    for amount in ("0.4", "0.2", "0.1", "0.2"):
        book.settle(await reserve(book, amount, TOLD), Amount(usd(amount)))
    await comes_to(book, TOLD, "0.9", "0")
    clock.advance(60)
    book.settle(await reserve(book, "0.6", TOLD), Amount(usd("0.6")))
    await until(lambda: len(told) == 3)
    assert [share for _, share, _ in told] == [0.5, 0.8, 0.5]


async def test_a_warn_budget_lets_everything_through_and_tells(
    book: BudgetBook, told: list[tuple[str, float, Decimal]]
) -> None:
    budget = Budget("soft", usd("1"), mode="warn")
    book.settle(await reserve(book, "5", budget), Amount(usd("5")))
    await reserve(book, "5", budget)
    await until(lambda: told == [("soft", 1.0, usd("5"))])


async def test_an_unknown_price_is_blocked_by_default(book: BudgetBook) -> None:
    with pytest.raises(BudgetExceededError, match="the call's price is unknown") as caught:
        await book.reserve([DAY], None)
    assert caught.value.worst_case_usd is None


async def test_an_unknown_price_is_warned_of_once_a_budget_and_period(
    book: BudgetBook, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    budget = Budget("lenient", usd("1"), period="minute", on_unpriced="warn")
    await book.reserve([budget], None)
    await book.reserve([budget], None)
    assert len(caplog.records) == 1
    clock.advance(60)
    await book.reserve([budget], None)
    assert len(caplog.records) == 2


async def test_what_a_call_without_a_known_price_turns_out_to_cost_is_booked_once(
    book: BudgetBook,
) -> None:
    budget = Budget("free", usd("1"), on_unpriced="allow")
    hold = await book.reserve([budget], None)
    book.settle(hold, Amount(usd("0.5")))
    book.settle(hold, Amount(usd("0.5")))
    await comes_to(book, budget, "0.5", "0")


async def test_an_explicit_zero_passes_a_spent_budget(book: BudgetBook) -> None:
    book.settle(await reserve(book, "2", AGENT), Amount(usd("3")))
    await comes_to(book, AGENT, "3", "0")
    assert (await reserve(book, "0", AGENT)).amount.usd == 0


async def test_an_overrun_is_booked_in_full_and_counted(book: BudgetBook) -> None:
    book.settle(await reserve(book, "1", AGENT), Amount(usd("2.5")))
    await comes_to(book, AGENT, "2.5", "0")
    assert book.state(AGENT).overrun_usd == usd("1.5")


async def test_a_name_that_no_database_would_take_is_a_name(book: BudgetBook) -> None:
    budget = Budget("a\0b" + "\ud800" + 5000 * "x", usd("1"))
    book.settle(await reserve(book, "1", budget), Amount(usd("0.5")))
    await comes_to(book, budget, "0.5", "0")


async def test_three_hundred_who_wait_all_get_their_turn(book: BudgetBook) -> None:
    budget = Budget("many", usd("300"), period="ever")
    running, most = 0, 0

    async def call() -> None:
        nonlocal running, most
        hold = await book.reserve([budget], usd("30"))
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        book.settle(hold, Amount(usd("0.9")))

    async with asyncio.timeout(20):
        await asyncio.gather(*(call() for _ in range(300)))
    await comes_to(book, budget, "270", "0")
    assert most <= 10


def of(run: str) -> Budget:
    """The budget of one run."""
    budget = RUN.in_scope({"run": run})
    assert budget is not None
    return budget


async def test_every_value_of_a_label_has_a_budget_by_itself(book: BudgetBook) -> None:
    book.settle(await reserve(book, "2", of("r1")), Amount(usd("1.5")))
    await comes_to(book, of("r1"), "1.5", "0")
    await comes_to(book, of("r2"), "0", "0")
    await reserve(book, "2", of("r2"))
    with pytest.raises(BudgetExceededError, match=r"budget run \(run=r1\): 0\.5 of 2 USD") as no:
        await reserve(book, "1", of("r1"))
    assert (no.value.budget, no.value.value) == ("run", "r1")


async def test_what_waits_for_one_run_does_not_stop_another(book: BudgetBook) -> None:
    await reserve(book, "2", of("r1"), DAY)
    waiting = start(book, "1", of("r1"), DAY)
    assert await waits(waiting)
    assert (await reserve(book, "1", of("r2"), DAY)).is_open
    waiting.cancel()
    await ends(waiting)


async def test_values_that_only_their_spelling_tells_apart_are_not_one(book: BudgetBook) -> None:
    for value in ("", " ", "a\0", "a", "a ", "\ud800", "?"):
        book.settle(await reserve(book, "2", of(value)), Amount(usd("2")))
    for value in ("", " ", "a\0", "a", "a "):
        await comes_to(book, of(value), "2", "0")


async def test_a_runs_budget_lasts_from_its_last_use(book: BudgetBook, clock: ManualClock) -> None:
    book.settle(await reserve(book, "1", of("r1")), Amount(usd("1")))
    await comes_to(book, of("r1"), "1", "0")
    clock.advance(KEPT_S - HOUR_S)
    book.settle(await reserve(book, "0.5", of("r1")), Amount(usd("0.5")))
    await comes_to(book, of("r1"), "1.5", "0")
    clock.advance(KEPT_S - HOUR_S)
    await comes_to(book, of("r1"), "1.5", "0")
    clock.advance(KEPT_S + HOUR_S)
    await comes_to(book, of("r1"), "0", "0")
    assert (await reserve(book, "2", of("r1"))).is_open


async def test_a_limit_on_tokens_counts_what_was_used(book: BudgetBook) -> None:
    hold = await book.reserve([TOKENS], usd("1"), tokens=600)
    book.settle(hold, Amount(usd("0.1"), 400, 1))
    await until(lambda: book.state(TOKENS).spent_tokens == 400)
    assert book.state(TOKENS).remaining_tokens == 600
    with pytest.raises(BudgetExceededError) as no:
        await book.reserve([TOKENS], usd("1"), tokens=601)
    assert str(no.value).startswith(
        "budget tokens: 600 of 1,000 tokens left, the call may use 601; its period ends at "
    )
    assert (no.value.remaining_tokens, no.value.worst_case_tokens) == (600, 601)
    assert no.value.remaining_usd is None


async def test_a_call_waits_for_tokens_that_others_hold(book: BudgetBook) -> None:
    first = await book.reserve([TOKENS], usd("1"), tokens=600)
    second = asyncio.create_task(book.reserve([TOKENS], usd("1"), tokens=600))
    assert await waits(second)
    book.settle(first, Amount(usd("0"), 400, 1))
    await ends(second)
    assert second.result().amount.tokens == 600


@pytest.mark.parametrize("amount", ["0", "1"])
async def test_a_limit_on_calls_counts_free_ones_too(book: BudgetBook, amount: str) -> None:
    for _ in range(2):
        book.settle(await reserve(book, amount, CALLS), Amount(usd("0"), 10, 1))
    await until(lambda: book.state(CALLS).spent_calls == 2)
    with pytest.raises(BudgetExceededError, match="budget calls: 0 of 2 calls left; its period"):
        await reserve(book, amount, CALLS)


async def test_calls_that_took_nothing_or_nobody_knows_what(book: BudgetBook) -> None:
    book.release(await book.reserve([CALLS], usd("1"), tokens=5))
    book.settle(await book.reserve([CALLS], None, tokens=5), Amount(), Amount(usd("1"), 5, 1))
    await until(lambda: book.state(CALLS).possible_calls == 1)
    state = book.state(CALLS)
    assert (state.spent_calls, state.held_calls, state.possible_tokens) == (0, 0, 5)
    assert state.remaining_calls == 1


async def test_what_is_spent_leaves_a_rolling_day_by_the_hour(
    book: BudgetBook, clock: ManualClock, told: list[tuple[str, float, Decimal]]
) -> None:
    book.settle(await reserve(book, "6", ROLLING), Amount(usd("6")))
    await comes_to(book, ROLLING, "6", "0")
    clock.advance(12 * HOUR_S)
    book.settle(await reserve(book, "4", ROLLING), Amount(usd("3")), Amount(usd("1")))
    await comes_to(book, ROLLING, "9", "0")
    with pytest.raises(BudgetExceededError, match="it counts the last 24 hours"):
        await reserve(book, "1", ROLLING)
    clock.advance(12 * HOUR_S)
    await comes_to(book, ROLLING, "9", "0")
    clock.advance(HOUR_S)
    await comes_to(book, ROLLING, "3", "0")
    book.settle(await reserve(book, "2", ROLLING), Amount(usd("2")))
    await comes_to(book, ROLLING, "5", "0")
    clock.advance(12 * HOUR_S)
    await comes_to(book, ROLLING, "2", "0")
    assert book.state(ROLLING).possible_usd == 0
    assert [share for _, share, _ in told] == [0.5, 0.5]


async def test_who_waits_for_a_rolling_day_goes_on_as_holds_settle(book: BudgetBook) -> None:
    first = await reserve(book, "10", ROLLING)
    second = start(book, "5", ROLLING)
    assert await waits(second)
    book.settle(first, Amount(usd("5")))
    await ends(second)
    assert second.result().is_open


async def test_a_thousand_runs_are_open_at_once_and_none_overspends(book: BudgetBook) -> None:
    async def call(number: int) -> bool:
        try:
            hold = await reserve(book, "1", of(f"run {number % 1000}"))
        except BudgetExceededError:
            return False
        book.settle(hold, Amount(usd("0.9")))
        return True

    passed = [sum(await asyncio.gather(*map(call, range(1000)))) for _ in range(3)]
    assert passed == [1000, 1000, 0]
    await comes_to(book, of("run 0"), "1.8", "0")
    await comes_to(book, of("run 999"), "1.8", "0")
