"""Forecasts of a ledger's usage: what a month will have cost, and when budgets will be spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Literal, Protocol, TypeAlias

from orchestify.errors import InvalidParameterError
from orchestify.ledger.axes import LABEL, axes_of
from orchestify.ledger.base import UsageReport, as_utc
from orchestify.ledger.memory import Total
from orchestify.policy.budget import Budget, BudgetState, CallFilter
from orchestify.policy.forecast import HISTORY_DAYS, MOST_DAYS, Forecast, forecast

ZERO = Decimal(0)
_DAY = timedelta(days=1)
_DAY_S = 86_400

Outlook: TypeAlias = Literal["spent", "on", "lasts", "unknown"]
"""Of a budget: spent by now; on a day that is known; not before its period's end, or within
`MOST_DAYS`; nobody knows."""


class UsageSource(Protocol):
    """A ledger or a registry: whatever reports usage."""

    async def usage(
        self,
        by: str | Sequence[str] = "provider",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, str] | None = None,
    ) -> UsageReport:
        """Return usage by one or more axes."""


@dataclass(frozen=True, slots=True)
class DayAhead:
    """What will have been spent by a day's end, counted from a forecast's `since`, in USD."""

    day: date
    expected_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal


@dataclass(frozen=True, slots=True)
class SpendForecast:
    """The spending of one key (a value for each axis) from `since` to `until`, not included.

    `spent_usd` is booked by now, `past` what was by the end of each day before today.
    `ahead` begins today; it is empty where only `known_days` (fewer than 14) whole days are known.
    """

    key: tuple[str, ...]
    since: date
    until: date
    spent_usd: Decimal
    known_days: int
    past: tuple[tuple[date, Decimal], ...] = ()
    ahead: tuple[DayAhead, ...] = ()

    @property
    def end(self) -> DayAhead | None:
        """What will have been spent at the end; None where too little is known."""
        return self.ahead[-1] if self.ahead else None


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """Forecasts by one or more axes, those that will have cost most first, and of the whole.

    Each is made of its own days, so they need not add up. `unpriced_calls` of the month are in
    none of them.
    """

    by: tuple[str, ...]
    where: Mapping[str, str]
    rows: tuple[SpendForecast, ...]
    total: SpendForecast
    unpriced_calls: int = 0


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """When a budget will be spent at the present pace: `day` where the outlook is `on`.

    `earliest` is the first day on which that is likely enough, where it is told. `known_days`
    are the whole days of history.
    """

    state: BudgetState
    outlook: Outlook
    day: date | None = None
    earliest: date | None = None
    known_days: int = 0


def month_of(now: datetime) -> tuple[date, date]:
    """Return the first day of the month, in UTC, and that of the next."""
    first = as_utc(now).date().replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


async def spend_forecast(
    source: UsageSource,
    now: datetime,
    *,
    by: str | Sequence[str] = (),
    until: date | None = None,
    where: Mapping[str, str] | None = None,
) -> ForecastReport:
    """Forecast the spending from the month's first day until `until`, else the month's end.

    Raises:
        InvalidParameterError: `until` is not after today, or lies more than `MOST_DAYS` days
            ahead; an axis that does not exist, or by which no daily sums are kept.
        LedgerError: the database could not be read.
    """
    axes, (since, month_end) = axes_of(by, where), month_of(now)
    until, today = until or month_end, as_utc(now).date()
    if not today < until <= today + MOST_DAYS * _DAY:
        raise InvalidParameterError(
            f"a forecast until {until} is none: it reaches from tomorrow to {MOST_DAYS} days ahead"
        )
    if "day" in axes:
        raise InvalidParameterError("a forecast is of days already; leave out `day`")
    report = await _daily(source, axes, now, where)
    span = (since, until)
    series = {key: _costs(days) for key, days in _by_key(report).items()}
    rows = [_forecast_of(key, days, span, now) for key, days in series.items() if key]
    whole: dict[date, Decimal] = {}
    for days in series.values():
        for day, usd in days.items():
            whole[day] = whole.get(day, ZERO) + usd
    first = since.isoformat()
    return ForecastReport(
        by=axes,
        where=dict(where or {}),
        rows=tuple(sorted(rows, key=lambda row: (-_at_most(row), row.key))),
        total=_forecast_of((), whole, span, now),
        unpriced_calls=sum(r.total.unpriced_calls for r in report.rows if r.key[-1] >= first),
    )


async def budget_forecasts(
    source: UsageSource, states: Iterable[BudgetState], now: datetime
) -> list[BudgetForecast]:
    """Forecast when each budget will be spent, as they stand `now`, in their order.

    Those of a minute or an hour are left out: they are over before a day is.

    Raises:
        LedgerError: the database could not be read.
    """
    known: dict[tuple[tuple[str, str], ...], dict[date, Total]] = {}
    found = []
    for state in states:
        if state.budget.period in ("minute", "hour"):
            continue
        where = _filters(state.budget)
        key = tuple(sorted(where.items()))
        if key not in known:
            try:
                report = await _daily(source, (), now, where)
            except InvalidParameterError:  # it has no daily sums of this, as of two labels
                known[key] = {}
            else:
                known[key] = _by_key(report).get((), {})
        found.append(_budget(state, known[key], now))
    return found


async def _daily(
    source: UsageSource, axes: Sequence[str], now: datetime, where: Mapping[str, str] | None
) -> UsageReport:
    today = as_utc(now).date()
    first = min(today - HISTORY_DAYS * _DAY, today.replace(day=1))
    since = datetime.combine(first, time(), UTC)
    return await source.usage((*axes, "day"), since=since, where=where)


def _by_key(report: UsageReport) -> dict[tuple[str, ...], dict[date, Total]]:
    """Return a report by some axes and then day, as the days of each key."""
    found: dict[tuple[str, ...], dict[date, Total]] = {}
    for row in report.rows:
        found.setdefault(row.key[:-1], {})[date.fromisoformat(row.key[-1])] = row.total
    return found


def _costs(days: Mapping[date, Total]) -> dict[date, Decimal]:
    return {day: total.cost_usd for day, total in days.items()}


def _history(days: Mapping[date, Decimal], today: date) -> list[Decimal]:
    """Return the whole days from the first with a record to yesterday, none left out."""
    first = min(days, default=today)
    return [days.get(first + n * _DAY, ZERO) for n in range((today - first).days)]


def _elapsed(now: datetime) -> Decimal:
    moment = as_utc(now)
    return Decimal((moment - datetime.combine(moment, time(), UTC)).seconds) / _DAY_S


def _forecast_of(
    key: tuple[str, ...], days: Mapping[date, Decimal], span: tuple[date, date], now: datetime
) -> SpendForecast:
    since, until = span
    today = as_utc(now).date()
    history = _history(days, today)
    before = [since + n * _DAY for n in range((today - since).days)]
    past = tuple(zip(before, accumulate(days.get(day, ZERO) for day in before), strict=True))
    spent = (past[-1][1] if past else ZERO) + days.get(today, ZERO)
    made = forecast(history, (until - today).days)
    ahead: tuple[DayAhead, ...] = ()
    if made is not None:
        left = made.after(_elapsed(now))
        ahead = tuple(
            DayAhead(today + n * _DAY, *(spent + each for each in sums))
            for n, sums in enumerate(zip(left.expected, left.low, left.high, strict=True))
        )
    return SpendForecast(key, since, until, spent, len(history), past, ahead)


def _at_most(row: SpendForecast) -> Decimal:
    return row.end.expected_usd if row.end else row.spent_usd


def _filters(budget: Budget) -> dict[str, str]:
    match: CallFilter = budget.match
    axes = {"provider": match.provider, "agent": match.agent, "model": match.model}
    labels = {f"{LABEL}{name}": value for name, value in match.labels.items()}
    if budget.per and budget.value is not None:
        labels[f"{LABEL}{budget.per}"] = budget.value
    return {axis: value for axis, value in axes.items() if value is not None} | labels


def _budget(state: BudgetState, days: Mapping[date, Total], now: datetime) -> BudgetForecast:
    """Return when the first of a budget's limits will be reached."""
    budget, today = state.budget, as_utc(now).date()
    spent, possible = state.spent, state.possible
    limits: tuple[tuple[Decimal | int | None, Decimal | int, Callable[[Total], Decimal | int]], ...]
    limits = (
        (budget.limit_usd, spent.usd + possible.usd, lambda total: total.cost_usd),
        (budget.limit_tokens, spent.tokens + possible.tokens, lambda total: total.total_tokens),
        (budget.limit_calls, spent.calls + possible.calls, lambda total: total.attempts),
    )
    outlooks: list[BudgetForecast] = []
    for limit, taken, amount in limits:
        if limit is None:
            continue
        if taken >= limit:
            return BudgetForecast(state, "spent")
        history = _history({day: Decimal(amount(total)) for day, total in days.items()}, today)
        made = forecast(history, _days_left(state, today))
        if made is None:
            outlooks.append(BudgetForecast(state, "unknown", known_days=len(history)))
            continue
        day, earliest = _reached(state, Decimal(limit), Decimal(taken), made, now)
        outlook: Outlook = "lasts" if day is None else "on"
        outlooks.append(BudgetForecast(state, outlook, day, earliest, len(history)))
    order: Sequence[Outlook] = ("on", "unknown", "lasts")
    return min(outlooks, key=lambda each: (order.index(each.outlook), each.day or date.max))


def _days_left(state: BudgetState, today: date) -> int:
    """Return how many days ahead, today among them, a budget is looked at."""
    if state.budget.period in ("week", "month") and state.end is not None:
        return (as_utc(state.end).date() - today).days
    return MOST_DAYS


def _reached(
    state: BudgetState, limit: Decimal, taken: Decimal, made: Forecast, now: datetime
) -> tuple[date | None, date | None]:
    """Return when a limit is expected to be reached, and when at the earliest."""
    today, rest = as_utc(now).date(), made.after(_elapsed(now))
    if state.budget.period not in ("day", "rolling_24h"):
        reached = (_first_day(each, limit - taken, today) for each in (rest.expected, rest.high))
        return next(reached), next(reached)
    # it begins anew with each day, and the band is of sums over days
    days = [later - sooner for sooner, later in pairwise(made.expected)]
    return _first_day([taken + rest.expected[0], *days], limit, today), None


def _first_day(sums: Iterable[Decimal], limit: Decimal, today: date) -> date | None:
    return next((today + n * _DAY for n, each in enumerate(sums) if each >= limit), None)
