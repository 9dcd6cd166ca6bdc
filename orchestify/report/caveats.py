"""What a report says in words: what it covers, and how far its sums can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from orchestify.ledger.base import UsageReport, as_utc
from orchestify.ledger.memory import Total
from orchestify.report.formatting import (
    display_name,
    estimated_share,
    plural,
    write_share,
    write_usd,
)

ALL_PRICED = "every call has a price"
"""What a report says first where nothing is missing from its sums; no reason to doubt."""

_NAMED = 5


def usage_caveats(report: UsageReport) -> list[str]:
    """Return what a reader must know to believe the sums, one sentence each.

    The first is always there: whether every call has a price, or what is unpriced or possibly
    billed.
    """
    total = report.total
    said = [_unknown(report)]
    if part := estimated_share(total):
        said.append(
            f"{write_share(part)} of the cost ({write_usd(total.estimated_cost_usd)}) is "
            "estimated: the provider reported no tokens"
        )
    if total.attempts > total.calls:
        said.append(_not_ok(total))
    if total.cached:
        said.append(
            f"{plural(total.cached, 'answer')} came from the response cache, beside the calls; "
            f"{'it' if total.cached == 1 else 'they'} had cost {write_usd(total.saved_usd)}"
        )
    if total.invalid_usage:
        said.append(
            f"{plural(total.invalid_usage, 'record')} had counts that cannot be true; "
            "they were not booked as such"
        )
    if report.open:
        verb = "is" if report.open == 1 else "are"
        said.append(f"{plural(report.open, 'attempt')} {verb} still under way and not counted")
    if report.behind:
        verb = "waits" if report.behind == 1 else "wait"
        said.append(
            f"the ledger is behind: {plural(report.behind, 'record')} {verb} for the database, "
            "so the sums are too low"
        )
    return said


def unpriced_caveat(calls: int, models: Mapping[str, int]) -> str:
    """Count the calls that nobody can price, and name the models with the most of them."""
    if not calls:
        return ALL_PRICED
    most = sorted(models.items(), key=lambda each: (-each[1], each[0]))
    names = [f"{display_name(name)} ({count:,})" for name, count in most[:_NAMED]]
    if len(most) > _NAMED:
        names.append(f"{len(most) - _NAMED} more")
    have, are = ("has", "is") if calls == 1 else ("have", "are")
    return (
        f"{plural(calls, 'call')} {have} no known price and {are} not in the cost: "
        f"{', '.join(names)}"
    )


def coverage(
    by: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    where: Mapping[str, str],
) -> str:
    """Say what a report covers: its axes, its time, its filters."""
    filters = [f"{axis}={value}" for axis, value in where.items()]
    return "; ".join([f"by {', '.join(by)}", _span(since, until), *filters])


def _span(since: datetime | None, until: datetime | None) -> str:
    begin = [f"since {_moment(since)}"] if since else []
    end = [f"until {_moment(until)}"] if until else []
    return " ".join([*begin, *end, "UTC"]) if since or until else "all time"


def _unknown(report: UsageReport) -> str:
    """Say what is not in the cost: calls without a price, and attempts whose cost nobody knows."""
    total = report.total
    if not total.possible_usd:
        return unpriced_caveat(total.unpriced_calls, report.unpriced)
    possible = (
        f"possibly billed beside the cost, at most {write_usd(total.possible_usd)}: attempts that "
        "ended without the provider's word on what they used"
    )
    if not total.unpriced_calls:
        return possible
    return f"{unpriced_caveat(total.unpriced_calls, report.unpriced)}; {possible}"


def _not_ok(total: Total) -> str:
    number = total.attempts - total.calls
    counts = {
        "failed": total.failed,
        "cancelled": total.cancelled,
        "interrupted": total.interrupted,
    }
    ends = ", ".join(f"{count:,} {end}" for end, count in counts.items() if count)
    verb = "was" if number == 1 else "were"
    return f"beside the answered calls, {plural(number, 'attempt')} {verb} not ok: {ends}"


def _moment(moment: datetime) -> str:
    moment = as_utc(moment)
    is_midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    day = moment.date().isoformat()
    return day if is_midnight else f"{day} {moment:%H:%M:%S}"
