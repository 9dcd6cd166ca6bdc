"""What every error is answered with: a problem, or in the gateway what OpenAI's clients expect.

No answer and no line of the log holds a value that was sent.
"""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections.abc import Sequence
from typing import Any, TypeGuard, get_args

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
from orchestify.server.gateway.errors import response_to
from orchestify.server.problems import problem

RETRY_S = 5
"""When to come again while the database is away."""

_LONGEST_NAME = 100
_ENDING = "the service is ending; try again"
_FAILED = "the service failed; its log says where"

_AWAY = "the service's database is away; nothing was changed"

logger = logging.getLogger("orchestify.server")


def answer_errors(app: FastAPI) -> None:
    """Have an application answer every error that it foresees."""
    app.add_exception_handler(OrchestifyError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)


class Unexpected:
    """Answers 500 where something fails that nobody foresaw, and logs where, without any value."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; an answer that has begun is cut off, as the server does it."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:  # the server ends, and waits no longer
            if not has_begun:
                answer = _of_http_error(scope["path"], HTTPException(503, _ENDING))
                await answer(scope, receive, send)
        except Exception as error:
            log_unexpected(error)
            if has_begun:
                raise ConnectionAbortedError("the answer was cut off") from None
            answer = _of_http_error(scope["path"], HTTPException(500, _FAILED))
            await answer(scope, receive, send)


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
        return problem(500, _FAILED)
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
    return _of_http_error(request.url.path, error)


def _of_http_error(path: str, error: HTTPException) -> Response:
    """Return what HTTP refuses as a problem; in the gateway as OpenAI's clients expect it."""
    if f"{path}/".startswith("/v1/"):
        return response_to(error)
    words = _DETAILS.get(error.status_code, str(error.detail).lower())
    return problem(error.status_code, words, headers=error.headers)


_DETAILS = {
    400: "the body cannot be read as JSON",
    404: "there is nothing at this path",
    405: "the path has no such method; the header Allow names those it has",
    413: "the body is larger than this service takes",
}
