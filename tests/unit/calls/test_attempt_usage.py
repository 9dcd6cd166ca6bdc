"""What an attempt that failed books: the usage and the cost that its error reports."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestify.errors import APIError, InvalidRequestError, InvalidResponseError
from orchestify.values import Usage
from tests.calls import Bench, Scripted


def failing(kind: type[APIError], usage: Usage | None, cost_usd: Decimal | None = None) -> APIError:
    error = kind("no")
    error.usage, error.cost_usd = usage, cost_usd
    error.retryable = False
    return error


@pytest.mark.parametrize("kind", [InvalidResponseError, InvalidRequestError])
async def test_what_an_error_reports_is_booked(kind: type[APIError]) -> None:
    bench = Bench()
    with pytest.raises(kind):
        await bench.route(Scripted("one", failing(kind, Usage(9, 4), Decimal("0.5")))).complete(
            "hi"
        )
    (record,) = bench.ledger.completed
    assert (record.outcome, record.usage, record.cost_usd) == (
        "failed",
        Usage(9, 4),
        Decimal("0.5"),
    )
    assert record.cost_source == "provider"


async def test_an_unusable_answer_that_says_nothing_is_unpriced() -> None:
    bench = Bench()
    with pytest.raises(InvalidResponseError):
        await bench.route(Scripted("one", failing(InvalidResponseError, None))).complete("hi")
    (record,) = bench.ledger.completed
    assert record.unpriced


async def test_a_refusal_that_says_nothing_has_no_price_to_miss() -> None:
    bench = Bench()
    with pytest.raises(InvalidRequestError):
        await bench.route(Scripted("one", failing(InvalidRequestError, None))).complete("hi")
    (record,) = bench.ledger.completed
    assert not record.unpriced


async def test_what_cannot_be_true_of_an_unusable_answer_is_estimated() -> None:
    bench = Bench()
    usage = Usage(0, 4, invalid=("prompt_tokens",))
    with pytest.raises(InvalidResponseError):
        await bench.route(Scripted("one", failing(InvalidResponseError, usage))).complete("hi")
    (record,) = bench.ledger.completed
    assert record.usage.source == "estimated"
    assert record.usage.input_tokens > 0
    assert record.usage.output_tokens == 4
