"""Token estimates against what providers counted; `pytest -s` prints the distribution."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

import pytest

from orchestify.models.estimate import count_tokens
from tests.recorded import need_recorded
from tests.recorded_requests import RecordedRequest, recorded_requests


@pytest.fixture(scope="module")
def requests() -> list[RecordedRequest]:
    need_recorded()
    return list(recorded_requests())


def error_of(request: RecordedRequest) -> int:
    estimate = count_tokens(request.messages, request.tools, request.model, request.response_format)
    return estimate - request.input_tokens


def share_of(request: RecordedRequest) -> float:
    return abs(error_of(request)) / request.input_tokens


def allowed(request: RecordedRequest) -> float:
    """The error's share of what is allowed: 15 % or 8 tokens, whichever is more."""
    return abs(error_of(request)) / max(0.15 * request.input_tokens, 8)


def table_of(requests: list[RecordedRequest]) -> str:
    by_provider: dict[str, list[RecordedRequest]] = defaultdict(list)
    for request in requests:
        by_provider[request.provider].append(request)
    head = f"\n{'provider':<12}{'n':>6}{'p25':>8}{'p50':>8}{'p90':>8}{'within':>9}{'bias':>8}"
    rows = [row_of(name, own) for name, own in sorted(by_provider.items())]
    return "\n".join([head, *rows, row_of("all", requests)])


def row_of(name: str, requests: list[RecordedRequest]) -> str:
    shares = sorted(share_of(request) for request in requests)
    within = sum(allowed(request) <= 1 for request in requests) / len(requests)
    quarter, ninth = shares[len(shares) // 4], shares[len(shares) * 9 // 10]
    bias = median(error_of(request) for request in requests)
    return (
        f"{name:<12}{len(requests):>6}{quarter:>8.0%}{median(shares):>8.0%}{ninth:>8.0%}"
        f"{within:>9.0%}{bias:>+8.0f}"
    )


def test_median_error_of_text_requests_is_at_most_15_percent_or_8_tokens(
    requests: list[RecordedRequest],
):
    print(table_of(requests))  # noqa: T201 - the table is what the test is read for
    assert len(requests) > 700
    assert median(allowed(request) for request in requests) <= 1


def test_median_error_is_within_the_limit_for_the_direct_lanes(requests: list[RecordedRequest]):
    own = [request for request in requests if request.provider in {"anthropic", "openai"}]
    assert median(allowed(request) for request in own) <= 1
