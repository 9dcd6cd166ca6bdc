"""OpenAPI documentation of OpenAI's Responses; nothing here is used to serve them."""

from __future__ import annotations

from typing import Any

from orchestify.server.gateway.chat.request import EFFORTS
from orchestify.server.gateway.openapi import (
    CACHE,
    COUNT,
    METADATA,
    MODEL_EXAMPLES,
    TEXT,
    TIMEOUT,
    WORD,
    an_object,
    gateway_route,
)

_URL = {"type": "string", "pattern": "^https?://"}
_SAID = an_object({"type": {"const": "input_text"}, "text": TEXT}, "type", "text")
_IMAGE = an_object({"type": {"const": "input_image"}, "image_url": _URL}, "type", "image_url")
_ANSWERED = an_object({"type": {"const": "output_text"}, "text": TEXT}, "type", "text")


def _content(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [TEXT, {"type": "array", "items": {"anyOf": list(parts)}}]}


_ITEM = {
    "anyOf": [
        an_object(
            {
                "type": {"const": "message"},
                "role": {"enum": ["user", "system", "developer"]},
                "content": _content(_SAID, _IMAGE),
            },
            *("role", "content"),
        ),
        an_object(
            {
                "type": {"const": "message"},
                "role": {"const": "assistant"},
                "content": _content(_ANSWERED),
            },
            *("role", "content"),
        ),
        an_object(
            {
                "type": {"const": "function_call"},
                "call_id": WORD,
                "name": WORD,
                "arguments": TEXT,
            },
            *("type", "call_id", "name", "arguments"),
        ),
        an_object(
            {
                "type": {"const": "function_call_output"},
                "call_id": WORD,
                "output": _content(_SAID),
            },
            *("type", "call_id", "output"),
        ),
        an_object(
            {
                "type": {"const": "reasoning"},
                "id": WORD,
                "summary": {"type": "array", "items": {"type": "object"}},
                "encrypted_content": {
                    **TEXT,
                    "description": "As an answer had it: Claude and Gemini want it again beside "
                    "tool calls",
                },
            },
            *("type", "summary"),
        ),
    ]
}
_TOOL = an_object(
    {
        "type": {"const": "function"},
        "name": WORD,
        "description": TEXT,
        "parameters": {"type": "object", "description": "A JSON Schema"},
        "strict": {"type": "boolean"},
    },
    *("type", "name"),
)
_CHOICE = {
    "anyOf": [
        {"enum": ["auto", "none", "required"]},
        an_object({"type": {"const": "function"}, "name": WORD}, "type", "name"),
    ]
}
_FORMAT = {
    "anyOf": [
        an_object({"type": {"enum": ["text", "json_object"]}}, "type"),
        an_object(
            {
                "type": {"const": "json_schema"},
                "name": WORD,
                "schema": {"type": "object", "minProperties": 1},
                "strict": {"type": "boolean"},
            },
            *("type", "name", "schema"),
        ),
    ]
}
_REQUEST = an_object(
    {
        "model": {**WORD, "examples": MODEL_EXAMPLES},
        "input": {"anyOf": [WORD, {"type": "array", "items": _ITEM, "minItems": 1}]},
        "instructions": TEXT,
        "previous_response_id": {
            **TEXT,
            "description": "Of an answer that is kept, whose conversation this one goes on with",
        },
        "store": {
            "type": "boolean",
            "default": True,
            "description": "Whether the answer and its conversation are kept for 24 hours",
        },
        "tools": {"type": "array", "items": _TOOL},
        "tool_choice": _CHOICE,
        "parallel_tool_calls": {"type": "boolean"},
        "text": an_object({"format": _FORMAT}),
        "reasoning": an_object({"effort": {"enum": list(EFFORTS)}}),
        "include": {"type": "array", "items": {"enum": ["reasoning.encrypted_content"]}},
        "temperature": {"type": "number", "minimum": 0},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "max_output_tokens": COUNT,
        "stream": {"type": "boolean"},
        "metadata": METADATA,
    },
    *("model", "input"),
)
_USAGE = an_object(
    {
        "input_tokens": {"type": "integer"},
        "input_tokens_details": {"type": "object"},
        "output_tokens": {"type": "integer"},
        "output_tokens_details": {"type": "object"},
        "total_tokens": {"type": "integer"},
    },
    *("input_tokens", "output_tokens", "total_tokens"),
)
_ANSWER = an_object(
    {
        "id": TEXT,
        "object": {"const": "response"},
        "created_at": {"type": "number"},
        "status": {"enum": ["completed", "incomplete"]},
        "model": TEXT,
        "output": {"type": "array", "items": an_object({"type": TEXT}, "type")},
        "store": {"type": "boolean"},
        "usage": _USAGE,
    },
    *("id", "object", "status", "model", "output", "usage"),
)
_ID = "resp_019ba1f0c0de7aa1b2c3d4e5f6a7b8c9"
_EXAMPLE = {
    "id": _ID,
    "object": "response",
    "created_at": 1767225600,
    "status": "completed",
    "model": "agent:planner",
    "output": [
        {
            "id": "msg_019ba1f0c0de7aa1b2c3d4e5f6a7b8c9_0",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        }
    ],
    "store": True,
    "usage": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
}
_EVENTS = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'event: response.completed\ndata: {"type": "response.completed", ...}\n\n',
    }
}
_ASKED = {"schema": _REQUEST, "example": {"model": "agent:planner", "input": "hello"}}
_NAMED = [{"name": "response", "in": "path", "required": True, "schema": {"type": "string"}}]
_DELETED = an_object(
    {"id": TEXT, "object": {"const": "response"}, "deleted": {"const": True}}, "id", "deleted"
)

RESPONSES = gateway_route(
    _ANSWER,
    _EXAMPLE,
    *(400, 404, 413, 502, 504),
    also=_EVENTS,
    parameters=[TIMEOUT, CACHE],
    requestBody={"required": True, "content": {"application/json": _ASKED}},
)
RESPONSE = gateway_route(_ANSWER, _EXAMPLE, 404, parameters=_NAMED)
DELETE_RESPONSE = gateway_route(
    _DELETED, {"id": _ID, "object": "response", "deleted": True}, 404, parameters=_NAMED
)
