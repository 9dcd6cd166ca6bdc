"""Requests of OpenAI's Chat Completions, as the stub server reads them.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestify.testing.answer import Ask, RefusedError, count_tokens
from orchestify.values import Tool, ToolChoice

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))


def api_key(headers: Mapping[str, str]) -> str:
    """Return the key of a request, empty where there is none."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else headers.get("api-key", "")


def read(body: Mapping[str, Any]) -> Ask:
    """Return what a request asks for.

    Raises: RefusedError where the real server would answer 400.
    """
    if not body.get("model"):
        raise RefusedError(400, "you must provide a model parameter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "Missing required parameter: 'messages'.", "messages")
    _check_messages(messages)
    tools = tuple(_tools(body.get("tools") or ()))
    prompts = [_text(entry) for entry in messages if entry["role"] == "user"]
    characters = sum(len(_text(entry)) for entry in messages)
    if tools:
        characters += len(json.dumps(body["tools"]))
    options = body.get("stream_options") or {}
    return Ask(
        prompt=prompts[-1] if prompts else "",
        call_prefix="call",
        input_tokens=count_tokens(characters) + 3 * len(messages),
        include_usage=body.get("stream") is not True or options.get("include_usage") is True,
        max_tokens=_max_tokens(body),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        after_tool=messages[-1]["role"] == "tool",
        schema=_schema(body.get("response_format")),
        thinking=body.get("reasoning_effort") not in (None, "none"),
    )


def _check_messages(messages: list[Any]) -> None:
    called: set[str] = set()
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise RefusedError(400, f"Invalid value: 'messages[{place}].role'.", "messages")
        for call in message.get("tool_calls") or ():
            called.add(call.get("id"))
        if message["role"] == "tool" and message.get("tool_call_id") not in called:
            raise RefusedError(
                400,
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                "message with 'tool_calls'.",
                f"messages.[{place}].role",
            )


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or limit < 1:
            raise RefusedError(400, f"Invalid value for '{name}': a positive integer.", name)
        return limit
    return None


def _tools(tools: Sequence[Any]) -> Iterator[Tool]:
    for place, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            raise RefusedError(
                400, f"Missing required parameter: 'tools[{place}].function'.", "tools"
            )
        yield Tool(function["name"], input_schema=function.get("parameters") or {})


def _tool_choice(choice: Any, tools: tuple[Tool, ...]) -> ToolChoice | None:
    if choice is None:
        return None
    if not tools:
        raise RefusedError(
            400, "'tool_choice' is only allowed when 'tools' are specified.", "tool_choice"
        )
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise RefusedError(400, "Invalid value for 'tool_choice'.", "tool_choice")
        return ToolChoice(choice)  # type: ignore[arg-type]
    name = choice.get("function", {}).get("name")
    if name not in {tool.name for tool in tools}:
        raise RefusedError(400, "Tool choice names no tool in 'tools'.", "tool_choice")
    return ToolChoice("tool", name)


def _schema(response_format: Any) -> Mapping[str, Any] | None:
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        return None
    schema = response_format.get("json_schema", {}).get("schema")
    if not isinstance(schema, dict):
        raise RefusedError(
            400,
            "Missing required parameter: 'response_format.json_schema.schema'.",
            "response_format.json_schema.schema",
        )
    return schema


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or () if isinstance(part, dict))
