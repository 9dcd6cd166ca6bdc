"""What of a request goes as it is to targets that speak Anthropic's protocol themselves.

With the tenant's own key all of it does. With the operator's key go the fields and betas below, and
those that the operator allows; what can raise the price beyond what a budget holds for the call,
or reaches into the operator's account, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestify.lanes.anthropic.native import BETA_HEADER, PROTOCOL
from orchestify.server.gateway.json_fields import Objects, unknown_in, wrong
from orchestify.server.gateway.messages.request import OBJECT_FIELDS, READ, MessagesRequest
from orchestify.server.settings import ServiceSettings
from orchestify.values import NativeRequest

FIELDS = READ | {"metadata", "top_k", "context_management", "cache_control"}
"""Fields of the body that go with the operator's key."""

AT_NO_PRICE: Mapping[str, tuple[str, ...]] = {
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
    "inference_geo": ("global",),
}
"""Fields that go with the operator's key where they say what costs no more than silence."""

BETAS = frozenset(
    {"claude-code", "interleaved-thinking", "fine-grained-tool-streaming", "context-management"}
    | {"prompt-caching", "prompt-caching-scope", "extended-cache-ttl", "token-efficient-tools"}
    | {"output-128k", "structured-outputs", "effort", "tool-examples", "advanced-tool-use"}
    | {"adaptive-thinking", "token-counting", "pdfs", "computer-use", "redact-thinking"}
)
"""Betas that go with the operator's key, without their dates."""

TOOLS = ("custom", "bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_")
"""Beginnings of the types of tools that cost nothing but their tokens."""

BLOCKS = frozenset(
    {"text", "image", "document", "search_result", "tool_use", "tool_result", "thinking"}
    | {"redacted_thinking", "tool_reference", "tool_addition", "tool_removal", "compaction"}
)
"""Blocks of content that go with the operator's key."""

HOUR = "cache_control.ttl"
"""What is allowed by this name: a cache for an hour, which costs twice the input."""

_MESSAGE_FIELDS = frozenset({"role", "content"})
_SYSTEM_FIELDS = frozenset({"type", "text", "cache_control", "citations"})
_TOOL_FIELDS = frozenset(
    {"type", "name", "description", "input_schema", "strict", "cache_control", "allowed_callers"}
    | {"defer_loading", "eager_input_streaming", "input_examples"}
)
_VERSION_HEADER = "anthropic-version"
_DATE = re.compile(r"-(\d{8}|\d{4}-\d\d-\d\d)$")
_NOT_WITH_OUR_KEY = "does not go with the operator's key; the operator may allow it"


def whole_request(asked: MessagesRequest, headers: Mapping[str, str]) -> NativeRequest:
    """Return a request as it came, for the tenant's own key."""
    names = (_VERSION_HEADER, BETA_HEADER)
    given = {name: headers[name] for name in names if name in headers}
    return NativeRequest(PROTOCOL, asked.form, given)


def permitted_request(
    asked: MessagesRequest, headers: Mapping[str, str], settings: ServiceSettings
) -> NativeRequest:
    """Return a request as it may go with the operator's key; betas that may not are left out.

    Raises:
        InvalidParameterError: it has what may not; its place is named.
    """
    for where in _refused(asked.form, settings):
        raise wrong(where, _NOT_WITH_OUR_KEY)
    given = [beta.strip() for beta in headers.get(BETA_HEADER, "").split(",") if beta.strip()]
    allowed = BETAS.union(settings.allowed_betas)
    betas = [beta for beta in given if beta in allowed or _DATE.sub("", beta) in allowed]
    if len(betas) < len(given):
        asked.warnings += ("beta_dropped",)
    return NativeRequest(PROTOCOL, asked.form, {BETA_HEADER: ",".join(betas)} if betas else {})


def _refused(form: Mapping[str, Any], settings: ServiceSettings) -> Iterator[str]:
    """Yield the places of what does not go with the operator's key."""
    allowed = FIELDS.union(settings.allowed_fields)
    for name in form.keys() - allowed:
        if form[name] is not None and form[name] not in AT_NO_PRICE.get(name, ()):
            yield name[:40]
    yield from unknown_in(_objects(form), allowed)
    tools = (*TOOLS, *settings.allowed_tools)
    for number, tool in enumerate(form.get("tools") or ()):
        if not str(tool.get("type") or "custom").startswith(tools):
            yield f"tools[{number}].type"
    for where, block in _blocks(form):
        if str(block.get("type")) not in BLOCKS.union(settings.allowed_fields):
            yield f"{where}.type"
        source = block.get("source")
        if isinstance(source, dict) and "file_id" in source:
            yield f"{where}.source.file_id"
    if HOUR not in allowed:
        yield from _kept_for_an_hour(form)


def _objects(form: Mapping[str, Any]) -> Objects:
    """Return the body's objects whose fields are of a list, but for those of content blocks."""
    places = [(name, name, form.get(name), known) for name, known in OBJECT_FIELDS.items()]
    for number, message in enumerate(form["messages"]):
        places.append(("messages", f"messages[{number}]", message, _MESSAGE_FIELDS))
    for number, tool in enumerate(form.get("tools") or ()):
        if tool.get("type") in (None, "custom"):
            places.append(("tools", f"tools[{number}]", tool, _TOOL_FIELDS))
    if isinstance(form.get("system"), list):
        for number, block in enumerate(form["system"]):
            places.append(("system", f"system[{number}]", block, _SYSTEM_FIELDS))
    return places


def _kept_for_an_hour(form: Mapping[str, Any]) -> Iterator[str]:
    marked = [("cache_control", form), *_blocks(form)]
    marked += [(f"tools[{n}]", tool) for n, tool in enumerate(form.get("tools") or ())]
    for where, block in marked:
        mark = block.get("cache_control")
        if isinstance(mark, dict) and mark.get("ttl") not in (None, "5m"):
            yield f"{where}.cache_control.ttl" if block is not form else HOUR


def _blocks(form: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all blocks of the content, also those inside of others, with their places."""
    yield from _inner(form.get("system"), "system")
    for number, message in enumerate(form["messages"]):
        yield from _inner(message.get("content"), f"messages[{number}].content")


def _inner(content: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, dict):
            yield f"{where}[{number}]", block
            yield from _inner(block.get("content"), f"{where}[{number}].content")
            source = block.get("source")
            if isinstance(source, dict):
                yield from _inner(source.get("content"), f"{where}[{number}].source.content")
