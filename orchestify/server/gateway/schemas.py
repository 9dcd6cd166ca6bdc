"""JSON Schemas of the gateway's bodies, for its OpenAPI documentation."""

from __future__ import annotations

from typing import Any

from orchestify.server.gateway.request import EFFORTS, MAX_KEY_CHARS, MAX_LABELS, MAX_VALUE_CHARS

_MODEL_EXAMPLES = ["agent:planner", "claude_main/claude-sonnet-4-5", "gpt-4o"]


def an_object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Return the schema of an object, with the fields it must have."""
    return {"type": "object", "properties": properties, "required": list(required)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT = {"type": "string"}
_WORD = {"type": "string", "minLength": 1}
_URL = {"type": "string", "pattern": "^(https?://|data:image/(png|jpeg|gif|webp);base64,)"}
_FUNCTION = an_object({"name": _WORD, "arguments": TEXT}, "name", "arguments")
_CALL = an_object(
    {"id": _WORD, "type": {"const": "function"}, "function": _FUNCTION}, "id", "function"
)
_PART = {
    "anyOf": [
        an_object({"type": {"const": "text"}, "text": TEXT}, "type", "text"),
        an_object(
            {"type": {"const": "image_url"}, "image_url": an_object({"url": _URL}, "url")},
            "type",
            "image_url",
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
_TOOL = an_object(
    {
        "type": {"const": "function"},
        "function": an_object(
            {
                "name": _WORD,
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
_NAMED = an_object({"name": _WORD}, "name")
_COUNT = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_FORM = {
    "anyOf": [
        an_object({"type": {"enum": ["text", "json_object"]}}, "type"),
        an_object(
            {
                "type": {"const": "json_schema"},
                "json_schema": an_object(
                    {"name": _WORD, "schema": {"type": "object"}, "strict": {"type": "boolean"}},
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
            "model": {**_WORD, "examples": _MODEL_EXAMPLES},
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
            "stop": {"anyOf": [_WORD, {"type": "array", "items": _WORD}]},
            "seed": {"type": "integer"},
            "max_completion_tokens": _COUNT,
            "max_tokens": _COUNT,
            "reasoning_effort": {
                "enum": list(EFFORTS),
                "description": "Where it is known that the model cannot think, all but `none` "
                "is refused with 400",
            },
            "stream": {"type": "boolean"},
            "stream_options": an_object({"include_usage": {"type": "boolean"}}),
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
        "id": {"type": "string", "examples": _MODEL_EXAMPLES},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": TEXT,
    },
    "id",
    "object",
    "created",
    "owned_by",
)
