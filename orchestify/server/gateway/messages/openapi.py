"""OpenAPI documentation of Anthropic's protocol; nothing here is used to serve it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from orchestify.server.gateway.openapi import (
    CACHE,
    COUNT,
    MODEL_EXAMPLES,
    TEXT,
    TIMEOUT,
    WORD,
    an_object,
    gateway_route,
)


class MessagesErrorDetail(BaseModel):
    """What failed."""

    type: str = Field(examples=["invalid_request_error"])
    message: str = Field(examples=["messages: expected a list that is not empty"])


class MessagesError(BaseModel):
    """An error as Anthropic's protocol has it."""

    type: Literal["error"]
    error: MessagesErrorDetail
    request_id: str | None


_MARK = an_object({"type": {"const": "ephemeral"}, "ttl": {"enum": ["5m"]}}, "type")
_TEXT = an_object({"type": {"const": "text"}, "text": WORD, "cache_control": _MARK}, "type", "text")
_URL = {"type": "string", "pattern": "^https?://"}
_SOURCE = {
    "anyOf": [
        an_object({"type": {"const": "url"}, "url": _URL}, "type", "url"),
        an_object(
            {"type": {"const": "base64"}, "media_type": {"enum": ["image/png"]}, "data": WORD},
            *("type", "media_type", "data"),
        ),
    ]
}
_IMAGE = an_object({"type": {"const": "image"}, "source": _SOURCE}, "type", "source")
_SAID = {"anyOf": [TEXT, {"type": "array", "items": {"anyOf": [_TEXT, _IMAGE]}}]}
_RESULT = an_object(
    {"type": {"const": "tool_result"}, "tool_use_id": WORD, "content": _SAID}, "type", "tool_use_id"
)
_CALL = an_object(
    {"type": {"const": "tool_use"}, "id": WORD, "name": WORD, "input": {"type": "object"}},
    *("type", "id", "name", "input"),
)
_THOUGHT = an_object(
    {"type": {"const": "thinking"}, "thinking": TEXT, "signature": TEXT}, "type", "thinking"
)


def _message(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    content = {"anyOf": [TEXT, {"type": "array", "items": {"anyOf": list(blocks)}}]}
    return an_object({"role": {"const": role}, "content": content}, "role", "content")


_MESSAGE = {
    "anyOf": [
        _message("user", _TEXT, _IMAGE, _RESULT),
        _message("assistant", _TEXT, _CALL, _THOUGHT),
    ]
}
_TOOL = an_object(
    {"name": WORD, "description": TEXT, "input_schema": {"type": "object", "minProperties": 1}},
    *("name", "input_schema"),
)
_CHOICE = {
    "anyOf": [
        an_object(
            {
                "type": {"enum": ["auto", "any", "none"]},
                "disable_parallel_tool_use": {"type": "boolean"},
            },
            "type",
        ),
        an_object({"type": {"const": "tool"}, "name": WORD}, "type", "name"),
    ]
}
_THINKING = {
    "anyOf": [
        an_object({"type": {"enum": ["adaptive", "disabled"]}}, "type"),
        an_object(
            {"type": {"const": "enabled"}, "budget_tokens": {**COUNT, "minimum": 1024}},
            *("type", "budget_tokens"),
        ),
    ]
}
_COUNTED = {
    "model": {**WORD, "examples": MODEL_EXAMPLES},
    "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
    "system": {"anyOf": [TEXT, {"type": "array", "items": _TEXT}]},
    "tools": {"type": "array", "items": _TOOL, "minItems": 1},
}
_REQUEST = {
    **an_object(
        {
            **_COUNTED,
            "tool_choice": _CHOICE,
            "thinking": _THINKING,
            "max_tokens": COUNT,
            "temperature": {"type": "number", "minimum": 0},
            "top_p": {"type": "number", "minimum": 0, "maximum": 1},
            "stop_sequences": {"type": "array", "items": WORD},
            "stream": {"type": "boolean"},
        },
        *("model", "messages", "max_tokens"),
    ),
    "dependentRequired": {"tool_choice": ["tools"]},
}
_USAGE = an_object(
    {"input_tokens": {"type": "integer"}, "output_tokens": {"type": "integer"}},
    *("input_tokens", "output_tokens"),
)
_ANSWER = an_object(
    {
        "id": TEXT,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": TEXT,
        "content": {"type": "array", "items": {"type": "object"}},
        "stop_reason": TEXT,
        "usage": _USAGE,
    },
    *("id", "type", "role", "model", "content", "stop_reason", "usage"),
)
_EXAMPLE = {
    "id": "msg_019ba1f0c0de7aa1b2c3d4e5f6a7b8c9",
    "type": "message",
    "role": "assistant",
    "model": "agent:planner",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3},
}
_EVENTS = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'event: message_stop\ndata: {"type": "message_stop"}\n\n',
    }
}
_HELLO = {"model": "agent:planner", "messages": [{"role": "user", "content": "hello"}]}
_HEADERS = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": what,
        "schema": {"type": "string", "pattern": "^[!-~]*$"},
    }
    for name, what in (
        ("anthropic-version", "Goes to Anthropic with the tenant's own key"),
        ("anthropic-beta", "Betas, by commas; with the operator's key those that they allow"),
    )
]


def _body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": True, "content": content}


MESSAGES = gateway_route(
    _ANSWER,
    _EXAMPLE,
    *(400, 404, 413, 502, 504),
    also=_EVENTS,
    error=MessagesError,
    parameters=[TIMEOUT, CACHE, *_HEADERS],
    requestBody=_body(_REQUEST, {**_HELLO, "max_tokens": 1024}),
)
COUNT_TOKENS = gateway_route(
    an_object({"input_tokens": {"type": "integer"}}, "input_tokens"),
    {"input_tokens": 9},
    *(400, 404, 413, 502, 504),
    error=MessagesError,
    parameters=_HEADERS,
    requestBody=_body(an_object(_COUNTED, "model", "messages"), _HELLO),
)
