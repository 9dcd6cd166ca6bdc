"""Usage in memory: sums by axis and label, and the ledger that keeps nothing else.

The size of totals does not grow with the number of calls.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestify.errors import InvalidParameterError
from orchestify.ledger.axes import TotalKey, axes_of, is_label, label_key, require_in_memory
from orchestify.ledger.base import UsageReport, UsageRow, as_utc
from orchestify.ledger.budgets.memory_store import MemoryStore
from orchestify.ledger.budgets.reservation import OnThreshold
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.record import Record, repaired
from orchestify.resources.bounded import MODELS_KEPT
from orchestify.values import MOST_USD, bounded_usd

LABEL_KEYS_KEPT = 100
LABEL_VALUES_KEPT = 1000
LABEL_TOTALS_KEPT = 10_000
TOTALS_KEPT = 50_000
OTHER = "other"
"""The model, label key or label value that sums up all beyond those that are kept."""


@dataclass(slots=True)
class Total:
    """Sums over records.

    `calls` counts answered ones, `attempts` all that were sent or were to be; `cached` counts
    beside them what the response cache answered, and `saved_usd` what that had cost. `cost_usd`
    sums known costs only, and `unpriced_calls` counts what it leaves out. `estimated_cost_usd` is
    the part of `cost_usd` whose tokens were estimated; `possible_usd`, beside it, is what attempts
    of unknown cost (lost connections, time that ran out) may have cost at most. `invalid_usage`
    counts records whose provider reported counts that cannot be true.
    """

    calls: int = 0
    attempts: int = 0
    failed: int = 0
    cancelled: int = 0
    interrupted: int = 0
    unpriced_calls: int = 0
    estimated_calls: int = 0
    invalid_usage: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_usd: Decimal = Decimal(0)
    estimated_cost_usd: Decimal = Decimal(0)
    latency_s: float = 0.0
    possible_usd: Decimal = Decimal(0)
    cached: int = 0
    saved_usd: Decimal = Decimal(0)

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def add(self, record: Record) -> None:
        """Add one completed record."""
        if record.outcome == "cached":
            self.cached += 1
            self.saved_usd += record.saved_usd or 0
            return
        usage = record.usage
        self.attempts += 1
        if record.outcome == "ok":
            self.calls += 1
        else:
            self.failed += record.outcome == "failed"
            self.cancelled += record.outcome == "cancelled"
            self.interrupted += record.outcome == "interrupted"
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cache_read += usage.cache_read
        self.cache_write += usage.cache_write
        self.reasoning += usage.reasoning
        self.latency_s += record.latency_s or 0.0
        self.invalid_usage += bool(usage.invalid)
        estimated = usage.source == "estimated"
        self.estimated_calls += estimated
        if record.cost_usd is not None:
            self.cost_usd += record.cost_usd
            if estimated and record.cost_source != "provider":
                self.estimated_cost_usd += record.cost_usd
            return
        self.possible_usd += record.possible_usd
        if record.unpriced:
            self.unpriced_calls += 1

    def merge(self, other: Total) -> None:
        """Add another total to this one."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


SUMS = tuple(each.name for each in fields(Total))


@dataclass(slots=True)
class Totals:
    """Totals since the last reset: one for each `TotalKey`, and one for each label and value.

    Readings are sums over these. Callers may make up models and labels: beyond the first 1,000
    models, 100 label keys and 1,000 values a key, all count as `other`. So do new models where
    there are 50,000 totals, and new values where all labels have 10,000.

    Safe to use from several threads, and `add` also from `__del__`: it waits for no lock. What
    it finds locked, the lock's holder books.
    """

    by_key: dict[TotalKey, Total] = field(default_factory=dict)
    labels: dict[str, dict[str, Total]] = field(default_factory=dict)
    _models: set[str] = field(default_factory=set, repr=False)
    _pending: deque[Record] = field(default_factory=deque, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, record: Record) -> None:
        """Book one completed record."""
        self._pending.append(record)
        while self._pending and self._lock.acquire(blocking=False):
            try:
                self._book_pending()
            finally:
                self._lock.release()

    def total(self, **where: str) -> Total:
        """Return the sum of what matches `where`: one value for each axis that is no label.

        Raises:
            InvalidParameterError: no totals are kept by such an axis.
        """
        require_in_memory(*where)
        result = Total()
        for key, total in self.snapshot():
            if all(getattr(key, axis) == value for axis, value in where.items()):
                result.merge(total)
        return result

    def by(self, axis: str) -> dict[str, Total]:
        """Return totals by the values of one axis, in their order.

        Raises:
            InvalidParameterError: no totals are kept by such an axis.
        """
        if is_label(axis):
            with self._locked():
                values = self.labels.get(label_key(axis), {})
                return {value: replace(values[value]) for value in sorted(values)}
        require_in_memory(axis)
        result: dict[str, Total] = {}
        for key, total in self.snapshot():
            result.setdefault(getattr(key, axis), Total()).merge(total)
        return dict(sorted(result.items()))

    def reset(self, keep: Callable[[TotalKey], bool] | None = None) -> None:
        """Drop all totals; with `keep`, only those whose key it does not keep."""
        with self._locked():
            if keep is None:
                self.by_key.clear()
                self.labels.clear()
                self._models.clear()
            else:
                for key in [key for key in self.by_key if not keep(key)]:
                    del self.by_key[key]
                self._models = {key.model for key in self.by_key}

    def snapshot(self) -> list[tuple[TotalKey, Total]]:
        """Return copies of the totals as they are now, each with its key."""
        with self._locked():
            return [(key, replace(total)) for key, total in self.by_key.items()]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            self._book_pending()
            yield
        while self._pending and self._lock.acquire(blocking=False):
            try:
                self._book_pending()
            finally:
                self._lock.release()

    def _book_pending(self) -> None:
        """Book what is pending; the lock is held."""
        while self._pending:
            record = self._pending.popleft()
            try:
                self._book(record)
            except (TypeError, AttributeError):
                self._book(repaired(record))

    def _book(self, record: Record) -> None:
        usage = record.usage
        # where a value is of a wrong type, this raises before anything is booked
        _ = usage.input_tokens + usage.output_tokens + usage.cache_read + usage.cache_write
        _ = usage.reasoning + (record.latency_s or 0.0)
        labels = record.labels.items()
        for usd in (record.cost_usd, record.cost_at_most_usd, record.saved_usd):
            if usd is not None and not (usd.is_finite() and 0 <= usd <= MOST_USD):
                record = replace(
                    record,
                    cost_usd=bounded_usd(record.cost_usd),
                    cost_at_most_usd=bounded_usd(record.cost_at_most_usd),
                    saved_usd=bounded_usd(record.saved_usd),
                )
                break
        model = record.model
        if model not in self._models:
            model = model if len(self._models) < MODELS_KEPT else OTHER
            self._models.add(model)
        key = TotalKey(record.day, record.provider, record.agent, model, record.tenant, record.key)
        total = self.by_key.get(key)
        if total is None:
            if len(self.by_key) >= TOTALS_KEPT:
                key = key._replace(model=OTHER)
            total = self.by_key.setdefault(key, Total())
        total.add(record)
        if labels:
            self._book_labels(record)

    def _book_labels(self, record: Record) -> None:
        for name, value in {self._kept(*label) for label in record.labels.items()}:
            self.labels.setdefault(name, {}).setdefault(value, Total()).add(record)

    def _kept(self, name: str, value: str) -> tuple[str, str]:
        """Return the key and value under which a label is summed: callers may make up both."""
        if name not in self.labels and len(self.labels) >= LABEL_KEYS_KEPT:
            return OTHER, OTHER
        values = self.labels.get(name, {})
        if value in values or (len(values) < LABEL_VALUES_KEPT and self._has_room()):
            return name, value
        return name, OTHER

    def _has_room(self) -> bool:
        return sum(map(len, self.labels.values())) < LABEL_TOTALS_KEPT


class MemoryLedger:
    """Aggregates in memory; see `orchestify.ledger.base.Ledger`.

    It keeps days, not moments: `since` and `until` are cut at midnight UTC. A label can be
    reported alone, not crossed with other axes.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self._open = 0
        self._claims: dict[str, str] = {}

    @property
    def is_behind(self) -> bool:
        """False: there is no database to wait for."""
        return False

    @property
    def database(self) -> None:
        """None: there is no database."""
        return

    @property
    def tenant(self) -> str:
        """Empty: it has no tenants."""
        return ""

    async def open(self, record: Record) -> None:
        """Count the attempt as under way."""
        self._open += 1

    def complete(self, record: Record) -> None:
        """Book the attempt."""
        self._open -= 1
        self.totals.add(record)

    def book(self, record: Record) -> None:
        """Book what was answered without an attempt."""
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

    def batch_store(self) -> None:
        """Return None: a batch outlasts the process, and nothing here would know of it."""

    def keep_health(self, take: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Do nothing: there is no database to keep it in."""

    async def health_history(
        self, provider: str | None = None, since: datetime | None = None
    ) -> list[Mapping[str, Any]]:
        """Return nothing."""
        return []

    async def claim(self, name: str, period: str) -> bool:
        """Return whether nobody claimed this period of a name before, in this process."""
        before, self._claims[name] = self._claims.get(name), period
        return before != period

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
        _ALL_DAYS[0] if since is None else as_utc(since).date().isoformat(),
        _ALL_DAYS[1] if until is None else as_utc(until).date().isoformat(),
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
