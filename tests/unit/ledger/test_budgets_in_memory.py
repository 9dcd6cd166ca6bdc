from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orchestify.errors import BudgetExceededError
from orchestify.ledger.budgets.memory_book import BudgetBook
from orchestify.ledger.budgets.store import Hold
from orchestify.policy.budget import Budget, BudgetState
from tests.clock import ManualClock, idle

DAY = Budget("day", Decimal(10))
AGENT = Budget("agent", Decimal(2))
MINUTE = Budget("minute", Decimal(1), period="minute")


def usd(text: str) -> Decimal:
    return Decimal(text)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def told() -> list[tuple[str, float]]:
    return []


@pytest.fixture
def book(clock: ManualClock, told: list[tuple[str, float]]) -> BudgetBook:
    return BudgetBook(
        now=clock.utc,
        clock=clock,
        call_later=clock.call_later,
        on_threshold=lambda state, share: told.append((state.budget.name, share)),
    )


def start(
    book: BudgetBook, amount: str, *budgets: Budget, deadline: float | None = None
) -> asyncio.Task[Hold]:
    return asyncio.create_task(book.reserve(budgets, usd(amount), deadline))


def figures(state: BudgetState) -> tuple[Decimal, Decimal]:
    return state.spent_usd, state.held_usd


async def test_a_reservation_is_held_in_all_budgets(book: BudgetBook) -> None:
    hold = await book.reserve([DAY, AGENT], usd("1.5"))
    assert figures(book.state(DAY)) == (0, usd("1.5"))
    assert figures(book.state(AGENT)) == (0, usd("1.5"))
    book.settle(hold, usd("0.25"))
    assert figures(book.state(DAY)) == (usd("0.25"), 0)
    assert figures(book.state(AGENT)) == (usd("0.25"), 0)


async def test_a_refusal_by_one_budget_holds_nothing_in_the_others(book: BudgetBook) -> None:
    with pytest.raises(BudgetExceededError):
        await book.reserve([DAY, AGENT], usd("2.01"))
    assert figures(book.state(DAY)) == (0, 0)


async def test_a_refusal_says_which_budget_what_is_left_and_when_it_ends(book: BudgetBook) -> None:
    book.settle(await book.reserve([AGENT], usd("1.5")), usd("1.5"))
    with pytest.raises(BudgetExceededError) as caught:
        await book.reserve([DAY, AGENT], usd("0.75"))
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
    hold = await book.reserve([DAY], usd("1"))
    book.release(hold)
    book.settle(hold, usd("1"))
    book.release(hold)
    assert figures(book.state(DAY)) == (0, 0)


async def test_a_call_waits_for_holds_and_goes_when_they_settle_lower(book: BudgetBook) -> None:
    first = await book.reserve([AGENT], usd("1.5"))
    second = start(book, "1", AGENT)
    await idle()
    assert not second.done()
    book.settle(first, usd("0.5"))
    assert (await second).amount_usd == usd("1")


async def test_a_call_that_waits_is_refused_once_too_much_is_spent(book: BudgetBook) -> None:
    first = await book.reserve([AGENT], usd("1.5"))
    second = start(book, "1", AGENT)
    await idle()
    book.settle(first, usd("1.5"))
    with pytest.raises(BudgetExceededError):
        await second


async def test_a_wait_ends_at_the_deadline(book: BudgetBook, clock: ManualClock) -> None:
    await book.reserve([AGENT], usd("1.5"))
    second = start(book, "1", AGENT, deadline=5.0)
    await clock.run(4.9)
    assert not second.done()
    await clock.run(0.1)
    with pytest.raises(BudgetExceededError, match="left until the call's deadline"):
        await second
    assert figures(book.state(AGENT)) == (0, usd("1.5"))


async def test_those_who_wait_go_in_the_order_they_came(book: BudgetBook) -> None:
    first = await book.reserve([AGENT], usd("2"))
    large, small = start(book, "1.5", AGENT), start(book, "0.6", AGENT)
    await idle()
    book.settle(first, usd("0"))
    await idle()
    assert large.done()
    assert not small.done()
    book.release(large.result())
    await idle()
    assert small.done()


async def test_a_newcomer_does_not_overtake_who_waits(book: BudgetBook) -> None:
    first = await book.reserve([AGENT], usd("1.5"))
    large = start(book, "1.5", AGENT)
    await idle()
    small = start(book, "0.1", AGENT)
    await idle()
    assert not small.done()
    book.release(first)
    await asyncio.gather(large, small)


async def test_who_waits_for_one_budget_does_not_stop_calls_of_the_others(
    book: BudgetBook,
) -> None:
    await book.reserve([DAY, AGENT], usd("1.5"))
    waiting = start(book, "1.5", DAY, AGENT)
    await idle()
    assert (await book.reserve([DAY], usd("8"))).is_open
    waiting.cancel()


async def test_who_moves_on_to_another_full_budget_lets_the_next_one_through(
    book: BudgetBook,
) -> None:
    agent_hold = await book.reserve([AGENT], usd("2"))
    day_hold = await book.reserve([DAY], usd("9"))
    both, only_agent = start(book, "1.5", AGENT, DAY), start(book, "0.5", AGENT)
    await idle()
    book.release(agent_hold)
    await idle()
    assert not both.done()
    assert only_agent.done()
    book.release(day_hold)
    await idle()
    assert both.done()


async def test_a_cancelled_waiter_gives_its_place_back(book: BudgetBook) -> None:
    await book.reserve([AGENT], usd("1"))
    large, small = start(book, "1.5", AGENT), start(book, "0.5", AGENT)
    await idle()
    large.cancel()
    await idle()
    assert small.done()
    assert figures(book.state(AGENT)) == (0, usd("1.5"))


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_holds_nothing(
    book: BudgetBook,
) -> None:
    first = await book.reserve([AGENT], usd("2"))
    second, third = start(book, "2", AGENT), start(book, "1", AGENT)
    await idle()
    book.release(first)
    second.cancel()
    await idle()
    assert third.done()
    assert figures(book.state(AGENT)) == (0, usd("1"))


async def test_a_new_period_begins_with_nothing_spent(book: BudgetBook, clock: ManualClock) -> None:
    book.settle(await book.reserve([MINUTE], usd("1")), usd("1"))
    clock.advance(60)
    assert figures(book.state(MINUTE)) == (0, 0)
    await book.reserve([MINUTE], usd("1"))


async def test_a_hold_is_booked_in_the_period_it_was_reserved_in(
    book: BudgetBook, clock: ManualClock, told: list[tuple[str, float]]
) -> None:
    budget = Budget("told", usd("1"), period="minute", alert_at=(0.5,))
    hold = await book.reserve([budget], usd("1"))
    clock.advance(60)
    await book.reserve([budget], usd("0.25"))
    book.settle(hold, usd("1"))
    assert figures(book.state(budget)) == (0, usd("0.25"))
    assert told == [("told", 0.5)]


async def test_who_waits_goes_on_when_a_new_period_begins(
    book: BudgetBook, clock: ManualClock
) -> None:
    await book.reserve([MINUTE], usd("1"))
    first, second = start(book, "0.5", MINUTE), start(book, "0.5", MINUTE)
    await clock.run(59)
    assert not first.done()
    await clock.run(1)
    await asyncio.gather(first, second)


async def test_thresholds_are_told_once_a_period(
    book: BudgetBook, clock: ManualClock, told: list[tuple[str, float]]
) -> None:
    budget = Budget("told", usd("1"), period="minute", alert_at=(0.5, 0.8))
    for amount in ("0.4", "0.2", "0.1", "0.2"):
        book.settle(await book.reserve([budget], usd(amount)), usd(amount))
    assert told == [("told", 0.5), ("told", 0.8)]
    clock.advance(60)
    book.settle(await book.reserve([budget], usd("0.6")), usd("0.6"))
    assert told == [("told", 0.5), ("told", 0.8), ("told", 0.5)]


async def test_a_warn_budget_lets_everything_through_and_tells(
    book: BudgetBook, told: list[tuple[str, float]]
) -> None:
    budget = Budget("soft", usd("1"), mode="warn")
    book.settle(await book.reserve([budget], usd("5")), usd("5"))
    await book.reserve([budget], usd("5"))
    assert told == [("soft", 1.0)]


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


async def test_an_unknown_price_can_be_allowed_silently(
    book: BudgetBook, caplog: pytest.LogCaptureFixture
) -> None:
    await book.reserve([Budget("free", usd("0"), on_unpriced="allow")], None)
    assert caplog.records == []


async def test_an_explicit_zero_passes_a_spent_budget(book: BudgetBook) -> None:
    book.settle(await book.reserve([AGENT], usd("2")), usd("3"))
    await book.reserve([AGENT], usd("0"))


async def test_an_overrun_is_booked_in_full_and_counted(book: BudgetBook) -> None:
    book.settle(await book.reserve([AGENT], usd("1")), usd("2.5"))
    assert book.state(AGENT).spent_usd == usd("2.5")
    assert book.state(AGENT).overrun_usd == usd("1.5")


async def test_a_thousand_waiters_all_get_their_turn_without_looking_in_vain(
    clock: ManualClock,
) -> None:
    looks, running, most = 0, 0, 0

    def now() -> datetime:
        nonlocal looks
        looks += 1
        return clock.utc()

    book = BudgetBook(now=now, clock=clock, call_later=clock.call_later)
    budget = Budget("thousand", usd("1000"), period="ever")
    first = await book.reserve([budget], usd("1000"))

    async def call() -> None:
        nonlocal running, most
        hold = await book.reserve([budget], usd("100"))
        running += 1
        most = max(most, running)
        await clock.sleep(1)
        running -= 1
        book.settle(hold, usd("0.9"))

    calls = [asyncio.create_task(call()) for _ in range(1000)]
    await idle()
    book.release(first)
    await clock.run(1000)
    await asyncio.gather(*calls)
    assert figures(book.state(budget)) == (usd("900"), 0)
    assert most == 10
    assert looks < 4000


def test_loops_in_several_threads_share_one_budget() -> None:
    book = BudgetBook()
    budget = Budget("shared", usd("100"), period="ever")
    refused = 0

    async def call() -> None:
        nonlocal refused
        try:
            hold = await book.reserve([budget], usd("3"))
        except BudgetExceededError:
            refused += 1
            return
        await asyncio.sleep(0)
        book.settle(hold, usd("1"))

    async def calls() -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*(call() for _ in range(50)))

    threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == 102
    assert figures(book.state(budget)) == (usd("98"), 0)


def test_a_waiter_whose_loop_died_stops_nobody() -> None:
    book = BudgetBook()
    first = asyncio.run(book.reserve([AGENT], usd("2")))
    loop = asyncio.new_event_loop()
    dead = loop.create_task(book.reserve([AGENT], usd("2")))
    loop.run_until_complete(asyncio.sleep(0))
    dead._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    book.release(first)
    assert asyncio.run(book.reserve([AGENT], usd("1"))).amount_usd == usd("1")
