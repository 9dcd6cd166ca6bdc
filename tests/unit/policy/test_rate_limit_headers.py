from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from orchestify.policy.rate_limit_headers import RateHint, rate_headers, retry_after_s

NOW = datetime(2025, 12, 1, 6, 0, 0, tzinfo=UTC)  # 1764568800 seconds since 1970


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "Mon, 01 Dec 2025 06:00:20 GMT"}, 20.0),
        ({"retry-after": "Monday, 01-Dec-25 06:00:20 GMT"}, 20.0),
        ({"retry-after": "Mon Dec  1 06:00:20 2025"}, 20.0),
        ({"retry-after-ms": "1250"}, 1.25),
        ({"x-ms-retry-after-ms": "500"}, 0.5),
        ({"retry-after-ms": "1250", "retry-after": "2"}, 1.25),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1.0),  # as Azure sends it
        ({"retry-after": "999999999"}, 86_400.0),
    ],
)
def test_retry_after_is_read_in_each_form(headers: dict[str, str], wait_s: float) -> None:
    assert retry_after_s(headers, NOW) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("reset", "wait_s"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1m19.156s", 79.156),
        ("14m24s", 864.0),
        ("1h2m3s", 3723.0),
        ("1d", 86_400.0),
        ("250us", 0.00025),
        ("7", 7.0),
        ("1764568810", 10.0),
        ("1764568810500", 10.5),
        ("2025-12-01T06:00:05Z", 5.0),
        ("2025-12-01T07:00:05+01:00", 5.0),
        ("2999-01-01T00:00:00Z", 86_400.0),
    ],
)
def test_a_reset_is_read_in_each_form(reset: str, wait_s: float) -> None:
    assert retry_after_s({"x-ratelimit-reset-requests": reset}, NOW) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-5", "soon", "nan", "inf", "1e3", "5 minutes", "\u0661", "9" * 30),
        *("2025-11-30T00:00:00Z", "Sun, 30 Nov 2025 06:00:00 GMT", "1764568790"),
        "X-RATELIMIT-RESET-TOKENS-XXX",
    ],
)
def test_what_is_past_or_not_understood_counts_as_unsaid(text: str) -> None:
    assert retry_after_s({"retry-after": text, "x-ratelimit-reset-tokens": text}, NOW) is None


def test_headers_that_say_nothing_ask_for_no_wait() -> None:
    assert retry_after_s({"content-type": "application/json"}, NOW) is None


def test_only_a_limit_with_nothing_left_counts() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2s",
        "x-ratelimit-remaining-tokens": "119986",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert retry_after_s(headers, NOW) == 2.0


def test_of_several_spent_limits_the_last_to_reset_counts() -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2025-12-01T06:00:03Z",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2025-12-01T06:00:41Z",
        "anthropic-ratelimit-output-tokens-remaining": "8000",
        "anthropic-ratelimit-output-tokens-reset": "2025-12-01T06:00:59Z",
    }
    assert retry_after_s(headers, NOW) == 41.0


def test_openrouter_gives_its_reset_in_epoch_milliseconds() -> None:
    headers = {
        "X-RateLimit-Limit": "20",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1764568860000",
    }
    assert retry_after_s(headers, NOW) == 60.0


def test_azure_resets_above_the_renewal_period_are_milliseconds() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-renewalperiod-requests": "60",
        "x-ratelimit-reset-requests": "500",
    }
    assert retry_after_s(headers, NOW) == 0.5


def test_retry_after_wins_over_resets() -> None:
    headers = {"retry-after": "3", "x-ratelimit-reset-requests": "6m0s"}
    assert retry_after_s(headers, NOW) == 3.0


def test_a_hint_holds_what_is_left_and_when_it_resets() -> None:
    headers = {
        "x-ratelimit-limit-requests": "120",
        "X-RateLimit-Remaining-Requests": "119",
        "x-ratelimit-reset-requests": "500ms",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1.182s",
    }
    assert rate_headers(headers, NOW) == RateHint(119, 0, 0.5, 1.182)


def test_a_hint_takes_the_tightest_of_several_token_limits() -> None:
    headers = {
        "anthropic-ratelimit-tokens-remaining": "2399000",
        "anthropic-ratelimit-tokens-reset": "2025-12-01T06:00:01Z",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2025-12-01T06:00:07Z",
    }
    assert rate_headers(headers, NOW) == RateHint(None, 0, None, 7.0)


def test_a_hint_needs_no_reset() -> None:
    assert rate_headers({"x-ratelimit-remaining-req-minute": "4"}, NOW) == RateHint(4)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"x-ratelimit-remaining-input-images": "0", "x-ratelimit-reset-input-images": "9s"},
        {"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "9s"},
    ],
)
def test_headers_without_counts_of_requests_or_tokens_are_no_hint(headers: dict[str, str]) -> None:
    assert rate_headers(headers, NOW) is None


def test_a_hint_is_exhausted_until_its_last_spent_limit_resets() -> None:
    assert RateHint(0, 0, 2.0, 5.0).exhausted_s == 5.0
    assert RateHint(0, 100, 2.0, 5.0).exhausted_s == 2.0
    assert RateHint(1, 1, 2.0, 5.0).exhausted_s == 0.0
    assert RateHint(0, None).exhausted_s == 0.0


@given(st.text(max_size=40))
def test_no_text_in_a_header_raises_or_asks_for_more_than_a_day(text: str) -> None:
    headers = {"retry-after": text, "x-ratelimit-reset-requests": text, "retry-after-ms": text}
    wait_s = retry_after_s(headers, NOW)
    assert wait_s is None or 0.0 <= wait_s <= 86_400.0
