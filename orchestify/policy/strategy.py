"""The strategies: in which order a route tries its targets."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")
StrategyName: TypeAlias = Literal[
    "priority", "round_robin", "least_recently_used", "weighted", "health"
]

ALIKE = 0.1
"""Scores that lie within this of the best are equal: as much as latency makes of a score."""


@dataclass(slots=True)
class Strategy(Generic[T]):
    """Orders the targets of one route; always the same targets, in the configuration's order.

    `weights` are for `weighted`, one a target (none: all alike). `score` is for `health`:
    higher is better, and those that are alike keep their order. `random` returns a number in [0,
    1). Safe across threads.
    """

    name: StrategyName = "priority"
    weights: Sequence[float] = ()
    score: Callable[[T], float] | None = None
    random: Callable[[], float] = random.random
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _turn: int = field(default=0, init=False, repr=False)
    _used: dict[int, int] = field(default_factory=dict, init=False, repr=False)

    def order(self, targets: Sequence[T]) -> list[int]:
        """Return the indices of all the targets, in the order to try them."""
        count = len(targets)
        if self.name == "round_robin":
            start = self._next_turn()
            return [(start + step) % count for step in range(count)]
        if self.name == "least_recently_used":
            return self._by_use(count)
        if self.name == "weighted":
            return self._drawn(count)
        if self.name == "health" and self.score is not None:
            scores = [self.score(target) for target in targets]
            best = max(scores)
            return sorted(range(count), key=lambda index: int((best - scores[index]) / ALIKE))
        return list(range(count))

    def used(self, index: int) -> None:
        """Note that a target was sent to; `order` notes the first of its answer itself."""
        if self.name == "least_recently_used":
            with self._lock:
                self._turn += 1
                self._used[index] = self._turn

    def _next_turn(self) -> int:
        with self._lock:
            self._turn += 1
            return self._turn - 1

    def _by_use(self, count: int) -> list[int]:
        with self._lock:
            order = sorted(range(count), key=lambda index: self._used.get(index, 0))
            self._turn += 1
            self._used.update((index, self._turn) for index in order[:1])
        return order

    def _drawn(self, count: int) -> list[int]:
        """Draw by weight, and the rest by weight without replacement; weight 0 comes last.

        Source: P. Efraimidis and P. Spirakis, "Weighted random sampling with a reservoir",
        Information Processing Letters 97(5), 2006, as a race of exponential times.
        """
        weights = self.weights or [1.0] * count
        times = [
            -math.log(1.0 - self.random()) / weight if weight > 0 else math.inf
            for weight in weights
        ]
        return sorted(range(count), key=times.__getitem__)
