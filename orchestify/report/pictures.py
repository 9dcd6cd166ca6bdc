"""Which charts a page has: cost by day and model, tokens by agent, cache hits by model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal

from orchestify.ledger.base import UsageReport
from orchestify.ledger.totals import Total
from orchestify.report.charts import PALETTE, Chart
from orchestify.report.figures import (
    cache_hit_share,
    known_cost,
    named,
    write_cost,
    write_count,
    write_share,
    write_usd,
)
from orchestify.report.grouping import regroup

_ROWS = 12
_DAYS_SHOWN = 7
_ZERO = Decimal(0)


def charts_of(report: UsageReport) -> list[Chart]:
    """Return the charts of a report that is by day, agent and model at least."""
    return [_cost_by_day(report), _tokens_by_agent(report), _cache_hits(report)]


def _cost_by_day(report: UsageReport) -> Chart:
    cost = write_cost(known_cost(report.total), report.total.unpriced_calls)
    models = _largest(regroup(report, ["model"]), PALETTE, lambda total: total.cost_usd)
    days = _days([row.key[0] for row in regroup(report, ["day"]).rows])
    costs = {name: dict.fromkeys(days, _ZERO) for name, _ in models}
    rest = models[-1][0] if models else ""
    for row in regroup(report, ["day", "model"]).rows:
        day, model = row.key
        costs[named(model) if named(model) in costs else rest][day] += row.total.cost_usd
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


def _tokens_by_agent(report: UsageReport) -> Chart:
    agents = _largest(regroup(report, ["agent"]), _ROWS, lambda total: total.total_tokens)
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


def _cache_hits(report: UsageReport) -> Chart:
    models = _largest(regroup(report, ["model"]), _ROWS, lambda total: total.input_tokens)
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


def _largest(
    report: UsageReport, number: int, weight: Callable[[Total], Decimal | int]
) -> list[tuple[str, Total]]:
    """Return at most `number` rows of a report by one axis, largest first, the rest as one."""
    rows = sorted(report.rows, key=lambda row: (-weight(row.total), row.key))
    end = number if len(rows) <= number else number - 1
    found = [(named(row.key[0]), row.total) for row in rows[:end]]
    if rest := rows[end:]:
        found.append((f"{len(rest)} others", _sum(row.total for row in rest)))
    return found


def _sum(totals: Iterable[Total]) -> Total:
    result = Total()
    for each in totals:
        result.merge(each)
    return result


def _days(used: Sequence[str]) -> list[str]:
    """Return all days from the first to the last used one, and at least a week's."""
    if not used:
        return []
    last = date.fromisoformat(used[-1])
    first = min(date.fromisoformat(used[0]), last - timedelta(days=_DAYS_SHOWN - 1))
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
