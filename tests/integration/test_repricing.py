"""Records at other prices, from SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from orchestify.database.sql import Database
from orchestify.errors import InvalidParameterError
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import Record
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.repricing import Comparison, reprice
from orchestify.models.pricing import Price, Rates
from orchestify.values import Usage
from tests.ledgers import NOON, answered, database, opened, postgres_schema

PRICE = Price(Rates(Decimal(4), Decimal(10)), "config", request_usd=Decimal("0.01"))
"""A call with 100 tokens in and 20 out costs 0.0106 USD."""

NEXT_DAY = datetime(2026, 3, 15, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/usage.db"
    else:
        with postgres_schema() as schema:
            yield schema


@pytest.fixture
def records(url: str, tmp_path: Path) -> Iterator[Database]:
    asyncio.run(_write(url, tmp_path))
    found = database(url, tmp_path)
    yield found
    found.dispose()


async def _write(url: str, base_dir: Path) -> None:
    ledger = open_ledger(url, base_dir=base_dir)
    plain, own = opened(labels={"run": "r1"}), opened(started_at=NEXT_DAY)
    unpriced = opened(started_at=NEXT_DAY, provider="local", model="llama3", agent="")
    failed, unsent, running = opened(), opened(), opened()
    for record in (plain, own, unpriced, failed, unsent, running):
        await ledger.open(record)
    ledger.complete(answered(plain))
    ledger.complete(answered(own, cost_source="provider", cost_usd=Decimal("0.5")))
    ledger.complete(answered(unpriced, cost_usd=None, cost_source="none"))
    lost = Usage(source="unknown")
    ledger.complete(answered(failed, outcome="failed", usage=lost, cost_usd=None))
    nothing = Decimal(0)
    ledger.complete(answered(unsent, outcome="cancelled", usage=Usage(), cost_usd=nothing))
    await ledger.aclose()


def _only_sonnet(record: Record) -> Price | None:
    return PRICE if record.model == "claude-sonnet-4-5" else None


def test_tokens_are_priced_afresh_beside_what_was_booked(records: Database) -> None:
    found = reprice(records, _only_sonnet)
    assert found.by == ("provider", "model")
    assert found.rows == {
        ("claude_main", "claude-sonnet-4-5"): Comparison(
            attempts=4,
            provider_cost=1,
            booked_usd=Decimal("0.5003"),
            repriced_usd=Decimal("0.0212"),
        ),
        ("local", "llama3"): Comparison(attempts=1, booked_unpriced=1, repriced_unpriced=1),
    }
    assert found.unpriced == {"local/llama3": 1}
    assert found.total.attempts == 5


def test_attempts_without_tokens_cost_no_fee(records: Database) -> None:
    found = reprice(records, _only_sonnet, "day")
    assert found.rows[("2026-03-14",)].repriced_usd == Decimal("0.0106")


def test_records_are_chosen_by_time(records: Database) -> None:
    assert reprice(records, _only_sonnet, since=NEXT_DAY).total.attempts == 2
    assert reprice(records, _only_sonnet, until=NEXT_DAY).total.attempts == 3


def test_records_are_chosen_by_value_and_label(records: Database) -> None:
    assert reprice(records, _only_sonnet, where={"provider": "local"}).total.attempts == 1
    assert reprice(records, _only_sonnet, where={"label:run": "r1"}).total.attempts == 1


def test_label_as_an_axis_counts_those_that_have_it(records: Database) -> None:
    assert list(reprice(records, _only_sonnet, ["label:run", "agent"]).rows) == [("r1", "reviewer")]


def test_unknown_axis_is_refused(records: Database) -> None:
    with pytest.raises(InvalidParameterError, match="cannot report by 'colour'"):
        reprice(records, _only_sonnet, "colour")


async def test_pruned_records_are_told(url: str, tmp_path: Path) -> None:
    await _write(url, tmp_path)
    found = database(url, tmp_path)
    ledger = SqlLedger(found)
    await ledger.prune(1)
    assert reprice(found, _only_sonnet).total.attempts == 0
    assert reprice(found, _only_sonnet).pruned_before is not None
    assert reprice(found, _only_sonnet, since=datetime.now(UTC)).pruned_before is None
    await ledger.aclose()


def test_price_may_depend_on_the_record(records: Database) -> None:
    found = reprice(records, lambda record: PRICE if record.started_at > NOON else None)
    assert found.total.repriced_usd == Decimal("0.0212")
    assert found.unpriced == {"claude_main/claude-sonnet-4-5": 1}
