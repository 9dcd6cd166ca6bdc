"""`Metrics`: fed with every attempt that ends, read by Prometheus."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from orchestify.errors import LedgerError
from orchestify.ledger.record import Record
from orchestify.metrics.families import (
    CIRCUITS,
    Family,
    Series,
    Target,
    budget_families,
    call_families,
    circuit_families,
    exposition_text,
)
from orchestify.policy.budget import BudgetState
from orchestify.providers.registry import ProviderRegistry
from orchestify.resources.series_labels import ModelLabels

READERS = 4  # scrapes that wait for the budgets' database at once


class Metrics:
    """What the calls of one registry, or of many tenants', add up to; a collector of Prometheus.

        metrics = Metrics()
        metrics.watch(registry)
        prometheus_client.REGISTRY.register(metrics)  # beside the host's own metrics
        body, content_type = metrics.exposition()     # or on its own

    Labels are few: models that callers make up become `other` (see `ModelLabels`), and there
    are no ids. A scrape waits `budgets_within_s` for budgets that a database keeps, and leaves
    out what is late. Safe across threads; `observe` waits for no lock, so it may run in
    `__del__`.
    """

    def __init__(self, *, budgets_within_s: float = 2.0) -> None:
        self._budgets_within_s = budgets_within_s
        self._series: dict[Target, Series] = {}
        self._labels = ModelLabels()
        self._watched: WeakKeyDictionary[ProviderRegistry, str] = WeakKeyDictionary()
        self._pending: deque[Record] = deque()
        self._lock = threading.Lock()
        self._readers = threading.BoundedSemaphore(READERS)

    def observe(self, record: Record) -> None:
        """Count an attempt that has ended, for the tenant that its record names."""
        self._pending.append(record)
        self._count_pending()

    def watch(self, registry: ProviderRegistry, tenant: str = "") -> Callable[[], None]:
        """Count a registry's attempts and show its circuits and budgets; return what ends that.

        It may be among the registry's `observers` already: nothing is counted twice. A
        registry that nobody else holds any more is forgotten. A tenant's newest takes the place
        of its older ones: their attempts still count, their circuits and budgets are shown no
        more.
        """
        ends = registry.observe(self.observe)
        with self._locked():
            self._labels.name(tenant, registry.named_models())
            for older in [each for each, its in self._watched.items() if tenant and its == tenant]:
                del self._watched[older]
            self._watched[registry] = tenant

        def stop() -> None:
            ends()
            with self._locked():
                self._watched.pop(registry, None)

        return stop

    def exposition(self, tenant: str | None = None, accept: str = "") -> tuple[bytes, str]:
        """Return what Prometheus reads, all of it or one tenant's, and its content type.

        `accept` is the request's header: OpenMetrics for those who ask for it. It may wait for
        the budgets' database; on an event loop use `asyncio.to_thread`.
        """
        return exposition_text(_View(self, tenant), accept)

    def collect(self, tenant: str | None = None) -> Iterable[Family]:
        """Return the metric families; a registry of Prometheus's client calls this."""
        with self._locked():
            series = {key: each for key, each in self._series.items() if tenant in (None, key[0])}
            watched = [each for each in self._watched.items() if tenant in (None, each[1])]
            families = [*call_families(series), *circuit_families(self._circuits(watched))]
        return [*families, *budget_families(self._budgets(watched))]

    def describe(self) -> Iterable[Family]:
        """Return the families without values, so that registering this reads no database."""
        return [*call_families({}), *circuit_families({}), *budget_families([])]

    def _circuits(self, watched: list[tuple[ProviderRegistry, str]]) -> dict[Target, int]:
        """The circuits' states; of those that share a label, the worst."""
        states: dict[Target, int] = {}
        for registry, tenant in watched:
            for (provider, model), state in registry.circuits().items():
                target = (tenant, *self._labels.of(tenant, provider, model))
                states[target] = max(CIRCUITS[state], states.get(target, 0))
        return states

    def _budgets(
        self, watched: list[tuple[ProviderRegistry, str]]
    ) -> list[tuple[str, BudgetState]]:
        """The budgets' states by tenant, those that can be read within the time."""
        until = time.monotonic() + self._budgets_within_s
        if not watched or not self._readers.acquire(timeout=self._budgets_within_s):
            return []
        found: list[tuple[str, BudgetState]] = []

        def read() -> None:
            try:
                for registry, tenant in watched:
                    if time.monotonic() < until:
                        found.extend((tenant, state) for state in _states(registry))
            finally:
                self._readers.release()

        reader = threading.Thread(target=read, name="orchestify-budgets", daemon=True)
        reader.start()
        reader.join(until - time.monotonic())
        return list(found)

    def _count_pending(self) -> None:
        while self._pending and self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            self._count()
            yield
        self._count_pending()

    def _count(self) -> None:
        while self._pending:
            record = self._pending.popleft()
            target = (record.tenant, record.provider, record.model)
            series = self._series.get(target)
            if series is None:
                target = (record.tenant, *self._labels.of(*target))
                series = self._series.setdefault(target, Series())
            series.add(record)


@dataclass(frozen=True, slots=True)
class _View:
    """One tenant's part of the metrics, or all."""

    metrics: Metrics
    tenant: str | None

    def collect(self) -> Iterable[Family]:
        return self.metrics.collect(self.tenant)


def _states(registry: ProviderRegistry) -> list[BudgetState]:
    try:
        return registry.budgets()
    except LedgerError:
        return []
