"""From sums to Prometheus's metric families: every name, its labels and what it means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from orchestify.errors import MissingExtraError
from orchestify.metrics.series import TOKEN_TYPES, Series
from orchestify.policy.budget import BudgetState
from orchestify.values import CircuitState

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
    raise MissingExtraError(
        'metrics for Prometheus need its client: pip install "orchestify[server]"'
    ) from None

Family: TypeAlias = Metric

Target: TypeAlias = tuple[str, str, str]
"""Tenant, provider and model, as they are labelled."""

TARGET = ("tenant", "provider", "model")
BUDGET = ("tenant", "budget")
CIRCUITS: Mapping[CircuitState, int] = {"closed": 0, "half_open": 1, "open": 2}


def written(source: Collector, accept: str) -> tuple[bytes, str]:
    """Return all families as text, and its content type: what the header `accept` prefers."""
    encode, content_type = choose_encoder(accept)
    return encode(source), content_type


def of_calls(series: Mapping[Target, Series]) -> Iterator[Family]:
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
    for target, each in series.items():
        for outcome, latency in each.latency.items():
            requests.add_metric((*target, outcome), sum(latency.counts))
        for kind, count in zip(TOKEN_TYPES, each.tokens, strict=True):
            tokens.add_metric((*target, kind), count)
        cost.add_metric(target, float(each.cost_usd))
        unpriced.add_metric(target, each.unpriced)
    yield from (requests, tokens, cost, unpriced)
    yield from _of_times(series)


def of_circuits(circuits: Mapping[Target, int]) -> Iterator[Family]:
    """Iterate over the one family that tells the circuits' states."""
    family = GaugeMetricFamily(
        "orchestify_circuit_state",
        "A target's circuit breaker: 0 closed, 1 half open, 2 open",
        labels=TARGET,
    )
    for target, state in circuits.items():
        family.add_metric(target, state)
    yield family


def of_budgets(budgets: Iterable[tuple[str, BudgetState]]) -> Iterator[Family]:
    """Iterate over the families that tell how budgets stand, by tenant and state."""
    spent = GaugeMetricFamily(
        "orchestify_budget_spent_usd", "What is spent of a budget in its period", labels=BUDGET
    )
    held = GaugeMetricFamily(
        "orchestify_budget_held_usd", "What calls under way hold of a budget", labels=BUDGET
    )
    limit = GaugeMetricFamily(
        "orchestify_budget_limit_usd", "What may be spent in a budget's period", labels=BUDGET
    )
    for (tenant, name), state in {(who, each.budget.name): each for who, each in budgets}.items():
        spent.add_metric((tenant, name), float(state.spent_usd))
        held.add_metric((tenant, name), float(state.held_usd))
        limit.add_metric((tenant, name), float(state.budget.limit_usd))
    yield from (spent, held, limit)


def _of_times(series: Mapping[Target, Series]) -> Iterator[Family]:
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
