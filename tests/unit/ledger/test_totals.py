from __future__ import annotations

import gc
import threading
from decimal import Decimal
from itertools import starmap

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.ledger.axes import TotalKey
from orchestify.ledger.memory import Total, Totals
from tests.ledgers import NOON, answered, opened


def test_totals_are_read_by_each_axis() -> None:
    totals = Totals()
    totals.add(answered(opened()))
    totals.add(answered(opened(provider="deepseek", agent="planner", model="deepseek-chat")))
    assert list(totals.by("provider")) == ["claude_main", "deepseek"]
    assert list(totals.by("agent")) == ["planner", "reviewer"]
    assert list(totals.by("model")) == ["claude-sonnet-4-5", "deepseek-chat"]
    assert list(totals.by("day")) == ["2026-03-14"]
    assert totals.by("agent")["planner"].calls == 1


def test_a_total_is_filtered_by_any_axis() -> None:
    totals = Totals()
    totals.add(answered(opened()))
    totals.add(answered(opened(agent="planner")))
    assert totals.total(agent="planner", day="2026-03-14").calls == 1
    assert totals.total(provider="claude_main").cost_usd == Decimal("0.0006")
    assert totals.total(provider="nobody").attempts == 0


def test_labels_have_totals_of_their_own() -> None:
    totals = Totals()
    totals.add(answered(opened(labels={"run": "r1", "task": "t1"})))
    totals.add(answered(opened(labels={"run": "r1"})))
    assert totals.by("label:run")["r1"].calls == 2
    assert totals.by("label:task")["t1"].calls == 1
    assert totals.by("label:tenant") == {}


def test_a_label_keeps_a_thousand_values_and_then_other() -> None:
    totals = Totals()
    for number in range(1005):
        totals.add(answered(opened(labels={"run": f"r{number}"})))
    totals.add(answered(opened(labels={"run": "r0"})))
    runs = totals.by("label:run")
    assert len(runs) == 1001
    assert runs["other"].calls == 5
    assert runs["r0"].calls == 2


def test_a_hundred_keys_of_labels_are_kept_and_then_other() -> None:
    totals = Totals()
    for number in range(105):
        totals.add(answered(opened(labels={f"key{number}": "v"})))
    totals.add(answered(opened(labels={"key0": "v", "new": "v", "newer": "v"})))
    assert len(totals.labels) == 101
    assert totals.by("label:key0")["v"].calls == 2
    assert totals.by("label:other")["other"].calls == 6


def test_a_thousand_models_are_kept_and_then_other() -> None:
    totals = Totals()
    for number in range(1005):
        totals.add(answered(opened(model=f"m{number}")))
    totals.add(answered(opened(model="m0")))
    models = totals.by("model")
    assert len(models) == 1001
    assert models["other"].calls == 5
    assert models["m0"].calls == 2


def test_all_labels_together_keep_ten_thousand_values() -> None:
    totals = Totals()
    keys = [f"key{number}" for number in range(11)]
    for number in range(950):
        totals.add(answered(opened(labels=dict.fromkeys(keys, f"v{number}"))))
    assert 10_000 <= sum(map(len, totals.labels.values())) <= 10_021
    assert sum(total.calls for total in totals.by("label:key0").values()) == 950


def test_totals_are_bounded_and_providers_and_agents_still_exact() -> None:
    days = (("2026-03-13", "gpt", f"agent{number}", "m", "") for number in range(50_000))
    totals = Totals(by_key=dict.fromkeys(starmap(TotalKey, days), Total(calls=1)))
    for number in range(5):
        totals.add(answered(opened(model=f"m{number}")))
    assert len(totals.by_key) == 50_001
    assert totals.total(agent="reviewer", provider="claude_main").calls == 5
    assert totals.total(model="other").calls == 5
    assert totals.total().calls == 50_005


def test_models_that_a_reset_drops_make_room() -> None:
    totals = Totals()
    for number in range(1000):
        totals.add(answered(opened(model=f"m{number}")))
    totals.reset(lambda cell: cell[3] == "m0")
    totals.add(answered(opened(model="new")))
    assert list(totals.by("model")) == ["m0", "new"]


def test_no_name_made_up_is_lost_from_the_sums() -> None:
    totals = Totals()
    for number in range(1100):
        totals.add(answered(opened(model=f"m{number}", labels={f"key{number}": "v"})))
    assert totals.total().calls == 1100
    assert totals.total(agent="reviewer").cost_usd == Decimal("0.33")


def test_a_reset_starts_a_new_period() -> None:
    totals = Totals()
    totals.add(answered(opened(labels={"run": "r1"})))
    totals.reset()
    totals.add(answered(opened()))
    assert totals.total().calls == 1
    assert totals.by("label:run") == {}


def test_a_reset_can_keep_totals() -> None:
    totals = Totals()
    totals.add(answered(opened()))
    totals.add(answered(opened(agent="planner")))
    totals.reset(lambda cell: cell[2] == "planner")
    assert list(totals.by("agent")) == ["planner"]


def test_a_reading_does_not_change_later() -> None:
    totals = Totals()
    totals.add(answered(opened(labels={"run": "r1"})))
    cells, runs = totals.snapshot(), totals.by("label:run")
    totals.add(answered(opened(labels={"run": "r1"})))
    assert cells[0][1].calls == 1
    assert runs["r1"].calls == 1


def test_failures_use_tokens_and_are_unpriced_without_a_price() -> None:
    totals = Totals()
    totals.add(answered(opened(), outcome="failed", cost_usd=None))
    assert totals.total().unpriced_calls == 1
    assert totals.total().calls == 0


def test_threads_lose_nothing() -> None:
    totals = Totals()
    records = [answered(opened(labels={"run": "r1"})) for _ in range(500)]

    def add() -> None:
        for record in records:
            totals.add(record)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals.total().calls == 2000
    assert totals.by("label:run")["r1"].calls == 2000


def test_a_call_that_ends_while_the_totals_are_read_is_in_the_next_reading() -> None:
    totals = Totals()
    totals.add(answered(opened()))

    class Stream:
        """Ends, when it is collected, in the very thread that reads."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            totals.add(answered(opened()))

    def keep(_: object) -> bool:
        Stream()
        gc.collect()
        return True

    totals.reset(keep)
    assert totals.total().calls == 2


def test_the_day_is_the_one_it_started_on() -> None:
    assert opened(started_at=NOON).day == "2026-03-14"


def test_an_axis_without_totals_is_refused_in_words() -> None:
    with pytest.raises(InvalidParameterError, match="keeps no totals by 'hour', only by day, "):
        Totals().by("hour")
    with pytest.raises(InvalidParameterError, match=r"set ledger\.url to keep records"):
        Totals().total(hour="2026-03-14T12")
