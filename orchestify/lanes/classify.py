"""What a provider's failure means: one place that turns status, words and headers into an error.

The status decides; the provider's codes and wording only tell apart what shares a status.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from orchestify.errors import (
    APIError,
    AuthenticationError,
    ContentFilterError,
    ContextWindowError,
    InvalidRequestError,
    ModelNotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from orchestify.lanes.large_json import Body
from orchestify.lanes.parsing import parse_whole
from orchestify.lanes.redaction import redact
from orchestify.policy.rate_limit_headers import retry_after_s
from orchestify.values import NOTHING, CompletionRequest

__all__ = [
    "Failure",
    "build_error",
    "error_class",
    "failure_from_body",
    "failure_from_data",
    "redact",
    "request_id",
    "retry_after_s",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """A provider's failure as it came: `words` are its codes and types, in lower case.

    `status` is the HTTP status, or the one that the provider's words stand for; None where
    neither is known. `message` is the provider's own text, not redacted.
    """

    status: int | None
    message: str = field(default="", repr=False)
    words: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    retry_after_s: float | None = None


def build_error(
    failure: Failure,
    *,
    provider: str | None = None,
    model: str | None = None,
    keys: Collection[str] = (),
    request: CompletionRequest | None = None,
) -> APIError:
    """Return the error to raise, with the provider's message redacted."""
    kind = error_class(failure)
    told_s = retry_after_s(failure.headers, datetime.now(UTC))
    return kind(
        redact(failure.message, keys, request),
        provider=provider,
        model=model,
        status=failure.status,
        retry_after_s=failure.retry_after_s if told_s is None else told_s,
        request_id=redact(request_id(failure.headers) or "", keys) or None,
    )


def error_class(failure: Failure) -> type[APIError]:
    """Return the class of error: by status, then by the provider's codes, then by its wording."""
    status = failure.status or 500
    if status in REFINED_STATUSES:
        wording = failure.message.lower()
        for kind, statuses, words, pattern in REFINEMENTS:
            if status in statuses and (failure.words & words or pattern.search(wording)):
                return kind
    if status in CLASS_BY_STATUS:
        return CLASS_BY_STATUS[status]
    return APIError if 400 <= status < 500 else ServerError


def failure_from_body(status: int, headers: Mapping[str, str], body: Body | str) -> Failure:
    """Read an answer with a status of 300 or more, whatever shape its body has."""
    if status < 400:
        return Failure(status, _redirect(headers), headers=headers)
    body = body.encode("utf-8", "replace") if isinstance(body, str) else body
    try:
        parsed = parse_whole(body)
    except ValueError:
        text = body.decode("utf-8", "replace")
        return Failure(status, _plain_text(text), headers=headers)
    return failure_from_data(parsed, status=status, headers=headers)


def failure_from_data(
    data: Any, *, status: int | None = None, headers: Mapping[str, str] = NOTHING
) -> Failure:
    """Read a parsed error body, or an error that came inline or in a stream (`status` None).

    An inline error's status is the number that the provider gives as its code, else the one
    that its words stand for, else 500.
    """
    if isinstance(data, list) and data:
        data = data[0]
    body = data if isinstance(data, Mapping) else {"message": data}
    error = body.get("error") or body.get(MINIMAX) or body
    error = error if isinstance(error, Mapping) else {**body, "message": error}
    words = frozenset(_words(error))
    if status is None:
        status = _status_of(error.get("code"), words)
    return Failure(status, _message(error), words, headers, _asked_wait_s(error))


def _asked_wait_s(error: Mapping[str, Any]) -> float | None:
    """Return the seconds that Google's `RetryInfo` asks to wait.

    Source: Google, google.rpc.RetryInfo (`retryDelay`, as "13.5s").
    """
    details = error.get("details")
    for detail in details[:_MOST_DETAILS] if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, Mapping) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return _number(delay.removesuffix("s"))
    return None


def _redirect(headers: Mapping[str, str]) -> str:
    try:
        target = urlsplit(headers.get("location", "")).hostname
    except ValueError:
        target = None
    return (
        f"the endpoint redirects to {target or 'somewhere'}, which is not followed with the key; "
        "correct base_url"
    )


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the provider's id of the request, from whichever header holds it."""
    lower = {name.lower(): value for name, value in headers.items()}
    return next((lower[name][:100] for name in REQUEST_ID_HEADERS if lower.get(name)), None)


MINIMAX = "base_resp"  # where MiniMax puts an error, and that there is none

REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "mistral-correlation-id",
    "cf-ray",
)

# A 4xx that is not here is not about the request (a proxy, a lock, another service): another target
# may do better.
CLASS_BY_STATUS: Mapping[int, type[APIError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: PermissionDeniedError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    405: ModelNotFoundError,
    406: InvalidRequestError,
    408: RequestTimeoutError,
    409: ServerError,
    410: ModelNotFoundError,
    411: InvalidRequestError,
    412: InvalidRequestError,
    413: ContextWindowError,
    414: InvalidRequestError,
    415: InvalidRequestError,
    416: InvalidRequestError,
    417: InvalidRequestError,
    422: InvalidRequestError,
    425: ServerError,
    428: InvalidRequestError,
    429: RateLimitError,
    431: InvalidRequestError,
    451: PermissionDeniedError,
    498: ServerError,  # Groq: flex capacity exceeded
    499: ServerError,
} | dict.fromkeys(range(300, 400), ModelNotFoundError)

# The words that stand for a status where an error comes inside a 200.
# Source: Anthropic, "Errors"; OpenAI, "Error codes"; Google, google.rpc.Code.
STATUS_BY_WORD: Mapping[str, int] = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "invalid_argument": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "not_found": 404,
    "request_too_large": 413,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "unavailable": 503,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_NOT_ACCEPTED = frozenset({400, 422})

# (class, statuses it may refine, codes and types, wording); the first that fits.
REFINEMENTS: tuple[
    tuple[type[APIError], frozenset[int], frozenset[str], re.Pattern[str]],
    ...,
] = (
    (
        PermissionDeniedError,  # no credit: waiting does not help
        _NOT_ACCEPTED | {429},
        frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "1113"}),
        re.compile(
            r"insufficient_quota|credit balance is too low|insufficient (balance|credits)"
            r"|used all available credits|run out of credits"
        ),
    ),
    (
        ContentFilterError,
        _NOT_ACCEPTED | {403},
        frozenset(
            {
                "content_filter",
                "content_policy_violation",
                "responsibleaipolicyviolation",
                "moderation_blocked",
                "1301",  # Z.ai
            }
        ),
        re.compile(
            r"content management policy|responsibleaipolicyviolation|content[_ ]policy[_ ]violation"
            r"|requires moderation|blocked by content filter|output blocked by content filtering"
            r"|content exists risk"
        ),
    ),
    (
        ContextWindowError,
        _NOT_ACCEPTED,
        frozenset(
            {
                "context_length_exceeded",
                "string_above_max_length",
                "too_many_prompt_tokens",
                "request_too_large",
                "exceed_context_size_error",
                "model_max_prompt_tokens_exceeded",
                "1261",  # Z.ai
            }
        ),
        re.compile(
            r"prompt (is )?too (long|large)|(maximum|max|model'?s) (context|prompt|input) length"
            r"|exceed(s|ed)?( the| its)?( available| maximum)? (context|prompt|input)"
            r"[ _](window|length|size|limit)|context window exceed|exceeds the model's maximum"
            r"|input (is|length) too long|inputs? tokens? .{0,80}exceed|prompt exceeds max length"
            r"|exceed(s|ed)? model token limit|too many (input |prompt )?tokens"
            r"|range of input length should be|inputs` tokens \+ `max_new_tokens` must be"
            r"|too large for model with \d+ maximum context|reduce the length of (the|your) "
            r"(messages|prompt|input)|when context the overflows"
        ),
    ),
    (
        AuthenticationError,
        _NOT_ACCEPTED,
        frozenset({"invalid_api_key", "api_key_invalid", "authentication_error"}),
        re.compile(
            r"(invalid|incorrect) (x-)?api[- ]?key|api key not valid|invalid authentication"
        ),
    ),
    (
        ModelNotFoundError,
        _NOT_ACCEPTED,
        frozenset({"model_not_found", "deploymentnotfound", "invalid_model", "unknown_model"}),
        re.compile(
            r"model not exist|not a valid model id|model .{0,120}(does not exist|not found)"
            r"|invalid model:|unknown model"
        ),
    ),
)
REFINED_STATUSES = frozenset().union(*(statuses for _, statuses, _, _ in REFINEMENTS))


# What of an error is looked at: characters of its message, and of one within lists and objects,
# as deep as those may be told; their members; details.
_MOST, _MOST_NESTED, _DEPTH = 1 << 16, 1_000, 3
_MOST_MEMBERS = 16
_MOST_DETAILS = 1_000
_MESSAGES = ("message", "detail", "errors", "status_msg", "details")


def _words(error: Mapping[str, Any]) -> Iterable[str]:
    inner = error.get("innererror")
    details = error.get("details")
    sources = [error, inner, *(details[:_MOST_DETAILS] if isinstance(details, list) else ())]
    for source in sources:
        if isinstance(source, Mapping):
            for name in ("code", "type", "status", "reason", "error_code"):
                word = source.get(name)
                if isinstance(word, (str, int)) and not isinstance(word, bool):
                    yield str(word)[:200].lower()


def _message(error: Mapping[str, Any]) -> str:
    """Return the provider's sentence; of a validation list only what and where, never the input."""
    named = (error.get(name) for name in _MESSAGES)
    message = _beginning(next((each for each in named if each), ""))
    if isinstance(message, list):
        message = "; ".join(map(_item_text, message[:3]))
    if isinstance(message, Mapping):
        message = _item_text(message)
    metadata = error.get("metadata")
    upstream = metadata.get("raw") if isinstance(metadata, Mapping) else None
    return f"{message}: {upstream[:_MOST]}" if isinstance(upstream, str) else str(message)


def _beginning(value: Any, depth: int = _DEPTH) -> Any:
    """Return what of a value may be told: an error inside a 200 may have 64 MiB."""
    if isinstance(value, str):
        return value[: _MOST if depth == _DEPTH else _MOST_NESTED]
    if not isinstance(value, (list, Mapping)):
        return value
    if not depth:
        return "..."
    if isinstance(value, list):
        return [_beginning(each, depth - 1) for each in value[:_MOST_MEMBERS]]
    members = islice(value.items(), _MOST_MEMBERS)
    return {name[:_MOST_NESTED]: _beginning(each, depth - 1) for name, each in members}


def _item_text(item: object) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    where = item.get("loc")
    place = ".".join(map(str, where)) + ": " if isinstance(where, list) else ""
    return place + str(item.get("msg") or item.get("message") or "")


def _status_of(code: object, words: frozenset[str]) -> int:
    number = _number(code)
    if number is not None and 400 <= number < 600:
        return int(number)
    return next((STATUS_BY_WORD[word] for word in sorted(words) if word in STATUS_BY_WORD), 500)


def _plain_text(text: str) -> str:
    """Return a body that is no JSON as text; of an HTML page its title."""
    if not re.match(r"\s*<(!doctype|html)", text[:200], re.IGNORECASE):
        return text
    title = re.search(r"<title>(.{1,200}?)</title>", text[:5000], re.IGNORECASE | re.DOTALL)
    return f"an HTML page: {title[1].strip()}" if title else "an HTML page"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None
