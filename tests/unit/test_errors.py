"""The tree of errors: what they are, what they say, and that they travel."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orchestify import errors
from orchestify.errors import (
    AllTargetsFailedError,
    APIConnectionError,
    APIError,
    AuthenticationError,
    BudgetExceededError,
    ConfigError,
    InvalidParameterError,
    MissingExtraError,
    OrchestifyError,
    ProviderNotFoundError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamInterruptedError,
)
from orchestify.values import Usage

ALL = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, OrchestifyError)
]
API = [each for each in ALL if issubclass(each, APIError)]


def test_the_drawing_is_the_tree() -> None:
    drawn = re.findall(r"^[ │├└─]*([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    names = {each.__name__ for each in ALL}
    assert {name for name in drawn if name.endswith("Error")} == names


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ConfigError, ValueError),
        (InvalidParameterError, ValueError),
        (ProviderNotFoundError, KeyError),
        (errors.AgentNotFoundError, KeyError),
        (MissingExtraError, ImportError),
        (RequestTimeoutError, TimeoutError),
        (APIConnectionError, ConnectionError),
    ],
)
def test_they_are_what_a_caller_would_expect(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize(
    ("kind", "retryable", "trips_breaker", "falls_back", "may_be_billed"),
    [
        ("APIError", False, False, True, False),
        ("AuthenticationError", False, False, True, False),
        ("PermissionDeniedError", False, False, True, False),
        ("RateLimitError", True, False, True, False),
        ("CircuitOpenError", False, False, True, False),
        ("ContextWindowError", False, False, True, False),
        ("ContentFilterError", False, False, False, False),
        ("InvalidRequestError", False, False, False, False),
        ("ModelNotFoundError", False, False, True, False),
        ("RequestTimeoutError", True, True, True, True),
        ("APIConnectionError", True, True, True, False),
        ("EndpointRefusedError", False, False, True, False),
        ("ServerError", True, True, True, True),
        ("InvalidResponseError", True, True, True, True),
        ("StructuredOutputError", False, False, False, True),
        ("StreamInterruptedError", True, True, True, True),
    ],
)
def test_what_the_policies_read(
    kind: str, retryable: bool, trips_breaker: bool, falls_back: bool, may_be_billed: bool
) -> None:
    error: type[APIError] = getattr(errors, kind)
    assert error.retryable is retryable
    assert error.trips_breaker is trips_breaker
    assert error.falls_back is falls_back
    assert error.may_be_billed is may_be_billed


def test_every_api_error_is_in_that_table() -> None:
    assert len(API) == 16


@pytest.mark.parametrize("kind", API)
def test_each_has_a_message_of_its_own_in_lower_case(kind: type[APIError]) -> None:
    message = str(kind())
    assert message
    assert message[0].islower()
    assert not message.endswith(".")


def test_it_says_where_what_and_the_request() -> None:
    error = ServerError("it broke", provider="one", model="m", status=503, request_id="r1")
    assert str(error) == "one/m: it broke (status 503, request r1)"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ServerError("it broke"), "it broke"),
        (ServerError("it broke", provider="one"), "one: it broke"),
        (ServerError("it broke", status=500), "it broke (status 500)"),
        (
            RateLimitError("slow down", status=429, retry_after_s=61.5),
            "slow down (status 429, retry after 61.5 s)",
        ),
        (RateLimitError("our own", retry_after_s=61.5), "our own"),
        (ProviderNotFoundError("no 'x'"), "no 'x'"),
        (ConfigError(["a: b", "c: d"]), "a: b\nc: d"),
    ],
)
def test_its_text(error: Exception, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("kind", API)
@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, pickle.loads])
def test_an_api_error_travels_whole(kind: type[APIError], travel: object) -> None:
    error = kind(
        "it broke",
        provider="one",
        model="m",
        status=429,
        retry_after_s=3.0,
        request_id="r1",
    )
    error.retryable = True
    there = pickle.loads(pickle.dumps(error)) if travel is pickle.loads else travel(error)  # type: ignore[operator]  # noqa: S301
    assert type(there) is kind
    assert str(there) == "one/m: it broke (status 429, retry after 3 s, request r1)"
    assert there.retry_after_s == 3.0
    assert there.retryable is True


def test_an_interrupted_stream_travels_with_its_text_and_usage() -> None:
    error = StreamInterruptedError()
    error.text, error.usage = "one two", Usage(1, 2)
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (there.text, there.usage) == ("one two", Usage(1, 2))


def test_all_targets_failed_travels_with_its_errors() -> None:
    error = AllTargetsFailedError("none", [AuthenticationError(), RateLimitError(retry_after_s=1)])
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert [type(each) for each in there.errors] == [AuthenticationError, RateLimitError]
    assert there.errors[1].retry_after_s == 1
    assert str(there) == "none"


@pytest.mark.parametrize("error", [AllTargetsFailedError("none"), RateLimitError()], ids=str)
def test_an_error_travels_with_the_calls_id(error: OrchestifyError) -> None:
    error.call_id = "019b"
    assert pickle.loads(pickle.dumps(error)).call_id == "019b"  # noqa: S301 - our own bytes


def test_a_budget_error_travels_with_its_figures() -> None:
    ends = datetime(2026, 1, 2, tzinfo=UTC)
    error = BudgetExceededError(
        "budget day: full",
        budget="day",
        remaining_usd=Decimal("0.1"),
        worst_case_usd=Decimal("0.2"),
        period_ends_at=ends,
    )
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (there.budget, there.remaining_usd) == ("day", Decimal("0.1"))
    assert (there.worst_case_usd, there.period_ends_at) == (Decimal("0.2"), ends)


def test_a_config_error_travels_with_its_problems() -> None:
    there = pickle.loads(pickle.dumps(ConfigError(["a", "b"])))  # noqa: S301 - our own bytes
    assert there.problems == ("a", "b")


def test_one_problem_is_one_line() -> None:
    assert ConfigError("a: b").problems == ("a: b",)
