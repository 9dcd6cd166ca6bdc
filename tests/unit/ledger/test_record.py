from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.ledger.record import current_labels, new_id, scope
from orchestify.models.pricing import Cost
from orchestify.values import Usage
from tests.ledgers import answered, opened


def test_scopes_merge_and_the_inner_one_wins() -> None:
    with scope(run="r1", task="t1"):
        with scope(task="t2", tenant="acme"):
            assert current_labels() == {"run": "r1", "task": "t2", "tenant": "acme"}
        assert current_labels() == {"run": "r1", "task": "t1"}
    assert current_labels() == {}


def test_a_scope_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), scope(run="r1"):
        _ = 1 / 0
    assert current_labels() == {}


async def test_tasks_inherit_the_scope_and_keep_their_own() -> None:
    async def labels(task: str) -> dict[str, str]:
        with scope(task=task):
            await asyncio.sleep(0)
            return dict(current_labels())

    with scope(run="r1"):
        found = await asyncio.gather(labels("t1"), labels("t2"))
    assert found == [{"run": "r1", "task": "t1"}, {"run": "r1", "task": "t2"}]


async def test_a_thread_started_with_the_context_is_inside() -> None:
    with scope(run="r1"):
        assert await asyncio.to_thread(current_labels) == {"run": "r1"}
        context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(context.run, current_labels).result() == {"run": "r1"}


def test_a_number_becomes_text() -> None:
    with scope(task=7):
        assert current_labels() == {"task": "7"}


@pytest.mark.parametrize("value", [None, 1.5, True, b"x", "x" * 201])
def test_a_label_is_a_short_text(value: object) -> None:
    refused = pytest.raises(InvalidParameterError, match="label 'run' is a text or a number")
    with refused, scope(run=value):  # type: ignore[arg-type]
        pass
    assert current_labels() == {}


def test_ids_sort_by_time_and_differ() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {len(each) for each in ids} == {32}
    assert [each[:12] for each in ids] == sorted(each[:12] for each in ids)


@pytest.mark.parametrize(
    ("outcome", "tokens", "unpriced"),
    [("ok", 0, True), ("failed", 10, True), ("failed", 0, False), ("cancelled", 0, False)],
)
def test_what_may_have_cost_something_is_unpriced(
    outcome: str, tokens: int, unpriced: bool
) -> None:
    usage = Usage(input_tokens=tokens)
    record = answered(opened(), outcome=outcome, usage=usage, cost_usd=None)
    assert record.unpriced is unpriced


def test_a_record_with_a_cost_is_priced_even_at_zero() -> None:
    assert not answered(opened(), cost_usd=0).unpriced


def test_completing_a_record_makes_another_and_leaves_it_open() -> None:
    record = opened()
    done = record.completed(
        "ok",
        usage=Usage(3, 2),
        model_answered="m-1",
        cost=Cost(Decimal("0.01"), "config"),
        cost_at_most_usd=record.cost_at_most_usd,
        latency_s=0.5,
        first_chunk_s=None,
        error="",
    )
    assert (record.outcome, record.cost_usd) == ("open", None)
    assert (done.id, done.outcome, done.cost_usd, done.usage) == (
        record.id,
        "ok",
        Decimal("0.01"),
        Usage(3, 2),
    )
