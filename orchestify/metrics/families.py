"""Prometheus's metric families: every name, its labels, and the sums they are made from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from orchestify.ledger.record import Record
from orchestify.policy.budget import BudgetState
from orchestify.resources.extras import missing_extra
from orchestify.values import CircuitState, Usage

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError:
    raise missing_extra("metrics for Prometheus need its client", "server") from None

Family: TypeAlias = Metric

Target: TypeAlias = tuple[str, str, str]
"""Tenant, provider and model, as they are labelled."""

TARGET = ("tenant", "provider", "model")
BUDGET = ("tenant", "budget")
_BUDGET_HELP = {
    "spent": "is spent of a budget in its period",
    "held": "calls under way hold of a budget",
    "limit": "may be spent in a budget's period",
}
CIRCUITS: Mapping[CircuitState, int] = {"closed": 0, "half_open": 1, "open": 2}


def exposition_text(source: Collector, accept: str) -> tuple[bytes, str]:
    """Return all families as text, and its content type: what the header `accept` prefers."""
    encode, content_type = choose_encoder(accept)
    return encode(source), content_type


def call_families(series: Mapping[Target, Series]) -> Iterator[Family]:
    """Iterate over the families that sum up attempts."""
    requests = CounterMetricFamily(
        "orchestify_requests",
        "Attempts that have ended; a retry and a fallback are attempts of their own",
        labels=(*TARGET, "outcome"),
    )
    tokens = CounterMetricFamily(
        "orchestify_tokens",
        "Tokens; cache_read and cache_write are parts of input, reasoning is a part of output",
        labels=(*TARGET, "type"),
    )
    cost = CounterMetricFamily(
        "orchestify_cost_usd", "What attempts cost, as far as prices are known", labels=TARGET
    )
    unpriced = CounterMetricFamily(
        "orchestify_unpriced_requests", "Attempts whose price nobody knows", labels=TARGET
    )
    cached = CounterMetricFamily(
        "orchestify_cached_answers",
        "Answers of the response cache, for which nothing was sent",
        labels=TARGET,
    )
    saved = CounterMetricFamily(
        "orchestify_saved_usd",
        "What the answers of the response cache had cost, as far as that is known",
        labels=TARGET,
    )
    for target, each in series.items():
        for outcome, latency in each.latency.items():
            requests.add_metric((*target, outcome), sum(latency.counts))
        for kind, count in zip(TOKEN_TYPES, each.tokens, strict=True):
            tokens.add_metric((*target, kind), count)
        cost.add_metric(target, float(each.cost_usd))
        unpriced.add_metric(target, each.unpriced)
        if each.cached:
            cached.add_metric(target, each.cached)
            saved.add_metric(target, float(each.saved_usd))
    yield from (requests, tokens, cost, unpriced, cached, saved)
    yield from _time_families(series)


def circuit_families(circuits: Mapping[Target, int]) -> Iterator[Family]:
    """Iterate over the one family that tells the circuits' states."""
    family = GaugeMetricFamily(
        "orchestify_circuit_state",
        "A target's circuit breaker: 0 closed, 1 half open, 2 open",
        labels=TARGET,
    )
    for target, state in circuits.items():
        family.add_metric(target, state)
    yield family


def budget_families(budgets: Iterable[tuple[str, BudgetState]]) -> Iterator[Family]:
    """Iterate over the families that tell how budgets stand, by tenant and state."""
    states = {(who, each.budget.name): each for who, each in budgets}
    for unit, what in (("usd", "What"), ("tokens", "How many tokens"), ("calls", "How many calls")):
        spent, held, limit = (
            GaugeMetricFamily(f"orchestify_budget_{name}_{unit}", f"{what} {says}", labels=BUDGET)
            for name, says in _BUDGET_HELP.items()
        )
        for key, state in states.items():
            most = getattr(state.budget, f"limit_{unit}")
            if most is not None:
                spent.add_metric(key, float(getattr(state, f"spent_{unit}")))
                held.add_metric(key, float(getattr(state, f"held_{unit}")))
                limit.add_metric(key, float(most))
        yield from (spent, held, limit)


def _time_families(series: Mapping[Target, Series]) -> Iterator[Family]:
    duration = HistogramMetricFamily(
        "orchestify_request_duration_seconds",
        "How long attempts took, waits for limits and budgets included",
        labels=(*TARGET, "outcome"),
    )
    first_chunk = HistogramMetricFamily(
        "orchestify_time_to_first_chunk_seconds",
        "How long streams took until their first output",
        labels=TARGET,
    )
    for target, each in series.items():
        for outcome, latency in each.latency.items():
            duration.add_metric((*target, outcome), [*latency.cumulated()], latency.sum)
        if any(each.first_chunk.counts):
            first = each.first_chunk
            first_chunk.add_metric(target, [*first.cumulated()], first.sum)
    yield from (duration, first_chunk)


LATENCY_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
FIRST_CHUNK_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
TOKEN_TYPES = ("input", "output", "cache_read", "cache_write", "reasoning")


class Histogram:
    """Counts of values by bucket; `bounds` are the buckets' upper ends, which they include."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulated(self) -> Iterator[tuple[str, int]]:
        """Iterate over the buckets as Prometheus has them: each includes all smaller ones."""
        total = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            yield bound, total


@dataclass(slots=True)
class Series:
    """The sums of one tenant, provider and model.

    `latency` is by outcome, so its counts are the attempts'. `tokens` are in the order of
    `TOKEN_TYPES`; input includes what was cached, output what was reasoned. Answers of the response
    cache count as `cached` alone, and what they had cost as `saved_usd`.
    """

    latency: dict[str, Histogram] = field(default_factory=dict)
    first_chunk: Histogram = field(default_factory=lambda: Histogram(FIRST_CHUNK_S))
    tokens: list[int] = field(default_factory=lambda: [0] * len(TOKEN_TYPES))
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0
    cached: int = 0
    saved_usd: Decimal = Decimal(0)

    def add(self, record: Record) -> None:
        """Add one attempt that has ended."""
        if record.outcome == "cached":
            self.cached += 1
            self.saved_usd += record.saved_usd or 0
            return
        latency = self.latency.get(record.outcome)
        if latency is None:
            latency = self.latency[record.outcome] = Histogram(LATENCY_S)
        latency.add(record.latency_s or 0.0)
        if record.first_chunk_s is not None:
            self.first_chunk.add(record.first_chunk_s)
        if record.cost_usd is not None:
            self.cost_usd += record.cost_usd
        elif record.unpriced:
            self.unpriced += 1
        if record.usage.total_tokens:
            self._add_tokens(record.usage)

    def _add_tokens(self, usage: Usage) -> None:
        tokens = self.tokens
        tokens[0] += usage.input_tokens
        tokens[1] += usage.output_tokens
        tokens[2] += usage.cache_read
        tokens[3] += usage.cache_write
        tokens[4] += usage.reasoning
