"""Errors of the REST endpoints, as problem details (RFC 9457).

The gateway's own are in `gateway.errors`. No answer and no log line
holds a value that was sent.
"""

from __future__ import annotations

import http
import json
import logging
import math
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, get_args

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from orchestify.core.error_messages import sentence_of
from orchestify.errors import (
    AccessError,
    AgentNotFoundError,
    ConfigError,
    ConflictError,
    InvalidParameterError,
    LedgerError,
    NotFoundError,
    OrchestifyError,
    ProviderNotFoundError,
    StoreError,
    VaultError,
)
from orchestify.server.gateway.errors import error_response, form_at

MEDIA_TYPE = "application/problem+json"
KINDS: Mapping[int, tuple[str, str]] = {
    400: ("malformed-request", "The request cannot be read"),
    401: ("unauthorized", "A valid token is needed"),
    403: ("forbidden", "The token may not do this"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "The path has no such method"),
    409: ("conflict", "It conflicts with what is there"),
    412: ("precondition-failed", "It was changed in between"),
    413: ("content-too-large", "The request is too large"),
    415: ("unsupported-media-type", "The body is not JSON"),
    422: ("invalid-request", "The request cannot be carried out as it is"),
    429: ("too-many-requests", "Too many requests"),
    500: ("internal-error", "The service failed"),
    503: ("unavailable", "Something that is needed is away"),
}
"""What every status of an error is called: its type's last part, and its title."""

_TYPE = "urn:orchestify:problem:"


class Problem(BaseModel):
    """What is wrong (RFC 9457); `problems` has a line for each thing, without its value."""

    type: str = Field(examples=[f"{_TYPE}invalid-request"])
    title: str = Field(examples=[KINDS[422][1]])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["the request has 1 problem"])
    problems: list[str] = Field(
        default=[], examples=[["body.config.max_token: unknown key; did you mean 'max_tokens'?"]]
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI of the errors with these statuses."""
    return {
        status: {
            "description": KINDS[status][1],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def problem(
    status: int,
    detail: str,
    problems: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that says what is wrong."""
    kind, title = KINDS.get(status, ("http-error", http.HTTPStatus(status).phrase))
    body = {"type": f"{_TYPE}{kind}", "title": title, "status": status, "detail": detail}
    text = json.dumps({**body, "problems": list(problems)})
    return Response(text, status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


RETRY_S = 5
"""When to come again while the database is away."""

FAILED = "the service failed; its log says where"
"""What is told of an error that nobody foresaw."""

_LONGEST_NAME = 100
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

_AWAY = "the service's database is away; nothing was changed"

logger = logging.getLogger("orchestify.server")


def answer_errors(app: FastAPI) -> None:
    """Have an application answer every error that it foresees."""
    app.add_exception_handler(OrchestifyError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)


def log_unexpected(error: BaseException) -> None:
    """Log an error's class and place; its message may hold what was sent."""
    place = "".join(traceback.format_tb(error.__traceback__)[-8:])
    logger.error("unexpected %s\n%s", type(error).__qualname__, place.rstrip())


def status_of(error: OrchestifyError) -> int:
    """Return the HTTP status of one of our errors."""
    if isinstance(error, AccessError):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


_STATUSES: Sequence[tuple[type[OrchestifyError], int]] = (
    (ConfigError, 422),
    (InvalidParameterError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (ProviderNotFoundError, 404),
    (AgentNotFoundError, 404),
    (StoreError, 503),
    (LedgerError, 503),
    (VaultError, 503),
)


async def _of_ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, OrchestifyError)  # noqa: S101 - registered for these alone
    status = status_of(error)
    if status == 500:
        log_unexpected(error)
        return problem(500, FAILED)
    if isinstance(error, ConfigError):
        count = len(error.problems)
        detail = f"the request has {count} problem{'s' if count > 1 else ''}"
        return problem(status, detail, error.problems)
    if isinstance(error, (StoreError, LedgerError)):
        logger.warning(
            "%s", error
        )  # where the database is, is nobody's business but the operator's
        return problem(status, _AWAY, headers=_headers(error, status))
    return problem(status, str(error), headers=_headers(error, status))


def _headers(error: OrchestifyError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="orchestify"'}
    is_away = isinstance(error, (StoreError, LedgerError))
    wait_s = RETRY_S if is_away else getattr(error, "retry_after_s", None)
    return {} if wait_s is None else {"Retry-After": str(max(1, math.ceil(wait_s)))}


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return problem(400, "the body is not JSON")
    model = _body_model(request)
    lines = [
        f"{_place(each['loc'])}: {sentence_of(each, model) or _words(each['msg'])}"
        for each in found
    ]
    detail = f"the request has {len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return problem(422, detail, lines)


def _body_model(request: Request) -> type[BaseModel]:
    """Return what the request's body is read into: its fields may be what was meant."""
    body = getattr(request.scope.get("route"), "body_field", None)
    annotation = None if body is None else body.field_info.annotation
    kinds = (annotation, *get_args(annotation))
    return next((each for each in kinds if _is_model(each)), BaseModel)


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _place(path: Sequence[str | int]) -> str:
    return ".".join(str(part)[:_LONGEST_NAME] for part in path)


def _words(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if error.status_code == 405:
        error = HTTPException(405, error.detail, {"Allow": ", ".join(_methods_at(request))})
    return http_error_response(request.scope, error)


def _methods_at(request: Request) -> list[str]:
    """Return the methods of a request's path, of all its routes."""
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


def http_error_response(scope: Scope, error: HTTPException) -> Response:
    """Return what HTTP refuses as a problem; in the gateway as its clients expect it."""
    path = scope["path"]
    if f"{path}/".startswith("/v1/"):
        return error_response(error, form_at(path, Headers(scope=scope)))
    words = _DETAILS.get(error.status_code, error.detail)
    return problem(error.status_code, words, headers=error.headers)


_DETAILS = {
    400: "the body cannot be read as JSON",
    404: "there is nothing at this path",
    405: "the path has no such method; the header Allow names those it has",
}
