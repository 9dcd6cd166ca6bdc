"""Reports from SQL: daily sums for whole days, records for the broken days at the ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    case,
    cast,
    func,
    literal_column,
    select,
    union_all,
)

from orchestify.errors import InvalidParameterError
from orchestify.ledger.axes import AXES, is_label, label_key
from orchestify.ledger.base import UsageRow
from orchestify.ledger.memory import SUMS, Total
from orchestify.ledger.record import UNUSABLE
from orchestify.ledger.sql.schema import IS_OPEN, SUM_COLUMNS, sum_usd, usage_days, usage_records
from orchestify.ledger.sql.upkeep import pruned_before

Span: TypeAlias = tuple[datetime | None, datetime | None]

_ZERO: ColumnElement[Any] = literal_column("0")
_EVER = datetime.min.replace(tzinfo=UTC)
_LAST_MIDNIGHT = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """A report as read: rows in the order of their keys, and what is not in them."""

    rows: tuple[UsageRow, ...]
    total: Total
    unpriced: Mapping[str, int]
    open: int


def read_usage(
    connection: Connection, axes: Sequence[str], span: Span, where: Mapping[str, str]
) -> Reading:
    """Read the usage of records that started in `span`, times in UTC.

    What is open is counted over all time, and of all, or of the tenant that `where` names.

    Raises:
        InvalidParameterError: it needs records that were pruned, or a day after the last.
    """
    table = _source(connection, axes, span, where)
    keys = [table.c[axis] for axis in axes]
    found = connection.execute(select(*keys, *_sums(table)).group_by(*keys))
    width = len(axes)
    rows = [
        UsageRow(tuple(row[:width]), Total(*row[width:]))
        for row in found
        if row[width] is not None  # a sum over no rows, where no axis was asked for
    ]
    rows.sort(key=lambda row: row.key)
    total = Total()
    for row in rows:
        total.merge(row.total)
    return Reading(
        rows=tuple(rows),
        total=total,
        unpriced=_unpriced(connection, table) if total.unpriced_calls else {},
        open=_open(connection, where.get("tenant")),
    )


def read_failures(
    connection: Connection, tenant: str | None, most: int
) -> list[tuple[datetime, str, str, str, str]]:
    """Return the latest attempts that were not ok: begin, provider, model, agent, error.

    Of the latest 2,000 attempts of all tenants, so that it costs the same however many there are.
    """
    columns = usage_records.c
    latest = select(usage_records).order_by(columns.started_at.desc()).limit(_LATEST).subquery().c
    query = (
        select(
            latest.started_at,
            latest.provider,
            latest.model,
            latest.agent,
            case((latest.error != "", latest.error), else_=latest.outcome),
        )
        .where(latest.outcome.in_(("failed", "interrupted")))
        .order_by(latest.started_at.desc())
        .limit(most)
    )
    if tenant is not None:
        query = query.where(latest.tenant == tenant)
    return [tuple(row) for row in connection.execute(query)]


def cut(span: Span) -> tuple[tuple[str, str], list[Span]]:
    """Cut a span into the whole days [first, last) in it and the broken days at its ends.

    Raises:
        InvalidParameterError: it begins within the last day of the year 9999.
    """
    since, until = span
    first, last = "", "~"
    broken: list[Span] = []
    if since is not None:
        morning = _midnight(since)
        if since != morning:
            if morning == _LAST_MIDNIGHT:
                raise InvalidParameterError(
                    f"the time {since.isoformat()} lies in the last day there is; "
                    "report from an earlier one"
                )
            morning += timedelta(days=1)
            broken.append((since, morning if until is None else min(morning, until)))
        first = morning.date().isoformat()
    if until is not None:
        evening = _midnight(until)
        last = evening.date().isoformat()
        if until != evening and (since is None or since <= evening):
            broken.append((evening, until))
    return (first, last), [piece for piece in broken if _is_some(piece)]


def record_axis(axis: str) -> ColumnElement[Any]:
    """Return a record's value of an axis; NULL where it has no such label."""
    columns = usage_records.c
    return columns.labels[label_key(axis)].as_string() if is_label(axis) else columns[axis]


def _source(
    connection: Connection, axes: Sequence[str], span: Span, where: Mapping[str, str]
) -> Subquery:
    asked = {*axes, *where}
    labels = sorted(filter(is_label, asked))
    days, pieces = cut(span)
    parts: list[Select[Any]] = []
    if len(labels) > 1 or not asked <= {*_SUMMED, *labels}:
        pieces = [span]  # daily sums are kept for each label, not for two at once
    else:
        parts.append(_from_days(days, labels, where))
    if pieces:
        _require_records(connection, pieces[0][0])
    parts += [_from_records(piece, sorted({*_SUMMED, *asked}), where) for piece in pieces]
    return (parts[0] if len(parts) == 1 else union_all(*parts)).subquery()


def _from_days(
    days: tuple[str, str], labels: Sequence[str], where: Mapping[str, str]
) -> Select[Any]:
    columns = usage_days.c
    axes: dict[str, ColumnElement[Any]] = {name: columns[name] for name in _SUMMED}
    axes |= dict.fromkeys(labels, columns.value)
    query = select(
        *(axes[name].label(name) for name in sorted(axes)),
        *(column.label(name) for name, column in SUM_COLUMNS.items()),
    ).where(columns.label == (label_key(labels[0]) if labels else ""))
    if days != _ALL_DAYS:
        query = query.where(columns.day >= days[0], columns.day < days[1])
    return query.where(*(axes[name] == value for name, value in where.items()))


def _from_records(span: Span, axes: Sequence[str], where: Mapping[str, str]) -> Select[Any]:
    columns = usage_records.c
    sums = _record_sums()
    query = select(
        *(record_axis(axis).label(axis) for axis in axes),
        *(sums[name].label(name) for name in SUMS),
    ).where(~IS_OPEN, *(record_axis(axis).is_not(None) for axis in axes if is_label(axis)))
    since, until = span
    if since is not None:
        query = query.where(columns.started_at >= since)
    if until is not None:
        query = query.where(columns.started_at < until)
    return query.where(*(record_axis(axis) == value for axis, value in where.items()))


def _record_sums() -> dict[str, ColumnElement[Any]]:
    """Return what one record adds to each sum: `Total.add` in SQL."""
    columns = usage_records.c
    cost = columns.cost_picousd
    estimated = columns.usage_source == "estimated"
    came = (columns.outcome == "ok") | (columns.error == UNUSABLE)
    used = came | (columns.input_tokens + columns.output_tokens > 0)
    is_cached = columns.outcome == "cached"
    return {
        "calls": _one_if(columns.outcome == "ok"),
        "attempts": _one_if(~is_cached),
        **{name: _one_if(columns.outcome == name) for name in ("failed", "cancelled")},
        "interrupted": _one_if(columns.outcome == "interrupted"),
        "unpriced_calls": _one_if(cost.is_(None) & used),
        "estimated_calls": _one_if(estimated & ~is_cached),
        "invalid_usage": _one_if(columns.usage_invalid != ""),
        **{name: columns[name] for name in _TOKENS},
        "cost_usd": func.coalesce(cost, _ZERO),
        "estimated_cost_usd": case(
            (cost.is_not(None) & estimated & (columns.cost_source != "provider"), cost),
            else_=_ZERO,
        ),
        "possible_usd": case(
            (
                cost.is_(None) & columns.outcome.in_(("failed", "cancelled", "interrupted")),
                func.coalesce(columns.cost_at_most_picousd, _ZERO),
            ),
            else_=_ZERO,
        ),
        "latency_s": case((is_cached, _ZERO), else_=func.coalesce(columns.latency_s, _ZERO)),
        "cached": _one_if(is_cached),
        "saved_usd": func.coalesce(columns.saved_picousd, _ZERO),
    }


def _open(connection: Connection, tenant: str | None) -> int:
    query = select(func.count()).where(IS_OPEN)
    if tenant is not None:
        query = query.where(usage_records.c.tenant == tenant)
    return connection.scalar(query) or 0


def _unpriced(connection: Connection, table: Subquery) -> dict[str, int]:
    calls = func.sum(table.c.unpriced_calls)
    names = (table.c.provider, table.c.model)
    found = connection.execute(select(*names, calls).group_by(*names).having(calls > 0))
    return dict(sorted((f"{provider}/{model}", int(n)) for provider, model, n in found))


def _require_records(connection: Connection, since: datetime | None) -> None:
    pruned = pruned_before(connection)
    if pruned is not None and (since or _EVER) < pruned:
        raise InvalidParameterError(
            f"records from before {pruned.date()} were pruned, only daily sums are left; "
            "report from midnight to midnight UTC, with one label at most, or from a later time"
        )


def _sums(table: Subquery) -> list[ColumnElement[Any]]:
    return [_sum(name, table.c[name]) for name in SUMS]


def _sum(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    if name in _MONEY:
        return sum_usd(column)
    # PostgreSQL sums 64-bit integers as decimals
    return cast(func.sum(column), BigInteger) if name in _COUNTS else func.sum(column)


def _one_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, literal_column("1")), else_=_ZERO)


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment, time(), UTC)


def _is_some(piece: Span) -> bool:
    since, until = piece
    return since is not None and until is not None and since < until


_SUMMED = tuple(axis for axis in AXES if axis in usage_days.c)
"""The axes of the daily sums; what is asked by others is read from the records."""

_LATEST = 2_000  # attempts among which failures are looked for
_NOTHING = Total()
_TOKENS = ("input_tokens", "output_tokens", "cache_read", "cache_write", "reasoning")
_MONEY = tuple(name for name in SUMS if isinstance(getattr(_NOTHING, name), Decimal))
_COUNTS = tuple(name for name in SUMS if isinstance(getattr(_NOTHING, name), int))
_ALL_DAYS = ("", "~")
