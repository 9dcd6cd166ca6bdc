"""Token estimates against what providers counted; `pytest -s` prints the distribution."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from statistics import median

import pytest

from orchestify.models.estimate import count_tokens, family_of
from tests.recorded import need_recorded
from tests.recorded_requests import RecordedRequest, recorded_requests


@pytest.fixture(scope="module")
def requests() -> list[RecordedRequest]:
    need_recorded()
    return list(recorded_requests())


@pytest.fixture(scope="module")
def unseen(requests: list[RecordedRequest]) -> list[RecordedRequest]:
    """The half on which nothing was fitted."""
    return [each for each in requests if hashlib.sha256(each.id.encode()).digest()[0] % 2 == 0]


def error_of(request: RecordedRequest) -> int:
    estimate = count_tokens(request.messages, request.tools, request.model, request.response_format)
    return estimate - request.input_tokens


def share_of(request: RecordedRequest) -> float:
    return abs(error_of(request)) / request.input_tokens


def allowed(request: RecordedRequest) -> float:
    """The error's share of what is allowed: 15 % or 8 tokens, whichever is more."""
    return abs(error_of(request)) / max(0.15 * request.input_tokens, 8)


def table_of(requests: list[RecordedRequest]) -> str:
    by_family: dict[str, list[RecordedRequest]] = defaultdict(list)
    for request in requests:
        by_family[family_of(request.model).pattern or "others"].append(request)
    head = f"\n{'family':<42}{'n':>6}{'p50':>8}{'p90':>8}{'p99':>8}{'bias':>8}"
    rows = [row_of(name[:40], own) for name, own in sorted(by_family.items())]
    return "\n".join([head, *rows, row_of("all", requests)])


def row_of(name: str, requests: list[RecordedRequest]) -> str:
    shares = sorted(share_of(request) for request in requests)
    ninth, last = (shares[len(shares) * each // 100] for each in (90, 99))
    bias = median(error_of(request) for request in requests)
    return (
        f"{name:<42}{len(requests):>6}{median(shares):>8.0%}{ninth:>8.0%}{last:>8.0%}{bias:>+8.0f}"
    )


def test_median_error_on_unseen_requests_is_at_most_15_percent_or_8_tokens(
    unseen: list[RecordedRequest],
):
    print(table_of(unseen))  # noqa: T201 - the table is what the test is read for
    assert len(unseen) > 350
    assert median(allowed(request) for request in unseen) <= 1


def test_median_error_is_within_the_limit_for_the_direct_lanes(unseen: list[RecordedRequest]):
    own = [request for request in unseen if request.provider in {"anthropic", "openai"}]
    assert median(allowed(request) for request in own) <= 1
