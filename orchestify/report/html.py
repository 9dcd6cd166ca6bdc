"""A report as one HTML file: no network, no script; it opens by a double click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from typing import Protocol
from xml.etree.ElementTree import Element

from orchestify.ledger.axes import axes_of
from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import Total
from orchestify.ledger.record import utc_now
from orchestify.report.caveats import coverage, usage_caveats
from orchestify.report.charts import Chart, charts_of, draw
from orchestify.report.data import SHARE_PLACES, write_exact
from orchestify.report.formatting import (
    cache_hit_share,
    display_name,
    estimated_share,
    known_cost,
    write_cost,
    write_count,
    write_share,
)
from orchestify.report.markup import Child, document, node
from orchestify.report.rows import in_reading_order, regroup


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


async def usage_page(
    source: UsageSource,
    by: str | Sequence[str] = "provider",
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    where: Mapping[str, str] | None = None,
    written_at: datetime | None = None,
) -> str:
    """Return a page of the usage of a registry or a ledger; arguments as for its `usage`.

    The ledger is read once, so that the table, the charts and the sums agree.

    Raises:
        InvalidParameterError: as `usage` does.
        LedgerError: the database could not be read.
        MissingExtraError: the charts' library is not installed.
    """
    axes = axes_of(by, where)
    needed = tuple(dict.fromkeys((*axes, "day", "agent", "model")))
    report = await source.usage(needed, since=since, until=until, where=where)
    return page(report, axes, written_at or utc_now())


def page(report: UsageReport, by: Sequence[str], written_at: datetime) -> str:
    """Return the page of a report by day, agent and model at least, its table by `by`."""
    shown = regroup(report, by)
    covers = coverage(shown.by, shown.since, shown.until, shown.where)
    main, *others = (_figure(chart) for chart in charts_of(report))
    body = node(
        "body",
        node("header", node("h1", "Usage"), node("p", covers)),
        _tiles(report.total),
        node(
            "section",
            node("ul", *(node("li", line) for line in usage_caveats(report))),
            class_="remarks",
            aria_label="Remarks",
        ),
        main,
        node("div", *others, class_="pair"),
        _table_section(shown),
        node("footer", node("p", f"Written {written_at:%Y-%m-%d %H:%M} UTC by orchestify.")),
    )
    return document(node("html", _head(), body, lang="en"))


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def _head() -> Element:
    style = files("orchestify.report").joinpath("page.css").read_text(encoding="utf-8")
    return node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("title", "Usage"),
        node("link", rel="icon", href="data:,"),
        node("style", style),
    )


def _tiles(total: Total) -> Element:
    failed = total.attempts - total.calls
    hits, estimated = cache_hit_share(total), estimated_share(total)
    return node(
        "dl",
        _tile("Cost", _money(total), "what is known" if total.unpriced_calls else ""),
        _tile("Answered calls", _number("calls", total.calls), f"{failed:,} attempts not ok"),
        _tile(
            "Tokens",
            _number("total_tokens", total.total_tokens, write_count(total.total_tokens)),
            f"{write_count(total.input_tokens)} in, {write_count(total.output_tokens)} out",
        ),
        _tile("Cache hits", _share("cache_hit_share", hits), "of the input tokens"),
        _tile("Unpriced calls", _number("unpriced_calls", total.unpriced_calls), "not in the cost"),
        _tile("Estimated", _share("estimated_cost_share", estimated), "of the cost"),
        class_="tiles",
    )


def _tile(name: str, figure: Element, note: str) -> Element:
    return node("div", node("dt", name), node("dd", figure), node("dd", note))


def _figure(chart: Chart) -> Element:
    if chart.is_empty:
        return node("section", node("h2", chart.title), node("p", "Nothing to show."), id=chart.id)
    entries = [
        node("li", node("i", class_=f"color-{index}"), name)
        for index, (name, _) in enumerate(chart.series)
    ]
    legend = [node("ul", *entries, class_="legend")] if len(entries) > 1 else []
    return node(
        "section",
        node("h2", chart.title),
        node("div", draw(chart), class_="scroll"),
        *legend,
        node(
            "details",
            node("summary", "The same as a table"),
            node("div", _chart_table(chart), class_="scroll"),
        ),
        id=chart.id,
    )


def _chart_table(chart: Chart) -> Element:
    rows = (
        node(
            "tr", _key(label), *(node("td", chart.write(values[at])) for _, values in chart.series)
        )
        for at, label in enumerate(chart.labels)
    )
    names = (node("th", name, scope="col") for name, _ in chart.series)
    head = node("thead", node("tr", node("td"), *names))
    return node("table", head, node("tbody", *rows))


_COLUMNS = ("cost", "answered", "not ok", "input", "cached", "output", "unpriced", "estimated")


def _table_section(report: UsageReport) -> Element:
    axes = [node("th", axis, scope="col", class_="key") for axis in report.by]
    columns = [node("th", name, scope="col") for name in _COLUMNS]
    span = node("th", "total", scope="row", class_="key", colspan=str(len(report.by)))
    table = node(
        "table",
        node("thead", node("tr", *axes, *columns)),
        node("tbody", *(_row(row) for row in in_reading_order(report))),
        node("tfoot", node("tr", span, *_cells(report.total))),
        id="usage",
    )
    title = "Usage by " + ", ".join(report.by)
    return node("section", node("h2", title), node("div", table, class_="scroll"))


def _row(row: UsageRow) -> Element:
    return node("tr", *(_key(key) for key in row.key), *_cells(row.total))


def _key(value: str) -> Element:
    return node("th", display_name(value), scope="row", class_="key")


def _cells(total: Total) -> list[Element]:
    figures: list[Child] = [
        _money(total),
        _number("calls", total.calls),
        f"{total.attempts - total.calls:,}",
        _number("input_tokens", total.input_tokens),
        write_share(cache_hit_share(total)),
        _number("output_tokens", total.output_tokens),
        _number("unpriced_calls", total.unpriced_calls),
        write_share(estimated_share(total)),
    ]
    return [node("td", figure) for figure in figures]


def _number(name: str, number: int, written: str = "") -> Element:
    return node("data", written or f"{number:,}", value=str(number), class_=name)


def _money(total: Total) -> Element:
    known = known_cost(total)
    written = write_cost(known, total.unpriced_calls)
    if known is None:
        return node("data", written, value="", class_="cost_usd")
    exact = write_exact(known)
    return node("data", written, value=exact, class_="cost_usd", title=f"{exact} USD")


def _share(name: str, share: Decimal | None) -> Element:
    value = "" if share is None else write_exact(round(share, SHARE_PLACES))
    return node("data", write_share(share), value=value, class_=name)
