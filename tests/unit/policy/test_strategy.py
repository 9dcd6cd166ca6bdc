from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from orchestify.policy.strategy import Strategy

TARGETS = ["a", "b", "c"]


def dice(seed: int) -> Callable[[], float]:
    return random.Random(seed).random  # noqa: S311 - no secret depends on it


def test_priority_keeps_the_order() -> None:
    strategy = Strategy[str]()
    assert [strategy.order(TARGETS) for _ in range(2)] == [[0, 1, 2], [0, 1, 2]]


def test_round_robin_begins_with_the_next_target_each_time() -> None:
    strategy = Strategy[str]("round_robin")
    orders = [strategy.order(TARGETS) for _ in range(4)]
    assert orders == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_least_recently_used_begins_with_who_has_rested_longest() -> None:
    strategy = Strategy[str]("least_recently_used")
    assert strategy.order(TARGETS) == [0, 1, 2]
    assert strategy.order(TARGETS) == [1, 2, 0]
    strategy.used(2)
    assert strategy.order(TARGETS) == [0, 1, 2]
    assert strategy.order(TARGETS) == [1, 2, 0]


def test_weighted_draws_the_first_by_weight() -> None:
    strategy = Strategy[str]("weighted", weights=(7, 2, 1), random=dice(1))
    first = Counter(strategy.order(TARGETS)[0] for _ in range(10_000))
    assert first[0] == pytest.approx(7000, abs=200)
    assert first[1] == pytest.approx(2000, abs=200)
    assert first[2] == pytest.approx(1000, abs=200)


def test_weighted_draws_the_rest_by_weight_too() -> None:
    strategy = Strategy[str]("weighted", weights=(7, 2, 1), random=dice(1))
    orders = Counter(tuple(strategy.order(TARGETS)) for _ in range(10_000))
    assert orders[0, 1, 2] == pytest.approx(4667, abs=200)  # 0.7 * 2/3
    assert orders[0, 2, 1] == pytest.approx(2333, abs=200)  # 0.7 * 1/3


def test_a_weight_of_zero_comes_last() -> None:
    strategy = Strategy[str]("weighted", weights=(0, 1e-6, 0))
    assert strategy.order(TARGETS) == [1, 0, 2]


def test_without_weights_all_are_alike() -> None:
    strategy = Strategy[str]("weighted", random=dice(1))
    first = Counter(strategy.order(TARGETS)[0] for _ in range(9000))
    assert first[2] == pytest.approx(3000, abs=200)


def test_the_same_seed_draws_the_same_orders() -> None:
    one = Strategy[str]("weighted", random=dice(7))
    two = Strategy[str]("weighted", random=dice(7))
    assert [one.order(TARGETS) for _ in range(50)] == [two.order(TARGETS) for _ in range(50)]


def test_health_goes_by_score_and_keeps_the_order_of_equals() -> None:
    scores = {"a": 0.5, "b": 0.9, "c": 0.5}
    assert Strategy("health", score=scores.__getitem__).order(TARGETS) == [1, 0, 2]


@pytest.mark.parametrize(
    "name", ["priority", "round_robin", "least_recently_used", "weighted", "health"]
)
def test_every_strategy_takes_one_target_and_none(name: str) -> None:
    strategy = Strategy[str](name)  # type: ignore[arg-type]
    assert strategy.order(["a"]) == [0]
    assert strategy.order([]) == []
