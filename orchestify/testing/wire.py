"""The protocols behind one shape, and which of them a request speaks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestify.testing import anthropic, openai, responses
from orchestify.testing.account import StubRequest
from orchestify.testing.answer import Answer, Events, ParsedRequest, RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One provider's protocol. `request_id` is the name of the header that carries it."""

    request_id: str
    api_key: Callable[[Mapping[str, str]], str]
    read: Callable[[Mapping[str, Any]], ParsedRequest]
    encode: Callable[[Answer], bytes]
    encode_events: Callable[[Answer], Events]
    encode_error: Callable[[int, str, str, str | None], bytes]
    as_event: Callable[[bytes], bytes]
    encode_models: Callable[[Sequence[str]], bytes]
    wrong_key: Callable[[str], str]
    no_model: Callable[[str], str]


OPENAI = Wire(
    request_id=openai.REQUEST_ID,
    api_key=openai.api_key,
    read=openai.read,
    encode=openai.encode,
    encode_events=openai.encode_events,
    encode_error=openai.encode_error,
    as_event=openai.as_event,
    encode_models=openai.encode_models,
    wrong_key=openai.wrong_key,
    no_model=openai.no_model,
)
RESPONSES = replace(
    OPENAI,
    read=responses.read,
    encode=responses.encode,
    encode_events=responses.encode_events,
    as_event=responses.as_event,
)
ANTHROPIC = Wire(
    request_id=anthropic.REQUEST_ID,
    api_key=anthropic.api_key,
    read=anthropic.read,
    encode=anthropic.encode,
    encode_events=anthropic.encode_events,
    encode_error=anthropic.encode_error,
    as_event=anthropic.as_event,
    encode_models=anthropic.encode_models,
    wrong_key=anthropic.wrong_key,
    no_model=anthropic.no_model,
)

COUNT_PATH = "/v1/messages/count_tokens"
MODELS_PATH = "/v1/models"
RESPONSES_PATH = "/v1/responses"
EMBEDDINGS_PATH = "/v1/embeddings"
METHODS: Mapping[str, str] = {
    "/v1/chat/completions": "POST",
    RESPONSES_PATH: "POST",
    "/v1/messages": "POST",
    COUNT_PATH: "POST",
    EMBEDDINGS_PATH: "POST",
    MODELS_PATH: "GET",
}
"""The paths that are served, and the method of each."""


def wire_of(path: str, headers: Mapping[str, str]) -> Wire:
    """Return the protocol of a request: the path's, or the one its headers are of."""
    if path == RESPONSES_PATH:
        return RESPONSES
    if path.startswith("/v1/messages") or "anthropic-version" in headers or "x-api-key" in headers:
        return ANTHROPIC
    return OPENAI


def read_body(seen: StubRequest) -> dict[str, Any]:
    """Read a request's body as JSON, note it in `seen`, and return it.

    Raises:
        RefusedError: it is no JSON object.
    """
    try:
        seen.body = json.loads(seen.raw_body)
    except ValueError:
        raise RefusedError(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(seen.body, dict):
        raise RefusedError(400, "The body of your request is not a JSON object.")
    return seen.body


def check_request(
    wire: Wire, method: str, path: str, headers: Mapping[str, str], keys: frozenset[str] | None
) -> None:
    """Refuse what the real server refuses before it looks at the body.

    Raises: RefusedError with 404 for a path, 405 for a method, and as `check_headers` does.
    """
    allowed = METHODS.get(path)
    if allowed is None:
        raise RefusedError(404, f"Invalid URL ({method} {path})")
    if method != allowed:
        raise RefusedError(405, f"Not allowed to {method} on {path}.")
    check_headers(wire, headers, keys)


def check_headers(wire: Wire, headers: Mapping[str, str], keys: frozenset[str] | None) -> None:
    """Refuse a key or headers that the real server refuses.

    Raises: RefusedError with 401 for a key (none, one that begins with `wrong`, or one that is not
    among `keys`), 400 for a header.
    """
    key = wire.api_key(headers)
    if not key or key.startswith("wrong") or (keys is not None and key not in keys):
        raise RefusedError(401, wire.wrong_key(key))
    if wire is ANTHROPIC and "anthropic-version" not in headers:
        raise RefusedError(400, "anthropic-version: header is required")
