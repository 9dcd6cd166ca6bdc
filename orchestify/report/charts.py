"""The charts of the HTML page, drawn as SVG; the only module that imports pygal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from math import ceil
from types import ModuleType
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from orchestify.ledger.base import UsageReport
from orchestify.ledger.memory import Total
from orchestify.report.formatting import (
    cache_hit_share,
    display_name,
    known_cost,
    write_cost,
    write_count,
    write_share,
    write_usd,
)
from orchestify.report.markup import node
from orchestify.report.rows import largest, regroup
from orchestify.resources.extras import missing_extra

_ROWS = 12
_DAYS_SHOWN = 7
_ZERO = Decimal(0)


def charts_of(report: UsageReport) -> list[Chart]:
    """Return the charts of a report that is by day, agent and model at least."""
    makers = (_cost_by_day, _cost_by_agent, _tokens_by_agent, _latency, _cache_hits)
    return [make(report) for make in makers]


def _cost_by_day(report: UsageReport) -> Chart:
    cost = write_cost(known_cost(report.total), report.total.unpriced_calls)
    models = largest(regroup(report, ["model"]), PALETTE, lambda total: total.cost_usd)
    days = _days([row.key[0] for row in regroup(report, ["day"]).rows])
    costs = {name: dict.fromkeys(days, _ZERO) for name, _ in models}
    rest = models[-1][0] if models else ""
    for row in regroup(report, ["day", "model"]).rows:
        day, model = row.key
        costs[display_name(model) if display_name(model) in costs else rest][day] += (
            row.total.cost_usd
        )
    return Chart(
        id="cost-by-day",
        title="Cost by day and model",
        summary=f"Stacked bars, one a day: {cost} in all.",
        labels=days,
        series=[
            (name, list(by_day.values())) for name, by_day in costs.items() if any(by_day.values())
        ],
        write=write_usd,
        tick=lambda usd: write_usd(Decimal(repr(usd))),
    )


def _cost_by_agent(report: UsageReport) -> Chart:
    agents = largest(regroup(report, ["agent"]), _ROWS, lambda total: total.cost_usd)
    cost = write_cost(known_cost(report.total), report.total.unpriced_calls)
    return Chart(
        id="cost-by-agent",
        title="Cost by agent",
        summary=f"A bar for each agent: {cost} in all.",
        labels=[name for name, _ in agents],
        series=[("cost", [total.cost_usd for _, total in agents])],
        write=write_usd,
        tick=lambda usd: write_usd(Decimal(repr(usd))),
        is_horizontal=True,
    )


def _tokens_by_agent(report: UsageReport) -> Chart:
    agents = largest(regroup(report, ["agent"]), _ROWS, lambda total: total.total_tokens)
    parts: Sequence[tuple[str, Callable[[Total], int]]] = (
        ("input", lambda total: max(total.input_tokens - total.cache_read, 0)),
        ("input read from a cache", lambda total: total.cache_read),
        ("output", lambda total: total.output_tokens),
    )
    return Chart(
        id="tokens-by-agent",
        title="Tokens by agent",
        summary=f"A bar for each agent: {report.total.total_tokens:,} tokens in all.",
        labels=[name for name, _ in agents],
        series=[(name, [Decimal(part(total)) for _, total in agents]) for name, part in parts],
        write=lambda tokens: f"{tokens:,}",
        tick=lambda tokens: write_count(int(tokens)).replace(".00", ""),
        is_horizontal=True,
    )


def _latency(report: UsageReport) -> Chart:
    models = largest(regroup(report, ["model"]), _ROWS, lambda total: total.attempts)
    means = [Decimal(str(total.latency_s)) / max(total.attempts, 1) for _, total in models]
    return Chart(
        id="latency-by-model",
        title="Mean latency by model",
        summary="The mean seconds of an attempt, answered or not, a bar for each model.",
        labels=[name for name, _ in models],
        series=[("seconds", means)],
        write=lambda seconds: f"{seconds:.2f} s",
        tick=lambda seconds: f"{seconds:g} s",
        is_horizontal=True,
    )


def _cache_hits(report: UsageReport) -> Chart:
    models = largest(regroup(report, ["model"]), _ROWS, lambda total: total.input_tokens)
    shares = [cache_hit_share(total) or _ZERO for _, total in models]
    return Chart(
        id="cache-hits",
        title="Cache hits by model",
        summary="The share of input tokens that was read from a cache, a bar for each model: "
        f"{write_share(cache_hit_share(report.total))} over all.",
        labels=[name for name, _ in models],
        series=[("read from a cache", shares)],
        write=write_share,
        tick=lambda share: f"{share:.0%}",
        is_horizontal=True,
        most=1.0,
    )


def _days(used: Sequence[str]) -> list[str]:
    """Return all days from the first to the last used one, and at least a week's."""
    if not used:
        return []
    last = date.fromisoformat(used[-1])
    first = min(date.fromisoformat(used[0]), last - timedelta(days=_DAYS_SHOWN - 1))
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


PALETTE = 8
"""So many colours does the page's style have: `color-0` to `color-7`."""

_DAYS_SIZE = (720, 300)
_NAMES_WIDTH, _NAME_HEIGHT, _AXIS_HEIGHT = 460, 30, 34
_FONT_SIZE = 13
_DAYS_LABELLED = 8
_NAME_LENGTH = 22


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked bars: for each series, a value a label.

    `write` writes a value in words, `tick` one on the axis. Horizontal bars are for names,
    from the top, vertical ones for days. `most` is the end of the axis, None: the largest sum.
    """

    id: str
    title: str
    summary: str
    labels: Sequence[str]
    series: Sequence[tuple[str, Sequence[Decimal]]]
    write: Callable[[Decimal], str]
    tick: Callable[[float], str]
    is_horizontal: bool = False
    most: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no bar to draw."""
        return not any(any(values) for _, values in self.series)


def draw(chart: Chart) -> Element:
    """Return a chart as an `svg` element.

    Raises:
        MissingExtraError: pygal is not installed.
    """
    svg = fromstring(_rendered(chart))  # noqa: S314 - pygal has just written it
    for each in svg.iter():
        each.tag = each.tag.rpartition("}")[2]
    graph = svg.findall("g")[0]
    _strip(graph)
    title, summary = f"{chart.id}-title", f"{chart.id}-summary"
    return node(
        "svg",
        node("title", chart.title, id=title),
        node("desc", chart.summary, id=summary),
        graph,
        viewBox=svg.attrib["viewBox"],
        class_="chart",
        role="img",
        aria_labelledby=f"{title} {summary}",
    )


def _rendered(chart: Chart) -> str:
    pygal = _pygal()
    kind = pygal.HorizontalStackedBar if chart.is_horizontal else pygal.StackedBar
    style = pygal.style.Style(label_font_size=_FONT_SIZE, major_label_font_size=_FONT_SIZE)
    drawn = kind(style=style, **_settings(chart))
    # pygal begins at the bottom
    order = -1 if chart.is_horizontal else 1
    drawn.x_labels = [_label(chart, label) for label in chart.labels][::order]
    for name, values in chart.series:
        bars = [
            {"value": float(value), "label": f"{label}, {name}: {chart.write(value)}"}
            for label, value in zip(chart.labels, values, strict=True)
        ]
        drawn.add(name, bars[::order])
    text: str = drawn.render(is_unicode=True, disable_xml_declaration=True)
    return text


def _pygal() -> ModuleType:
    try:
        import pygal  # noqa: PLC0415 - an extra, and needed for pages alone
    except ImportError:
        raise missing_extra("a page with charts needs pygal", "html") from None
    # It adds a finder for its maps, at which every later import of the process may warn.
    sys.meta_path[:] = [
        each for each in sys.meta_path if not isinstance(each, pygal.PluginImportFixer)
    ]
    module: ModuleType = pygal
    return module


def _settings(chart: Chart) -> dict[str, Any]:
    names = (_NAMES_WIDTH, len(chart.labels) * _NAME_HEIGHT + _AXIS_HEIGHT)
    width, height = names if chart.is_horizontal else _DAYS_SIZE
    settings: dict[str, Any] = {
        "width": width,
        "height": height,
        "js": [],
        "css": [],
        "margin": 4,
        "margin_right": 24,
        "spacing": 8,
        "show_legend": False,
        "min_scale": 2,
        "max_scale": 6,
        "value_formatter": chart.tick,
        "truncate_label": -1,
    }
    if chart.most is not None:
        settings["range"] = (0, chart.most)
    if not chart.is_horizontal:
        settings["show_minor_x_labels"] = False
        settings["x_labels_major_every"] = ceil(len(chart.labels) / _DAYS_LABELLED)
    return settings


def _label(chart: Chart, label: str) -> str:
    if not chart.is_horizontal:
        return label[5:]  # a day without its year
    return label if len(label) <= _NAME_LENGTH else f"{label[: _NAME_LENGTH - 1]}…"


def _strip(graph: Element) -> None:
    """Take out what is for pygal's script, and bars of nothing; bars' texts become titles."""
    for parent in list(graph.iter()):
        for child in list(parent):
            kind = child.get("class", "")
            if "overlay" in kind or kind == "titles" or (kind == "bar" and _is_nothing(child)):
                parent.remove(child)
            elif kind == "bar":
                text = child.findtext("desc[@class='label']") or ""
                for note in child.findall("desc"):
                    child.remove(note)
                child.append(node("title", text))


def _is_nothing(bar: Element) -> bool:
    rect = bar.find("rect")
    return rect is None or "0.0" in (rect.get("width"), rect.get("height"))
