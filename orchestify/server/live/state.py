"""The live view's state: sums, budgets, forecast, circuits, limits and errors, as the page shows.

All names and words are plain text; money and counts are written out.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time as midnight
from decimal import Decimal
from typing import Any, Protocol
from xml.etree.ElementTree import Element

from orchestify.errors import InvalidParameterError
from orchestify.ledger.base import UsageReport
from orchestify.ledger.forecasts import (
    BudgetForecast,
    UsageSource,
    budget_forecasts,
    month_of,
    spend_forecast,
)
from orchestify.ledger.memory import Total
from orchestify.ledger.record import utc_now
from orchestify.policy.budget import BudgetState
from orchestify.report.budgets import budget_limits
from orchestify.report.caveats import usage_caveats
from orchestify.report.forecast_chart import draw_forecast
from orchestify.report.forecasts import budget_words, total_words
from orchestify.report.formatting import (
    display_name,
    known_cost,
    share,
    write_cost,
    write_count,
    write_share,
)
from orchestify.report.rows import largest, regroup
from orchestify.server.live.failures import Failure

AXES = ("provider", "agent", "model")
_ROWS = 12
_MONTH_S, _BUDGETS_S, _FORECAST_S = 10.0, 3.0, 60.0  # how old each may be
_NAMES = 200  # of circuits, limits and providers that are shown


@dataclass(frozen=True, slots=True)
class Condition:
    """How a provider, a circuit or a limit is: its name, a word for it, and more words."""

    name: str
    state: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the process that calls knows; None where this is another one.

    `providers` are known from the ledger too, a few minutes old.
    """

    providers: Sequence[Condition] = ()
    circuits: Sequence[Condition] | None = None
    limits: Sequence[Condition] | None = None


class LiveSource(Protocol):
    """Whose live view it is."""

    @property
    def ledger(self) -> UsageSource:
        """What reports its usage."""

    async def budgets(self) -> Sequence[BudgetState]:
        """Return its budgets as they stand."""

    async def conditions(self) -> Conditions:
        """Return how its providers are."""

    async def failures(self) -> Sequence[Failure]:
        """Return its last failures, the latest first."""


@dataclass(slots=True)
class _Kept:
    """A part of the state that is read anew only after some seconds."""

    every_s: float
    value: Any = None
    read_at: float = float("-inf")

    async def get(self, read: Callable[[], Awaitable[Any]], now: float) -> Any:
        if now - self.read_at >= self.every_s:
            self.value = await read()
            self.read_at = now
        return self.value


@dataclass(slots=True)
class LiveState:
    """Computes the state of a source; one object for all its readers.

    Today's sums are read each time, the month's every ten seconds, the forecast every minute.
    """

    source: LiveSource
    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = time.monotonic
    _month: _Kept = field(default_factory=lambda: _Kept(_MONTH_S), init=False)
    _budgets: _Kept = field(default_factory=lambda: _Kept(_BUDGETS_S), init=False)
    _outlooks: _Kept = field(default_factory=lambda: _Kept(_FORECAST_S), init=False)
    _forecast: _Kept = field(default_factory=lambda: _Kept(_FORECAST_S), init=False)

    async def __call__(self) -> Mapping[str, Any]:
        """Return the present state, ready for JSON.

        Raises:
            LedgerError: the database could not be read.
        """
        now, clock = self.now(), self.clock()
        today = await self._usage(datetime.combine(now.date(), midnight(), UTC))
        month_start = datetime.combine(month_of(now)[0], midnight(), UTC)
        month = await self._month.get(lambda: self._usage(month_start), clock)
        states = await self._budgets.get(self.source.budgets, clock)
        outlooks = await self._outlooks.get(lambda: self._ahead(states, now), clock)
        forecast = await self._forecast.get(lambda: self._month_ahead(now), clock)
        conditions = await self.source.conditions()
        return {
            "at": now.isoformat(timespec="seconds"),
            "problem": "",
            "periods": {"today": _period(today), "month": _period(month)},
            "pace": {
                "usd": float(today.total.cost_usd),
                "tokens": today.total.total_tokens,
                "day": now.date().isoformat(),
            },
            "under_way": today.open,
            "budgets": [_budget(each, outlooks) for each in states],
            "forecast": forecast,
            "providers": _conditions(conditions.providers),
            "circuits": _conditions(conditions.circuits),
            "limits": _conditions(conditions.limits),
            "errors": [_failure(each) for each in await self.source.failures()],
        }

    async def _usage(self, since: datetime) -> UsageReport:
        return await self.source.ledger.usage(AXES, since=since)

    async def _ahead(
        self, states: Sequence[BudgetState], now: datetime
    ) -> Mapping[tuple[str, str, str], BudgetForecast]:
        found = await budget_forecasts(self.source.ledger, states, now)
        return {each.state.budget.key: each for each in found}

    async def _month_ahead(self, now: datetime) -> Mapping[str, Any]:
        try:
            total = (await spend_forecast(self.source.ledger, now)).total
        except InvalidParameterError as error:
            return {"words": str(error), "chart": None}
        if total.end is None:
            return {"words": total_words(total), "chart": None}
        return {"words": total_words(total), "chart": _tree(draw_forecast(total))}


def _tree(element: Element) -> list[Any]:
    """Return a drawing as its tag, its attributes, and what is in it."""
    inner: list[Any] = [element.text] if element.text else []
    return [element.tag, dict(element.attrib), inner + [_tree(each) for each in element]]


def _period(report: UsageReport) -> dict[str, Any]:
    total = report.total
    return {
        "cost": write_cost(known_cost(total), total.unpriced_calls),
        "tokens": write_count(total.total_tokens),
        "tokens_words": f"{write_count(total.input_tokens)} in, "
        f"{write_count(total.output_tokens)} out",
        "calls": write_count(total.calls),
        "not_ok": write_count(total.attempts - total.calls),
        "remarks": usage_caveats(report),
        "by": {axis: _rows(regroup(report, [axis])) for axis in AXES},
    }


def _rows(report: UsageReport) -> list[dict[str, Any]]:
    """Return a row for each of the largest, by cost, or by tokens where nothing has a price."""
    is_priced = bool(report.total.cost_usd)

    def weight(total: Total) -> Decimal | int:
        return total.cost_usd if is_priced else total.total_tokens

    rows = largest(report, _ROWS, weight)
    most = max((weight(total) for _, total in rows), default=0)
    return [
        {
            "name": name,
            "cost": write_cost(known_cost(total), total.unpriced_calls),
            "tokens": write_count(total.total_tokens),
            "calls": write_count(total.calls),
            "not_ok": write_count(total.attempts - total.calls),
            "share": round(float(share(weight(total), most) or 0), 4),
        }
        for name, total in rows
    ]


def _budget(
    state: BudgetState, outlooks: Mapping[tuple[str, str, str], BudgetForecast]
) -> dict[str, Any]:
    limits = budget_limits(state)
    parts = max((parts for parts, _ in limits), key=sum)
    words = [text for _, said in limits for text in said]
    words += ["warns only"] if state.budget.mode == "warn" else []
    outlook = outlooks.get(state.budget.key)
    words += [budget_words(outlook)] if outlook is not None else []
    return {
        "name": display_name(state.budget.title),
        "words": "; ".join(words),
        "parts": [round(min(float(part), 1.0), 4) for part in parts],
        "is_over": sum(parts) >= 1,
    }


def _conditions(found: Sequence[Condition] | None) -> list[dict[str, str]] | None:
    if found is None:
        return None
    return [
        {"name": display_name(each.name), "state": each.state, "words": _words(each.words)}
        for each in found[:_NAMES]
    ]


def _words(text: str) -> str:
    return display_name(text) if text else ""


def _failure(failure: Failure) -> dict[str, str]:
    return {
        "at": failure.at,
        "target": display_name(f"{failure.provider}/{failure.model}"),
        "agent": display_name(failure.agent),
        "error": display_name(failure.error),
    }


def provider_condition(health: Mapping[str, Any]) -> Condition:
    """Return how a provider is, from its health as JSON has it."""
    words = [str(health["message"])] if health.get("message") else []
    if health.get("error_rate") is not None:
        words.append(f"{write_share(Decimal(str(health['error_rate'])))} errors")
    if health.get("latency_p50_s") is not None:
        words.append(f"median {health['latency_p50_s']:.2f} s")
    if health.get("last_error"):
        words.append(f"last error {health['last_error']}")
    return Condition(str(health["provider"]), str(health["status"]), ", ".join(words))
