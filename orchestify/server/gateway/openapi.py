"""OpenAPI documentation of the gateway's endpoints; nothing here is used to serve them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Depends
from pydantic import BaseModel, Field

from orchestify.server.access.authentication import api_key, bearer
from orchestify.server.gateway.call_headers import (
    CACHE_HEADER,
    CACHE_WORDS,
    MAX_TIMEOUT_S,
    TIMEOUT_HEADER,
)
from orchestify.server.gateway.chat.request import (
    EFFORTS,
    MAX_KEY_CHARS,
    MAX_LABELS,
    MAX_VALUE_CHARS,
)

MODEL_EXAMPLES = ["agent:planner", "claude_main/claude-sonnet-4-6", "gpt-4o"]


def an_object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Return the schema of an object, with the fields it must have."""
    return {"type": "object", "properties": properties, "required": list(required)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT = {"type": "string"}
WORD = {"type": "string", "minLength": 1}
_URL = {"type": "string", "pattern": "^(https?://|data:image/(png|jpeg|gif|webp);base64,)"}
_FILE = {"type": "string", "pattern": "^data:[a-z]+/[a-z]+;base64,[A-Za-z0-9+/]+=*$"}
_FUNCTION = an_object({"name": WORD, "arguments": TEXT}, "name", "arguments")
_CALL = an_object(
    {"id": WORD, "type": {"const": "function"}, "function": _FUNCTION}, "id", "function"
)
_PART = {
    "anyOf": [
        an_object({"type": {"const": "text"}, "text": TEXT}, "type", "text"),
        an_object(
            {"type": {"const": "image_url"}, "image_url": an_object({"url": _URL}, "url")},
            "type",
            "image_url",
        ),
        an_object(
            {
                "type": {"const": "file"},
                "file": an_object({"filename": TEXT, "file_data": _FILE}, "file_data"),
            },
            "type",
            "file",
        ),
    ]
}
_SAID = {"anyOf": [TEXT, {"type": "array", "items": _PART}]}
_BLOCK = an_object({"type": {"enum": ["thinking", "redacted_thinking"]}}, "type")


def _message(*roles: str, required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    own = {"role": {"enum": list(roles)}, "content": _SAID, "name": TEXT}
    return an_object({**own, **properties}, "role", *required)


_MESSAGE = {
    "anyOf": [
        _message("system", "developer", "user", required=("content",)),
        _message("tool", required=("content", "tool_call_id"), tool_call_id=WORD),
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
_TOOL = an_object(
    {
        "type": {"const": "function"},
        "function": an_object(
            {
                "name": WORD,
                "description": TEXT,
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
METADATA = {
    "type": "object",
    "propertyNames": {"pattern": f"^[ -~]{{1,{MAX_KEY_CHARS}}}$"},
    "additionalProperties": {"type": "string", "pattern": _LABEL},
    "maxProperties": MAX_LABELS,
    "description": "Labels of the call in the ledger",
}
_NAMED = an_object({"name": WORD}, "name")
COUNT = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_FORM = {
    "anyOf": [
        an_object({"type": {"enum": ["text", "json_object"]}}, "type"),
        an_object(
            {
                "type": {"const": "json_schema"},
                "json_schema": an_object(
                    {"name": WORD, "schema": {"type": "object"}, "strict": {"type": "boolean"}},
                    "name",
                ),
            },
            "type",
            "json_schema",
        ),
    ]
}
REQUEST = {
    **an_object(
        {
            "model": {**WORD, "examples": MODEL_EXAMPLES},
            "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
            "tools": {"type": "array", "items": _TOOL, "minItems": 1},
            "tool_choice": {
                "anyOf": [
                    {"enum": ["auto", "none", "required"]},
                    an_object(
                        {"type": {"const": "function"}, "function": _NAMED}, "type", "function"
                    ),
                ]
            },
            "parallel_tool_calls": {"type": "boolean"},
            "response_format": _FORM,
            "temperature": {"type": "number", "minimum": 0},
            "top_p": {"type": "number", "minimum": 0, "maximum": 1},
            "stop": {"anyOf": [WORD, {"type": "array", "items": WORD}]},
            "seed": {"type": "integer"},
            "max_completion_tokens": COUNT,
            "max_tokens": COUNT,
            "reasoning_effort": {
                "enum": list(EFFORTS),
                "description": "Where it is known that the model cannot think, all but `none` "
                "is refused with 400",
            },
            "reasoning": an_object(
                {
                    "effort": {"enum": list(EFFORTS)},
                    "max_tokens": COUNT,
                    "enabled": {"type": "boolean"},
                }
            ),
            "stream": {"type": "boolean"},
            "stream_options": an_object({"include_usage": {"type": "boolean"}}),
            "n": {"const": 1},
            "metadata": METADATA,
        },
        "model",
        "messages",
    ),
    "dependentRequired": {"tool_choice": ["tools"]},
}
_USAGE = an_object(
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
_CHOICE = an_object(
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
COMPLETION = an_object(
    {
        "id": TEXT,
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": TEXT,
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
LISTED = an_object(
    {
        "id": {"type": "string", "examples": MODEL_EXAMPLES},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": TEXT,
        "type": {"const": "model"},
        "display_name": TEXT,
        "created_at": TEXT,
    },
    "id",
    "object",
    "created",
    "owned_by",
)


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
    404: "No such agent, provider or model; or nothing of this id is kept",
    413: "The body is larger than the service takes",
    429: "Too many requests (`rate_limit_exceeded`), or a hard budget has no room "
    "(`budget_exceeded`, with `x-should-retry: false`, and `Retry-After` where the next period "
    "has room for the call)",
    500: "The service failed",
    502: "The provider failed, could not be reached, or does not accept the service's key",
    503: "The provider's circuit is open, the service's database is away "
    "(`ledger_unavailable` where it is a budget's), or the service is ending",
    504: "The provider did not answer, or a limit had no turn for the call, in time",
}


def _errors(
    *statuses: int, headers: dict[str, Any], model: type[BaseModel]
) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"description": _STATUSES[status], "model": model, "headers": headers}
        for status in statuses
    }


_ANSWER_EXAMPLE = {
    "id": "chatcmpl-019ba1f0c0de7aa1b2c3d4e5f6a7b8c9",
    "object": "chat.completion",
    "created": 1767225600,
    "model": "claude-sonnet-4-6",
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
    name: {"description": what, "schema": TEXT}
    for name, what in (
        ("x-orchestify-call-id", "The call's id in the ledger"),
        ("x-orchestify-provider", "The provider that answers"),
        ("x-orchestify-model", "The model it was asked for"),
        ("x-orchestify-attempts", "How many attempts it took"),
        ("x-orchestify-cost-usd", "What the call cost; absent in streams and where unknown"),
        (CACHE_HEADER, "`hit` where the response cache had the answer; then nothing was sent"),
        ("x-orchestify-warnings", "What of the request was left out or changed, if anything"),
    )
}
_CALL_ID = "x-orchestify-call-id"
_ERROR_HEADERS = {
    _CALL_ID: {**_HEADERS[_CALL_ID], "description": "The call's id, where it came to a call"}
}
CACHE = {
    "name": CACHE_HEADER,
    "in": "header",
    "required": False,
    "description": "Where answers are kept for equal requests: `off` neither reads nor keeps one, "
    "`refresh` asks and keeps a new one",
    "schema": {"type": "string", "enum": [*CACHE_WORDS]},
}
TIMEOUT = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Seconds that the call may take, its turn at rate limits and budgets and all "
    "attempts included; for a stream, until its first output",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_S},
}
_MODEL_EXAMPLE = {"id": "agent:planner", "object": "model", "created": 0, "owned_by": "orchestify"}


def gateway_route(
    schema: dict[str, Any],
    example: dict[str, Any],
    *statuses: int,
    also: dict[str, Any] | None = None,
    tells_call: bool = False,
    error: type[BaseModel] = GatewayError,
    **extra: Any,
) -> dict[str, Any]:
    """Return what a route is declared with; `also` stands beside the JSON in its answer.

    Where it `tells_call`, or has a stream as well, its headers are those of a call.
    """
    tells_call |= also is not None
    content = {"application/json": {"schema": schema, "example": example}, **(also or {})}
    told = _HEADERS if tells_call else {}
    answered = {"description": "Answered", "content": content, "headers": told}
    headers = _ERROR_HEADERS if tells_call else {}
    errors = _errors(401, 403, 429, 500, 503, *statuses, headers=headers, model=error)
    return {
        "tags": ["gateway"],
        "dependencies": [Depends(bearer), Depends(api_key)],
        "responses": {200: answered, **errors},
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
    "schema": REQUEST,
    "example": {"model": "agent:planner", "messages": [{"role": "user", "content": "hello"}]},
}
CHAT = gateway_route(
    COMPLETION,
    _ANSWER_EXAMPLE,
    *(400, 404, 413, 502, 504),
    also=_EVENTS,
    parameters=[TIMEOUT, CACHE],
    requestBody={"required": True, "content": {"application/json": _ASKED}},
)
MODELS = gateway_route(
    an_object({"object": {"const": "list"}, "data": {"type": "array", "items": LISTED}}, "data"),
    {"object": "list", "data": [_MODEL_EXAMPLE]},
)
MODEL = gateway_route(
    LISTED,
    _MODEL_EXAMPLE,
    404,
    parameters=[
        {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}},
    ],
)
