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
    MAX_TOKENS,
    claude_of,
    output_schema,
    thinking_fields,
    thinking_off_fields,
)
from orchestify.lanes.anthropic.fitting import MOST_CACHE_MARKS, fitted, is_anthropics
from orchestify.lanes.turns import in_order
from orchestify.values import (
    CompletionRequest,
    FilePart,
    ImagePart,
    LLMMessage,
    Part,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)

VERSION = "2023-06-01"
JSON_TOOL = "json_tool_call"  # the tool that stands in for a JSON schema on older models

CACHED = {"type": "ephemeral"}
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
    """Return the body for a request; what was neither configured nor given is left out.

    Raises:
        InvalidParameterError: Anthropic would refuse it; see `fitting.fitted`.
    """
    return body_of(fitted(request).request, stream=stream)


def body_of(request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
    """Return the body for a request that is fitted to Anthropic."""
    request = asking_for_json(request)
    system = list(takewhile(lambda message: message.role == "system", request.messages))
    later = request.messages[len(system) :]
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(later, request.model),
        "system": [block for message in system for block in _parts(message)] or None,
        "max_tokens": request.max_tokens or MAX_TOKENS,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": list(request.stop) or None,
        "tools": _tools(request, later) or None,
        "tool_choice": _tool_choice(request.tool_choice),
        "stream": True if stream else None,
        **_thinking(request),
    }
    _add_response_format(body, request)
    if request.cache:
        _mark_cached(body)
    _limit_cache_marks(body)
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
    if _native_schema(request) or _strict_tools(request):
        needed.add(_JSON_BETA)
    return sorted(needed)


def system_note() -> dict[str, Any]:
    """Return the block that says of what follows, in the user's turn, that it is the operator's."""
    return {"type": "text", "text": _NOTE}


def uses_json_tool(request: CompletionRequest) -> bool:
    """Whether the answer's JSON comes as the arguments of a tool."""
    form = request.response_format
    return form is not None and form.schema is not None and not _native_schema(request)


def _native_schema(request: CompletionRequest) -> bool:
    form = request.response_format
    return form is not None and form.schema is not None and claude_of(request.model).json_schema


def _strict_tools(request: CompletionRequest) -> bool:
    has_strict = any(tool.strict and tool.server is None for tool in request.tools)
    return has_strict and claude_of(request.model).json_schema


def _messages(messages: Iterable[LLMMessage], model: str) -> list[dict[str, Any]]:
    """Return the turns: what follows itself is one turn, results of tools are the user's."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, model)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    _strip_prefill(turns)
    return turns


def _blocks(message: LLMMessage, model: str) -> list[dict[str, Any]]:
    match message.role:
        case "tool":
            return [_tool_result(message)]
        case "system":
            return [system_note(), *_parts(message)]
        case "assistant":
            return _in_order(message, model)
        case _:
            return _parts(message)


def _in_order(message: LLMMessage, model: str) -> list[dict[str, Any]]:
    """Return an assistant's blocks in the order they came, others' thinking left out."""
    return [
        _tool_use(said)
        if isinstance(said, ToolCall)
        else dict(said)
        if isinstance(said, Mapping)
        else _part(said)
        for said in in_order(message, lambda block: is_anthropics(block, model))
    ]


def _parts(message: LLMMessage) -> list[dict[str, Any]]:
    """Return a message's content as blocks."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return [_part(part) for part in message.content]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        block: dict[str, Any] = {"type": "text", "text": part.text}
    else:
        block = _image(part) if isinstance(part, ImagePart) else _document(part)
    return block if part.cache_control is None else {**block, "cache_control": part.cache_control}


def _image(part: ImagePart) -> dict[str, Any]:
    inline = re.match(r"data:([^;,]+);base64,", part.url or "")
    if part.url and not inline:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    media_type = inline[1] if inline else part.media_type
    data = part.url[inline.end() :] if part.url and inline else part.data
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _document(part: FilePart) -> dict[str, Any]:
    source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    block: dict[str, Any] = {"type": "document", "source": source}
    return block if part.name is None else {**block, "title": part.name}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}


def _tool_result(message: LLMMessage) -> dict[str, Any]:
    content = message.content if isinstance(message.content, str) else _parts(message)
    return {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content}


def _strip_prefill(turns: list[dict[str, Any]]) -> None:
    """Strip the end of a last turn that the model is to go on with: Anthropic refuses spaces."""
    if turns and turns[-1]["role"] == "assistant":
        last = turns[-1]["content"][-1]
        if last["type"] == "text":
            last["text"] = last["text"].rstrip()


def _tools(request: CompletionRequest, messages: Iterable[LLMMessage]) -> list[dict[str, Any]]:
    """Return the tools; a conversation that holds calls needs at least one (LiteLLM's stand-in)."""
    tools = [_tool(tool, request.model) for tool in request.tools]
    if not tools and any(message.tool_calls for message in messages):
        tools = [dict(_DUMMY_TOOL)]
    return tools


def _tool(tool: Tool, model: str) -> dict[str, Any]:
    if tool.server is not None:
        return dict(tool.server)
    schema = {"type": "object", "properties": {}} | dict(tool.input_schema)
    is_strict = bool(tool.strict) and claude_of(model).json_schema
    form = {
        "name": tool.name,
        "input_schema": output_schema(schema) if is_strict else schema,
        "type": "custom",
        "description": tool.description,
        "strict": is_strict or None,
        "cache_control": tool.cache_control,
    }
    return {name: value for name, value in form.items() if value is not None}


def _tool_choice(choice: ToolChoice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    form: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "tool":
        form["name"] = choice.name
    if choice.parallel is not None and choice.mode != "none":
        form["disable_parallel_tool_use"] = not choice.parallel
    return form


def _thinking(request: CompletionRequest) -> dict[str, Any]:
    if request.thinking is not None:
        return thinking_fields(request.thinking, request.model)
    return thinking_off_fields(request.model) if request.thinking_off else {}


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
            body[name][-1] = {"cache_control": CACHED, **body[name][-1]}


def _limit_cache_marks(body: dict[str, Any]) -> None:
    """Take marks away until as many are left as Anthropic takes, the last ones."""
    turns = [block for turn in body["messages"] for block in turn["content"]]
    blocks = [*(body["tools"] or []), *(body["system"] or []), *turns]
    for block in [block for block in blocks if "cache_control" in block][:-MOST_CACHE_MARKS]:
        del block["cache_control"]
