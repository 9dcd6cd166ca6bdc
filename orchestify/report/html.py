"""A report as one HTML file: no network, no script; it opens by a double click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from xml.etree.ElementTree import Element

from orchestify.errors import InvalidParameterError
from orchestify.ledger.axes import axes_of
from orchestify.ledger.base import UsageReport, UsageRow, as_utc
from orchestify.ledger.forecasts import (
    BudgetForecast,
    SpendForecast,
    UsageSource,
    budget_forecasts,
    spend_forecast,
)
from orchestify.ledger.memory import Total
from orchestify.ledger.record import utc_now
from orchestify.policy.budget import BudgetState
from orchestify.report.budgets import budget_limits
from orchestify.report.caveats import ALL_PRICED, coverage, usage_caveats
from orchestify.report.charts import Chart, charts_of, draw
from orchestify.report.data import SHARE_PLACES, write_exact
from orchestify.report.forecast_chart import draw_forecast
from orchestify.report.forecasts import budget_words, total_words
from orchestify.report.formatting import (
    cache_hit_share,
    display_name,
    estimated_share,
    known_cost,
    share,
    write_cost,
    write_count,
    write_share,
    write_usd,
)
from orchestify.report.markup import Child, document, node
from orchestify.report.rows import in_reading_order, regroup


async def usage_page(
    source: UsageSource,
    by: str | Sequence[str] = "provider",
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    where: Mapping[str, str] | None = None,
    written_at: datetime | None = None,
    budgets: Sequence[BudgetState] = (),
) -> str:
    """Return a page of the usage of a registry or a ledger; arguments as for its `usage`.

    The ledger is read once, so that the table, the charts and the sums agree; and again for the
    time before, of the same length, where there is a `since`. `budgets` are shown as they stand.

    Raises:
        InvalidParameterError: as `usage` does.
        LedgerError: the database could not be read.
        MissingExtraError: the charts' library is not installed.
    """
    axes = axes_of(by, where)
    needed = tuple(dict.fromkeys((*axes, "day", "agent", "model")))
    moment = written_at or utc_now()
    report = await source.usage(needed, since=since, until=until, where=where)
    is_present = until is None or as_utc(until) > as_utc(moment)
    ahead = await _forecast(source, moment, where, budgets) if is_present else None
    before = None if since is None else await _before(source, since, until or moment, where)
    return page(report, axes, moment, before=before, budgets=budgets, ahead=ahead)


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is to come: the month's forecast, and when budgets will be spent."""

    total: SpendForecast
    budgets: Sequence[BudgetForecast]


async def _forecast(
    source: UsageSource,
    now: datetime,
    where: Mapping[str, str] | None,
    budgets: Sequence[BudgetState],
) -> Ahead | None:
    """Forecast the month; None where the source has no daily sums of the selection."""
    try:
        report = await spend_forecast(source, now, where=where)
    except InvalidParameterError:
        return None
    return Ahead(report.total, await budget_forecasts(source, budgets, now))


@dataclass(frozen=True, slots=True)
class Before:
    """The time before a report's, of the same length, and what was used in it."""

    since: datetime
    until: datetime
    total: Total


async def _before(
    source: UsageSource, since: datetime, until: datetime, where: Mapping[str, str] | None
) -> Before | None:
    """Read the time before; None where the source cannot cut its times there."""
    since, until = as_utc(since), as_utc(until)
    try:
        start = since - (until - since)
        report = await source.usage("model", since=start, until=since, where=where)
    except (InvalidParameterError, OverflowError):
        return None
    return Before(start, since, report.total)


def page(
    report: UsageReport,
    by: Sequence[str],
    written_at: datetime,
    *,
    before: Before | None = None,
    budgets: Sequence[BudgetState] = (),
    ahead: Ahead | None = None,
) -> str:
    """Return the page of a report by day, agent and model at least, its table by `by`."""
    shown = regroup(report, by)
    covers = coverage(shown.by, shown.since, shown.until, shown.where)
    main, *others = (_figure(chart) for chart in charts_of(report))
    body = node(
        "body",
        node("header", node("h1", "Usage"), node("p", covers), *_days_line(report)),
        _tiles(report.total, before),
        _remarks(usage_caveats(report)),
        *([_budget_section(budgets, ahead)] if budgets else []),
        *([_forecast_section(ahead.total)] if ahead else []),
        main,
        node("div", *others, class_="pair"),
        _outcome_section(regroup(report, ["model"])),
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


def _days_line(report: UsageReport) -> list[Element]:
    """Say from which day to which calls were booked."""
    days = [row.key[0] for row in regroup(report, ["day"]).rows]
    if not days:
        return []
    span = days[0] if days[0] == days[-1] else f"from {days[0]} to {days[-1]}"
    return [node("p", f"Calls were booked {'on ' if len(days) == 1 else ''}{span} (UTC).")]


def _remarks(lines: Sequence[str]) -> Element:
    """What to know of the sums: a notice, but where all there is to say is that all is well."""
    kind = "fine" if list(lines) == [ALL_PRICED] else "remarks"
    items = node("ul", *(node("li", line) for line in lines))
    return node("section", items, class_=kind, aria_label="Remarks")


def _tiles(total: Total, before: Before | None) -> Element:
    failed = total.attempts - total.calls
    hits, estimated = cache_hit_share(total), estimated_share(total)
    possible = (
        [_tile("Possibly billed", _possible(total), "at most, beside the cost")]
        if total.possible_usd
        else []
    )
    kept = (
        [
            _tile(
                "Kept answers",
                _number("cached", total.cached),
                f"saved {write_usd(total.saved_usd)}",
            )
        ]
        if total.cached
        else []
    )
    return node(
        "dl",
        _tile("Cost", _money(total), "what is known" if total.unpriced_calls else ""),
        *possible,
        *([_comparison(total, before)] if before else []),
        _tile("Answered calls", _number("calls", total.calls), f"{failed:,} attempts not ok"),
        _tile(
            "Tokens",
            _number("total_tokens", total.total_tokens, write_count(total.total_tokens)),
            f"{write_count(total.input_tokens)} in, {write_count(total.output_tokens)} out",
        ),
        *kept,
        _tile("Cache hits", _share("cache_hit_share", hits), "of the input tokens"),
        _tile("Unpriced calls", _number("unpriced_calls", total.unpriced_calls), "not in the cost"),
        _tile("Estimated", _share("estimated_cost_share", estimated), "of the cost"),
        class_="tiles",
    )


def _comparison(total: Total, before: Before) -> Element:
    """A tile with the cost of the time before, and how much more or less this one's is."""
    change = share(total.cost_usd - before.total.cost_usd, before.total.cost_usd)
    if change is None:
        note = "nothing was spent"
    elif not change:
        note = "as much as now"
    else:
        note = f"{write_share(abs(change))} {'more' if change > 0 else 'less'} now"
    span = f"{before.since:%Y-%m-%d} to {before.until:%Y-%m-%d}"
    known = write_cost(known_cost(before.total), before.total.unpriced_calls)
    return _tile("Time before", node("span", known), f"{span}; {note}")


def _budget_section(budgets: Sequence[BudgetState], ahead: Ahead | None) -> Element:
    outlooks = {
        each.state.budget.key: budget_words(each) for each in (ahead.budgets if ahead else ())
    }
    shown = (_budget(each, outlooks.get(each.budget.key)) for each in budgets)
    return node("section", node("h2", "Budgets"), *shown, id="budgets")


def _forecast_section(total: SpendForecast) -> Element:
    """The month's forecast: one sentence, and a chart where enough is known."""
    said = node("p", total_words(total))
    title = node("h2", "Forecast of the month")
    if total.end is None:
        return node("section", title, said, id="forecast")
    entries = [
        node("li", node("i", class_=name), text)
        for name, text in (("known", "spent"), ("expected", "expected"), ("band", "likely"))
    ]
    legend = node("ul", *entries, class_="legend")
    return node("section", title, said, _scrolling(draw_forecast(total)), legend, id="forecast")


def _budget(state: BudgetState, outlook: str | None) -> Element:
    """One budget: a bar of what is spent, possibly billed and held, and the same in words.

    The bar is of the limit that is fullest, where a budget has several.
    """
    limits = budget_limits(state)
    parts = max((parts for parts, _ in limits), key=sum)
    bars = (
        node("i", class_=name, style=f"width:{min(part, Decimal(1)):.2%}")
        for name, part in zip(("spent", "possible", "held"), parts, strict=True)
    )
    words = [text for _, said in limits for text in said]
    words += ["warns only"] if state.budget.mode == "warn" else []
    words += [outlook] if outlook else []
    return node(
        "div",
        node("strong", display_name(state.budget.name)),
        node("span", "; ".join(words)),
        node("div", *bars, class_="meter", aria_hidden="true"),
        class_="budget over" if sum(parts) >= 1 else "budget",
    )


def _outcome_section(report: UsageReport) -> Element:
    """Latency and errors by model: of all attempts, answered or not."""
    columns = ("attempts", "mean seconds", "not ok", "share", "failed", "cancelled", "interrupted")
    titles = [node("th", name, scope="col") for name in columns]
    head = node("thead", node("tr", node("th", "model", scope="col", class_="key"), *titles))
    rows = sorted(report.rows, key=lambda row: (-row.total.attempts, row.key))
    body = node("tbody", *(_outcomes(row) for row in rows))
    table = node("table", head, body, id="outcomes")
    return node("section", node("h2", "Latency and errors by model"), _scrolling(table))


def _outcomes(row: UsageRow) -> Element:
    total = row.total
    not_ok = total.attempts - total.calls
    mean = f"{total.latency_s / total.attempts:.2f}" if total.attempts else "-"
    figures = (
        f"{total.attempts:,}",
        mean,
        f"{not_ok:,}",
        write_share(share(not_ok, total.attempts)),
        *(f"{count:,}" for count in (total.failed, total.cancelled, total.interrupted)),
    )
    return node("tr", _key(row.key[0]), *(node("td", figure) for figure in figures))


def _scrolling(child: Element) -> Element:
    """A part that is scrolled sideways where it is wider than the page, and says so there."""
    hint = node("p", "Scroll sideways to see all of it.", class_="hint", aria_hidden="true")
    return node("div", hint, node("div", child, class_="scroll", tabindex="0"), class_="wide")


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
        _scrolling(draw(chart)),
        *legend,
        node(
            "details",
            node("summary", "The same as a table"),
            _scrolling(_chart_table(chart)),
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


_COLUMNS = ("cost", "answered", "not ok", "input", "cached", "output")


def _columns(total: Total) -> tuple[str, ...]:
    """The table's figures; those that are rarely anything only where they are something."""
    rare = {
        "possibly billed": total.possible_usd,
        "unpriced": total.unpriced_calls,
        "estimated": total.estimated_cost_usd,
        "kept": total.cached,
        "saved": total.cached,
    }
    return (*_COLUMNS, *(name for name, sum_ in rare.items() if sum_))


def _table_section(report: UsageReport) -> Element:
    axes = [node("th", axis, scope="col", class_="key") for axis in report.by]
    shown = _columns(report.total)
    columns = [node("th", name, scope="col") for name in shown]
    span = node("th", "total", scope="row", class_="key", colspan=str(len(report.by)))
    table = node(
        "table",
        node("thead", node("tr", *axes, *columns)),
        node("tbody", *(_row(row, shown) for row in in_reading_order(report))),
        node("tfoot", node("tr", span, *_cells(report.total, shown))),
        id="usage",
    )
    title = "Usage by " + ", ".join(report.by)
    return node("section", node("h2", title), _scrolling(table))


def _row(row: UsageRow, shown: Sequence[str]) -> Element:
    return node("tr", *(_key(key) for key in row.key), *_cells(row.total, shown))


def _key(value: str) -> Element:
    return node("th", display_name(value), scope="row", class_="key")


def _cells(total: Total, shown: Sequence[str]) -> list[Element]:
    figures: Mapping[str, Child] = {
        "cost": _money(total),
        "answered": _number("calls", total.calls),
        "not ok": f"{total.attempts - total.calls:,}",
        "input": _number("input_tokens", total.input_tokens),
        "cached": write_share(cache_hit_share(total)),
        "output": _number("output_tokens", total.output_tokens),
        "possibly billed": _possible(total) if total.possible_usd else "",
        "unpriced": _number("unpriced_calls", total.unpriced_calls),
        "estimated": write_share(estimated_share(total)),
        "kept": _number("cached", total.cached),
        "saved": _saved(total),
    }
    return [node("td", figures[name]) for name in shown]


def _number(name: str, number: int, written: str = "") -> Element:
    return node("data", written or f"{number:,}", value=str(number), class_=name)


def _money(total: Total) -> Element:
    known = known_cost(total)
    written = write_cost(known, total.unpriced_calls)
    if known is None:
        return node("data", written, value="", class_="cost_usd")
    exact = write_exact(known)
    return node("data", written, value=exact, class_="cost_usd", title=f"{exact} USD")


def _possible(total: Total) -> Element:
    exact = write_exact(total.possible_usd)
    return node("data", write_usd(total.possible_usd), value=exact, class_="possible_usd")


def _saved(total: Total) -> Element:
    exact = write_exact(total.saved_usd)
    return node("data", write_usd(total.saved_usd), value=exact, class_="saved_usd")


def _share(name: str, share: Decimal | None) -> Element:
    value = "" if share is None else write_exact(round(share, SHARE_PLACES))
    return node("data", write_share(share), value=value, class_=name)
