"""OpenAPI documentation of OpenAI's Embeddings; nothing here is used to serve them."""

from __future__ import annotations

from typing import Any

from orchestify.calls.embedding import MAX_DIMENSIONS
from orchestify.server.gateway.embeddings.request import MAX_INPUTS, MAX_TOKENS_AN_INPUT
from orchestify.server.gateway.openapi import TEXT, TIMEOUT, WORD, an_object, gateway_route

_MODEL = "openai/text-embedding-3-small"
_TOKENS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "minItems": 1,
    "maxItems": MAX_TOKENS_AN_INPUT,
}


def _some(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_INPUTS}


_REQUEST = {
    **an_object(
        {
            "model": {**WORD, "examples": [_MODEL]},
            "input": {"anyOf": [WORD, _some(WORD), _TOKENS, _some(_TOKENS)]},
            "dimensions": {"type": "integer", "minimum": 1, "maximum": MAX_DIMENSIONS},
            "encoding_format": {"enum": ["float", "base64"]},
            "user": TEXT,
        },
        "model",
        "input",
    ),
    "additionalProperties": False,
}
_ROW = an_object(
    {
        "object": {"const": "embedding"},
        "index": {"type": "integer"},
        "embedding": {"anyOf": [{"type": "array", "items": {"type": "number"}}, TEXT]},
    },
    *("object", "index", "embedding"),
)
_USAGE = an_object(
    {
        "prompt_tokens": {"type": "integer"},
        "total_tokens": {"type": "integer"},
        "cost": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    *("prompt_tokens", "total_tokens", "cost"),
)
_ANSWER = an_object(
    {
        "object": {"const": "list"},
        "data": {"type": "array", "items": _ROW},
        "model": TEXT,
        "usage": _USAGE,
    },
    *("object", "data", "model", "usage"),
)
_EXAMPLE = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
    "model": _MODEL,
    "usage": {"prompt_tokens": 2, "total_tokens": 2, "cost": 4e-08},
}
_HELLO = {"schema": _REQUEST, "example": {"model": _MODEL, "input": ["hello", "world"]}}
EMBEDDINGS = gateway_route(
    _ANSWER,
    _EXAMPLE,
    *(400, 404, 413, 502, 504),
    tells_call=True,
    parameters=[TIMEOUT],
    requestBody={"required": True, "content": {"application/json": _HELLO}},
)
