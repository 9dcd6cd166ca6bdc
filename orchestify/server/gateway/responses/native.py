"""What of a request goes as it is to targets that speak Responses themselves.

With the tenant's own key all of it does. With the operator's key go the fields and items below, and
those that the operator allows; the provider keeps nothing of it in the operator's account. What can
raise the price beyond what a budget holds for the call, or reaches into that account, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestify.lanes.responses.request import ENCRYPTED
from orchestify.server.gateway.json_fields import Objects, unknown_in, wrong
from orchestify.server.gateway.responses.reasoning import is_ours
from orchestify.server.gateway.responses.request import READ, SEARCH, ResponsesRequest
from orchestify.server.settings import ServiceSettings
from orchestify.values import NativeRequest

FIELDS = READ | {
    *("prompt_cache_key", "safety_identifier", "user", "truncation", "max_tool_calls"),
    *("top_logprobs", "context_management", "client_metadata"),
}
"""Fields of the body that go with the operator's key."""

AT_NO_PRICE: Mapping[str, tuple[str, ...]] = {
    "service_tier": ("auto", "default"),
    "prompt_cache_retention": ("in_memory",),
}
"""Fields that go with the operator's key where they say what costs no more than silence."""

TOOLS = ("function", "custom", "namespace", "tool_search")
"""Types of tools that cost nothing but their tokens."""

ITEMS = frozenset(
    {"message", "reasoning", "function_call", "function_call_output", "custom_tool_call"}
    | {"custom_tool_call_output", "web_search_call", "tool_search_call", "tool_search_output"}
    | {"compaction"}
)
"""Items of the conversation that go with the operator's key."""

_REASONING_FIELDS = frozenset({"effort", "summary", "generate_summary", "context", "mode"})
_TEXT_FIELDS = frozenset({"format", "verbosity"})
_FORM_FIELDS = frozenset({"type", "name", "schema", "strict", "description"})
_TOOL_FIELDS = frozenset(
    {"type", "name", "description", "parameters", "strict", "format", "tools", "async"}
    | {"allowed_callers", "defer_loading", "output_schema"}
)
INCLUDED = (ENCRYPTED, "message.output_text.logprobs", "web_search_call.action.sources")
_NOT_WITH_OUR_KEY = "does not go with the operator's key; the operator may allow it"


def whole_request(asked: ResponsesRequest) -> NativeRequest:
    """Return a request as it came, for the tenant's own key; what is kept stands in its place."""
    body = dict(asked.form)
    if asked.previous is not None and asked.missing != "previous_response_id":
        del body["previous_response_id"]
        body["input"] = asked.items
    if any(map(is_ours, asked.items)):
        body["input"] = _theirs(asked.items)
    elif asked.refers and isinstance(body["input"], list):
        body["input"] = asked.items
    return NativeRequest("responses", body)


def permitted_request(asked: ResponsesRequest, settings: ServiceSettings) -> NativeRequest:
    """Return a request as it may go with the operator's key.

    The provider is to keep nothing, so the answer's reasoning comes encrypted, to be sent back.

    Raises:
        InvalidParameterError: it has what may not; its place is named.
    """
    for where in _refused(asked, settings):
        raise wrong(where, _NOT_WITH_OUR_KEY)
    body = {name: value for name, value in asked.form.items() if name != "previous_response_id"}
    body["input"] = list(_without_ids(_theirs(asked.items)))
    body["store"] = False
    body["include"] = list(dict.fromkeys((*(body.get("include") or ()), ENCRYPTED)))
    tools = body.get("tools")
    if tools and asked.searches and not _may(settings, SEARCH):
        asked.warnings += (f"{SEARCH}_dropped",)
        body["tools"] = [tool for tool in tools if not _searches(tool)]
        _fit_choice(body, asked)
    asked.keeps_instead = True
    return NativeRequest("responses", {name: each for name, each in body.items() if each != []})


def _searches(tool: Mapping[str, Any]) -> bool:
    return str(tool.get("type")).startswith(SEARCH)


def _fit_choice(body: dict[str, Any], asked: ResponsesRequest) -> None:
    """Take the search, which was taken from the tools, from what chooses among them."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        left = [tool for tool in choice["tools"] if not _searches(tool)]
        body["tool_choice"] = choice = {**choice, "tools": left}
        is_void = not left
    else:
        is_void = isinstance(choice, dict) and _searches(choice)
    if choice is not None and (is_void or not body["tools"]):
        del body["tool_choice"]
        asked.warnings += ("tool_choice_dropped",)


def _may(settings: ServiceSettings, kind: str) -> bool:
    return any(kind.startswith(each) or each.startswith(kind) for each in settings.allowed_tools)


def _refused(asked: ResponsesRequest, settings: ServiceSettings) -> Iterator[str]:
    """Yield the places of what does not go with the operator's key."""
    form, allowed = asked.form, FIELDS.union(settings.allowed_fields)
    for name in form.keys() - allowed:
        if form[name] is not None and form[name] not in AT_NO_PRICE.get(name, ()):
            yield name[:40]
    yield from unknown_in(_objects(form), allowed)
    for number, tool in enumerate(form.get("tools") or ()):
        kind = str(tool.get("type"))
        if kind not in TOOLS and not kind.startswith((SEARCH, *settings.allowed_tools)):
            yield f"tools[{number}].type"
    for number, word in enumerate(form.get("include") or ()):
        if word not in INCLUDED and "include" not in settings.allowed_fields:
            yield f"include[{number}]"
    for number, item in enumerate(asked.items):
        if str(item.get("type") or "message") not in ITEMS.union(settings.allowed_fields):
            yield f"input[{number}].type"
        yield from _files(item, f"input[{number}].")


def _objects(form: Mapping[str, Any]) -> Objects:
    """Return the body's objects whose fields are of a list, but for those of items."""
    text = form.get("text") or {}
    places = [
        ("reasoning", "reasoning", form.get("reasoning"), _REASONING_FIELDS),
        ("text", "text", text, _TEXT_FIELDS),
        ("text.format", "text.format", text.get("format"), _FORM_FIELDS),
    ]
    for number, tool in enumerate(form.get("tools") or ()):
        if tool.get("type") in ("function", "custom", "namespace"):
            places.append(("tools", f"tools[{number}]", tool, _TOOL_FIELDS))
    return places


def _files(item: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield the places of files of the provider's account."""
    for name in ("content", "output"):
        parts = item.get(name)
        for place, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict) and part.get("file_id") is not None:
                yield f"{where}{name}[{place}].file_id"


def _theirs(items: list[Any]) -> list[Any]:
    """Return items without reasoning that other protocols' providers did: none can read it."""
    return [item for item in items if not is_ours(item)]


def _without_ids(items: list[Any]) -> Iterator[Any]:
    """Yield items that can be sent to who kept none of them.

    Reasoning stands by its encrypted content, and is left out where it has none; other items need
    no id.
    """
    for item in items:
        if item.get("type") != "reasoning":
            yield {name: value for name, value in item.items() if name not in ("id", "status")}
        elif item.get("encrypted_content"):
            yield item
