"""Headers of a call: its time limit, its cache, who answered, and the cost of a whole answer.

A stream's cost is in its last event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from orchestify.server.gateway.errors import HeaderPairs, request_id_headers
from orchestify.server.gateway.json_fields import wrong
from orchestify.values import Attempt, EmbeddingResponse, LLMResponse

CACHE_HEADER = "x-orchestify-cache"
CACHE_WORDS: Mapping[str, bool | str] = {"off": False, "refresh": "refresh"}
TIMEOUT_HEADER, MAX_TIMEOUT_S = "x-orchestify-timeout-s", 3600  # as in configurations over REST


def time_limit(headers: Mapping[str, str]) -> dict[str, float]:
    """Return the argument `timeout_s` of a call, where the request's header says it.

    Raises:
        InvalidParameterError: the header is no number of seconds, or too large a one.
    """
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return {}
    try:
        limit_s = float(text)
    except ValueError:
        limit_s = 0.0
    if not 0 < limit_s <= MAX_TIMEOUT_S:
        raise wrong(TIMEOUT_HEADER, f"expected seconds, more than 0 and up to {MAX_TIMEOUT_S}")
    return {"timeout_s": limit_s}


def cache_choice(headers: Mapping[str, str]) -> dict[str, bool | str]:
    """Return the argument `response_cache` of a call, where the request's header says it.

    Raises:
        InvalidParameterError: the header is another word than `off` and `refresh`.
    """
    word = headers.get(CACHE_HEADER)
    if word is None:
        return {}
    if word not in CACHE_WORDS:
        raise wrong(CACHE_HEADER, f"expected {' or '.join(CACHE_WORDS)}")
    return {"response_cache": CACHE_WORDS[word]}


def answer_headers(
    response: LLMResponse | EmbeddingResponse, warnings: Sequence[str] = ()
) -> HeaderPairs:
    """Return the headers of a whole answer; one whose price nobody knows has no cost."""
    told = (*warnings, *response.warnings)
    headers = call_headers(response.call_id, response.attempts, told)
    if response.cost_usd is not None:
        headers.append((b"x-orchestify-cost-usd", f"{response.cost_usd:f}".encode()))
    return headers


def call_headers(
    call_id: str, attempts: tuple[Attempt, ...], warnings: Sequence[str] = ()
) -> HeaderPairs:
    """Return the headers that tell a call, who answered it, and at which attempt."""
    headers = [(b"x-orchestify-call-id", call_id.encode()), *request_id_headers(call_id)]
    if attempts:
        sent = sum(each.outcome != "cached" for each in attempts)
        headers += [
            (b"x-orchestify-provider", _header(attempts[-1].provider)),
            (b"x-orchestify-model", _header(attempts[-1].model)),
            (b"x-orchestify-attempts", str(sent).encode()),
        ]
        if attempts[-1].outcome == "cached":
            headers.append((CACHE_HEADER.encode(), b"hit"))
    if warnings:
        headers.append((b"x-orchestify-warnings", _header(",".join(warnings))))
    return headers


def _header(value: str) -> bytes:
    """Return a value that every client can read; other characters are percent-encoded."""
    if value.isascii() and value.isprintable():
        return value.encode()
    return quote(value, safe=" /:;,=@+").encode()
