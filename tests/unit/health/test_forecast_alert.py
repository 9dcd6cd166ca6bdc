from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestify.errors import LedgerError
from orchestify.events.events import ForecastHigh
from orchestify.health.forecast_alert import EVERY_S, ForecastAlert
from orchestify.ledger.base import Ledger
from orchestify.ledger.memory import MemoryLedger
from orchestify.ledger.sql.ledger import SqlLedger
from tests.ledgers import answered, database, opened

NOW = datetime(2026, 3, 16, 12, tzinfo=UTC)


@dataclass
class Time:
    """Both clocks, moved by hand."""

    s: float = 0.0
    now: datetime = NOW


@dataclass
class Told:
    """The events that were emitted."""

    events: list[Any] = field(default_factory=list)

    def emit(self, event: object) -> None:
        self.events.append(event)


@pytest.fixture
def told() -> Told:
    return Told()


async def _book(ledger: Ledger, days: int = 40) -> None:
    """One call of 10 USD on each day up to yesterday: some 310 in March."""
    for back in range(1, days + 1):
        record = opened(started_at=NOW - timedelta(days=back))
        await ledger.open(record)
        ledger.complete(answered(record, cost_usd=Decimal(10)))


def _alert(
    ledger: Ledger, told: Told, limit: str | None, time: Time | None = None
) -> ForecastAlert:
    time, usd = time or Time(), None if limit is None else Decimal(limit)
    return ForecastAlert(ledger, told.emit, usd, clock=lambda: time.s, now=lambda: time.now)


async def test_a_month_that_will_cost_too_much_is_told_once(told: Told) -> None:
    await _book(ledger := MemoryLedger())
    alert, other = _alert(ledger, told, "250"), _alert(ledger, told, "250")
    for each in (alert, alert, other):
        await each.check()
    [event] = told.events
    assert isinstance(event, ForecastHigh)
    assert (event.month, event.limit_usd, event.spent_usd) == ("2026-03", 250, 150)
    assert 300 < event.expected_usd < 320


async def test_processes_with_one_database_tell_it_once(told: Told, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/usage.db"
    first, second = SqlLedger(database(url, tmp_path)), SqlLedger(database(url, tmp_path))
    await _book(first)
    await asyncio.gather(
        _alert(first, told, "250").check(),
        _alert(second, told, "250").check(),
        _alert(first.for_tenant("acme"), told, "250").check(),  # has spent nothing
    )
    await first.aclose()
    await second.aclose()
    assert len(told.events) == 1


async def test_a_period_is_claimed_once_for_each_tenant(tmp_path: Path) -> None:
    ledger = SqlLedger(database(f"sqlite:///{tmp_path}/usage.db", tmp_path))
    acme = ledger.for_tenant("acme")
    claims = [await each.claim("told", "2026-03") for each in (ledger, ledger, acme, acme)]
    later = [await ledger.claim("told", "2026-04"), await acme.claim("told", "2026-03")]
    await ledger.aclose()
    assert claims == [True, False, True, False]
    assert later == [True, False]


async def test_the_next_month_is_told_anew(told: Told) -> None:
    await _book(ledger := MemoryLedger())
    time = Time()
    alert = _alert(ledger, told, "1", time)
    await alert.check()
    time.now = datetime(2026, 4, 1, 12, tzinfo=UTC)
    await alert.check()
    assert [event.month for event in told.events] == ["2026-03", "2026-04"]


@pytest.mark.parametrize(("limit", "days"), [("400", 40), ("250", 10), (None, 40)])
async def test_nothing_is_told_below_the_limit_or_while_too_little_is_known(
    told: Told, limit: str | None, days: int
) -> None:
    await _book(ledger := MemoryLedger(), days)
    await _alert(ledger, told, limit).check()
    assert told.events == []


async def test_it_asks_at_most_every_ten_minutes(told: Told) -> None:
    asked = []

    class Counted(MemoryLedger):
        async def usage(self, by: Any = "", **given: Any) -> Any:
            asked.append(by)
            return await super().usage(by, **given)

    time = Time()
    alert = _alert(Counted(), told, "1", time)
    for seconds in (0.0, 1.0, EVERY_S - 1, EVERY_S + 1, EVERY_S + 2):
        time.s = seconds
        alert.observe()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(asked) == 2


async def test_a_database_that_is_away_is_logged(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(MemoryLedger):
        async def usage(self, by: Any = "", **given: Any) -> Any:
            raise LedgerError("the database is away")

    await _alert(Away(), told, "1").check()
    assert "the month could not be forecast: the database is away" in caplog.text


def test_without_a_loop_it_waits_for_a_later_attempt(told: Told) -> None:
    _alert(MemoryLedger(), told, "1").observe()
    assert told.events == []
