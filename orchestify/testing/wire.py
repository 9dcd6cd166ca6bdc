"""The two protocols behind one shape, and which of them a request speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestify.testing import anthropic_answer, anthropic_request, openai_answer, openai_request
from orchestify.testing.answer import Answer, Ask, Events, RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One provider's protocol. `request_id` is the name of the header that carries it."""

    request_id: str
    api_key: Callable[[Mapping[str, str]], str]
    read: Callable[[Mapping[str, Any]], Ask]
    encode: Callable[[Answer], bytes]
    encode_events: Callable[[Answer], Events]
    encode_error: Callable[[int, str, str, str | None], bytes]
    as_event: Callable[[bytes], bytes]
    encode_models: Callable[[Sequence[str]], bytes]
    wrong_key: Callable[[str], str]
    no_model: Callable[[str], str]


OPENAI = Wire(
    request_id=openai_answer.REQUEST_ID,
    api_key=openai_request.api_key,
    read=openai_request.read,
    encode=openai_answer.encode,
    encode_events=openai_answer.encode_events,
    encode_error=openai_answer.encode_error,
    as_event=openai_answer.as_event,
    encode_models=openai_answer.encode_models,
    wrong_key=openai_answer.wrong_key,
    no_model=openai_answer.no_model,
)
ANTHROPIC = Wire(
    request_id=anthropic_answer.REQUEST_ID,
    api_key=anthropic_request.api_key,
    read=anthropic_request.read,
    encode=anthropic_answer.encode,
    encode_events=anthropic_answer.encode_events,
    encode_error=anthropic_answer.encode_error,
    as_event=anthropic_answer.as_event,
    encode_models=anthropic_answer.encode_models,
    wrong_key=anthropic_answer.wrong_key,
    no_model=anthropic_answer.no_model,
)

COUNT_PATH = "/v1/messages/count_tokens"
MODELS_PATH = "/v1/models"
METHODS: Mapping[str, str] = {
    "/v1/chat/completions": "POST",
    "/v1/messages": "POST",
    COUNT_PATH: "POST",
    MODELS_PATH: "GET",
}
"""The paths that are served, and the method of each."""


def wire_of(path: str, headers: Mapping[str, str]) -> Wire:
    """Return the protocol of a request: the path's, or the one its headers are of."""
    if path.startswith("/v1/messages") or "anthropic-version" in headers or "x-api-key" in headers:
        return ANTHROPIC
    return OPENAI


def check_request(
    wire: Wire, method: str, path: str, headers: Mapping[str, str], keys: frozenset[str] | None
) -> None:
    """Refuse what the real server refuses before it looks at the body.

    Raises: RefusedError with 404 for a path, 405 for a method, 401 for a key (none, one that begins
    with `wrong`, or one that is not among `keys`), 400 for a header.
    """
    allowed = METHODS.get(path)
    if allowed is None:
        raise RefusedError(404, f"Invalid URL ({method} {path})")
    if method != allowed:
        raise RefusedError(405, f"Not allowed to {method} on {path}.")
    key = wire.api_key(headers)
    if not key or key.startswith("wrong") or (keys is not None and key not in keys):
        raise RefusedError(401, wire.wrong_key(key))
    if wire is ANTHROPIC and "anthropic-version" not in headers:
        raise RefusedError(400, "anthropic-version: header is required")
