"""Requests of Anthropic's Messages, as the stub server reads them.

Source: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestify.testing.answer import Ask, CachedPrefix, RefusedError, count_tokens
from orchestify.values import Tool, ToolChoice

_SIGNED = "c3R1Yg"
_MIN_THINKING_TOKENS = 1024
_CHOICES = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}


def api_key(headers: Mapping[str, str]) -> str:
    """Return the key of a request, empty where there is none."""
    return headers.get("x-api-key") or headers.get("Authorization", "").removeprefix("Bearer ")


def read(body: Mapping[str, Any]) -> Ask:
    """Return what a request asks for.

    Raises: RefusedError where the real server would answer 400.
    """
    ask = read_prompt(body)
    max_tokens = body.get("max_tokens")
    if max_tokens is None:
        raise RefusedError(400, "max_tokens: Field required")
    if not isinstance(max_tokens, int) or max_tokens < 1:
        raise RefusedError(400, "max_tokens: Input should be greater than or equal to 1")
    _check_thinking(body, max_tokens)
    return ask


def read_prompt(body: Mapping[str, Any]) -> Ask:
    """Return what a request asks for, which need not say how long the answer may be.

    Raises: RefusedError where the real server would answer 400.
    """
    if not body.get("model"):
        raise RefusedError(400, "model: Field required")
    messages = body.get("messages")
    if messages is None:
        raise RefusedError(400, "messages: Field required")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "messages: at least one message is required")
    _check_messages(messages)
    tools = tuple(_tools(body.get("tools") or ()))
    system = _text(body.get("system"))
    characters = len(system) + sum(len(_text(message["content"])) for message in messages)
    if tools:
        characters += len(json.dumps(body["tools"]))
    prompts = [_text(entry["content"]) for entry in messages if entry["role"] == "user"]
    return Ask(
        prompt=prompts[-1] if prompts else "",
        call_prefix="toolu",
        input_tokens=count_tokens(characters) + 3 * len(messages),
        max_tokens=body.get("max_tokens"),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        after_tool=bool(_blocks(messages[-1], "tool_result")),
        schema=_schema(body),
        thinking=_thinks(body),
        prefix=_prefix(body),
    )


def sign(thinking: str) -> str:
    """Return the signature of a thinking block; what is sent back with it must be the same text."""
    digest = hashlib.sha256(thinking.encode()).digest()
    return _SIGNED + base64.b64encode(digest).decode()


def _check_messages(messages: list[Any]) -> None:
    called: set[str] = set()
    for place, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            raise RefusedError(400, f'messages.{place}.role: Input should be "user" or "assistant"')
        if not message.get("content"):
            raise RefusedError(400, f"messages.{place}: content must be non-empty")
        for block in _blocks(message, "tool_result"):
            if block.get("tool_use_id") not in called:
                raise RefusedError(
                    400,
                    f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks. "
                    "Each `tool_result` block must have a corresponding `tool_use` block in the "
                    "previous message.",
                )
        called = {str(block.get("id")) for block in _blocks(message, "tool_use")}
        for block in _blocks(message, "thinking"):
            _check_signature(block, place)


def _check_signature(block: Mapping[str, Any], place: int) -> None:
    """Refuse a block without a signature, and a text that is not what the stub had signed."""
    signature = block.get("signature")
    ours = isinstance(signature, str) and signature.startswith(_SIGNED)
    if not signature or (ours and signature != sign(block.get("thinking", ""))):
        raise RefusedError(400, f"messages.{place}: Invalid `signature` in `thinking` block")


def _check_thinking(body: Mapping[str, Any], max_tokens: int) -> None:
    if not _thinks(body):
        return
    thinking = body["thinking"]
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < _MIN_THINKING_TOKENS:
            raise RefusedError(
                400,
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            )
        if budget >= max_tokens:
            raise RefusedError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature") not in (None, 1):
        raise RefusedError(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise RefusedError(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _thinks(body: Mapping[str, Any]) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


def _tools(tools: Sequence[Any]) -> Iterator[Tool]:
    """Yield the caller's tools; those that the provider runs itself (`web_search_...`) are not."""
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict) or not tool.get("name"):
            raise RefusedError(400, f"tools.{place}.name: Field required")
        if tool.get("type") not in (None, "custom"):
            continue
        if not isinstance(tool.get("input_schema"), dict):
            raise RefusedError(400, f"tools.{place}.custom.input_schema: Field required")
        yield Tool(tool["name"], input_schema=tool["input_schema"])


def _tool_choice(choice: Any, tools: tuple[Tool, ...]) -> ToolChoice | None:
    if choice is None:
        return None
    mode = _CHOICES.get(str(choice.get("type"))) if isinstance(choice, dict) else None
    if mode is None:
        raise RefusedError(400, "tool_choice: Input tag does not match any of the expected tags")
    if mode == "required" and not tools:
        raise RefusedError(400, "tool_choice: may only be specified while providing tools.")
    if mode == "tool" and choice.get("name") not in {tool.name for tool in tools}:
        raise RefusedError(400, "Tool in tool_choice not found in provided tools")
    return ToolChoice(mode, choice.get("name"))  # type: ignore[arg-type]


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema in `output_config.format`, or in `output_format`, its older name."""
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if not form:
        return None
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise RefusedError(400, "output_config.format.schema: Field required")
    schema: Mapping[str, Any] = form["schema"]
    return schema


def _prefix(body: Mapping[str, Any]) -> CachedPrefix | None:
    """Return the tools and the system prompt where one of them is marked for caching."""
    system = body.get("system")
    parts = [*(body.get("tools") or ()), *(system if isinstance(system, list) else ())]
    marks = [part["cache_control"] for part in parts if part.get("cache_control")]
    if not marks:
        return None
    return CachedPrefix(json.dumps(parts), any(mark.get("ttl") == "1h" for mark in marks))


def _blocks(message: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    content = message["content"]
    if isinstance(content, str):
        return []
    return [block for block in content if isinstance(block, dict) and block.get("type") == kind]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content or () if isinstance(block, dict))
