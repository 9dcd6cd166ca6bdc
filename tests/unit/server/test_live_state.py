"""What the live view's page is sent, and the page itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestify.ledger.memory import MemoryLedger
from orchestify.policy.budget import Budget, BudgetState
from orchestify.server.live.failures import KEPT, Failure, RecentFailures
from orchestify.server.live.page import live_page
from orchestify.server.live.state import Condition, Conditions, LiveState, provider_condition
from tests.ledgers import answered, opened

NOW = datetime(2026, 3, 16, 12, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J"


@dataclass
class Source:
    """A source of its own, in memory."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    known: Conditions = field(default_factory=Conditions)
    states: list[BudgetState] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    budgets_read: int = 0

    async def budgets(self) -> Sequence[BudgetState]:
        self.budgets_read += 1
        return self.states

    async def conditions(self) -> Conditions:
        return self.known

    async def failures(self) -> Sequence[Failure]:
        return self.failed

    def book(self, days_ago: int = 0, usd: str = "1", **given: Any) -> None:
        record = opened(started_at=NOW - timedelta(days=days_ago), **given)
        self.ledger.complete(answered(record, cost_usd=Decimal(usd)))


def _state(source: Source) -> LiveState:
    return LiveState(source, now=lambda: NOW, clock=lambda: 0.0)


async def test_sums_are_of_today_and_of_the_month_by_each_axis() -> None:
    source = Source()
    source.book(0, "3", provider="a", agent="planner", model="m1")
    source.book(0, "1", provider="b", agent="planner", model="m2")
    source.book(10, "8", provider="a", agent="writer", model="m1")
    source.book(40, "50", provider="a", agent="writer", model="m1")
    told = await _state(source)()
    today, month = told["periods"]["today"], told["periods"]["month"]
    assert (today["cost"], month["cost"]) == ("$4.00", "$12.00")
    assert [(row["name"], row["cost"], row["share"]) for row in today["by"]["provider"]] == [
        ("a", "$3.00", 1.0),
        ("b", "$1.00", 0.3333),
    ]
    assert [row["name"] for row in month["by"]["agent"]] == ["writer", "planner"]
    assert told["pace"] == {"usd": 4.0, "tokens": 240, "day": "2026-03-16"}


async def test_where_nothing_has_a_price_tokens_are_the_measure() -> None:
    source = Source()
    record = opened(started_at=NOW, model="free")
    source.ledger.complete(answered(record, cost_usd=None, cost_source="none"))
    told = await _state(source)()
    assert told["periods"]["today"]["cost"] == "unknown"
    assert told["periods"]["today"]["by"]["model"][0]["share"] == 1.0


async def test_budgets_have_their_bars_and_the_day_they_end() -> None:
    source = Source(
        states=[BudgetState(Budget("all", Decimal(100), "ever"), spent_usd=Decimal(80))]
    )
    for day in range(1, 31):
        source.book(day, "10")
    [budget] = (await _state(source)())["budgets"]
    assert budget["parts"] == [0.8, 0.0, 0.0]
    assert "$80.00 of $100.00 spent; spent on 2026-03-1" in budget["words"]


async def test_the_forecast_is_a_drawing_and_a_sentence() -> None:
    source = Source()
    for day in range(1, 31):
        source.book(day, "10")
    forecast = (await _state(source)())["forecast"]
    assert "expected from 2026-03-01 to 2026-03-31" in forecast["words"]
    tag, attributes, inner = forecast["chart"]
    assert (tag, attributes["role"]) == ("svg", "img")
    assert {each[0] for each in inner} == {
        *("title", "desc", "g", "polygon", "polyline", "circle"),
    }


async def test_a_forecast_of_few_days_has_no_drawing() -> None:
    told = await _state(Source())()
    assert told["forecast"]["chart"] is None


async def test_names_hold_nothing_that_a_terminal_or_a_page_obeys() -> None:
    known = Conditions([Condition(HOSTILE, "healthy", HOSTILE)], [Condition(HOSTILE, "open")], None)
    failed = [Failure(NOW.isoformat(), HOSTILE, HOSTILE, HOSTILE, HOSTILE)]
    source = Source(known=known, failed=failed)
    source.book(provider=HOSTILE, agent=HOSTILE, model=HOSTILE)
    told = await _state(source)()
    assert "\\u001b" not in json.dumps(told)
    assert told["periods"]["today"]["by"]["agent"][0]["name"] == HOSTILE.replace("\x1b", "?")
    assert told["limits"] is None


async def test_what_costs_more_is_read_more_rarely() -> None:
    source, time = Source(), [0.0]
    state = LiveState(source, now=lambda: NOW, clock=lambda: time[0])
    for seconds in (0.0, 1.0, 2.0, 4.0):
        time[0] = seconds
        await state()
    assert source.budgets_read == 2


def test_health_is_told_in_words() -> None:
    health = {"provider": "a", "status": "degraded", "error_rate": 0.125, "latency_p50_s": 1.5}
    said = provider_condition({**health, "last_error": "ServerError", "message": "12% errors"})
    assert said == Condition(
        "a", "degraded", "12% errors, 12.5% errors, median 1.50 s, last error ServerError"
    )


def test_the_last_failures_of_a_tenant_are_kept_latest_first() -> None:
    failures = RecentFailures()
    for number in range(KEPT + 3):
        record = opened(model=f"m{number}", agent="a", error="ServerError", outcome="failed")
        failures._note("acme", record)
    failures._note("acme", opened(outcome="ok"))
    found = failures.of("acme")
    assert (len(found), found[0].model, found[-1].model) == (KEPT, f"m{KEPT + 2}", "m3")
    assert failures.of("other") == []


def test_only_the_pages_own_script_and_style_may_run() -> None:
    text, headers = live_page()
    policy = headers["Content-Security-Policy"]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        [body] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    "what", [r"\son\w+=", r"\sstyle=", "innerHTML", "insertAdjacent", "eval", "document.write"]
)
def test_the_page_has_no_handler_in_its_markup_and_takes_no_markup(what: str) -> None:
    assert re.search(what, live_page().text) is None


def test_the_page_names_no_other_place() -> None:
    found = re.findall(r"https?://[^\s\"']+", live_page().text)
    assert found == ["http://www.w3.org/2000/svg"]
