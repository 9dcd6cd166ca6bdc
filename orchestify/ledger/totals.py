"""Aggregates in memory: constant in the number of calls."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import TypeAlias

from orchestify.ledger.record import Record
from orchestify.resources.bounded import MODELS_KEPT
from orchestify.values import MOST_USD, bounded_usd

LABEL_KEYS_KEPT = 100
LABEL_VALUES_KEPT = 1000
LABEL_CELLS_KEPT = 10_000
CELLS_KEPT = 50_000
OTHER = "other"
"""The model, label key or label value that stands for all beyond those that are kept."""

AXIS_INDEX = {"day": 0, "provider": 1, "agent": 2, "model": 3, "tenant": 4}

Cell: TypeAlias = tuple[str, str, str, str, str]
"""(day, provider, agent, model, tenant)."""


@dataclass(slots=True)
class Total:
    """Sums over records.

    `calls` counts answered ones, `attempts` all; `cost_usd` sums known costs only, and
    `unpriced_calls` counts what it leaves out. `estimated_cost_usd` is the part of `cost_usd`
    whose tokens were estimated, `invalid_usage` counts records whose provider reported counts
    that cannot be true.
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

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def add(self, record: Record) -> None:
        """Add one completed record."""
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
        elif record.unpriced:
            self.unpriced_calls += 1

    def merge(self, other: Total) -> None:
        """Add another total to this one."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


SUMS = tuple(each.name for each in fields(Total))


@dataclass(slots=True)
class Totals:
    """Totals by provider, agent, model, day, tenant and label since the last reset.

    One cell a combination of (day, provider, agent, model, tenant), and one a (label key,
    value); the readings are sums over cells. Callers may make up models and labels: beyond the
    first 1,000 models, 100 label keys and 1,000 values a key, all count as `other`. So do new
    models where there are 50,000 cells, and new values where all labels have 10,000.

    Safe to use from several threads, and `add` also from `__del__`: it waits for no lock. What
    it finds locked, the lock's holder books.
    """

    cells: dict[Cell, Total] = field(default_factory=dict)
    labels: dict[str, dict[str, Total]] = field(default_factory=dict)
    _models: set[str] = field(default_factory=set, repr=False)
    _pending: deque[Record] = field(default_factory=deque, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, record: Record) -> None:
        """Book one completed record."""
        self._pending.append(record)
        self._book_pending()

    def total(self, **where: str) -> Total:
        """Return the sum over the cells that match `where`: axes but labels, one value each."""
        result = Total()
        for key, cell in self.snapshot():
            if all(key[AXIS_INDEX[name]] == value for name, value in where.items()):
                result.merge(cell)
        return result

    def by(self, axis: str) -> dict[str, Total]:
        """Return totals by `provider`, `agent`, `model`, `day`, `tenant` or `label:<key>`."""
        if axis.startswith("label:"):
            with self._locked():
                values = self.labels.get(axis.removeprefix("label:"), {})
                return {value: replace(values[value]) for value in sorted(values)}
        result: dict[str, Total] = {}
        for key, cell in self.snapshot():
            result.setdefault(key[AXIS_INDEX[axis]], Total()).merge(cell)
        return dict(sorted(result.items()))

    def reset(self, keep: Callable[[Cell], bool] | None = None) -> None:
        """Start a new period; with `keep`, only for the cells it does not keep."""
        with self._locked():
            if keep is None:
                self.cells.clear()
                self.labels.clear()
                self._models.clear()
            else:
                for key in [key for key in self.cells if not keep(key)]:
                    del self.cells[key]
                self._models = {key[AXIS_INDEX["model"]] for key in self.cells}

    def snapshot(self) -> list[tuple[Cell, Total]]:
        """Return copies of the cells as they are now, each with its key."""
        with self._locked():
            return [(key, replace(cell)) for key, cell in self.cells.items()]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            while self._pending:
                self._book(self._pending.popleft())
            yield
        self._book_pending()

    def _book_pending(self) -> None:
        while self._pending and self._lock.acquire(blocking=False):
            try:
                while self._pending:
                    self._book(self._pending.popleft())
            finally:
                self._lock.release()

    def _book(self, record: Record) -> None:
        cost = record.cost_usd
        if cost is not None and not (cost.is_finite() and 0 <= cost <= MOST_USD):
            record = replace(record, cost_usd=bounded_usd(cost))
        model = record.model
        if model not in self._models:
            model = model if len(self._models) < MODELS_KEPT else OTHER
            self._models.add(model)
        key = (record.day, record.provider, record.agent, model, record.tenant)
        cell = self.cells.get(key)
        if cell is None:
            if len(self.cells) >= CELLS_KEPT:
                key = (record.day, record.provider, record.agent, OTHER, record.tenant)
            cell = self.cells.setdefault(key, Total())
        cell.add(record)
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
        return sum(map(len, self.labels.values())) < LABEL_CELLS_KEPT
