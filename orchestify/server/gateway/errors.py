"""Errors in the path's protocol, OpenAI's or Anthropic's: a status and `{"error": {...}}`.

A provider's refusal of *its* key is this service's fault, not the caller's: 502, never 401. An
exhausted budget is OpenAI's own `insufficient_quota`, with 429 and the word not to try again; one
that nobody can look into, as the ledger's database is away, is a 503. What ended a call carries
the call's id.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
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

HeaderPairs = list[tuple[bytes, bytes]]
"""HTTP headers, as ASGI has them."""


class ErrorKind(NamedTuple):
    """How one class of error is reported: HTTP status, OpenAI's `type`, `code` and `param`."""

    error: type[Exception]
    status: int
    type: str
    code: str | None
    param: str | None = None


_CALLER, _AWAY, _OURS = "invalid_request_error", "api_error", "server_error"

KINDS: Sequence[ErrorKind] = (
    ErrorKind(RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded"),
    ErrorKind(CircuitOpenError, 503, _AWAY, "circuit_open"),
    ErrorKind(RequestTimeoutError, 504, _AWAY, "provider_timeout"),
    ErrorKind(StreamInterruptedError, 502, _AWAY, "stream_interrupted"),
    ErrorKind(APIConnectionError, 502, _AWAY, "provider_unreachable"),
    ErrorKind(ServerError, 502, _AWAY, "provider_failed"),
    ErrorKind(BudgetExceededError, 429, "insufficient_quota", "budget_exceeded"),
    ErrorKind(ContextWindowError, 400, _CALLER, "context_length_exceeded"),
    ErrorKind(ContentFilterError, 400, _CALLER, "content_filter"),
    ErrorKind(InvalidParameterError, 400, _CALLER, None),
    ErrorKind(InvalidRequestError, 400, _CALLER, "provider_refused_request"),
    ErrorKind(ModelNotFoundError, 404, _CALLER, "model_not_found", "model"),
    ErrorKind(PermissionDeniedError, 502, _AWAY, "provider_permission_denied"),
    ErrorKind(AuthenticationError, 502, _AWAY, "provider_authentication_failed"),
    ErrorKind(APIError, 502, _AWAY, "provider_failed"),
    ErrorKind(StoreError, 503, _OURS, "database_unavailable"),
    ErrorKind(LedgerError, 503, _OURS, "ledger_unavailable"),
    ErrorKind(VaultError, 503, _OURS, "vault_unavailable"),
    ErrorKind(ConfigError, 503, _OURS, "configuration_error"),
    ErrorKind(OrchestifyError, 500, _OURS, None),
)
"""Every error of ours. Of several targets' errors the first kind here is reported: first what may
pass with time, then what the caller can mend, then what only the operator can."""

_ACCESS = {
    401: ErrorKind(AccessError, 401, _CALLER, "invalid_api_key"),
    403: ErrorKind(AccessError, 403, _CALLER, "insufficient_permissions"),
    429: ErrorKind(AccessError, 429, "rate_limit_error", "rate_limit_exceeded"),
}
_DATABASE_AWAY = "the service's database is away"
_HTTP = {
    404: "there is nothing at this path",
    405: "the path has no such method; the header Allow names those it has",
}
SHUTTING_DOWN = HTTPException(503, "the service is ending; try again", {"Retry-After": "1"})
"""What ends a call when the service has given it the time it gives at its own end."""

_FINAL = frozenset({"budget_exceeded", "provider_authentication_failed"})
_ARGUMENT = re.compile(
    r"(temperature|top_p|max_tokens|seed|stop|tool_choice|response_format|dimensions"
    r"|(?:input|messages)(?:\[\d+\])?)(?:: | is )"
)
"""What a message begins with where an argument of the call is refused that is a field as well."""

_FROM_ABOVE = (ServerError, StreamInterruptedError, ContextWindowError)
"""Kinds of errors in which a provider's own status may be told; see `ErrorForm.statuses`."""


class ErrorAnswer(NamedTuple):
    """An error's answer: status, headers and body."""

    status: int
    headers: HeaderPairs
    body: bytes


def _openai_error(kind: ErrorKind, message: str, _call: str) -> bytes:
    """Return an error's body as OpenAI has it."""
    error: dict[str, Any] = {
        "message": message,
        "type": kind.type,
        "param": kind.param,
        "code": kind.code,
    }
    return json.dumps({"error": error}).encode()


def _anthropic_error(kind: ErrorKind, message: str, call_id: str) -> bytes:
    """Return an error's body as Anthropic has it.

    Source: Anthropic, "Errors".
    """
    named = "billing_error" if kind.error is BudgetExceededError else None
    error = {"type": named or _ANTHROPIC_TYPES.get(kind.status, "api_error"), "message": message}
    body = {"type": "error", "error": error, "request_id": call_id or None}
    return json.dumps(body).encode()


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ErrorForm(NamedTuple):
    """How a protocol writes errors: `body(kind, message, request_id)`, and an event's first line.

    `event_body` makes an event's data of a body and the event's number, where these differ.
    `statuses` has the statuses of providers that the protocol's clients know, and as what.
    """

    body: Callable[[ErrorKind, str, str], bytes]
    event: bytes = b""
    event_body: Callable[[bytes, int], bytes] | None = None
    statuses: Mapping[int, int] = {503: 503, 529: 503}


def _responses_event(body: bytes, number: int) -> bytes:
    """Return an error of OpenAI's Responses as a stream's event has it.

    Source: OpenAI, "API reference: Streaming events, error"; its SDK reads `error`.
    """
    error = json.loads(body)["error"]
    flat = {"code": error["code"], "message": error["message"], "param": error["param"]}
    return json.dumps({"type": "error", "sequence_number": number, **flat, "error": error}).encode()


OPENAI = ErrorForm(_openai_error)
RESPONSES = ErrorForm(_openai_error, b"event: error\n", _responses_event)
ANTHROPIC = ErrorForm(_anthropic_error, b"event: error\n", statuses={413: 413, 503: 529, 529: 529})


def form_at(path: str, headers: Mapping[str, str]) -> ErrorForm:
    """Return how errors are written at a path; of the models, as who asks expects them."""
    if f"{path}/".startswith("/v1/models/") and "anthropic-version" in headers:
        return ANTHROPIC
    return ANTHROPIC if f"{path}/".startswith("/v1/messages/") else OPENAI


def error_answer(error: OrchestifyError | HTTPException, form: ErrorForm = OPENAI) -> ErrorAnswer:
    """Return the answer for an error; what came to no call has a request's id all the same."""
    kind, telling = _told(error, form)
    call_id = _call_id(error)
    id_ = call_id or new_request_id()
    body = form.body(kind, _words(kind, error), id_)
    headers = _headers(kind, telling) + request_id_headers(id_)
    if call_id:
        headers.append((b"x-orchestify-call-id", call_id.encode()))
    length = (b"content-length", str(len(body)).encode())
    return ErrorAnswer(
        kind.status, [(b"content-type", b"application/json"), length, *headers], body
    )


def error_response(error: OrchestifyError | HTTPException, form: ErrorForm = OPENAI) -> Response:
    """Return the response for an error."""
    status, headers, body = error_answer(error, form)
    response = Response(body, status)
    response.raw_headers = headers
    return response


def new_request_id() -> str:
    """Return an id for a request that came to no call."""
    return uuid.uuid4().hex


def request_id_headers(id_: str) -> HeaderPairs:
    """Return the headers that tell a request's id to OpenAI's clients and to Anthropic's."""
    return [(b"x-request-id", id_.encode()), (b"request-id", id_.encode())]


def error_event(
    error: OrchestifyError | HTTPException,
    form: ErrorForm = OPENAI,
    number: int = 0,
    request_id: str = "",
) -> bytes:
    """Return the event for an error after output has been sent, the stream's `number`-th."""
    kind, _ = _told(error, form)
    body = form.body(kind, _words(kind, error), _call_id(error) or request_id)
    if form.event_body is not None:
        body = form.event_body(body, number)
    return form.event + b"data: " + body + b"\n\n"


def _words(kind: ErrorKind, error: OrchestifyError | HTTPException) -> str:
    """Return the error's message; where a database is, callers are not told."""
    if isinstance(error, HTTPException):
        detail, status = str(error.detail), error.status_code
        return _HTTP.get(status, detail) if detail == HTTPStatus(status).phrase else detail
    return _DATABASE_AWAY if kind.error in {StoreError, LedgerError} else str(error)


def _told(error: OrchestifyError | HTTPException, form: ErrorForm) -> tuple[ErrorKind, Exception]:
    """Return how an error is reported in a form, and the one of several that is told."""
    kind, telling = _most_informative(error)
    if isinstance(telling, InvalidParameterError):
        found = _ARGUMENT.match(str(telling))
        param = telling.param or (found[1] if found else None)
        kind = kind._replace(code=telling.code, param=param)
    elif kind.error in _FROM_ABOVE:
        above: int = getattr(telling, "status", None) or 0
        kind = kind._replace(status=form.statuses.get(above, kind.status))
    return kind, telling


def _most_informative(error: OrchestifyError | HTTPException) -> tuple[ErrorKind, Exception]:
    if isinstance(error, HTTPException):
        kind = _CALLER if error.status_code < 500 else _OURS
        return ErrorKind(HTTPException, error.status_code, kind, None), error
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


def _call_id(error: OrchestifyError | HTTPException) -> str:
    call_id: str = getattr(error, "call_id", "")
    return call_id


def _headers(kind: ErrorKind, error: Exception) -> HeaderPairs:
    if isinstance(error, HTTPException):
        given = (error.headers or {}).items()
        return [(name.lower().encode(), value.encode()) for name, value in given]
    headers: HeaderPairs = []
    wait_s = _wait_s(kind, error)
    if wait_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(wait_s))).encode()))
    if kind.code in _FINAL or _was_retried(error):
        headers.append((b"x-should-retry", b"false"))
    if kind.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="orchestify"'))
    return headers


def _was_retried(error: Exception) -> bool:
    """Say whether the gateway itself sent the call, as often as its configuration allows.

    OpenAI's clients would otherwise repeat all of its attempts for each of their own. A local
    limit or an open circuit sends nothing, so the client's later try is the first.
    """
    is_local = isinstance(error, (RateLimitError, CircuitOpenError)) and error.status is None
    return isinstance(error, APIError) and not is_local


def _wait_s(kind: ErrorKind, error: Exception) -> float | None:
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
