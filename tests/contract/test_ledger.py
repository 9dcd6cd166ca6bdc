"""What every ledger does: in memory, in both databases, and as a tenant's part of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.ledger.base import Ledger
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import Record
from orchestify.values import Usage
from tests.ledgers import answered, opened, postgres_schema


@pytest.fixture(params=["memory", "sqlite", "postgres", "tenant sqlite", "tenant postgres"])
def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with ExitStack() as stack:
        url = {"memory": None, "sqlite": "sqlite:///usage.db"}.get(request.param.split()[-1], "")
        url = stack.enter_context(postgres_schema()) if url == "" else url
        whole = open_ledger(url, base_dir=tmp_path)
        if request.param.startswith("tenant"):
            asyncio.run(book_for_others(whole))
            yield whole.for_tenant("acme")
        else:
            yield whole
        asyncio.run(whole.aclose())


async def book_for_others(whole: Ledger) -> None:
    """What no test may see: calls of another tenant's and of nobody's, and some under way."""
    for ledger in (whole, whole.for_tenant("other")):
        record = opened(labels={"run": "theirs"})
        await book(ledger, answered(record, cost_usd=None))
        await ledger.open(opened())


@pytest.fixture
async def ledger(new_ledger: Ledger) -> AsyncIterator[Ledger]:
    yield new_ledger
    await new_ledger.aclose()


async def book(ledger: Ledger, *records: Record) -> None:
    for record in records:
        await ledger.open(replace(record, outcome="open", usage=Usage(), cost_usd=None))
        ledger.complete(record)


async def test_an_answered_call_is_reported_whole(ledger: Ledger) -> None:
    usage = Usage(input_tokens=100, output_tokens=20, cache_read=60, cache_write=30, reasoning=5)
    await book(ledger, answered(opened(), usage=usage))
    total = (await ledger.usage()).total
    assert (total.calls, total.attempts) == (1, 1)
    assert (total.input_tokens, total.output_tokens) == (100, 20)
    assert (total.cache_read, total.cache_write, total.reasoning) == (60, 30, 5)
    assert total.cost_usd == Decimal("0.0003")
    assert total.latency_s == 0.25


async def test_an_opened_call_is_under_way_and_in_no_sum(ledger: Ledger) -> None:
    await ledger.open(opened())
    report = await ledger.usage()
    assert report.open == 1
    assert report.rows == ()
    assert report.total.attempts == 0


async def test_a_period_of_a_name_is_claimed_once(ledger: Ledger) -> None:
    claims = [
        await ledger.claim("told", "2026-03"),
        await ledger.claim("told", "2026-03"),
        await ledger.claim("other", "2026-03"),
        await ledger.claim("told", "2026-04"),
    ]
    assert claims == [True, False, True, True]


async def test_a_completed_call_is_no_longer_under_way(ledger: Ledger) -> None:
    await book(ledger, answered(opened()))
    assert (await ledger.usage()).open == 0


async def test_what_failed_is_an_attempt_and_no_call(ledger: Ledger) -> None:
    await book(
        ledger,
        replace(opened(), outcome="failed", error="ServerError"),
        replace(opened(), outcome="cancelled"),
        replace(opened(), outcome="interrupted", error="StreamInterruptedError"),
        answered(opened(attempt=2)),
    )
    total = (await ledger.usage()).total
    assert (total.calls, total.attempts) == (1, 4)
    assert (total.failed, total.cancelled, total.interrupted) == (1, 1, 1)


async def test_money_is_exact(ledger: Ledger) -> None:
    await book(
        ledger,
        answered(opened(), cost_usd=Decimal("0.1")),
        answered(opened(), cost_usd=Decimal("0.2")),
        answered(opened(), cost_usd=Decimal("0.000000000001")),
    )
    assert (await ledger.usage()).total.cost_usd == Decimal("0.300000000001")


async def test_an_unknown_price_is_counted_and_named_and_not_summed(ledger: Ledger) -> None:
    await book(
        ledger,
        answered(opened(model="new-model"), cost_usd=None, cost_source="none"),
        answered(opened()),
    )
    report = await ledger.usage()
    assert report.total.unpriced_calls == 1
    assert report.total.cost_usd == Decimal("0.0003")
    assert report.unpriced == {"claude_main/new-model": 1}


async def test_what_a_free_failure_cost_is_not_unknown(ledger: Ledger) -> None:
    await book(ledger, replace(opened(), outcome="failed"))
    assert (await ledger.usage()).total.unpriced_calls == 0


async def test_estimates_stand_apart(ledger: Ledger) -> None:
    estimated = Usage(input_tokens=10, output_tokens=2, source="estimated")
    await book(
        ledger,
        answered(opened(), usage=estimated, cost_usd=Decimal("0.25")),
        answered(opened(), usage=estimated, cost_usd=Decimal(3), cost_source="provider"),
        answered(opened()),
    )
    total = (await ledger.usage()).total
    assert total.estimated_calls == 2
    assert total.estimated_cost_usd == Decimal("0.25")


async def test_counts_that_cannot_be_true_are_counted(ledger: Ledger) -> None:
    wrong = Usage(input_tokens=10, invalid=("cache_read", "reasoning"))
    await book(ledger, answered(opened(), usage=wrong), answered(opened()))
    assert (await ledger.usage()).total.invalid_usage == 1


@pytest.mark.parametrize(
    ("axis", "keys"),
    [
        ("provider", [("claude_main",), ("deepseek",)]),
        ("agent", [("planner",), ("reviewer",)]),
        ("model", [("claude-sonnet-4-5",), ("deepseek-chat",)]),
        ("day", [("2026-03-14",), ("2026-03-15",)]),
        ("label:run", [("r1",), ("r2",)]),
    ],
)
async def test_every_axis_has_its_rows_in_order(
    ledger: Ledger, axis: str, keys: list[tuple[str, ...]]
) -> None:
    await book(
        ledger,
        answered(
            opened(
                provider="deepseek",
                agent="planner",
                model="deepseek-chat",
                started_at=datetime(2026, 3, 15, 1, tzinfo=UTC),
                labels={"run": "r2", "task": "t"},
            )
        ),
        answered(opened(labels={"run": "r1"})),
    )
    report = await ledger.usage(axis)
    assert report.by == (axis,)
    assert [row.key for row in report.rows] == keys
    assert [row.total.calls for row in report.rows] == [1, 1]


async def test_the_tenant_is_an_axis(ledger: Ledger) -> None:
    await book(ledger, answered(opened()))
    tenant = getattr(ledger, "tenant", "")
    by_tenant = await ledger.usage("tenant", where={"agent": "reviewer"})
    of_it = await ledger.usage("agent", where={"tenant": tenant})
    assert [(row.key, row.total.calls) for row in by_tenant.rows] == [((tenant,), 1)]
    assert [(row.key, row.total.calls) for row in of_it.rows] == [(("reviewer",), 1)]


async def test_axes_are_crossed(ledger: Ledger) -> None:
    await book(
        ledger,
        answered(opened(agent="planner")),
        answered(opened(agent="planner")),
        answered(opened()),
    )
    report = await ledger.usage(["agent", "provider"])
    assert [(row.key, row.total.calls) for row in report.rows] == [
        (("planner", "claude_main"), 2),
        (("reviewer", "claude_main"), 1),
    ]


async def test_no_axis_gives_the_total_alone(ledger: Ledger) -> None:
    await book(ledger, answered(opened()), answered(opened(agent="planner")))
    report = await ledger.usage(())
    assert [(row.key, row.total.calls) for row in report.rows] == [((), 2)]


async def test_where_keeps_only_what_matches(ledger: Ledger) -> None:
    await book(ledger, answered(opened(agent="planner")), answered(opened()))
    report = await ledger.usage("provider", where={"agent": "planner"})
    assert report.total.calls == 1
    assert report.where == {"agent": "planner"}


async def test_a_label_is_reported_only_for_the_calls_that_have_it(ledger: Ledger) -> None:
    await book(ledger, answered(opened(labels={"run": "r1"})), answered(opened()))
    assert (await ledger.usage("label:run")).total.calls == 1
    assert (await ledger.usage()).total.calls == 2


async def test_whole_days_are_cut_at_midnight_utc(ledger: Ledger) -> None:
    await book(
        ledger,
        answered(opened(started_at=datetime(2026, 3, 13, 23, 59, 59, tzinfo=UTC))),
        answered(opened(started_at=datetime(2026, 3, 14, tzinfo=UTC))),
        answered(opened(started_at=datetime(2026, 3, 15, tzinfo=UTC))),
    )
    report = await ledger.usage(
        since=datetime(2026, 3, 14, tzinfo=UTC), until=datetime(2026, 3, 15, tzinfo=UTC)
    )
    assert report.total.calls == 1


@pytest.mark.parametrize("usd", ["1e5000000", "Infinity", "-1e5000000", "NaN"])
async def test_a_cost_that_cannot_be_summed_stops_nothing(ledger: Ledger, usd: str) -> None:
    await book(ledger, answered(opened(), cost_usd=Decimal(usd)), answered(opened()))
    report = await ledger.usage()
    assert report.total.calls == 2
    assert report.total == ledger.totals.total()


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-14))),
    ],
)
async def test_a_time_that_utc_does_not_have_is_refused(ledger: Ledger, moment: datetime) -> None:
    with pytest.raises(InvalidParameterError, match="lies outside the years 1 to 9999 in UTC"):
        await ledger.usage(since=moment)
    with pytest.raises(InvalidParameterError, match="lies outside the years 1 to 9999 in UTC"):
        await ledger.usage(until=moment)


async def test_all_times_that_there_are_lie_between_the_first_and_the_last(ledger: Ledger) -> None:
    await book(ledger, answered(opened()))
    first, last = datetime(5, 1, 1), datetime(9999, 12, 31)
    assert (await ledger.usage(since=first, until=last)).total.calls == 1
    assert (await ledger.usage(since=last)).total.calls == 0
    assert (await ledger.usage(until=first)).total.calls == 0


async def test_an_empty_ledger_reports_nothing(ledger: Ledger) -> None:
    report = await ledger.usage("model")
    assert report.rows == ()
    assert report.total.cost_usd == 0
    assert report.unpriced == {}


@pytest.mark.parametrize("axis", ["user", "label:", "Provider", ""])
async def test_an_unknown_axis_is_refused(ledger: Ledger, axis: str) -> None:
    with pytest.raises(InvalidParameterError, match="choose from provider, agent, model, day"):
        await ledger.usage(axis)
    with pytest.raises(InvalidParameterError, match="cannot report by"):
        await ledger.usage(where={axis: "x"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"since": "7d"}, "a time is a datetime, not a str; a week ago is datetime.now"),
        ({"since": 0}, "a time is a datetime, not a int"),
        ({"until": "2026-01-01"}, "a time is a datetime, not a str"),
        ({"until": date(2026, 1, 1)}, "a time is a datetime, not a date"),
        ({"where": "agent=a"}, 'where maps axes to texts: {"agent": "planner"}'),
        ({"where": {"agent": 5}}, "where maps axes to texts"),
        ({"by": 5}, "by is one axis or several, not a int"),
        ({"by": [5]}, "cannot report by 5; choose from provider"),
    ],
)
async def test_what_is_no_time_no_mapping_and_no_axis_is_refused(
    ledger: Ledger, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        await ledger.usage(**given)


async def test_the_objects_own_totals_are_kept_beside(ledger: Ledger) -> None:
    await book(ledger, answered(opened()))
    assert ledger.totals.total(agent="reviewer").cost_usd == Decimal("0.0003")
    assert not ledger.is_behind


async def test_it_closes_twice(ledger: Ledger) -> None:
    await book(ledger, answered(opened()))
    await ledger.aclose()
    await ledger.aclose()


def test_a_call_completes_after_its_loop_has_closed(new_ledger: Ledger) -> None:
    record = opened()
    asyncio.run(new_ledger.open(record))
    new_ledger.complete(answered(record))
    report = asyncio.run(new_ledger.usage())
    asyncio.run(new_ledger.aclose())
    assert (report.total.calls, report.open) == (1, 0)


async def test_a_call_completes_after_the_ledger_has_closed(ledger: Ledger) -> None:
    record = opened()
    await ledger.open(record)
    await ledger.aclose()
    ledger.complete(answered(record))
    report = await ledger.usage()
    assert (report.total.calls, report.open) == (1, 0)


def test_several_threads_with_loops_of_their_own_share_it(new_ledger: Ledger) -> None:
    def run() -> None:
        asyncio.run(book(new_ledger, *(answered(opened()) for _ in range(25))))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = asyncio.run(new_ledger.usage())
    asyncio.run(new_ledger.aclose())
    assert (report.total.calls, report.open) == (100, 0)
    assert new_ledger.totals.total().calls == 100


async def test_what_the_response_cache_answered_is_no_call(ledger: Ledger) -> None:
    await book(ledger, answered(opened()))
    hit = answered(
        opened(), outcome="cached", usage=Usage(), cost_usd=Decimal(0), cost_source="cache"
    )
    ledger.book(replace(hit, saved_usd=Decimal("0.0003")))
    ledger.book(replace(hit, id="another", saved_usd=None))
    report = await ledger.usage("model")
    total = report.total
    assert (total.calls, total.attempts, total.cached) == (1, 1, 2)
    assert (total.cost_usd, total.saved_usd) == (Decimal("0.0003"), Decimal("0.0003"))
    assert (total.input_tokens, total.latency_s, total.unpriced_calls) == (100, 0.25, 0)
    assert (report.open, ledger.totals.total().cached) == (0, 2)
