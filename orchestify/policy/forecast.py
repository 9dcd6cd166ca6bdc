"""Forecast of daily sums: weekdays, a damped trend, and a band from the past's own errors.

Sources: J. W. Taylor, "Exponential Smoothing with a Damped Multiplicative Trend", International
Journal of Forecasting 19(4), 2003; R. J. Hyndman and G. Athanasopoulos, "Forecasting: Principles
and Practice", 3rd edition, 3.4 (seasonal factors) and 5.10 (origins that move through the past);
J. Lei and others, "Distribution-Free Predictive Inference for Regression", JASA 113, 2018 (bands
from the order statistics of past errors).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from statistics import fmean, median

WEEK = 7
LEAST_DAYS = 2 * WEEK
"""With fewer whole days of history nothing is said: neither weekdays nor a band are known."""

HISTORY_DAYS = 16 * WEEK
"""How far back a forecast looks; what is older says little of tomorrow."""

MOST_DAYS = 92
"""How far ahead a forecast goes."""

BAND = 0.8
"""About so many truths lie between `low` and `high`."""

_FACTOR_WEEKS = 8  # weekdays are learned from these
_LEVEL, _TREND, _DAMPING = 0.3, 0.2, 0.9  # of weekly means
_LEAST_WEEK = 0.01  # of the mean week
_MOST_GROWTH = math.log(2)
_LEAST_ERRORS = 5  # fewer make no band
_WITHIN = 0.9  # of the past's errors; sums overlap, so that they are fewer than they look
_PLACES = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Sums from the first day ahead to the end of each: `expected`, and a band around it.

    The band is as wide as the errors that the same method made on the past.
    """

    expected: tuple[Decimal, ...]
    low: tuple[Decimal, ...]
    high: tuple[Decimal, ...]

    def after(self, elapsed: Decimal) -> Forecast:
        """Return what is to come once a share (0 to 1) of the first day has passed."""
        gone = elapsed * self.expected[0]
        shares = [(each - gone) / each if each else 1 - elapsed for each in self.expected]
        sums = (self.expected, self.low, self.high)
        return Forecast(*(_times(each, shares) for each in sums))


def forecast(history: Sequence[Decimal], days: int) -> Forecast | None:
    """Return a forecast for the `days` (1 to `MOST_DAYS`) after a history of whole days.

    `history` has each day's sum in order, none left out, the latest last. None where it has
    fewer than `LEAST_DAYS`.
    """
    if len(history) < LEAST_DAYS:
        return None
    known = [float(each) for each in history[-HISTORY_DAYS:]]
    days = min(max(days, 1), MOST_DAYS)
    expected = list(accumulate(_ahead(known, days)))
    scale = _scale(known)
    lows, highs = _errors(known, days)
    low = accumulate((max(0.0, e + scale * q) for e, q in zip(expected, lows, strict=True)), max)
    high = accumulate((e + scale * q for e, q in zip(expected, highs, strict=True)), max)
    return Forecast(_money(expected), _money(low), _money(high))


def _times(sums: Sequence[Decimal], shares: Sequence[Decimal]) -> tuple[Decimal, ...]:
    return tuple((a * b).quantize(_PLACES) for a, b in zip(sums, shares, strict=True))


def _ahead(known: Sequence[float], days: int) -> list[float]:
    """Return each day ahead: a damped multiplicative trend over weeks, times the weekday's factor.

    Growth is in per cent and lasts for some weeks; more than a doubling is not foreseen.
    """
    if not any(known):
        return [0.0] * days
    weeks = [known[start : start + WEEK] for start in range(len(known) % WEEK, len(known), WEEK)]
    factors = _factors(weeks[-_FACTOR_WEEKS:])
    least = _LEAST_WEEK * fmean(known)  # a week without calls has no logarithm
    logs = [math.log(max(fmean(week), least)) for week in weeks]
    level, trend = logs[0], 0.0
    for each in logs[1:]:
        before = level
        level = _LEVEL * each + (1 - _LEVEL) * (level + _DAMPING * trend)
        trend = _TREND * (level - before) + (1 - _TREND) * _DAMPING * trend
    # a day lies so many weeks after the middle of the last week
    distances = [(day + WEEK // 2 + 1) / WEEK for day in range(days)]
    damped = [_DAMPING * (1 - _DAMPING**each) / (1 - _DAMPING) for each in distances]
    growth = (min(trend * each, _MOST_GROWTH) for each in damped)
    return [math.exp(level + each) * factors[day % WEEK] for day, each in enumerate(growth)]


def _factors(weeks: Sequence[Sequence[float]]) -> list[float]:
    """Return each weekday's share of its week, times 7: the median, which no burst moves."""
    used = [week for week in weeks if sum(week)]
    if not used:
        return [1.0] * WEEK
    shares = [median(week[day] / sum(week) for week in used) for day in range(WEEK)]
    if not sum(shares):
        return [1.0] * WEEK
    return [WEEK * share / sum(shares) for share in shares]


def _scale(known: Sequence[float]) -> float:
    """Return what errors are measured in: the mean day of the last four weeks."""
    return fmean(known[-4 * WEEK :])


def _errors(known: Sequence[float], days: int) -> tuple[list[float], list[float]]:
    """Return the band's edges for each number of days ahead, in mean days.

    From each earlier day on the same is forecast from what was known then. What lies further
    ahead than the past can test grows with the distance.
    """
    found: list[list[float]] = [[] for _ in range(days)]
    for end in range(WEEK, len(known)):
        scale = _scale(known[:end])
        if not scale:
            continue
        told, came = accumulate(_ahead(known[:end], days)), accumulate(known[end:])
        for errors, expected, actual in zip(found, told, came, strict=False):
            errors.append((actual - expected) / scale)
    lows: list[float] = []
    highs: list[float] = []
    tested = 1
    for day, errors in enumerate(found):
        if len(errors) >= _LEAST_ERRORS or not day:
            low, high = _edges(errors)
            lows.append(low)
            highs.append(high)
            tested = day + 1
        else:
            lows.append(lows[tested - 1] * (day + 1) / tested)
            highs.append(highs[tested - 1] * (day + 1) / tested)
    return lows, highs


def _edges(errors: Sequence[float]) -> tuple[float, float]:
    """Return the errors that a share of `_WITHIN` lies between, with 0 among them."""
    if not errors:
        return 0.0, 0.0
    ordered = sorted(errors)
    rank = min(len(ordered), math.ceil((len(ordered) + 1) * (1 + _WITHIN) / 2))
    return min(0.0, ordered[-rank]), max(0.0, ordered[rank - 1])


def _money(values: Iterable[float]) -> tuple[Decimal, ...]:
    return tuple(Decimal(repr(each)).quantize(_PLACES) for each in values)
