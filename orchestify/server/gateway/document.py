"""The OpenAPI documentation of the gateway's endpoints; nothing here is used to serve them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Depends
from pydantic import BaseModel, Field

from orchestify.server.access.requiring import bearer
from orchestify.server.gateway.request import EFFORTS, MAX_KEY_CHARS, MAX_LABELS, MAX_VALUE_CHARS
from orchestify.server.problems import documented

_MODEL_EXAMPLES = ["agent:planner", "claude_main/claude-sonnet-4-5", "gpt-4o"]


class GatewayErrorDetail(BaseModel):
    """What failed; `code` tells apart what shares a status."""

    message: str = Field(examples=["messages: expected a list that is not empty"])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=["messages"])
    code: str | None = Field(examples=[None])


class GatewayError(BaseModel):
    """An error as OpenAI's protocol has it."""

    error: GatewayErrorDetail


_STATUSES: Mapping[int, str] = {
    400: "The request cannot be used, or the provider did not accept it",
    401: "A token is needed",
    403: "The token has not the scope `call`",
    404: "No such agent, provider or model",
    413: "The body is larger than the service takes",
    429: "Too many requests (`rate_limit_exceeded`), or a hard budget has no room "
    "(`budget_exceeded`, with `x-should-retry: false`)",
    502: "The provider failed, could not be reached, or does not accept the service's key",
    503: "The provider's circuit is open, or the service's database is away",
    504: "The provider did not answer in time",
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"description": _STATUSES[status], "model": GatewayError} for status in statuses
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT = {"type": "string"}
_WORD = {"type": "string", "minLength": 1}
_URL = {"type": "string", "pattern": "^(https?://|data:image/(png|jpeg|gif|webp);base64,)"}
_FUNCTION = _object({"name": _WORD, "arguments": _TEXT}, "name", "arguments")
_CALL = _object(
    {"id": _WORD, "type": {"const": "function"}, "function": _FUNCTION}, "id", "function"
)
_PART = {
    "anyOf": [
        _object({"type": {"const": "text"}, "text": _TEXT}, "type", "text"),
        _object(
            {"type": {"const": "image_url"}, "image_url": _object({"url": _URL}, "url")},
            "type",
            "image_url",
        ),
    ]
}
_SAID = {"anyOf": [_TEXT, {"type": "array", "items": _PART}]}
_BLOCK = _object({"type": {"enum": ["thinking", "redacted_thinking"]}}, "type")


def _message(*roles: str, required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    own = {"role": {"enum": list(roles)}, "content": _SAID, "name": _TEXT}
    return _object({**own, **properties}, "role", *required)


_MESSAGE = {
    "anyOf": [
        _message("system", "developer", "user", required=("content",)),
        _message("tool", required=("content", "tool_call_id"), tool_call_id=_WORD),
        _message(
            "assistant",
            required=(),
            content={"anyOf": [_SAID, {"type": "null"}]},
            tool_calls={"type": "array", "items": _CALL},
            reasoning_content={"type": "string", "description": "What the model thought"},
            thinking_blocks={
                "type": "array",
                "items": _BLOCK,
                "description": "As an answer had them: Claude wants them again beside tool calls",
            },
        ),
    ]
}
_TOOL = _object(
    {
        "type": {"const": "function"},
        "function": _object(
            {
                "name": _WORD,
                "description": _TEXT,
                "parameters": {"type": "object", "description": "A JSON Schema"},
                "strict": {"type": "boolean"},
            },
            "name",
        ),
    },
    "type",
    "function",
)
_LABEL = f"^[ -~]{{0,{MAX_VALUE_CHARS}}}$"
_NAMED = _object({"name": _WORD}, "name")
_COUNT = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_FORM = {
    "anyOf": [
        _object({"type": {"enum": ["text", "json_object"]}}, "type"),
        _object(
            {
                "type": {"const": "json_schema"},
                "json_schema": _object(
                    {"name": _WORD, "schema": {"type": "object"}, "strict": {"type": "boolean"}},
                    "name",
                ),
            },
            "type",
            "json_schema",
        ),
    ]
}
_REQUEST = {
    **_object(
        {
            "model": {**_WORD, "examples": _MODEL_EXAMPLES},
            "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
            "tools": {"type": "array", "items": _TOOL, "minItems": 1},
            "tool_choice": {
                "anyOf": [
                    {"enum": ["auto", "none", "required"]},
                    _object(
                        {"type": {"const": "function"}, "function": _NAMED}, "type", "function"
                    ),
                ]
            },
            "parallel_tool_calls": {"type": "boolean"},
            "response_format": _FORM,
            "temperature": {"type": "number", "minimum": 0},
            "top_p": {"type": "number", "minimum": 0, "maximum": 1},
            "stop": {"anyOf": [_WORD, {"type": "array", "items": _WORD}]},
            "seed": {"type": "integer"},
            "max_completion_tokens": _COUNT,
            "max_tokens": _COUNT,
            "reasoning_effort": {"enum": list(EFFORTS)},
            "stream": {"type": "boolean"},
            "stream_options": _object({"include_usage": {"type": "boolean"}}),
            "n": {"const": 1},
            "metadata": {
                "type": "object",
                "propertyNames": {"pattern": f"^[ -~]{{1,{MAX_KEY_CHARS}}}$"},
                "additionalProperties": {"type": "string", "pattern": _LABEL},
                "maxProperties": MAX_LABELS,
                "description": "Labels of the call in the ledger",
            },
        },
        "model",
        "messages",
    ),
    "dependentRequired": {"tool_choice": ["tools"]},
}
_USAGE = _object(
    {
        "prompt_tokens": {"type": "integer"},
        "completion_tokens": {"type": "integer"},
        "total_tokens": {"type": "integer"},
        "prompt_tokens_details": {"type": "object"},
        "completion_tokens_details": {"type": "object"},
        "cost": {
            **_or_null({"type": "number"}),
            "description": "USD; null where nobody knows the price",
        },
    },
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost",
)
_CHOICE = _object(
    {
        "index": {"type": "integer"},
        "message": {"type": "object"},
        "logprobs": {"type": "null"},
        "finish_reason": {"enum": ["stop", "length", "tool_calls", "content_filter"]},
    },
    "index",
    "message",
    "finish_reason",
)
_COMPLETION = _object(
    {
        "id": _TEXT,
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": _TEXT,
        "choices": {"type": "array", "items": _CHOICE},
        "usage": _USAGE,
    },
    "id",
    "object",
    "created",
    "model",
    "choices",
    "usage",
)
_ANSWER_EXAMPLE = {
    "id": "chatcmpl-019ba1f0c0de7aa1b2c3d4e5f6a7b8c9",
    "object": "chat.completion",
    "created": 1767225600,
    "model": "claude-sonnet-4-5",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost": 7.2e-05,
    },
}
_HEADERS = {
    name: {"description": what, "schema": _TEXT}
    for name, what in (
        ("x-orchestify-call-id", "The call's id in the ledger"),
        ("x-orchestify-provider", "The provider that answers"),
        ("x-orchestify-model", "The model it was asked for"),
        ("x-orchestify-attempts", "How many attempts it took"),
        ("x-orchestify-cost-usd", "What the call cost; absent in streams and where unknown"),
    )
}
_MODEL = _object(
    {
        "id": {"type": "string", "examples": _MODEL_EXAMPLES},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": _TEXT,
    },
    "id",
    "object",
    "created",
    "owned_by",
)
_MODEL_EXAMPLE = {"id": "agent:planner", "object": "model", "created": 0, "owned_by": "orchestify"}


def _route(
    schema: dict[str, Any],
    example: dict[str, Any],
    *statuses: int,
    also: dict[str, Any] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Return what a route is declared with; `also` stands beside the JSON in its answer."""
    content = {"application/json": {"schema": schema, "example": example}, **(also or {})}
    headers = {"headers": _HEADERS} if also else {}
    answered = {"description": "Answered", "content": content, **headers}
    return {
        "tags": ["gateway"],
        "dependencies": [Depends(bearer)],
        "responses": {200: answered, **_errors(401, 403, 429, 503, *statuses), **documented(500)},
        "openapi_extra": {"x-scope": "call", **extra},
    }


_EVENTS = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'data: {"id": "chatcmpl-019b", "object": "chat.completion.chunk", ...}\n\n'
        "data: [DONE]\n\n",
    }
}
_ASKED = {
    "schema": _REQUEST,
    "example": {"model": "agent:planner", "messages": [{"role": "user", "content": "hello"}]},
}
CHAT = _route(
    _COMPLETION,
    _ANSWER_EXAMPLE,
    *(400, 404, 413, 502, 504),
    also=_EVENTS,
    requestBody={"required": True, "content": {"application/json": _ASKED}},
)
MODELS = _route(
    _object({"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}}, "data"),
    {"object": "list", "data": [_MODEL_EXAMPLE]},
)
MODEL = _route(
    _MODEL,
    _MODEL_EXAMPLE,
    404,
    parameters=[
        {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}},
    ],
)
