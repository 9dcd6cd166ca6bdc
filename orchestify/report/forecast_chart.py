"""The chart of a forecast as SVG: what was spent, what is expected, and the band around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from xml.etree.ElementTree import Element

from orchestify.ledger.forecasts import SpendForecast
from orchestify.report.forecasts import most_usd, total_words
from orchestify.report.formatting import write_usd
from orchestify.report.markup import node

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 28
_TICKS = 4
_LABELS = 8
_ROUND = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


def draw_forecast(total: SpendForecast) -> Element:
    """Return the chart of a forecast that has days ahead, as an `svg` element."""
    days = [*(day for day, _ in total.past), *(each.day for each in total.ahead)]
    most = _axis_end(float(most_usd(total)))
    plot = _Plot(days, most)
    spent = [(day, usd) for day, usd in total.past]
    # what is expected begins where what is known ends
    joint = spent[-1:]
    ahead = [*joint, *((each.day, each.expected_usd) for each in total.ahead)]
    high = [*joint, *((each.day, each.high_usd) for each in total.ahead)]
    low = [*joint, *((each.day, each.low_usd) for each in total.ahead)]
    lines = [node("polyline", points=plot.points(ahead), class_="expected")]
    if len(spent) > 1:
        lines.append(node("polyline", points=plot.points(spent), class_="known"))
    return node(
        "svg",
        node("title", "Forecast of the cost", id="forecast-title"),
        node("desc", total_words(total), id="forecast-summary"),
        node("g", *plot.axes()),
        node("polygon", points=plot.points([*high, *reversed(low)]), class_="band"),
        *lines,
        *(plot.mark(day, usd, "spent") for day, usd in spent),
        *(
            plot.mark(
                each.day,
                each.expected_usd,
                "expected",
                f", likely {write_usd(each.low_usd)} to {write_usd(each.high_usd)}",
            )
            for each in total.ahead
        ),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="chart forecast",
        role="img",
        aria_labelledby="forecast-title forecast-summary",
    )


class _Plot:
    """Where a day and a sum are, in the drawing's units."""

    def __init__(self, days: Sequence[date], most: float) -> None:
        self._days = days
        self._places = {day: n for n, day in enumerate(days)}
        self._most = most

    def points(self, line: Sequence[tuple[date, Decimal]]) -> str:
        """Return the points of a line."""
        return " ".join(f"{self._x(day):.1f},{self._y(float(usd)):.1f}" for day, usd in line)

    def mark(self, day: date, usd: Decimal, kind: str, more: str = "") -> Element:
        """Return a day's point, with its sum in words."""
        said = f"{day}: {write_usd(usd)} {kind}{more}"
        place = {"cx": f"{self._x(day):.1f}", "cy": f"{self._y(float(usd)):.1f}", "r": "3.5"}
        return node("circle", node("title", said), class_=f"mark {kind}", **place)

    def axes(self) -> list[Element]:
        """Return lines and labels of both axes."""
        made = []
        for tick in range(_TICKS + 1):
            usd = self._most * tick / _TICKS
            y = f"{self._y(usd):.1f}"
            made.append(node("path", d=f"M{_LEFT} {y}H{_WIDTH - _RIGHT}", class_="grid"))
            label = write_usd(Decimal(repr(usd))).removesuffix(".00")
            made.append(node("text", label, x=str(_LEFT - 8), y=y, dy="4", text_anchor="end"))
        every = math.ceil(len(self._days) / _LABELS)
        for day in self._days[::every]:
            x = f"{self._x(day):.1f}"
            label = f"{day:%m-%d}"
            made.append(node("text", label, x=x, y=str(_HEIGHT - 8), text_anchor="middle"))
        return made

    def _x(self, day: date) -> float:
        room = _WIDTH - _LEFT - _RIGHT
        return _LEFT + room * (self._places[day] + 0.5) / len(self._days)

    def _y(self, usd: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - usd / self._most)


def _axis_end(most: float) -> float:
    """Return the end of an axis on which the ticks are round numbers."""
    if most <= 0:
        return 1.0
    step = most / _TICKS
    size: float = 10.0 ** math.floor(math.log10(step))
    return _TICKS * size * next(each for each in _ROUND if each * size >= step)
