"""The ledger in memory: totals that live as long as their process, and no records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestify.errors import InvalidParameterError
from orchestify.ledger.axes import TotalKey, axes_of, is_label, require_in_memory
from orchestify.ledger.base import UsageReport, UsageRow, as_utc
from orchestify.ledger.budgets.memory_store import MemoryStore
from orchestify.ledger.budgets.reservation import OnThreshold
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.record import Record
from orchestify.ledger.totals import Total, Totals


class MemoryLedger:
    """Aggregates in memory; see `orchestify.ledger.base.Ledger`.

    It keeps days, not moments: `since` and `until` are cut at midnight UTC. A label can be
    reported alone, not crossed with other axes.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self._open = 0

    @property
    def is_behind(self) -> bool:
        """False: there is no database to wait for."""
        return False

    async def open(self, record: Record) -> None:
        """Count the attempt as under way."""
        self._open += 1

    def complete(self, record: Record) -> None:
        """Book the attempt."""
        self._open -= 1
        self.totals.add(record)

    async def usage(
        self,
        by: str | Sequence[str] = "provider",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, str] | None = None,
    ) -> UsageReport:
        """Return usage since the process or the period began.

        Raises:
            InvalidParameterError: an axis that does not exist or that needs records, or a label
                beside other axes.
        """
        axes = axes_of(by, where)
        days = _day_range(since, until)
        labels = [axis for axis in (*axes, *(where or ())) if is_label(axis)]
        if labels:
            rows, kept = self._label_rows(axes, where, labels, days), self._kept({}, days)
        else:
            require_in_memory(*axes, *(where or ()))
            kept = self._kept(where or {}, days)
            rows = _rows(axes, kept)
        total = Total()
        for row in rows:
            total.merge(row.total)
        return UsageReport(
            by=axes,
            rows=rows,
            total=total,
            since=since,
            until=until,
            where=dict(where or {}),
            unpriced=_unpriced(kept),
            open=self._open,
        )

    def budget_book(self, on_threshold: OnThreshold | None = None) -> BudgetBook:
        """Return budgets of this process alone."""
        return BudgetBook(MemoryStore(on_threshold=on_threshold))

    def keep_health(self, take: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Do nothing: there is no database to keep it in."""

    async def health_history(
        self, provider: str | None = None, since: datetime | None = None
    ) -> list[Mapping[str, Any]]:
        """Return nothing."""
        return []

    async def aclose(self) -> None:
        """Do nothing: memory is closed with its process."""

    def _kept(
        self, where: Mapping[str, str], days: tuple[str, str]
    ) -> list[tuple[TotalKey, Total]]:
        return [
            (key, total)
            for key, total in self.totals.snapshot()
            if days[0] <= key.day < days[1]
            and all(getattr(key, axis) == value for axis, value in where.items())
        ]

    def _label_rows(
        self,
        axes: tuple[str, ...],
        where: Mapping[str, str] | None,
        labels: list[str],
        days: tuple[str, str],
    ) -> tuple[UsageRow, ...]:
        if len(axes) != 1 or set(labels) != {axes[0], *(where or ())} or days != _ALL_DAYS:
            raise InvalidParameterError(
                "the ledger in memory reports a label alone and over all time; "
                "set ledger.url to keep records"
            )
        sums = self.totals.by(axes[0])
        wanted = (where or {}).get(axes[0])
        return tuple(
            UsageRow((value,), sums[value]) for value in sorted(sums) if wanted in (None, value)
        )


_ALL_DAYS = ("", "~")


def _day_range(since: datetime | None, until: datetime | None) -> tuple[str, str]:
    return (
        as_utc(since).date().isoformat() if since else _ALL_DAYS[0],
        as_utc(until).date().isoformat() if until else _ALL_DAYS[1],
    )


def _rows(axes: tuple[str, ...], kept: list[tuple[TotalKey, Total]]) -> tuple[UsageRow, ...]:
    sums: dict[tuple[str, ...], Total] = {}
    for key, total in kept:
        row = tuple(getattr(key, axis) for axis in axes)
        sums.setdefault(row, Total()).merge(total)
    return tuple(UsageRow(key, sums[key]) for key in sorted(sums))


def _unpriced(kept: list[tuple[TotalKey, Total]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key, total in kept:
        if total.unpriced_calls:
            name = f"{key.provider}/{key.model}"
            counts[name] = counts.get(name, 0) + total.unpriced_calls
    return counts
