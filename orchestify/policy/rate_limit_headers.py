"""Rate limit headers: how long a provider asks to wait, and what it says is left.

Sources: RFC 9110, 10.2.3 (Retry-After); OpenAI, "Rate limits: rate limits in headers"
(durations such as `6m0s`); Anthropic, "Rate limits: response headers" (RFC 3339 times);
OpenRouter, "Limits" (milliseconds since 1970); Azure's and OpenAI's `retry-after-ms`; Azure's
plain numbers, which are milliseconds where they pass `x-ratelimit-renewalperiod-*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_WAIT_S = 86_400.0  # the longest limit in use is a day's; a longer wait is taken for that

_EPOCH_S = 1e9  # a larger number is no duration (31 years) but a time since 1970
_EPOCH_MS = 1e11  # and from here on one in milliseconds (as seconds, the year 5138)
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{0,20})?", re.ASCII)
_DURATION = re.compile(r"(?:\d{1,15}(?:\.\d{1,15})?(?:d|h|ms|m|s|us|µs|ns))+", re.ASCII)
_PART = re.compile(r"([\d.]+)(\D+)", re.ASCII)
_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a failed request's headers ask to wait, at most a day; None where unsaid.

    `now` has a time zone. `retry-after-ms` and Retry-After (a number or a date) come first;
    without them the latest reset of the limits that have nothing left or do not say what is
    left. A zero counts only where nothing else asks for more (Azure sends `retry-after-ms: 0`
    beside `retry-after: 1`). What is past or not understood counts as unsaid.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    stated = (
        _milliseconds(lower.get("retry-after-ms")),
        _milliseconds(lower.get("x-ms-retry-after-ms")),
        _seconds_until(lower.get("retry-after"), now),
    )
    resets = (limit.reset_s for limit in _limits(lower, now) if not limit.remaining)
    wait_s = next(filter(None, stated), None) or max(filter(None, resets), default=None)
    if wait_s is None:
        return 0.0 if 0.0 in stated else None
    return min(wait_s, MAX_WAIT_S)


@dataclass(frozen=True, slots=True)
class RateHint:
    """What a provider says is left of its requests and tokens; of several limits, the tightest.

    Each is None where unsaid. A reset is in seconds from the answer, at most a day.
    """

    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_s: float | None = None
    reset_tokens_s: float | None = None

    @property
    def exhausted_s(self) -> float:
        """Seconds until the limits with nothing left are whole again; 0 where none is known."""
        requests_s = self.reset_requests_s if self.remaining_requests == 0 else None
        tokens_s = self.reset_tokens_s if self.remaining_tokens == 0 else None
        return max(requests_s or 0.0, tokens_s or 0.0)


def rate_headers(headers: Mapping[str, str], now: datetime) -> RateHint | None:
    """What an answer's headers say is left; None where they say nothing.

    `now` has a time zone. Limits of other things (images, spend) are not read.
    """
    lower = {key: headers[name] for name in headers if "ratelimit" in (key := name.lower())}
    if not lower:
        return None
    limits = _limits(lower, now)
    requests = _tightest([limit for limit in limits if limit.kind == "requests"])
    tokens = _tightest([limit for limit in limits if limit.kind == "tokens"])
    if requests.remaining is None and tokens.remaining is None:
        return None
    return RateHint(requests.remaining, tokens.remaining, requests.reset_s, tokens.reset_s)


@dataclass(frozen=True, slots=True)
class _Limit:
    """One of a provider's limits, as its headers show it; the reset is not in the past."""

    kind: str
    remaining: int | None = None
    reset_s: float | None = None


def _tightest(limits: list[_Limit]) -> _Limit:
    """Return the limit with the least left; among equals, the one that resets last."""
    known = [limit for limit in limits if limit.remaining is not None]
    return min(
        known, key=lambda limit: (limit.remaining, -(limit.reset_s or 0.0)), default=_Limit("")
    )


def _limits(lower: Mapping[str, str], now: datetime) -> list[_Limit]:
    """Pair each `...reset...` header with its `...remaining...`; names are in lower case."""
    return [
        _Limit(_kind(name), _count(lower.get(remaining)), _reset_s(lower, name, now))
        for name, remaining in dict(_names(lower)).items()
    ]


def _names(lower: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in lower:
        if "ratelimit" in name and ("reset" in name or "remaining" in name):
            yield name.replace("remaining", "reset"), name.replace("reset", "remaining")


def _kind(name: str) -> str:
    if "token" in name:
        return "tokens"
    return "requests" if "-req" in name or name.endswith("ratelimit-reset") else "other"


def _count(text: str | None) -> int | None:
    return int(float(text)) if text and _NUMBER.fullmatch(text) else None


def _reset_s(lower: Mapping[str, str], name: str, now: datetime) -> float | None:
    """Seconds until a limit resets, at most a day; Azure's may be milliseconds."""
    wait_s = _seconds_until(lower.get(name), now)
    if wait_s is None:
        return None
    period_s = _count(lower.get(name.replace("reset", "renewalperiod")))
    in_ms = period_s is not None and wait_s > period_s
    return min(wait_s / 1000 if in_ms else wait_s, MAX_WAIT_S)


def _milliseconds(text: str | None) -> float | None:
    return float(text) / 1000 if text and _NUMBER.fullmatch(text) else None


def _seconds_until(text: str | None, now: datetime) -> float | None:
    """Read a number of seconds, a duration (`1m30s`), a time since 1970 or a date."""
    if not text:
        return None
    if _NUMBER.fullmatch(text):
        return _from_number(float(text), now)
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    moment = _moment(text)
    return None if moment is None else _not_past((moment - now).total_seconds())


def _from_number(number: float, now: datetime) -> float | None:
    if number < _EPOCH_S:
        return number
    return _not_past((number / 1000 if number >= _EPOCH_MS else number) - now.timestamp())


def _not_past(seconds: float) -> float | None:
    return seconds if seconds >= 0 else None


def _moment(text: str) -> datetime | None:
    """Read an RFC 3339 time or an HTTP date; without a time zone it is UTC."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError, TypeError, IndexError, OverflowError):
            moment = parse(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
