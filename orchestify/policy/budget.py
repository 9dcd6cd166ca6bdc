"""Budget arithmetic: limits, periods, and what is spent and reserved in one period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias, assert_never

from orchestify.values import NOTHING

Period: TypeAlias = Literal["minute", "hour", "day", "month", "ever"]
"""The periods a configuration may name; `period_bounds` has a branch for each."""

Decision: TypeAlias = Literal["fits", "wait", "refuse"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # the start of `ever`
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Selects the calls that count against a budget: those that agree with every field given."""

    provider: str | None = None
    agent: str | None = None
    model: str | None = None
    labels: Mapping[str, str] = NOTHING

    @property
    def is_of_target(self) -> bool:
        """Whether the filter names a provider or model, so that falling back can help."""
        return self.provider is not None or self.model is not None


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what the calls of a period cost.

    `name` is unique among the budgets of its `tenant`, which a tenant's ledger fills in. The
    mode `warn` never refuses a call and reports when the limit is crossed. `alert_at` lists
    thresholds as shares of the limit, 0.8 for 80 %. `on_unpriced` applies to calls whose price
    is unknown.
    """

    name: str
    limit_usd: Decimal
    period: Period = "day"
    match: CallFilter = CallFilter()
    mode: Literal["hard", "warn"] = "hard"
    alert_at: tuple[float, ...] = ()
    on_unpriced: Literal["block", "warn", "allow"] = "block"
    tenant: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Tenant and name, unique among all budgets."""
        return self.tenant, self.name

    def matches(
        self,
        provider: str | None,
        agent: str | None,
        model: str | None,
        labels: Mapping[str, str] = NOTHING,
    ) -> bool:
        """Whether a call counts against this budget."""
        want = self.match
        return (
            want.provider in (None, provider)
            and want.agent in (None, agent)
            and want.model in (None, model)
            and all(labels.get(key) == value for key, value in want.labels.items())
        )

    @property
    def shares(self) -> tuple[float, ...]:
        """The thresholds as shares of the limit, rising; a `warn` budget adds 1."""
        return tuple(sorted({*self.alert_at, 1.0} if self.mode == "warn" else {*self.alert_at}))


def period_bounds(period: Period, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the start and the end (not included) of the calendar period around `now`, in UTC.

    `ever` starts in 1970 and has no end.
    """
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)
    day = hour.replace(hour=0)
    match period:
        case "minute":
            return minute, minute + timedelta(minutes=1)
        case "hour":
            return hour, hour + timedelta(hours=1)
        case "day":
            return day, day + timedelta(days=1)
        case "month":
            month = day.replace(day=1)
            return month, (month + timedelta(days=31)).replace(day=1)
        case "ever":
            return EPOCH, None
    assert_never(period)


@dataclass(slots=True)
class BudgetState:
    """One budget in one period: what is spent, and what running calls may cost at most.

    `held_usd` sums the reservations of running calls, `possible_usd` those of ended ones whose
    cost nobody knows (lost connections, time that ran out): they count until the period ends.
    `overrun_usd` is what providers billed above the reservations, part of `spent_usd`. `alerted`
    counts the thresholds that were reported. `start` and `end` bound the period.
    """

    budget: Budget
    start: datetime = EPOCH
    end: datetime | None = None
    spent_usd: Decimal = ZERO
    held_usd: Decimal = ZERO
    overrun_usd: Decimal = ZERO
    possible_usd: Decimal = ZERO
    alerted: int = 0
    _alerts: list[tuple[Decimal, float]] = field(init=False, repr=False)  # dollars and share

    def __post_init__(self) -> None:
        limit_usd = self.budget.limit_usd
        self._alerts = [(Decimal(str(share)) * limit_usd, share) for share in self.budget.shares]

    @property
    def remaining_usd(self) -> Decimal:
        """What is neither spent, possibly spent nor reserved, never below 0."""
        taken_usd = self.spent_usd + self.possible_usd + self.held_usd
        return max(ZERO, self.budget.limit_usd - taken_usd)

    def decide(self, worst_case_usd: Decimal) -> Decision:
        """Say whether a call fits now, fits once reservations settle, or is over the limit.

        What costs nothing always fits, and a `warn` budget refuses nothing.
        """
        if not worst_case_usd or self.budget.mode == "warn":
            return "fits"
        left_usd = self.budget.limit_usd - self.spent_usd - self.possible_usd
        if worst_case_usd > left_usd:
            return "refuse"
        return "fits" if worst_case_usd <= left_usd - self.held_usd else "wait"

    def reserve(self, worst_case_usd: Decimal) -> None:
        """Set aside what a call may cost at most."""
        self.held_usd += worst_case_usd

    def settle(self, held_usd: Decimal, actual_usd: Decimal, possible_usd: Decimal = ZERO) -> None:
        """Replace a reservation by what the call cost, in full even where that is more.

        `possible_usd` is what it may have cost at most where nobody knows.
        """
        self.held_usd -= held_usd
        self.spent_usd += actual_usd
        self.possible_usd += possible_usd
        if actual_usd > held_usd:
            self.overrun_usd += actual_usd - held_usd

    def crossed_thresholds(self) -> list[float]:
        """Return the thresholds crossed since the last call of this, as shares, rising."""
        crossed: list[float] = []
        while self.alerted < len(self._alerts) and self.spent_usd >= self._alerts[self.alerted][0]:
            crossed.append(self._alerts[self.alerted][1])
            self.alerted += 1
        return crossed
