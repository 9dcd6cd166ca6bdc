"""Problem details (RFC 9457): the form in which the service says what is wrong."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import Response

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
