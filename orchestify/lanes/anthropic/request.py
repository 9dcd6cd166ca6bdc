"""Anthropic's Messages: the request's body.

Source: Anthropic, "API reference: Create a message".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any

from orchestify.lanes.anthropic.claude_models import (
    claude_of,
    output_schema,
    refused_by_claude,
    thinking_fields,
)
from orchestify.values import (
    CompletionRequest,
    ImagePart,
    LLMMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)

VERSION = "2023-06-01"
MAX_TOKENS = 8192  # Anthropic wants a limit; sent where none was configured or given
JSON_TOOL = "json_tool_call"  # the tool that stands in for a JSON schema on older models

_CACHED = {"type": "ephemeral"}
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "tool": "tool"}
_ANY_JSON = (
    "Answer with one JSON object and nothing else: no text before or after it, and no code fence."
)
_NOTE = (
    "Operator note (not from the user): the following was originally a mid-conversation "
    "system-role reminder."
)
_DUMMY_TOOL = {
    "name": "dummy_tool",
    "description": "This is a dummy tool call",
    "input_schema": {"type": "object", "properties": {}},
    "type": "custom",
}
# Anthropic's own blocks that go back as they came, beside `thinking` and the tools' results.
_OWN_BLOCKS = frozenset({"redacted_thinking", "server_tool_use", "mcp_tool_use", "compaction"})

# Server tools that need a beta header, by the beginning of their type.
# Source: Anthropic, each tool's page.
_TOOL_BETAS: Mapping[str, str] = {
    "code_execution_20250825": "code-execution-2025-08-25",
    "code_execution_20250522": "code-execution-2025-05-22",
    "computer_20241022": "computer-use-2024-10-22",
    "computer_20250124": "computer-use-2025-01-24",
    "computer_20251124": "computer-use-2025-11-24",
    "web_fetch_20250910": "web-fetch-2025-09-10",
    "memory_20250818": "context-management-2025-06-27",
    "tool_search_tool_": "advanced-tool-use-2025-11-20",
    "advisor_": "advisor-tool-2026-03-01",
}
_JSON_BETA = "structured-outputs-2025-11-13"


def request_body(request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
    """Return the body for a request; what was neither configured nor given is left out."""
    request = asking_for_json(request)
    system = list(takewhile(lambda message: message.role == "system", request.messages))
    later = request.messages[len(system) :]
    refused = refused_by_claude(request.model, thinking=request.thinking is not None)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(later),
        "system": [block for message in system for block in _parts(message)] or None,
        "max_tokens": request.max_tokens or MAX_TOKENS,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": list(request.stop) or None,
        "tools": _tools(request, later) or None,
        "tool_choice": _tool_choice(request.tool_choice),
        "stream": True if stream else None,
    }
    for name in refused:
        if name != "temperature" or request.temperature != 1:
            body[name] = None
    _add_thinking(body, request)
    _add_response_format(body, request)
    if request.cache:
        _mark_cached(body)
    return {name: value for name, value in body.items() if value is not None}


def asking_for_json(request: CompletionRequest) -> CompletionRequest:
    """Return a request that says in words what Anthropic has no field for: any JSON object."""
    form = request.response_format
    if form is None or form.schema is not None:
        return request
    system = list(takewhile(lambda message: message.role == "system", request.messages))
    later = request.messages[len(system) :]
    return replace(request, messages=(*system, LLMMessage("system", _ANY_JSON), *later))


def betas(request: CompletionRequest) -> list[str]:
    """Return the beta features that a request needs."""
    types = [str(tool.server.get("type", "")) for tool in request.tools if tool.server]
    needed = {beta for start, beta in _TOOL_BETAS.items() for t in types if t.startswith(start)}
    if _native_schema(request):
        needed.add(_JSON_BETA)
    return sorted(needed)


def uses_json_tool(request: CompletionRequest) -> bool:
    """Whether the answer's JSON comes as the arguments of a tool."""
    form = request.response_format
    return form is not None and form.schema is not None and not _native_schema(request)


def _native_schema(request: CompletionRequest) -> bool:
    form = request.response_format
    return form is not None and form.schema is not None and claude_of(request.model).json_schema


def _messages(messages: Iterable[LLMMessage]) -> list[dict[str, Any]]:
    """Return the turns: what follows itself is one turn, results of tools are the user's."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    _strip_prefill(turns)
    return turns


def _blocks(message: LLMMessage) -> list[dict[str, Any]]:
    match message.role:
        case "tool":
            return [_tool_result(message)]
        case "system":
            return [{"type": "text", "text": _NOTE}, *_parts(message)]
        case "assistant":
            thinking = message.thinking.blocks if message.thinking else ()
            kept = [dict(block) for block in thinking if _is_anthropics(block)]
            return [*kept, *_parts(message), *map(_tool_use, message.tool_calls)]
        case _:
            return _parts(message)


def _parts(message: LLMMessage) -> list[dict[str, Any]]:
    """Return a message's content as blocks; Anthropic refuses empty text, so it is left out."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else _image(part)
        for part in message.content
        if not isinstance(part, TextPart) or part.text
    ]


def _image(part: ImagePart) -> dict[str, Any]:
    inline = re.match(r"data:([^;,]+);base64,", part.url or "")
    if part.url and not inline:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    media_type = inline[1] if inline else part.media_type
    data = part.url[inline.end() :] if part.url and inline else part.data
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": _call_id(call.id),
        "name": call.name,
        "input": dict(call.arguments),
    }


def _tool_result(message: LLMMessage) -> dict[str, Any]:
    content = message.content if isinstance(message.content, str) else _parts(message)
    return {
        "type": "tool_result",
        "tool_use_id": _call_id(message.tool_call_id or ""),
        "content": content,
    }


def _call_id(call_id: str) -> str:
    """Return an id that Anthropic takes; other providers' hold dots and colons."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id)


def _is_anthropics(block: Mapping[str, Any]) -> bool:
    kind = str(block.get("type", ""))
    if kind == "thinking":
        return isinstance(block.get("thinking"), str) and "signature" in block
    return kind in _OWN_BLOCKS or kind.endswith("_tool_result")


def _strip_prefill(turns: list[dict[str, Any]]) -> None:
    """Strip the end of a last turn that the model is to go on with: Anthropic refuses spaces."""
    if turns and turns[-1]["role"] == "assistant":
        last = turns[-1]["content"][-1]
        if last["type"] == "text":
            last["text"] = last["text"].rstrip()


def _tools(request: CompletionRequest, messages: Iterable[LLMMessage]) -> list[dict[str, Any]]:
    """Return the tools; a conversation that holds calls needs at least one (LiteLLM's stand-in)."""
    tools = [_tool(tool) for tool in request.tools]
    if not tools and any(message.tool_calls for message in messages):
        tools = [dict(_DUMMY_TOOL)]
    return tools


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.server is not None:
        return dict(tool.server)
    schema = {"type": "object", "properties": {}} | dict(tool.input_schema)
    form = {"name": tool.name, "input_schema": schema, "type": "custom"}
    return form if tool.description is None else {**form, "description": tool.description}


def _tool_choice(choice: ToolChoice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    form: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "tool":
        form["name"] = choice.name
    if choice.parallel is not None and choice.mode != "none":
        form["disable_parallel_tool_use"] = not choice.parallel
    return form


def _add_thinking(body: dict[str, Any], request: CompletionRequest) -> None:
    """Make the model think; `max_tokens` counts the thinking too, so it grows by the budget."""
    if request.thinking is None:
        return
    body |= thinking_fields(request.thinking, request.model)
    budget = body["thinking"].get("budget_tokens", 0)
    if body["max_tokens"] <= budget:
        body["max_tokens"] += budget


def _add_response_format(body: dict[str, Any], request: CompletionRequest) -> None:
    """Ask for JSON of a schema: by that, or on older models by a tool that must be called.

    While a model thinks, no tool can be forced; it is only offered.
    """
    form = request.response_format
    if form is None or form.schema is None:
        return
    if _native_schema(request):
        body["output_format"] = {"type": "json_schema", "schema": output_schema(form.schema)}
        return
    tool = {"name": JSON_TOOL, "input_schema": dict(form.schema)}
    body["tools"] = [tool, *(body["tools"] or [])]
    if request.thinking is None:
        body["tool_choice"] = {"type": "tool", "name": JSON_TOOL}


def _mark_cached(body: dict[str, Any]) -> None:
    """Mark the ends of the system prompt and of the tools; all before a mark is cached."""
    for name in ("system", "tools"):
        if body[name]:
            body[name][-1] = {**body[name][-1], "cache_control": _CACHED}
