"""What of a record reaches the database, whatever the record is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from orchestify.ledger.memory import Totals
from orchestify.ledger.sql.rows import completion_of, opening_of, storable
from orchestify.values import Usage
from tests.ledgers import answered, opened


def changed(**values: Any) -> Any:
    record = answered(opened())
    for name, value in values.items():
        setattr(record, name, value)
    return record


def test_a_sound_record_is_stored_as_it_is() -> None:
    record = answered(opened(labels={"run": "r1"}))
    assert storable(record) is record


WRONG: list[dict[str, Any]] = [
    {"model": True},
    {"model_answered": 5},
    {"provider": None},
    {"agent": ["a"]},
    {"error": {"a": 1}},
    {"labels": None},
    {"labels": {"run": 5}},
    {"usage": None},
    {"usage": Usage(input_tokens="5")},  # type: ignore[arg-type]
    {"usage": Usage(input_tokens=True)},
    {"usage": Usage(output_tokens=1.5)},  # type: ignore[arg-type]
    {"usage": Usage(service_tier=7)},  # type: ignore[arg-type]
    {"usage": Usage(invalid=(5,))},  # type: ignore[arg-type]
    {"usage": Usage(source=None)},  # type: ignore[arg-type]
    {"usage": Usage(reasoning=-(10**30))},
    {"usage": Usage(searches=10**5000)},
    {"cost_usd": "0.1"},
    {"cost_usd": 0.1},
    {"cost_usd": Decimal("NaN")},
    {"cost_at_most_usd": Decimal("Infinity")},
    {"latency_s": "soon"},
    {"latency_s": float("nan")},
    {"first_chunk_s": float("inf")},
    {"attempt": "1"},
    {"attempt": 10**20},
    {"started_at": "2026-03-14"},
    {"price_date": "2026-03-14"},
    {"assumed_price": None},
    {"outcome": 5},
    {"cost_source": None},
    {"id": 5},
    {"call_id": None},
    {"tenant": 5},
]
TEXTS = ("id", "call_id", "day", "provider", "agent", "model", "tenant", "outcome")
TEXTS_OF_COMPLETION = ("model_answered", "outcome", "usage_source", "usage_invalid", "error")
COUNTS = ("input_tokens", "output_tokens", "cache_read", "cache_write", "reasoning", "searches")


@pytest.mark.parametrize("values", WRONG, ids=[str([*each]) for each in WRONG])
def test_whatever_a_record_has_a_row_of_it_can_be_written(values: dict[str, Any]) -> None:
    record = storable(changed(**values))
    opening, completion = opening_of(record, "owner"), completion_of(record)
    assert {type(opening[name]) for name in TEXTS} == {str}
    assert {type(completion[name]) for name in TEXTS_OF_COMPLETION} == {str}
    assert {type(completion[name]) for name in COUNTS} == {int}
    assert min(completion[name] for name in COUNTS) >= 0
    assert max(completion[name] for name in COUNTS) <= 10**12
    assert type(completion["assumed_price"]) is bool
    assert completion["latency_s"] is None or 0 <= completion["latency_s"] < 10**9
    assert all(type(each) is str for pair in opening["labels"].items() for each in pair)


def test_only_what_is_wrong_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    record = storable(changed(model=True, usage=Usage(input_tokens=7, output_tokens="5")))  # type: ignore[arg-type]
    assert (record.model, record.usage) == ("", Usage(input_tokens=7))
    assert record.cost_usd == Decimal("0.0003")
    assert caplog.messages == [
        "a record had values of a wrong type, and was booked without: model, usage"
    ]


@pytest.mark.parametrize("values", WRONG, ids=[str([*each]) for each in WRONG])
def test_totals_in_memory_count_it_once(values: dict[str, Any]) -> None:
    totals = Totals()
    totals.add(changed(**values))
    assert totals.total().attempts == 1
