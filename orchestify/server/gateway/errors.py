"""What failed, as an OpenAI client expects to hear it: a status and `{"error": {...}}`.

A provider's refusal of *its* key is this service's fault, not the caller's: 502, never 401. An
exhausted budget is OpenAI's own `insufficient_quota`, with 429 and the word not to try again; one
that nobody can look into, as the ledger's database is away, is a 503. What ended a call carries
the call's id.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from orchestify.errors import (
    AccessError,
    AllTargetsFailedError,
    APIConnectionError,
    APIError,
    AuthenticationError,
    BudgetExceededError,
    CircuitOpenError,
    ConfigError,
    ContentFilterError,
    ContextWindowError,
    InvalidParameterError,
    InvalidRequestError,
    LedgerError,
    ModelNotFoundError,
    OrchestifyError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StoreError,
    StreamInterruptedError,
    VaultError,
)

Pairs = list[tuple[bytes, bytes]]
"""HTTP headers, as ASGI has them."""


class Kind(NamedTuple):
    """How one class of error is told: HTTP status, OpenAI's `type` and `code`."""

    error: type[Exception]
    status: int
    type: str
    code: str | None


_CALLER, _AWAY, _OURS = "invalid_request_error", "api_error", "server_error"

KINDS: Sequence[Kind] = (
    Kind(RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded"),
    Kind(CircuitOpenError, 503, _AWAY, "circuit_open"),
    Kind(RequestTimeoutError, 504, _AWAY, "provider_timeout"),
    Kind(StreamInterruptedError, 502, _AWAY, "stream_interrupted"),
    Kind(APIConnectionError, 502, _AWAY, "provider_unreachable"),
    Kind(ServerError, 502, _AWAY, "provider_failed"),
    Kind(BudgetExceededError, 429, "insufficient_quota", "budget_exceeded"),
    Kind(ContextWindowError, 400, _CALLER, "context_length_exceeded"),
    Kind(ContentFilterError, 400, _CALLER, "content_filter"),
    Kind(InvalidParameterError, 400, _CALLER, None),
    Kind(InvalidRequestError, 400, _CALLER, "provider_refused_request"),
    Kind(ModelNotFoundError, 404, _CALLER, "model_not_found"),
    Kind(PermissionDeniedError, 502, _AWAY, "provider_permission_denied"),
    Kind(AuthenticationError, 502, _AWAY, "provider_authentication_failed"),
    Kind(APIError, 502, _AWAY, "provider_failed"),
    Kind(StoreError, 503, _OURS, "database_unavailable"),
    Kind(LedgerError, 503, _OURS, "ledger_unavailable"),
    Kind(VaultError, 503, _OURS, "vault_unavailable"),
    Kind(ConfigError, 503, _OURS, "configuration_error"),
    Kind(OrchestifyError, 500, _OURS, None),
)
"""Every error of ours; of several targets' errors the first kind here is told: first what may pass
with time, then what the caller can mend, then what only the operator can."""

_ACCESS = {
    401: Kind(AccessError, 401, _CALLER, "invalid_api_key"),
    403: Kind(AccessError, 403, _CALLER, "insufficient_permissions"),
    429: Kind(AccessError, 429, "rate_limit_error", "rate_limit_exceeded"),
}
_DATABASE_AWAY = "the service's database is away"
_HTTP = {
    404: "there is nothing at this path",
    405: "the path has no such method; the header Allow names those it has",
    413: "the body is larger than this service takes",
}
ENDING = HTTPException(503, "the service is ending; try again", {"Retry-After": "1"})
"""What ends a call when the service has given it the time it gives at its own end."""

_FINAL = frozenset({"budget_exceeded", "provider_authentication_failed"})
_PARAM = re.compile(r"([a-z_]+(?:[.\[][\w.\[\]]*)?)(?:: | is )")


class Told(NamedTuple):
    """An error as it is answered."""

    status: int
    headers: Pairs
    body: bytes


def told(error: OrchestifyError | HTTPException) -> Told:
    """Return the answer that tells of an error."""
    kind, telling = _most_telling(error)
    return _answer(kind, _words(kind, error), _headers(kind, telling) + _call(error))


def response_to(error: OrchestifyError | HTTPException) -> Response:
    """Return the response that tells of an error."""
    status, headers, body = told(error)
    response = Response(body, status)
    response.raw_headers = headers
    return response


def event_of(error: OrchestifyError | HTTPException) -> bytes:
    """Return the event that tells of an error after output has been sent."""
    kind, _ = _most_telling(error)
    return b"data: " + _body(kind, _words(kind, error)) + b"\n\n"


def _words(kind: Kind, error: OrchestifyError | HTTPException) -> str:
    """Return the error's message; where a database is, callers are not told."""
    if isinstance(error, HTTPException):
        return _HTTP.get(error.status_code, str(error.detail).lower())
    return _DATABASE_AWAY if kind.error in {StoreError, LedgerError} else str(error)


def _most_telling(error: OrchestifyError | HTTPException) -> tuple[Kind, Exception]:
    if isinstance(error, HTTPException):
        kind = _CALLER if error.status_code < 500 else _OURS
        return Kind(HTTPException, error.status_code, kind, None), error
    if isinstance(error, AccessError):
        return _ACCESS[error.status], error
    if isinstance(error, AllTargetsFailedError) and error.errors:
        ranked = [(_rank(each), -number) for number, each in enumerate(error.errors)]
        rank, number = min(ranked)
        return KINDS[rank], error.errors[-number]
    return KINDS[_rank(error)], error


def _rank(error: Exception) -> int:
    is_blind = isinstance(error, BudgetExceededError) and error.is_ledger_away
    found = LedgerError if is_blind else type(error)
    return next(rank for rank, kind in enumerate(KINDS) if issubclass(found, kind.error))


def _answer(kind: Kind, message: str, headers: Pairs) -> Told:
    body = _body(kind, message)
    length = (b"content-length", str(len(body)).encode())
    return Told(kind.status, [(b"content-type", b"application/json"), length, *headers], body)


def _body(kind: Kind, message: str) -> bytes:
    found = _PARAM.match(message) if kind.error is InvalidParameterError else None
    error: dict[str, Any] = {
        "message": message,
        "type": kind.type,
        "param": "model" if kind.code == "model_not_found" else found and found[1],
        "code": kind.code,
    }
    return json.dumps({"error": error}).encode()


def _call(error: OrchestifyError | HTTPException) -> Pairs:
    call_id: str = getattr(error, "call_id", "")
    return [(b"x-orchestify-call-id", call_id.encode())] if call_id else []


def _headers(kind: Kind, error: Exception) -> Pairs:
    if isinstance(error, HTTPException):
        given = (error.headers or {}).items()
        return [(name.lower().encode(), value.encode()) for name, value in given]
    headers: Pairs = []
    wait_s = _wait_s(kind, error)
    if wait_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(wait_s))).encode()))
    if kind.code in _FINAL:
        headers.append((b"x-should-retry", b"false"))
    if kind.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="orchestify"'))
    return headers


def _wait_s(kind: Kind, error: Exception) -> float | None:
    if kind.error is BudgetExceededError:
        assert isinstance(error, BudgetExceededError)  # noqa: S101 - its kind says so
        ends_at = error.period_ends_at
        return None if ends_at is None else (ends_at - datetime.now(UTC)).total_seconds()
    wait_s: float | None = getattr(error, "retry_after_s", None)
    if wait_s is None and kind.type == _OURS and kind.status == 503:
        return _AWAY_S
    return wait_s


_AWAY_S = 5.0
"""When to come again while the database is away."""
