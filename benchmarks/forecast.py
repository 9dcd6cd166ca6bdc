"""How far forecasts of spending are off, beside "the same as last week", on two generated series.

The series are in tests/forecast_series.csv; `python -m benchmarks.forecast` writes them anew, the
same as they are.

`steady`: 40 USD on a working day, a fifth of it on weekends. `growing`: 0.9 % more a day, with
bursts of 2.5 to 5 times a day's sum on one day of twenty. From each day after eight weeks on the
sum of the next 7, 14 and 28 days is forecast from what was before, and so is the month's rest.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import fmean

from benchmarks.results import Cell, Table
from benchmarks.settings import Settings
from orchestify.policy.forecast import BAND, forecast

FILE = Path(__file__).parents[1] / "tests" / "forecast_series.csv"
FIRST, DAYS = date(2026, 1, 5), 182  # a Monday; half a year
KNOWN = 56
HORIZONS = (7, 14, 28, 0)  # 0: until the month's end


def measure(_: Settings) -> Iterator[Table]:
    """Measure mean errors of the sum as shares of it, and how often the band held."""
    rows: dict[str, dict[str, Cell]] = {}
    for name, series in read().items():
        for horizon in HORIZONS:
            found = list(trials(series, horizon))
            ours, naive, held = (fmean(float(each[n]) for each in found) for n in range(3))
            ahead = f"{horizon} days" if horizon else "to the month's end"
            rows[f"{name}, {ahead}"] = {
                "forecast": 100 * ours,
                "same as last week": 100 * naive,
                "in the band": 100 * held,
            }
    yield Table(
        "Forecasts of a sum, mean error", "%", rows, (f"the band is to hold in {BAND:.0%}",)
    )


def generate() -> None:
    """Write the two series."""
    chance = random.Random(2026)  # noqa: S311 - no secret
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("day", "steady", "growing"))
        for n in range(DAYS):
            is_weekend = n % 7 >= 5
            steady = 40 * (0.2 if is_weekend else 1) * chance.lognormvariate(0, 0.15)
            growing = 12 * 1.009**n * (0.45 if is_weekend else 1) * chance.lognormvariate(0, 0.2)
            if chance.random() < 0.05:
                growing *= chance.uniform(2.5, 5)
            writer.writerow((FIRST + timedelta(days=n), f"{steady:.2f}", f"{growing:.2f}"))


def read() -> dict[str, list[Decimal]]:
    """Return each series by name, a sum a day."""
    with FILE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [Decimal(row[name]) for row in rows] for name in ("steady", "growing")}


def same_as_last_week(history: Sequence[Decimal], days: int) -> Decimal:
    """Return the sum of the days ahead if each is as it was a week ago."""
    return sum((history[-7 + day % 7] for day in range(days)), Decimal(0))


def trials(series: Sequence[Decimal], horizon: int) -> Iterator[tuple[Decimal, Decimal, bool]]:
    """Yield the errors of both as shares of the truth, and whether the band held, by origin."""
    for origin in range(KNOWN, len(series)):
        days = horizon or _left_of_month(FIRST + timedelta(days=origin))
        if origin + days > len(series):
            continue
        history, truth = series[:origin], sum(series[origin : origin + days], Decimal(0))
        made = forecast(history, days)
        if made is not None:
            naive = same_as_last_week(history, days)
            has_held = made.low[-1] <= truth <= made.high[-1]
            yield abs(made.expected[-1] - truth) / truth, abs(naive - truth) / truth, has_held


def _left_of_month(day: date) -> int:
    return ((day.replace(day=1) + timedelta(days=31)).replace(day=1) - day).days


if __name__ == "__main__":
    generate()
