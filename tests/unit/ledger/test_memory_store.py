"""What budgets in memory do beyond `tests/contract/test_budget_store.py`."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime
from decimal import Decimal

import pytest

from orchestify.errors import BudgetExceededError
from orchestify.ledger.budgets.memory_store import MemoryStore
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.policy.budget import Amount, Budget, BudgetState
from tests.clock import ManualClock, idle

AGENT = Budget("agent", Decimal(2))


def usd(text: str) -> Decimal:
    return Decimal(text)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def figures(state: BudgetState) -> tuple[Decimal, Decimal]:
    return state.spent_usd, state.held_usd


async def test_what_is_settled_is_in_the_state_at_once() -> None:
    book = BudgetBook()
    hold = await book.reserve([AGENT], usd("1.5"))
    assert figures(book.state(AGENT)) == (0, usd("1.5"))
    book.settle(hold, Amount(usd("0.25")))
    assert figures(book.state(AGENT)) == (usd("0.25"), 0)


async def test_a_listener_may_settle_and_read_while_it_is_told() -> None:
    budget, seen = Budget("told", usd("4"), period="ever", alert_at=(0.25, 0.5)), []

    def tell(state: BudgetState, share: float) -> None:
        seen.append((share, book.state(budget).spent_usd))
        book.settle(second, Amount(usd("1")))

    book = BudgetBook(MemoryStore(on_threshold=tell))
    first, second = [await book.reserve([budget], usd("1")) for _ in range(2)]
    book.settle(first, Amount(usd("1")))
    assert seen == [(0.25, usd("1")), (0.5, usd("2"))]


async def test_an_unknown_price_can_be_allowed_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await BudgetBook().reserve([Budget("free", usd("0"), on_unpriced="allow")], None)
    assert caplog.records == []


async def test_a_period_that_ends_with_the_deadline_lets_who_waits_go_on(
    clock: ManualClock,
) -> None:
    book = BudgetBook(MemoryStore(clock.utc), clock=clock, call_later=clock.call_later)
    minute = Budget("minute", usd("1"), period="minute")
    await book.reserve([minute], usd("1"))
    waiting = asyncio.create_task(book.reserve([minute], usd("1"), clock() + 60))
    await clock.run(60)
    assert (await waiting).amount.usd == usd("1")


async def test_a_thousand_waiters_all_get_their_turn_without_looking_in_vain(
    clock: ManualClock,
) -> None:
    looks, running, most = 0, 0, 0

    def now() -> datetime:
        nonlocal looks
        looks += 1
        return clock.utc()

    book = BudgetBook(MemoryStore(now), clock=clock, call_later=clock.call_later)
    budget = Budget("thousand", usd("1000"), period="ever")
    first = await book.reserve([budget], usd("1000"))

    async def call() -> None:
        nonlocal running, most
        hold = await book.reserve([budget], usd("100"))
        running += 1
        most = max(most, running)
        await clock.sleep(1)
        running -= 1
        book.settle(hold, Amount(usd("0.9")))

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
        book.settle(hold, Amount(usd("1")))

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
    assert asyncio.run(book.reserve([AGENT], usd("1"))).amount.usd == usd("1")
