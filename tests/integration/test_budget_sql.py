"""What budgets in the ledger's database survive: ends, deaths, sleeps, and each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.database.sql import Database
from orchestify.errors import BudgetExceededError, LedgerError
from orchestify.ledger.budgets.reservation import Reservation, Settlement
from orchestify.ledger.budgets.sql_store import (
    kept_usd,
    lapse,
    lock,
    period_id,
    prune,
    save,
    settle,
    store,
)
from orchestify.ledger.record import utc_now
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.upkeep import ClockWatch
from orchestify.policy.budget import Amount, Budget, BudgetState, period_bounds
from tests.clock import ManualClock
from tests.integration.test_ledger_spool import Line
from tests.ledgers import answered, database, opened, postgres_schema, until

EVER = Budget("ever", Decimal(10), period="ever")
SOFT = Budget("soft", Decimal(1), period="ever", mode="warn")


def usd(text: str) -> Decimal:
    return Decimal(text)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield "sqlite:///usage.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def ledger_at(url: str, folder: Path) -> SqlLedger:
    return SqlLedger(database(url, folder))


def figures(state: BudgetState) -> tuple[Decimal, Decimal, Decimal]:
    return state.spent_usd, state.held_usd, state.overrun_usd


async def test_what_is_spent_survives_a_restart(url: str, tmp_path: Path) -> None:
    first = ledger_at(url, tmp_path)
    book = first.budget_book()
    book.settle(await book.reserve([EVER], usd("9")), Amount(usd("9")))
    await first.aclose()
    second = ledger_at(url, tmp_path)
    book = second.budget_book()
    assert figures(book.state(EVER)) == (9, 0, 0)
    with pytest.raises(BudgetExceededError):
        await book.reserve([EVER], usd("1.01"))
    await second.aclose()


async def test_a_threshold_is_told_by_one_process_of_two(url: str, tmp_path: Path) -> None:
    budget, told = replace(EVER, alert_at=(0.5,)), []
    ledgers = [ledger_at(url, tmp_path), ledger_at(url, tmp_path)]
    books = [each.budget_book(lambda state, share: told.append(share)) for each in ledgers]
    for book in books:
        book.settle(await book.reserve([budget], usd("5")), Amount(usd("5")))
        await until(lambda: told == [0.5])
    for each in ledgers:
        await each.aclose()
    assert told == [0.5]


async def test_who_waits_goes_on_when_another_process_settles(url: str, tmp_path: Path) -> None:
    here, there = ledger_at(url, tmp_path), ledger_at(url, tmp_path)
    mine, theirs = here.budget_book(), there.budget_book()
    hold = await theirs.reserve([EVER], usd("10"))
    waiting = asyncio.create_task(mine.reserve([EVER], usd("10")))
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done()
    theirs.settle(hold, Amount(usd("0")))
    async with asyncio.timeout(30):
        assert (await waiting).is_open
    await here.aclose()
    await there.aclose()


async def test_a_call_that_needs_the_whole_budget_gets_its_turn_beside_a_busy_process(
    url: str, tmp_path: Path
) -> None:
    busy, patient = ledger_at(url, tmp_path), ledger_at(url, tmp_path)
    book, beside, done = busy.budget_book(), patient.budget_book(), asyncio.Event()

    async def call_on_and_on() -> None:
        while not done.is_set():
            hold = await book.reserve([EVER], usd("3"))
            await asyncio.sleep(0.01)
            book.release(hold)

    calls = [asyncio.create_task(call_on_and_on()) for _ in range(10)]
    await asyncio.sleep(0.1)
    began = time.monotonic()
    async with asyncio.timeout(20):
        hold = await beside.reserve([EVER], usd("10"))
    waited_s = time.monotonic() - began
    done.set()
    beside.release(hold)
    await asyncio.gather(*calls)
    await patient.aclose()
    await busy.aclose()
    assert waited_s < 5.0


async def test_a_process_that_waits_in_vain_keeps_nobody_out_for_long(
    url: str, tmp_path: Path
) -> None:
    here, there = ledger_at(url, tmp_path), ledger_at(url, tmp_path)
    mine, theirs = here.budget_book(), there.budget_book()
    hold = await mine.reserve([EVER], usd("1"))
    waiting = asyncio.create_task(theirs.reserve([EVER], usd("10")))
    await asyncio.sleep(1.0)
    waiting.cancel()
    async with asyncio.timeout(30):
        second = await mine.reserve([EVER], usd("1"))
    assert hold.is_open
    assert second.is_open
    await here.aclose()
    await there.aclose()


async def test_a_ledger_that_closes_sends_those_who_wait_away(url: str, tmp_path: Path) -> None:
    ledger = ledger_at(url, tmp_path)
    book = ledger.budget_book()
    hold = await book.reserve([EVER], usd("10"))
    waiting = asyncio.create_task(book.reserve([EVER], usd("10")))
    await asyncio.wait([waiting], timeout=0.1)
    await ledger.aclose()
    with pytest.raises(LedgerError, match="the ledger is closed"):
        await waiting
    with pytest.raises(LedgerError, match="the ledger is closed"):
        await book.reserve([EVER], usd("1"))
    book.settle(hold, Amount(usd("2")))
    assert figures(book.state(EVER)) == (2, 0, 0)


def stored(url: str, folder: Path, hold_id: str, amount: str) -> tuple[Journal, Reservation]:
    """A hold of a process whose lease has run out."""
    journal = Journal(database(url, folder), lease_s=-1.0)
    state = BudgetState(EVER, *period_bounds("ever", utc_now()))
    hold = Reservation(Amount(kept_usd(usd(amount)), 10, 1), (state,), id=hold_id)

    def write(connection) -> None:
        lock(connection, {period_id(state): state})
        store(connection, journal.owner, [hold], utc_now())

    journal.transact(write)
    return journal, hold


def settled(journal: Journal, hold: Reservation, cost: str) -> BudgetState:
    """The budget once the owner has come back and settled."""

    def write(connection) -> BudgetState:
        wanted = {period_id(state): state for state in hold.states}
        periods = lock(connection, wanted)
        settle(connection, periods, {hold.id: Settlement(hold, Amount(usd(cost)))})
        save(connection, periods.values())
        return next(iter(lock(connection, wanted).values())).state

    return journal.transact(write)


def lapsed(journal: Journal, hold: Reservation) -> BudgetState:
    """The budget once the holds of the dead have lapsed."""
    there = journal._database
    assert there.run(lambda connection: lapse(connection, 100)) == 1
    assert there.run(lambda connection: lapse(connection, 100)) == 0
    wanted = {period_id(state): state for state in hold.states}
    return next(iter(there.run(lambda c: lock(c, wanted)).values())).state


def test_a_dead_hold_without_a_record_is_dropped(url: str, tmp_path: Path) -> None:
    journal, hold = stored(url, tmp_path, "a", "4")
    state = lapsed(journal, hold)
    assert figures(state) == (0, 0, 0)
    assert state.possible_usd == 0
    journal.close()


@pytest.mark.parametrize(("at_most", "possible"), [(None, "4"), ("5", "4"), ("0.5", "0.5")])
def test_a_dead_hold_whose_record_is_open_stays_possible(
    url: str, tmp_path: Path, at_most: str | None, possible: str
) -> None:
    journal, hold = stored(url, tmp_path, "a", "4")
    journal.book([opened(id="a", cost_at_most_usd=usd(at_most) if at_most else None)], [])
    state = lapsed(journal, hold)
    assert figures(state) == (0, 0, 0)
    assert state.possible_usd == usd(possible)
    journal.close()


def test_a_dead_hold_whose_record_is_complete_counts_what_that_says(
    url: str, tmp_path: Path
) -> None:
    journal, hold = stored(url, tmp_path, "a", "4")
    journal.book([], [answered(opened(id="a"), cost_usd=usd("1.5"))])
    state = lapsed(journal, hold)
    assert figures(state) == (usd("1.5"), 0, 0)
    assert state.possible_usd == 0
    journal.close()


@pytest.mark.parametrize("opens", [["a"], []])
def test_an_owner_that_comes_back_corrects_what_was_booked_for_it_once(
    url: str, tmp_path: Path, opens: list[str]
) -> None:
    journal, hold = stored(url, tmp_path, "a", "4")
    journal.book([opened(id=each) for each in opens], [])
    assert lapsed(journal, hold).possible_usd == sum(usd("0.5") for _ in opens)
    for _ in range(2):
        state = settled(journal, hold, "5")
        assert figures(state) == (5, 0, 1)
        assert state.possible_usd == 0
    journal.close()


def test_periods_that_are_long_over_are_deleted(url: str, tmp_path: Path) -> None:
    there = database(url, tmp_path)
    old = BudgetState(
        Budget("day", usd("1")),
        *period_bounds("day", utc_now().replace(year=2020, month=1, day=1)),
    )
    states = [old, BudgetState(EVER, *period_bounds("ever", utc_now()))]
    wanted = {period_id(state): state for state in states}
    there.run(lambda connection: lock(connection, wanted))
    there.run(prune)
    query = "SELECT budget FROM budget_periods"
    left = there.run(lambda connection: connection.exec_driver_sql(query).scalars().all())
    there.dispose()
    assert left == ["ever"]


WEEKS = timedelta(days=60)


def watched(there: Database, watch: ClockWatch, now: datetime) -> bool:
    """Whether what is old may be deleted at `now`, as a process sees it."""
    return there.run(lambda connection: watch.is_steady(connection, now))


def test_a_clock_that_jumps_ahead_and_back_lets_nothing_be_deleted(
    url: str, tmp_path: Path, clock: ManualClock
) -> None:
    there, watch = database(url, tmp_path), ClockWatch(clock)
    assert watched(there, watch, clock.utc())
    assert not watched(there, watch, clock.utc() + WEEKS)
    clock.advance(600)
    assert not watched(there, watch, clock.utc() + WEEKS)
    assert not watched(there, watch, clock.utc())
    clock.advance(3600)
    assert watched(there, watch, clock.utc())
    there.dispose()


def test_a_process_that_begins_under_a_wrong_clock_deletes_nothing(
    url: str, tmp_path: Path, clock: ManualClock
) -> None:
    there = database(url, tmp_path)
    assert watched(there, ClockWatch(clock), clock.utc())
    assert watched(there, ClockWatch(clock), clock.utc() + timedelta(days=1))
    assert not watched(there, ClockWatch(clock), clock.utc() + WEEKS)
    there.dispose()


def direct_url(line: Line) -> str:
    return line._there.render_as_string(hide_password=False)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    with postgres_schema() as url:
        line = Line(url)
        await line.mend()
        yield line
        await line.cut()


async def test_while_postgres_is_away_hard_budgets_refuse_and_nothing_settled_is_lost(
    line: Line, tmp_path: Path
) -> None:
    ledger = ledger_at(line.url, tmp_path)
    book = ledger.budget_book()
    hold = await book.reserve([EVER, SOFT], usd("2"))
    await line.cut()
    with pytest.raises(
        BudgetExceededError, match="budget ever: the ledger's database is away"
    ) as no:
        await book.reserve([SOFT, EVER], usd("1"))
    assert no.value.is_ledger_away
    assert ledger.is_behind
    passed = await book.reserve([SOFT], usd("3"))
    book.settle(hold, Amount(usd("1.5")))
    book.settle(passed, Amount(usd("2.5")))
    await line.mend()
    await until(lambda: not ledger.is_behind)
    beside = SqlLedger(
        database(direct_url(line), tmp_path)
    )  # the line is this loop's, which `state` would block
    await until(lambda: figures(beside.budget_book().state(SOFT)) == (4, 0, 0))
    assert figures(beside.budget_book().state(EVER)) == (usd("1.5"), 0, 0)
    await ledger.aclose()


CONFIG = """
providers:
  it: {type: mock, default_model: m, price: {input_usd_per_mtok: 0, output_usd_per_mtok: 1000}}
budgets: [{name: month, limit_usd: 0.02, period: month}]
ledger: {url: "%s"}
"""


async def test_two_registries_with_one_ledger_share_a_budget(url: str, tmp_path: Path) -> None:
    config = parse_config(CONFIG % url.replace("sqlite:///", f"sqlite:///{tmp_path}/"))
    spent = []
    async with ProviderRegistry.from_config(config) as first:
        response = await first.get("it").complete("hi", max_tokens=20)
        spent.append(response.cost_usd)
    async with ProviderRegistry.from_config(config) as second:
        with pytest.raises(BudgetExceededError) as caught:
            await second.get("it").complete("hi", max_tokens=20)
    assert caught.value.remaining_usd == usd("0.02") - spent[0]
    assert caught.value.worst_case_usd == usd("0.02")
