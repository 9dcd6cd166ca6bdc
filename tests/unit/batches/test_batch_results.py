"""What a batch's result costs and how it is booked, where its provider says less than it might."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestify.batches.batch_results import Settlement
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.errors import InvalidRequestError, InvalidResponseError
from orchestify.lanes.batch_api import RemoteBatch, RemoteResult
from orchestify.lanes.mock import MockLane
from orchestify.ledger.batches import BatchGroup, BatchItem, BatchRow
from orchestify.models.price_book import PriceBook
from orchestify.models.pricing import Price, Rates
from orchestify.policy.budget import Amount
from orchestify.values import LLMResponse, Usage

DOLLAR = Decimal(1)
ITEM = BatchItem(
    number=4,
    custom_id="mine",
    group=0,
    input_tokens=1_000,
    output_tokens=500,
    most_tokens=1_750,
    at_most_usd=Decimal("0.005"),
)
ROW = BatchRow(
    id="b1",
    provider="main",
    agent="writer",
    model="m",
    key="k",
    digest="",
    total=9,
    at_most_usd=None,
    submitted_at=datetime(2026, 3, 14, 12, tzinfo=UTC),
    groups=(BatchGroup("m", {"run": "r1"}),),
)


def settlement(status: str = "completed", **price: Any) -> Settlement:
    """Of a model at 2 USD a million tokens in and 4 out; in a batch half of that."""
    rates = Rates(Decimal(2), Decimal(4))
    book = PriceBook(config_prices={"main": Price(rates, "config")}, use_genai=False)
    target = Target(MockLane("main"), "main", "m")
    remote = RemoteBatch("r", status, has_ended=True, **price)
    return Settlement(Runtime(prices=book), target, ROW, remote)


def answer(**changes: Any) -> LLMResponse:
    given = LLMResponse("four words of text", "m-2026", 0, 0, "stop")
    return replace(given, **changes)


def test_a_result_is_a_record_of_the_submissions_day_with_the_batchs_label() -> None:
    usage = Usage(1_000_000, 500_000, service_tier="default")
    booking, result = settlement().of_result(ITEM, RemoteResult("x", "ok", answer(usage=usage)))
    record = booking.record
    assert (record.id, record.call_id, record.day) == ("b1-4-1", "b1-4", "2026-03-14")
    assert record.labels == {"run": "r1", "provider_batch": "b1"}
    assert (record.cost_usd, record.usage.service_tier) == (Decimal(2), "batch")
    assert (record.model_answered, record.agent, record.key) == ("m-2026", "writer", "k")
    assert booking.taken == Amount(Decimal(2), 1_500_000, 1)
    assert result.response is not None
    assert (result.index, result.custom_id, result.response.cost_usd) == (4, "mine", Decimal(2))


def test_usage_that_nobody_reports_is_estimated_from_the_submission_and_the_answer() -> None:
    booking, _ = settlement().of_result(ITEM, RemoteResult("x", "ok", answer()))
    usage = booking.record.usage
    assert (usage.source, usage.input_tokens, usage.output_tokens) == ("estimated", 1_000, 4)


def test_the_providers_own_figure_counts() -> None:
    own = answer(usage=Usage(10, 5), cost_usd=Decimal("0.7"), cost_source="provider")
    booking, _ = settlement().of_result(ITEM, RemoteResult("x", "ok", own))
    assert (booking.record.cost_usd, booking.record.cost_source) == (Decimal("0.7"), "provider")


def test_what_the_provider_refused_costs_nothing() -> None:
    error = InvalidRequestError("no", status=400)
    booking, result = settlement().of_result(ITEM, RemoteResult("x", "failed", error=error))
    assert (booking.record.outcome, booking.record.error) == ("failed", "InvalidRequestError")
    assert (booking.record.cost_usd, booking.record.cost_at_most_usd) == (0, 0)
    assert (booking.taken, booking.possible) == (Amount(), Amount())
    assert result.error is error
    assert error.call_id == "b1-4"


def test_an_answer_that_cannot_be_used_is_booked_with_the_usage_it_reports() -> None:
    error = InvalidResponseError("no text")
    error.usage = Usage(1_000_000, 0)
    booking, _ = settlement().of_result(ITEM, RemoteResult("x", "failed", error=error))
    assert (booking.record.cost_usd, booking.taken.usd) == (DOLLAR, DOLLAR)
    assert booking.possible == Amount()


def test_an_answer_that_says_nothing_of_its_usage_is_possibly_spent() -> None:
    error = InvalidResponseError("no text")
    booking, _ = settlement().of_result(ITEM, RemoteResult("x", "failed", error=error))
    assert (booking.record.cost_usd, booking.record.cost_at_most_usd) == (None, Decimal("0.005"))
    assert booking.possible == Amount(Decimal("0.005"), 1_750, 1)


def test_a_completed_batch_without_a_result_is_possibly_spent() -> None:
    booking, result = settlement().of_nothing(ITEM)
    assert isinstance(result.error, InvalidResponseError)
    assert booking.possible == Amount(Decimal("0.005"), 1_750, 1)


@pytest.mark.parametrize(
    ("status", "outcome"), [("expired", "failed"), ("cancelled", "cancelled"), ("failed", "failed")]
)
def test_a_batch_that_was_not_done_costs_nothing(status: str, outcome: str) -> None:
    booking, result = settlement(status).of_nothing(ITEM)
    assert (booking.record.outcome, booking.record.cost_usd) == (outcome, 0)
    assert (booking.taken, booking.possible) == (Amount(), Amount())
    assert getattr(result.error, "state", "") == status


def test_the_codes_of_a_batch_that_failed_are_told() -> None:
    _, result = settlement("failed", problem="token_limit_exceeded").of_nothing(ITEM)
    assert str(result.error) == "the provider did not take the batch: token_limit_exceeded"
