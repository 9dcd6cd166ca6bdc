"""Which errors of the gateway tell OpenAI's clients not to try again."""

from __future__ import annotations

import pytest

from orchestify.errors import (
    AccessError,
    AllTargetsFailedError,
    CircuitOpenError,
    OrchestifyError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StoreError,
)
from orchestify.server.gateway.errors import error_answer

NO_RETRY = (b"x-should-retry", b"false")


@pytest.mark.parametrize(
    "error",
    [
        ServerError("down", status=503),
        RateLimitError("slow down", status=429, retry_after_s=2),
        RequestTimeoutError("no answer"),
        AllTargetsFailedError("none", [ServerError("a", status=500), ServerError("b", status=502)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_gateway_has_tried_is_not_tried_again(error: OrchestifyError) -> None:
    assert NO_RETRY in error_answer(error).headers


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("our own limit", retry_after_s=2),
        CircuitOpenError("open"),
        AccessError("too many requests", status=429, retry_after_s=2),
        StoreError("the database is away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_nobody_has_tried_may_be_tried_again(error: OrchestifyError) -> None:
    assert NO_RETRY not in error_answer(error).headers
