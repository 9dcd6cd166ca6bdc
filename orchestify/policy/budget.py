"""Budget arithmetic: limits, periods, and what is spent and reserved in one period."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, TypeVar, assert_never

from orchestify.errors import InvalidParameterError
from orchestify.values import MOST_USD, NOTHING

Period: TypeAlias = Literal["minute", "hour", "day", "week", "month", "rolling_24h", "ever"]
"""The periods a configuration may name; `period_bounds` has a branch for each."""

Decision: TypeAlias = Literal["fits", "wait", "refuse"]

BudgetKey: TypeAlias = tuple[str, str, str]
"""Tenant, name and value of a budget."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # the start of `ever`
ZERO = Decimal(0)
KEEP_DAYS = 7
"""How long the budget of a label's value lasts after its last use, where nothing is said."""

_HOUR = timedelta(hours=1)
WINDOW = timedelta(hours=24)
"""How far `rolling_24h` looks back, from the beginning of the present hour."""


class Amount(NamedTuple):
    """What a call takes of a budget, in each unit that a budget may limit."""

    usd: Decimal = ZERO
    tokens: int = 0
    calls: int = 0

    def plus(self, other: Amount) -> Amount:
        """Return the sum."""
        return Amount(self.usd + other.usd, self.tokens + other.tokens, self.calls + other.calls)

    def minus(self, other: Amount) -> Amount:
        """Return the difference."""
        return Amount(self.usd - other.usd, self.tokens - other.tokens, self.calls - other.calls)


NO_AMOUNT = Amount()


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
class StepDown:
    """From the share `at` of a budget on, its calls go elsewhere first.

    To `model` at `provider` (its default model where that is None), with the parameters of the
    agent that calls; or to the targets of another `agent`, with that one's parameters.
    """

    at: float
    provider: str | None = None
    model: str | None = None
    agent: str | None = None

    def __post_init__(self) -> None:
        if (self.provider is None) == (self.agent is None):
            raise InvalidParameterError("a step of a budget names a provider or an agent")
        if self.model is not None and self.provider is None:
            raise InvalidParameterError("a step of a budget names a model beside its provider")
        if not (_is_number(self.at) and 0 < self.at <= 1):
            raise InvalidParameterError("the share of a step of a budget is above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what the calls of a period take: money, tokens or calls, each None if unlimited.

    `name` is unique among the budgets of its `tenant`, which a tenant's ledger fills in. The
    mode `warn` never refuses a call and reports when the limit is crossed. `alert_at` lists
    thresholds as shares of the limit, 0.8 for 80 %. `on_unpriced` applies to calls whose price
    is unknown, where money is limited. With `fit_output` a call whose worst case is more than
    what is left may have as much output as that allows. `step_down` lists where calls go from
    which share on, rising.

    With `per`, a label's key, the limit holds for every value of that label by itself: `in_scope`
    returns the budget of one, with its `value`. Where the period is `ever`, that lasts until
    `keep_days` after its last use.
    """

    name: str
    limit_usd: Decimal | None = None
    period: Period = "day"
    match: CallFilter = CallFilter()
    mode: Literal["hard", "warn"] = "hard"
    alert_at: tuple[float, ...] = ()
    on_unpriced: Literal["block", "warn", "allow"] = "block"
    tenant: str = ""
    limit_tokens: int | None = None
    limit_calls: int | None = None
    per: str = ""
    value: str | None = None
    keep_days: int = KEEP_DAYS
    fit_output: bool = False
    step_down: tuple[StepDown, ...] = ()

    @property
    def key(self) -> BudgetKey:
        """Tenant, name and value, unique among all budgets."""
        return self.tenant, self.name, self.value or ""

    @property
    def title(self) -> str:
        """The name, and the value whose budget it is, as messages write it."""
        if self.value is None:
            return self.name
        return f"{self.name} ({self.per}={self.value})" if self.per else f"{self.name} {self.value}"

    def steps_left(
        self, remaining: Sequence[Decimal | int | None], taken: float
    ) -> Sequence[StepDown]:
        """Return the steps above the share `taken`, from the last on that is due.

        `remaining` is what is left in USD, tokens and calls, None where that is not limited.
        """
        steps = [step for step in self.step_down if step.at > taken]
        limits = (self.limit_usd, self.limit_tokens, self.limit_calls)
        due = sum(
            any(
                limit is not None and left is not None and left <= (1 - _exact(step.at)) * limit
                for limit, left in zip(limits, remaining, strict=True)
            )
            for step in steps
        )
        return steps[max(0, due - 1) :]

    @property
    def counts_free_calls(self) -> bool:
        """Whether calls that cost nothing count, too: tokens or calls are limited."""
        return self.limit_tokens is not None or self.limit_calls is not None

    def in_scope(self, labels: Mapping[str, str]) -> Budget | None:
        """Return the budget that counts calls with these labels.

        Itself; with `per` that of the label's value, None where they lack the label.
        """
        if not self.per:
            return self
        value = labels.get(self.per)
        return None if value is None else replace(self, value=value)

    def matches(
        self,
        provider: str | None,
        agent: str | None,
        model: str | None,
        labels: Mapping[str, str] = NOTHING,
    ) -> bool:
        """Whether a call counts against this budget; with `per`, that of its label's value."""
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


@dataclass(frozen=True, slots=True)
class RunBudget:
    """A limit on the calls of one scope: `scope(run="r1", budget=RunBudget(usd=2))`.

    At least one of `usd`, `tokens` and `calls`. It lasts until `keep_days` after its last use;
    the rest is as at `Budget`.

    Raises:
        InvalidParameterError: nothing is limited, a number is below zero, or a list is none.
    """

    usd: Decimal | float | None = None
    tokens: int | None = None
    calls: int | None = None
    alert_at: tuple[float, ...] = ()
    on_unpriced: Literal["block", "warn", "allow"] = "block"
    fit_output: bool = False
    step_down: tuple[StepDown, ...] = ()
    keep_days: int = KEEP_DAYS

    def __post_init__(self) -> None:
        if (self.usd, self.tokens, self.calls) == (None, None, None):
            raise InvalidParameterError("a RunBudget limits usd, tokens or calls")
        if self.usd is not None:
            if not _is_number(self.usd):
                raise InvalidParameterError("usd of a RunBudget is a number")
            if not 0 <= self.usd <= MOST_USD:
                raise InvalidParameterError(f"usd of a RunBudget is from 0 to {MOST_USD:,}")
        for name, limit in (("tokens", self.tokens), ("calls", self.calls)):
            if limit is not None and (type(limit) is not int or limit < 0):
                raise InvalidParameterError(f"{name} of a RunBudget is a whole number, at least 0")
        self._check_lists()
        if self.on_unpriced not in ("block", "warn", "allow"):
            raise InvalidParameterError("on_unpriced of a RunBudget is block, warn or allow")
        if type(self.keep_days) is not int or self.keep_days < 1:
            raise InvalidParameterError("keep_days of a RunBudget is a whole number, at least 1")

    def _check_lists(self) -> None:
        if not (isinstance(self.alert_at, (tuple, list)) and all(map(_is_number, self.alert_at))):
            raise InvalidParameterError("alert_at of a RunBudget is a tuple of shares: (0.5, 0.8)")
        steps = self.step_down
        if not (
            isinstance(steps, (tuple, list)) and all(isinstance(each, StepDown) for each in steps)
        ):
            raise InvalidParameterError("step_down of a RunBudget is a tuple of StepDown")

    def named(self, name: str, value: str) -> Budget:
        """Return the budget with this name, of one value."""
        return Budget(
            name=name,
            limit_usd=None if self.usd is None else Decimal(str(self.usd)),
            period="ever",
            alert_at=tuple(self.alert_at),
            on_unpriced=self.on_unpriced,
            limit_tokens=self.tokens,
            limit_calls=self.calls,
            value=value,
            keep_days=self.keep_days,
            fit_output=self.fit_output,
            step_down=tuple(sorted(self.step_down, key=lambda step: step.at)),
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def period_bounds(period: Period, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the start and the end (not included) of the calendar period around `now`, in UTC.

    `week` begins on Monday. `ever` starts in 1970 and has no end. `rolling_24h` counts by the
    hour: what is booked in one hour leaves it 24 hours after that has ended.
    """
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)
    day = hour.replace(hour=0)
    match period:
        case "minute":
            return minute, minute + timedelta(minutes=1)
        case "hour" | "rolling_24h":
            return hour, hour + _HOUR
        case "day":
            return day, day + timedelta(days=1)
        case "week":
            monday = day - timedelta(days=day.weekday())
            return monday, monday + timedelta(days=7)
        case "month":
            month = day.replace(day=1)
            return month, (month + timedelta(days=31)).replace(day=1)
        case "ever":
            return EPOCH, None
    assert_never(period)


def state_bounds(budget: Budget, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the bounds of a budget's period; that of a label's value ends after its last use."""
    start, end = period_bounds(budget.period, now)
    if end is None and budget.value is not None:
        end = now + timedelta(days=budget.keep_days)
    return start, end


def value_digest(value: str) -> str:
    """Return what stands for a label's value in a key: 32 hexadecimal digits."""
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(slots=True)
class BudgetState:
    """One budget in one period: what is spent, and what running calls may take at most.

    `held_usd` sums the reservations of running calls, `possible_usd` those of ended ones whose
    cost nobody knows (lost connections, time that ran out): they count until the period ends.
    `overrun_usd` is what providers billed above the reservations, part of `spent_usd`. The same
    in tokens and calls, of calls that cost something or where these are limited. `alerted`
    counts the thresholds that were reported. `start` and `end` bound the period.

    `hours` is for `rolling_24h` alone: what is spent and possible by the hour in which it was
    booked, of the hours before the present one.
    """

    budget: Budget
    start: datetime = EPOCH
    end: datetime | None = None
    spent_usd: Decimal = ZERO
    held_usd: Decimal = ZERO
    overrun_usd: Decimal = ZERO
    possible_usd: Decimal = ZERO
    alerted: int = 0
    spent_tokens: int = 0
    held_tokens: int = 0
    possible_tokens: int = 0
    spent_calls: int = 0
    held_calls: int = 0
    possible_calls: int = 0
    hours: dict[datetime, tuple[Amount, Amount]] | None = None
    _shares: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._shares = self.budget.shares

    @property
    def remaining_usd(self) -> Decimal | None:
        """What is neither spent, possibly spent nor reserved, never below 0; None: no limit."""
        limit_usd = self.budget.limit_usd
        if limit_usd is None:
            return None
        return max(ZERO, limit_usd - self.spent_usd - self.possible_usd - self.held_usd)

    @property
    def remaining_tokens(self) -> int | None:
        """The same in tokens."""
        limit = self.budget.limit_tokens
        if limit is None:
            return None
        return max(0, limit - self.spent_tokens - self.possible_tokens - self.held_tokens)

    @property
    def remaining_calls(self) -> int | None:
        """The same in calls."""
        limit = self.budget.limit_calls
        if limit is None:
            return None
        return max(0, limit - self.spent_calls - self.possible_calls - self.held_calls)

    @property
    def spent(self) -> Amount:
        """What is spent, in each unit."""
        return Amount(self.spent_usd, self.spent_tokens, self.spent_calls)

    @property
    def possible(self) -> Amount:
        """What is possibly spent, in each unit."""
        return Amount(self.possible_usd, self.possible_tokens, self.possible_calls)

    def step_due(self) -> StepDown | None:
        """Return the last step whose share is spent or possibly spent, None where none is."""
        budget, due = self.budget, None
        for step in budget.step_down:
            exact = _exact(step.at)
            for limit, taken in (
                (budget.limit_usd, self.spent_usd + self.possible_usd),
                (budget.limit_tokens, self.spent_tokens + self.possible_tokens),
                (budget.limit_calls, self.spent_calls + self.possible_calls),
            ):
                if limit is not None and taken >= exact * limit:
                    due = step
        return due

    def decide(self, amount: Amount) -> Decision:
        """Say whether a call fits now, fits once reservations settle, or is over a limit.

        What takes nothing always fits, and a `warn` budget refuses nothing.
        """
        budget = self.budget
        if budget.mode == "warn":
            return "fits"
        usd, tokens, calls = self.spent_usd, self.spent_tokens, self.spent_calls
        decisions = (
            _decision(budget.limit_usd, amount.usd, usd, self.possible_usd, self.held_usd),
            _decision(
                budget.limit_tokens, amount.tokens, tokens, self.possible_tokens, self.held_tokens
            ),
            _decision(
                budget.limit_calls, amount.calls, calls, self.possible_calls, self.held_calls
            ),
        )
        if "refuse" in decisions:
            return "refuse"
        return "wait" if "wait" in decisions else "fits"

    def reserve(self, amount: Amount) -> None:
        """Set aside what a call may take at most."""
        self.held_usd += amount.usd
        self.held_tokens += amount.tokens
        self.held_calls += amount.calls

    def settle(self, held: Amount, taken: Amount, possible: Amount = NO_AMOUNT) -> None:
        """Replace a reservation by what the call took, in full even where that is more.

        `possible` is what it may have taken at most where nobody knows.
        """
        self.held_usd -= held.usd
        self.held_tokens -= held.tokens
        self.held_calls -= held.calls
        self.spent_usd += taken.usd
        self.spent_tokens += taken.tokens
        self.spent_calls += taken.calls
        self.possible_usd += possible.usd
        self.possible_tokens += possible.tokens
        self.possible_calls += possible.calls
        if taken.usd > held.usd:
            self.overrun_usd += taken.usd - held.usd

    def crossed_thresholds(self) -> list[float]:
        """Return the thresholds crossed since the last call of this, as shares, rising."""
        crossed: list[float] = []
        while self.alerted < len(self._shares) and self._has_reached(self._shares[self.alerted]):
            crossed.append(self._shares[self.alerted])
            self.alerted += 1
        return crossed

    def roll(self, now: datetime) -> None:
        """Move a `rolling_24h` budget on to the hour of `now`: what is older than a day leaves."""
        start, end = period_bounds("rolling_24h", now)
        if start <= self.start:
            return
        hours = dict(self.hours or {})
        known_spent, known_possible = _sums(hours)
        ended = (self.spent.minus(known_spent), self.possible.minus(known_possible))
        if ended != (NO_AMOUNT, NO_AMOUNT):
            hours[self.start] = ended
        self.start, self.end = start, end
        self.hours = {hour: each for hour, each in hours.items() if hour >= start - WINDOW}
        spent, possible = _sums(self.hours)
        self.spent_usd, self.spent_tokens, self.spent_calls = spent
        self.possible_usd, self.possible_tokens, self.possible_calls = possible
        self.overrun_usd = min(self.overrun_usd, spent.usd)
        while self.alerted and not self._has_reached(self._shares[self.alerted - 1]):
            self.alerted -= 1

    def _has_reached(self, share: float) -> bool:
        budget, exact = self.budget, _exact(share)
        usd, tokens, calls = budget.limit_usd, budget.limit_tokens, budget.limit_calls
        return (
            (usd is not None and self.spent_usd >= exact * usd)
            or (tokens is not None and self.spent_tokens >= exact * tokens)
            or (calls is not None and self.spent_calls >= exact * calls)
        )


_Units = TypeVar("_Units", Decimal, int)


def _decision(
    limit: _Units | None, wanted: _Units, spent: _Units, possible: _Units, held: _Units
) -> Decision:
    """Say of one limit whether what is wanted fits."""
    if limit is None or not wanted:
        return "fits"
    taken = spent + possible + wanted
    if taken > limit:
        return "refuse"
    return "wait" if taken + held > limit else "fits"


@lru_cache(maxsize=1_000)
def _exact(share: float) -> Decimal:
    return Decimal(str(share))


def _sums(hours: Mapping[datetime, tuple[Amount, Amount]]) -> tuple[Amount, Amount]:
    spent = possible = NO_AMOUNT
    for booked, maybe in hours.values():
        spent, possible = spent.plus(booked), possible.plus(maybe)
    return spent, possible
