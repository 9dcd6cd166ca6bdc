"""Many tenants in one SQL ledger: one thread and one database, and nobody sees another."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.errors import BudgetExceededError, InvalidParameterError, LedgerError
from orchestify.ledger.base import Ledger
from orchestify.ledger.budgets.reservation import Reservation
from orchestify.ledger.budgets.sql_store import kept_usd, lapse, lock, period_id, store
from orchestify.ledger.record import Record, utc_now
from orchestify.ledger.sql.journal import Journal
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.repricing import reprice
from orchestify.ledger.sql.schema import health_history
from orchestify.ledger.sql.spool import Spool
from orchestify.ledger.sql.upkeep import prune
from orchestify.policy.budget import Amount, Budget, BudgetState, period_bounds
from orchestify.providers.shared import SharedParts
from tests.integration.test_ledger_spool import Line
from tests.ledgers import answered, database, opened, postgres_schema, until

EVER = Budget("ever", Decimal(10), period="ever", alert_at=(0.5,))
DAYBREAK = datetime(2026, 3, 14, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield "sqlite:///usage.db"


@pytest.fixture
async def whole(url: str, tmp_path: Path) -> AsyncIterator[SqlLedger]:
    ledger = SqlLedger(database(url, tmp_path))
    yield ledger
    await ledger.aclose()


@pytest.fixture
def acme(whole: SqlLedger) -> SqlLedger:
    return whole.for_tenant("acme")


@pytest.fixture
def zeta(whole: SqlLedger) -> SqlLedger:
    return whole.for_tenant("zeta")


def usd(text: str) -> Decimal:
    return Decimal(text)


async def book(ledger: Ledger, *costs: str, **changes: object) -> None:
    """Calls with the same provider, agent, model and label in every ledger."""
    for cost in costs:
        await ledger.open(record := opened(labels={"run": "r1", "task": "t1"}, **changes))
        ledger.complete(answered(record, cost_usd=usd(cost)))


async def spent(ledger: Ledger, by: str = "label:run", **selection: object) -> list[object]:
    report = await ledger.usage(by, **selection)
    return [(row.key[0], row.total.cost_usd) for row in report.rows]


async def test_each_sees_its_own_sums_and_the_whole_sees_all(
    whole: SqlLedger, acme: SqlLedger, zeta: SqlLedger
) -> None:
    await book(acme, "0.1", "0.2")
    await book(zeta, "4")
    await book(whole, "8")
    assert await spent(acme) == [("r1", usd("0.3"))]
    assert await spent(zeta) == [("r1", usd("4"))]
    assert await spent(whole) == [("r1", usd("12.3"))]
    assert await spent(whole, "tenant") == [
        ("", usd("8")),
        ("acme", usd("0.3")),
        ("zeta", usd("4")),
    ]
    assert await spent(whole, "provider", where={"tenant": "zeta"}) == [("claude_main", usd("4"))]


async def test_each_sees_its_own_records(
    whole: SqlLedger, acme: SqlLedger, zeta: SqlLedger
) -> None:
    await book(acme, "0.1")
    await book(zeta, "4")
    crossed = {"where": {"label:task": "t1"}}
    broken = {"since": DAYBREAK + timedelta(hours=11)}
    assert await spent(acme, **crossed) == await spent(acme, **broken) == [("r1", usd("0.1"))]
    assert await spent(zeta, **crossed) == await spent(zeta, **broken) == [("r1", usd("4"))]
    assert await spent(whole, "tenant", **crossed) == [("acme", usd("0.1")), ("zeta", usd("4"))]


async def test_each_sees_what_is_under_way_and_unpriced_of_its_own(
    whole: SqlLedger, acme: SqlLedger, zeta: SqlLedger
) -> None:
    await acme.open(record := opened())
    acme.complete(answered(record, cost_usd=None))
    await zeta.open(opened())
    reports = [await ledger.usage() for ledger in (acme, zeta, whole)]
    assert [report.open for report in reports] == [0, 1, 1]
    assert [len(report.unpriced) for report in reports] == [1, 0, 1]


async def test_another_tenant_is_refused(acme: SqlLedger) -> None:
    with pytest.raises(InvalidParameterError, match="acme reports no other tenant"):
        await acme.usage(where={"tenant": "zeta"})
    with pytest.raises(InvalidParameterError, match="acme reports no other tenant"):
        await acme.usage(where={"tenant": ""})


@pytest.mark.parametrize("tenant", ["", "a b", "a\nb", "a\0", "x" * 201])
def test_what_is_no_tenant_is_refused(tmp_path: Path, tenant: str) -> None:
    ledger = SqlLedger(database("sqlite:///usage.db", tmp_path))
    with pytest.raises(InvalidParameterError, match="a tenant is a text"):
        ledger.for_tenant(tenant)


async def test_the_record_tells_its_tenant_from_its_opening_on(acme: SqlLedger) -> None:
    record = opened()
    await acme.open(record)
    done = answered(record)
    acme.complete(done)
    assert (record.tenant, done.tenant) == ("acme", "acme")


async def test_totals_and_their_thousand_labels_are_each_tenants_own(
    whole: SqlLedger, acme: SqlLedger, zeta: SqlLedger
) -> None:
    for number in range(1001):
        acme.totals.add(answered(opened(labels={"run": f"r{number}"})))
    zeta.totals.add(answered(opened(labels={"run": "mine"})))
    assert "other" in acme.totals.by("label:run")
    assert list(zeta.totals.by("label:run")) == ["mine"]
    assert whole.totals.total().attempts == 0


async def test_a_spent_budget_of_one_lets_the_other_in(acme: SqlLedger, zeta: SqlLedger) -> None:
    mine, theirs = acme.budget_book(), zeta.budget_book()
    mine.settle(await mine.reserve([EVER], usd("9")), Amount(usd("9")))
    theirs.settle(await theirs.reserve([EVER], usd("9")), Amount(usd("2")))
    await until(lambda: theirs.state(EVER).spent_usd == 2)
    with pytest.raises(BudgetExceededError):
        await mine.reserve([EVER], usd("1.01"))
    assert (mine.state(EVER).spent_usd, mine.state(EVER).held_usd) == (9, 0)
    assert (await theirs.reserve([EVER], usd("8"))).is_open


async def test_who_waits_for_one_budget_stands_in_nobody_elses_way(
    acme: SqlLedger, zeta: SqlLedger
) -> None:
    mine, theirs = acme.budget_book(), zeta.budget_book()
    hold = await mine.reserve([EVER], usd("10"))
    waiting = [asyncio.create_task(mine.reserve([EVER], usd("1"))) for _ in range(50)]
    await asyncio.wait(waiting, timeout=0.7)
    async with asyncio.timeout(30):
        for _ in range(20):
            theirs.settle(await theirs.reserve([EVER], usd("10")), Amount(usd("0")))
        assert not any(task.done() for task in waiting)
        mine.release(hold)
        await asyncio.wait(waiting[:10])


async def test_a_threshold_is_told_to_its_tenant_alone(acme: SqlLedger, zeta: SqlLedger) -> None:
    told: list[tuple[str, float]] = []
    mine = acme.budget_book(lambda state, share: told.append(("acme", share)))
    zeta.budget_book(lambda state, share: told.append(("zeta", share)))
    mine.settle(await mine.reserve([EVER], usd("6")), Amount(usd("6")))
    await until(lambda: told == [("acme", 0.5)])


async def test_budgets_of_one_name_have_rows_of_their_own(
    whole: SqlLedger, acme: SqlLedger
) -> None:
    states = [
        BudgetState(replace(EVER, name=name, tenant=tenant))
        for tenant, name in [("", "day"), ("acme", "day"), ("", "acme day"), ("acme", "acme day")]
    ]
    assert [period_id(state) for state in states] == [
        "1970-01-01T00:00Z ever day",
        "1970-01-01T00:00Z ever@acme day",
        "1970-01-01T00:00Z ever acme day",
        "1970-01-01T00:00Z ever@acme acme day",
    ]


async def test_a_later_book_knows_what_an_earlier_one_holds(acme: SqlLedger) -> None:
    told: list[str] = []
    before = acme.budget_book(lambda state, share: told.append("before"))
    hold = await before.reserve([EVER], usd("6"))
    after = acme.budget_book(lambda state, share: told.append("after"))
    tighter = replace(EVER, limit_usd=usd("8"))
    waiting = asyncio.create_task(after.reserve([tighter], usd("3")))
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    before.settle(hold, Amount(usd("5.5")))
    with pytest.raises(BudgetExceededError):
        await waiting
    await until(lambda: told == ["after"])
    assert after.state(EVER).spent_usd == usd("5.5")


async def test_a_dead_process_lapses_into_its_tenants_budget(url: str, tmp_path: Path) -> None:
    dead = Journal(database(url, tmp_path), lease_s=-1.0)
    state = BudgetState(replace(EVER, tenant="acme"), *period_bounds("ever", utc_now()))
    hold = Reservation(Amount(kept_usd(usd("4"))), (state,), id="a")

    def write(connection) -> None:
        lock(connection, {period_id(state): state})
        store(connection, dead.owner, [hold], utc_now())

    dead.transact(write)
    dead.book([opened(id="a", tenant="acme", cost_at_most_usd=usd("4"))], [])
    heir = Journal(database(url, tmp_path))
    heir.upkeep()
    heir.transact(lambda connection: lapse(connection, 100))
    dead.close()
    heir.close()
    ledger = SqlLedger(database(url, tmp_path))
    acme, zeta = ledger.for_tenant("acme"), ledger.for_tenant("zeta")
    assert acme.budget_book().state(EVER).spent_usd == 0
    assert acme.budget_book().state(EVER).possible_usd == 4
    assert zeta.budget_book().state(EVER).possible_usd == 0
    assert (await acme.usage()).total.interrupted == 1
    assert (await zeta.usage()).total.attempts == 0
    await ledger.aclose()


async def test_health_is_kept_apart(whole: SqlLedger, acme: SqlLedger, zeta: SqlLedger) -> None:
    acme.keep_health(lambda: [{"provider": "p", "status": "healthy"}])
    zeta.keep_health(lambda: [{"provider": "p", "status": "failing"}])
    await book(acme, "0.1")
    await acme.aclose()
    await zeta.aclose()
    assert [each["status"] for each in await acme.health_history("p")] == ["healthy"]
    assert [each["status"] for each in await zeta.health_history()] == ["failing"]
    assert await whole.health_history() == []


async def test_health_of_a_former_registry_is_written_once_more(acme: SqlLedger) -> None:
    acme.keep_health(lambda: [{"provider": "p", "status": "failing"}])
    acme.keep_health(lambda: [{"provider": "p", "status": "healthy"}])
    await book(acme, "0.1")
    await until_rows(acme, "failing")
    await acme.aclose()
    assert [each["status"] for each in await acme.health_history()] == ["failing", "healthy"]


async def until_rows(ledger: SqlLedger, status: str) -> None:
    for _ in range(500):
        if [each["status"] for each in await ledger.health_history()] == [status]:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the former health was not written")


async def test_an_older_view_that_closes_leaves_the_newer_one_its_place(
    whole: SqlLedger, acme: SqlLedger
) -> None:
    told: list[str] = []
    newer = whole.for_tenant("acme")
    acme.budget_book(lambda state, share: told.append("older"))
    acme.keep_health(lambda: [{"provider": "p", "status": "failing"}])
    book_of_newer = newer.budget_book(lambda state, share: told.append("newer"))
    newer.keep_health(lambda: [{"provider": "p", "status": "healthy"}])
    await acme.aclose()
    hold = await book_of_newer.reserve([EVER], usd("6"))
    book_of_newer.settle(hold, Amount(usd("6")))
    await newer.aclose()
    assert told == ["newer"]
    assert (await newer.health_history())[-1]["status"] == "healthy"


async def test_one_closes_while_the_others_go_on(
    whole: SqlLedger, acme: SqlLedger, zeta: SqlLedger
) -> None:
    await acme.open(late := opened())
    closing = asyncio.create_task(acme.aclose())
    await asyncio.gather(*(book(zeta, "0.1") for _ in range(100)), closing)
    with pytest.raises(LedgerError, match="the tenant's ledger is closed"):
        await acme.open(opened())
    acme.complete(answered(late))
    await book(zeta, "0.1")
    assert (await acme.usage()).total.calls == 1
    assert (await zeta.usage()).total.calls == 101
    assert not whole.is_behind


async def test_what_was_put_in_before_it_closes_is_written_then(
    url: str, tmp_path: Path, acme: SqlLedger
) -> None:
    budgets = acme.budget_book()
    hold = await budgets.reserve([EVER], usd("6"))
    await book(acme, "0.1")
    budgets.settle(hold, Amount(usd("5")))
    await acme.aclose()
    beside = SqlLedger(database(url, tmp_path)).for_tenant("acme")
    assert (await beside.usage()).total.calls == 1
    assert beside.budget_book().state(EVER).spent_usd == 5


async def test_one_that_closes_sends_away_only_its_own_who_wait(
    acme: SqlLedger, zeta: SqlLedger
) -> None:
    mine, theirs = acme.budget_book(), zeta.budget_book()
    holds = [await each.reserve([EVER], usd("10")) for each in (mine, theirs)]
    waiting = [asyncio.create_task(each.reserve([EVER], usd("1"))) for each in (mine, theirs)]
    await asyncio.wait(waiting, timeout=0.1)
    await acme.aclose()
    with pytest.raises(LedgerError, match="the ledger is closed"):
        await waiting[0]
    with pytest.raises(LedgerError, match="the ledger is closed"):
        await mine.reserve([EVER], usd("1"))
    mine.settle(holds[0], Amount(usd("3")))
    theirs.settle(holds[1], Amount(usd("4")))
    assert (await waiting[1]).is_open
    await until(lambda: mine.state(EVER).spent_usd == 3)
    assert theirs.state(EVER).spent_usd == 4


async def test_a_call_that_is_cancelled_while_it_opens_is_its_tenants(acme: SqlLedger) -> None:
    await book(acme, "0.1")
    opening = asyncio.create_task(acme.open(opened()))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    report = await acme.usage()
    assert (report.total.calls, report.total.cancelled, report.open) == (1, 1, 0)
    assert acme.totals.total().cancelled == 1


async def test_it_closes_before_anything_was_put_in(acme: SqlLedger) -> None:
    acme.budget_book()
    acme.keep_health(lambda: [{"provider": "p", "status": "healthy"}])
    await acme.aclose()
    await acme.aclose()


async def test_a_view_is_usable_after_the_shared_ledger_has_closed(
    whole: SqlLedger, acme: SqlLedger
) -> None:
    await acme.open(record := opened())
    await whole.aclose()
    acme.complete(answered(record))
    assert (await acme.usage()).total.calls == 1
    await acme.aclose()


async def test_a_hundred_tenants_share_one_thread(whole: SqlLedger) -> None:
    tenants = [whole.for_tenant(f"t{number:02}") for number in range(100)]
    books = [each.budget_book() for each in tenants]
    for each in tenants:
        each.keep_health(lambda: [{"provider": "p", "status": "healthy"}])

    async def call(ledger: SqlLedger, number: int) -> None:
        hold = await books[number].reserve([EVER], usd("1"))
        await book(ledger, "0.01")
        books[number].settle(hold, Amount(usd("0.01")))

    for _ in range(3):
        await asyncio.gather(*(call(each, number) for number, each in enumerate(tenants)))
    threads = [each.name for each in threading.enumerate()].count("orchestify-ledger")
    await asyncio.gather(*(each.aclose() for each in tenants))
    report = await whole.usage("tenant")
    assert threads == 1
    assert len(report.rows) == 100
    assert {row.total.calls for row in report.rows} == {3}
    assert {each.state(EVER).spent_usd for each in books} == {usd("0.03")}
    assert [len(await each.health_history()) for each in tenants] == [1] * 100


async def test_health_of_all_is_written_together(whole: SqlLedger, acme: SqlLedger) -> None:
    acme.keep_health(lambda: [{"provider": "p", "status": "healthy"}])
    zeta = whole.for_tenant("zeta")
    zeta.keep_health(lambda: [{"provider": "p", "status": "healthy"}])
    await book(acme, "0.1")
    await whole.aclose()
    query = health_history.select().order_by(health_history.c.tenant)
    rows = whole._backend.read(lambda connection: connection.execute(query).all())
    assert [(row.tenant, row.provider) for row in rows] == [("acme", "p"), ("zeta", "p")]
    assert rows[0].at == rows[1].at


async def test_pruned_records_leave_each_tenants_sums(
    whole: SqlLedger, acme: SqlLedger, zeta: SqlLedger
) -> None:
    await book(acme, "0.1")
    await book(zeta, "4")
    await zeta.aclose()
    deleted = await whole.prune(keep_days=0)
    assert deleted == 2
    assert await spent(acme, "label:task") == [("t1", usd("0.1"))]
    assert await spent(zeta, "label:task") == [("t1", usd("4"))]
    with pytest.raises(InvalidParameterError, match="were pruned"):
        await acme.usage(since=DAYBREAK + timedelta(hours=1))


async def test_other_prices_are_compared_by_tenant(
    url: str, tmp_path: Path, acme: SqlLedger, zeta: SqlLedger
) -> None:
    await book(acme, "0.1")
    await book(zeta, "4")
    await zeta.aclose()
    there = database(url, tmp_path)
    found = reprice(there, lambda record: None, "tenant")
    of_one = reprice(there, lambda record: None, "agent", where={"tenant": "acme"})
    there.dispose()
    assert {key: row.booked_usd for key, row in found.rows.items()} == {
        ("acme",): usd("0.1"),
        ("zeta",): usd("4"),
    }
    assert of_one.total.booked_usd == usd("0.1")


def test_a_ledger_that_is_dropped_with_its_views_lets_its_thread_go(tmp_path: Path) -> None:
    view = SqlLedger(database("sqlite:///usage.db", tmp_path)).for_tenant("acme")
    view.budget_book()
    asyncio.run(view.open(opened()))
    thread = view._backend.writer._thread
    del view
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


async def test_records_of_tenants_wait_in_the_spool(tmp_path: Path) -> None:
    with postgres_schema() as url:
        line = Line(url)
        await line.mend()
        await line.cut()
        ledger = SqlLedger(database(line.url, tmp_path), Spool(tmp_path / "spool.db"))
        acme, zeta = ledger.for_tenant("acme"), ledger.for_tenant("zeta")
        await book(acme, "0.1", "0.2")
        await book(zeta, "4")
        assert acme.is_behind
        await acme.aclose()
        await line.mend()
        await until(lambda: not ledger.is_behind)
        assert await spent(acme) == [("r1", usd("0.3"))]
        assert await spent(zeta) == [("r1", usd("4"))]
        await ledger.aclose()
        await line.cut()


async def test_a_report_says_how_many_of_the_tenants_own_are_behind(tmp_path: Path) -> None:
    with postgres_schema() as url:
        spool = Spool(tmp_path / "spool.db")
        spool.add("someone", [opened(tenant="acme")], [answered(opened(tenant="zeta"))])
        ledger = SqlLedger(database(url, tmp_path), spool)
        behind = [
            (await each.usage()).behind
            for each in (ledger, ledger.for_tenant("acme"), ledger.for_tenant("nobody"))
        ]
        await ledger.aclose()
    assert behind == [2, 1, 0]


async def test_absurd_costs_of_one_stop_nobody_elses_booking(
    acme: SqlLedger, zeta: SqlLedger
) -> None:
    mine = acme.budget_book()
    hold = await mine.reserve([EVER], usd("1"))
    mine.settle(hold, Amount(usd("1000000")))
    await book(acme, *["1000000"] * 12, model="another")
    await book(zeta, "4")
    assert not zeta.is_behind
    assert await spent(zeta) == [("r1", usd("4"))]
    assert [key for key, _ in await spent(acme, "model")] == ["another"]


CONFIG = """
providers:
  it: {type: mock, default_model: m, price: {input_usd_per_mtok: 0, output_usd_per_mtok: 1000}}
budgets: [{name: month, limit_usd: 0.02, period: month}]
"""


async def test_registries_of_two_tenants_run_beside_each_other(whole: SqlLedger) -> None:
    seen: list[Record] = []
    config = parse_config(CONFIG)
    mine, theirs = (
        ProviderRegistry.assemble(
            config, SharedParts(ledger=whole.for_tenant(tenant), observers=(seen.append,))
        )
        for tenant in ("acme", "zeta")
    )
    async with theirs:
        async with mine:
            await mine.get("it").complete("hi", max_tokens=20)
            with pytest.raises(BudgetExceededError):
                await mine.get("it").complete("hi", max_tokens=20)
            assert mine.get_usage_summary()["total"]["calls"] == 1
        await theirs.get("it").complete("hi", max_tokens=20)
        assert (await theirs.usage()).total.calls == 1
        assert theirs.get_usage_summary()["total"]["calls"] == 1
    assert [record.tenant for record in seen] == ["acme", "zeta"]
    assert (await whole.usage("tenant")).total.calls == 2


def test_pruning_takes_all_tenants_records(url: str, tmp_path: Path) -> None:
    journal = Journal(database(url, tmp_path))
    journal.book([], [answered(opened(tenant="acme")), answered(opened(tenant="zeta"))])
    assert journal.transact(lambda connection: prune(connection, 0)) == 2
    journal.close()
