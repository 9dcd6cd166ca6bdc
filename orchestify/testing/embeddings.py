"""OpenAI's embeddings as the stub server reads and writes them.

A vector is made of its input alone: the same input has the same one, whatever stands beside it.
Source: https://platform.openai.com/docs/api-reference/embeddings/create.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from orchestify.testing.answer import ParsedRequest, RefusedError, count_tokens
from orchestify.testing.reply import Reply
from orchestify.values import Usage

DIMENSIONS = 8
MOST_INPUTS = 2_048
_MOST_DIMENSIONS = 3_072


def read_inputs(body: Mapping[str, Any]) -> ParsedRequest:
    """Return what a request asks for.

    Raises: RefusedError where the real server would answer 400.
    """
    if not body.get("model"):
        raise RefusedError(400, "you must provide a model parameter")
    size = body.get("dimensions", DIMENSIONS)
    if type(size) is not int or not 0 < size <= _MOST_DIMENSIONS:
        raise RefusedError(400, "Invalid value for 'dimensions'.", "dimensions")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise RefusedError(400, "Invalid value: 'encoding_format'.", "encoding_format")
    return ParsedRequest(
        prompt="", call_prefix="", input_tokens=sum(map(_tokens, _inputs(body.get("input"))))
    )


def encode_vectors(body: Mapping[str, Any], model: str, ask: ParsedRequest, reply: Reply) -> bytes:
    """Return the answer to a request that was read."""
    size = body.get("dimensions", DIMENSIONS)
    is_packed = body.get("encoding_format") == "base64"
    rows = [
        {"object": "embedding", "index": at, "embedding": _vector(given, size, packed=is_packed)}
        for at, given in enumerate(_inputs(body["input"]))
    ]
    answer = {
        "object": "list",
        "data": rows,
        "model": reply.model or model,
        "usage": _report(reply, billed(ask, reply)),
    }
    return json.dumps({name: each for name, each in answer.items() if each != {}}).encode()


def billed(ask: ParsedRequest, reply: Reply) -> Usage | None:
    """Return the tokens that are billed, None where the reply brings its own mapping."""
    usage = reply.usage
    if usage is None:
        return Usage(ask.input_tokens)
    return usage if isinstance(usage, Usage) else None


def _report(reply: Reply, usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return dict(reply.usage) if isinstance(reply.usage, Mapping) else {}
    report = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
    return report if reply.cost_usd is None else {**report, "cost": reply.cost_usd}


def _inputs(given: Any) -> list[Any]:
    """Return a list of texts, or of lists of tokens; one of either may stand alone."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list) and given and all(type(each) is int for each in given):
        given = [given]
    is_list = isinstance(given, list) and 0 < len(given) <= MOST_INPUTS
    if not is_list or not all(each and isinstance(each, (str, list)) for each in given):
        raise RefusedError(400, "'$.input' is invalid.", "input")
    return list(given)


def _tokens(given: Any) -> int:
    return count_tokens(len(given)) if isinstance(given, str) else len(given)


def _vector(given: Any, size: int, *, packed: bool) -> list[float] | str:
    digest = hashlib.shake_128(json.dumps(given).encode()).digest(size)
    numbers = [(byte - 128) / 128 for byte in digest]  # a 32-bit float holds them exactly
    if packed:
        return base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
    return numbers
