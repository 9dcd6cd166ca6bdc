"""What is remembered of models does not grow with the names that callers make up."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from orchestify.errors import ServerError
from orchestify.health.health import Health
from orchestify.ledger.record import Record
from orchestify.models.model_map import FOUND_KEPT, ModelMap
from orchestify.models.price_book import PriceBook
from orchestify.resources.bounded import MODELS_KEPT, bounded_setdefault
from tests.calls import Bench, Scripted


def test_the_oldest_makes_room() -> None:
    known = {"a": 1, "b": 2}
    assert bounded_setdefault(known, "c", 3, limit=2) == 3
    assert known == {"b": 2, "c": 3}


def test_what_is_known_stays() -> None:
    known = {"a": 1, "b": 2}
    assert bounded_setdefault(known, "a", 9, limit=2) == 1
    assert known == {"a": 1, "b": 2}


def test_what_may_go_goes_first() -> None:
    known = {"a": 1, "b": 2, "c": 3}
    bounded_setdefault(known, "d", 4, limit=3, may_go=lambda value: value == 2)
    assert known == {"a": 1, "c": 3, "d": 4}


def test_where_nothing_may_go_the_oldest_does() -> None:
    known = {"a": 1, "b": 2}
    bounded_setdefault(known, "c", 3, limit=2, may_go=lambda _: False)
    assert known == {"b": 2, "c": 3}


def test_threads_that_keep_at_once_stay_within_the_limit() -> None:
    known: dict[str, int] = {}
    threads = [
        threading.Thread(
            target=lambda n=n: [
                bounded_setdefault(known, f"{n}-{i}", i, limit=50) for i in range(500)
            ]
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known) <= 53


def test_breakers_of_made_up_models_are_bounded_and_open_ones_stay() -> None:
    bench = Bench()
    one = Scripted("one", ServerError())
    opened = bench.target(one, model="broken")
    for _ in range(5):
        permit = bench.runtime.breaker(opened).admit()
        assert permit is not None
        permit.failed()
    for number in range(2 * MODELS_KEPT):
        bench.runtime.breaker(bench.target(one, model=f"m{number}"))
    assert len(bench.runtime.breakers()) == MODELS_KEPT
    assert bench.runtime.breaker(opened).state == "open"


def test_pauses_of_made_up_models_are_bounded_and_those_that_last_stay() -> None:
    bench = Bench()
    one = Scripted("one")
    paused = bench.target(one, model="busy")
    bench.runtime.pause(paused).penalise(60.0)
    for number in range(2 * MODELS_KEPT):
        bench.runtime.pause(bench.target(one, model=f"m{number}"))
    assert len(bench.runtime.pauses) == MODELS_KEPT
    assert bench.runtime.paused_for_s(paused) == 60.0


def test_prices_of_made_up_models_are_bounded() -> None:
    book = PriceBook(use_genai=False)
    for number in range(2 * MODELS_KEPT):
        assert book.price("one", f"no-such-{number}") is None
    assert len(book.found) == MODELS_KEPT


def test_what_the_map_lacks_is_remembered_within_bounds() -> None:
    models = ModelMap({})
    for number in range(FOUND_KEPT + 10):
        models.entry(f"no-such-{number}")
    assert len(models.found) == FOUND_KEPT


def test_health_watches_a_bounded_number_of_models() -> None:
    health, at = Health(), datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(MODELS_KEPT + 10):
        name = f"m{number}"
        health.observe(
            Record(id=name, call_id=name, started_at=at, provider="one", model=name, outcome="ok")
        )
    assert len(health._models) == MODELS_KEPT
