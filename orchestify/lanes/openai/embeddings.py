"""OpenAI's embeddings: the request's body, and the vectors out of the answer.

Source: OpenAI, "API reference: Create embeddings".
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Mapping
from typing import Any

from orchestify.lanes.answers import (
    MODEL_CHARS,
    openai_usage,
    report_in,
    reported_cost_usd,
)
from orchestify.lanes.failures import MISSHAPEN, MalformedError, misread, refused_inline
from orchestify.lanes.openai.dialects import UNKNOWN, Dialect
from orchestify.values import NOTHING, EmbeddingRequest, EmbeddingResponse

PATH = "/embeddings"


def embeddings_body(request: EmbeddingRequest, dialect: Dialect) -> dict[str, Any]:
    """Return the body for a request; an option that is None takes its field out."""
    body: dict[str, Any] = {
        "model": request.model,
        "input": [each if isinstance(each, str) else list(each) for each in request.inputs],
        "dimensions": request.dimensions,
        "encoding_format": "base64" if dialect.packed_vectors else None,
        **request.options,
    }
    return {name: value for name, value in body.items() if value is not None}


def embeddings_of(
    body: Any,
    request: EmbeddingRequest,
    headers: Mapping[str, str] = NOTHING,
    dialect: Dialect = UNKNOWN,
) -> EmbeddingResponse:
    """Return the vectors of an answer, in the order of the inputs whatever theirs is.

    Raises:
        RefusedError: an error inside a 200.
        MalformedError: no such answer, or not one vector for each input. It holds the usage that
            the body reports.
    """
    if not isinstance(body, dict):
        raise MalformedError("the answer is JSON, but no object")
    if not body.get("data") and body.get("error"):
        raise refused_inline(body)
    report = report_in(body, dialect.usage)
    usage = openai_usage(report, None, dialect.usage, dialect.costs, unseen=None)
    cost = reported_cost_usd(report, dialect.costs)
    try:
        vectors = _vectors(body, len(request.inputs))
    except MalformedError as error:
        error.usage, error.cost_usd = usage, cost
        raise
    model = body.get("model")
    return EmbeddingResponse(
        vectors,
        model[:MODEL_CHARS] if isinstance(model, str) else "",
        usage,
        cost,
        "none" if cost is None else "provider",
        headers=headers,
    )


def _vectors(body: Mapping[str, Any], count: int) -> tuple[array[float], ...]:
    try:
        rows = {_index(row, number): row["embedding"] for number, row in enumerate(body["data"])}
        if rows.keys() != set(range(count)):
            raise MalformedError(f"the answer has not one vector for each of {count} inputs")
        vectors = tuple(vector_of(rows[number]) for number in range(count))
    except MISSHAPEN:
        raise misread("a vector") from None
    if len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise MalformedError("the vectors are not of one size")
    return vectors


def _index(row: Mapping[str, Any], number: int) -> int:
    """Return which input a row is of; where it does not say, they come in order."""
    index = row.get("index")
    return index if type(index) is int else number


def vector_of(given: Any) -> array[float]:
    """Return a vector given as numbers, or as base64 of 32-bit floats, the lowest byte first.

    Raises:
        ValueError, TypeError: it is neither, or holds what is no number.
    """
    if isinstance(given, str):
        vector = array("f", _decoded(given))
        if sys.byteorder == "big":
            vector.byteswap()
    else:
        if any(type(number) is bool for number in given):
            raise TypeError
        vector = array("d", given)
    if not all(map(math.isfinite, vector)):
        raise ValueError
    return vector


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError from None
