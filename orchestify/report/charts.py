"""Charts as SVG without script or style of their own; the only module that imports pygal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from types import ModuleType
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from orchestify.errors import MissingExtraError
from orchestify.report.markup import node

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
        raise MissingExtraError(
            'a page with charts needs pygal: pip install "orchestify[html]"'
        ) from None
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
