"""What the attempts at one model add up to: counts, tokens, money, times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from orchestify.ledger.record import Record
from orchestify.values import Usage

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
    `TOKEN_TYPES`; input includes what was cached, output what was reasoned.
    """

    latency: dict[str, Histogram] = field(default_factory=dict)
    first_chunk: Histogram = field(default_factory=lambda: Histogram(FIRST_CHUNK_S))
    tokens: list[int] = field(default_factory=lambda: [0] * len(TOKEN_TYPES))
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, record: Record) -> None:
        """Add one attempt that has ended."""
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
