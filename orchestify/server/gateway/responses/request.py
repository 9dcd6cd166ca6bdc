"""A request of OpenAI's Responses, read into the arguments of a call.

Read: `READ`. All of the body goes to targets of the same protocol; see `native`. For others,
`IGNORED` is left out and said to be, and what remains is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestify.lanes.responses.request import ENCRYPTED
from orchestify.server.gateway.chat.request import EFFORTS, labels_of
from orchestify.server.gateway.json_fields import body_of, each, needed, optional, wrong
from orchestify.server.gateway.responses.items import REFERENCE, ItemReader, flat_name, unread_in
from orchestify.values import LLMMessage, ResponseFormat, Tool, ToolChoice

READ = frozenset(
    {"model", "input", "instructions", "previous_response_id", "store", "stream", "background"}
    | {"stream_options"}  # which ask for padding
    | {"max_output_tokens", "temperature", "top_p", "tools", "tool_choice", "parallel_tool_calls"}
    | {"text", "reasoning", "include", "metadata"}
)
PASSED_ON = ("prompt_cache_key", "safety_identifier", "user")
"""Fields that OpenAI's Chat Completions take as well."""

IGNORED = frozenset(
    {*PASSED_ON, "client_metadata", "prompt_cache_retention", "prompt_cache_options"}
    | {"service_tier", "truncation", "max_tool_calls", "context_management"}
)
"""Fields without which an answer is an answer: no target of another protocol is told of them."""

SEARCH = "web_search"
"""The beginning of the types of a tool that is left out where it cannot be had: the model then
answers without it."""

_TOOL_FIELDS = frozenset({"type", "name", "description", "parameters", "strict"})
_REASONING_FIELDS = frozenset({"effort", "summary", "generate_summary"})  # it comes all the same
_TEXT_FIELDS = frozenset({"format", "verbosity"})
_CHOICE_FIELDS = frozenset({"type", "name"})
_NAMESPACE_FIELDS = frozenset({"type", "name", "tools"})
_FORM_FIELDS = frozenset({"type", "name", "schema", "strict"})
_MOST = 2**31 - 1
_CHOICES: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}
_TEXT_INPUT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


@dataclass(slots=True)
class ResponsesRequest:
    """What is asked for: `arguments` are those of `complete` and `stream`, `form` is the body.

    `items` is the conversation, also what is kept of it before this request. `untold` has the
    places of what only a target of the same protocol can be told, `unread` the names of what other
    targets' answers can do without, `missing` the first place that refers to what is not kept.
    `custom` are the names of tools whose argument is a text, `namespaces` has the functions of
    namespaces by their flat names, `searches` says whether a search of the web is among the tools.
    `is_kept` says whether the answer is to be kept, and at its end whether it is; `keeps_instead`,
    whether that is ours to say and not the provider's.
    """

    model: str
    form: dict[str, Any] = field(repr=False)
    items: list[Any] = field(repr=False)
    arguments: dict[str, Any] = field(repr=False)
    untold: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    is_stream: bool = False
    is_kept: bool = True
    missing: str | None = None
    keeps_instead: bool = False
    custom: set[str] = field(default_factory=set)
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)
    searches: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def previous(self) -> str | None:
        """The id of the response that this one goes on from."""
        previous: str | None = self.form.get("previous_response_id")
        return previous

    @property
    def refers(self) -> bool:
        """Whether something of the conversation is said by its id."""
        return self.previous is not None or any(
            isinstance(item, dict) and item.get("type") == REFERENCE for item in self.items
        )

    def read_items(self) -> None:
        """Make the call's messages of the instructions and the items.

        Raises:
            InvalidParameterError: an item has another form; its place is named.
        """
        reader = ItemReader()
        messages = reader.conversation(self.items)
        instructions = optional(self.form, "instructions", str)
        if instructions:
            messages.insert(0, LLMMessage("system", instructions))
        self.arguments["messages"] = messages
        self.untold += reader.untold
        self.unread |= reader.unread


def responses_request(body: bytes) -> ResponsesRequest:
    """Read a request's body.

    Raises:
        InvalidParameterError: a field cannot be used; the message begins with its name.
    """
    form = body_of(body)
    given = form.get("input")
    if not given or not isinstance(given, (str, list)):
        raise wrong("input", "expected a text or a list of items that is not empty")
    if optional(form, "background", bool):
        raise wrong("background", "is not supported: a call is answered while its client waits")
    optional(form, "previous_response_id", str)
    if not all(isinstance(word, str) for word in optional(form, "include", list) or ()):
        raise wrong("include", "expected a list of texts")
    labels, cut = labels_of(form)
    asked = ResponsesRequest(
        needed(form, "model", str),
        form,
        [{"role": "user", "content": given}] if isinstance(given, str) else given,
        {},
        sorted(form.keys() - READ - IGNORED),
        labels,
        is_stream=optional(form, "stream", bool) or False,
        is_kept=optional(form, "store", bool) is not False,
        warnings=cut,
    )
    asked.untold = [name for name in asked.untold if form[name] is not None]
    _add_sampling(form, asked.arguments)
    _add_tools(form, asked)
    _add_thinking(form, asked)
    _add_format(form, asked)
    if set(optional(form, "include", list) or ()) - {ENCRYPTED}:
        asked.unread.add("include")
    asked.read_items()
    return asked


def _add_sampling(form: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    limit = optional(form, "max_output_tokens", int)
    if limit is not None:
        if not 0 < limit <= _MOST:
            raise wrong("max_output_tokens", f"expected a number from 1 to {_MOST}")
        arguments["max_tokens"] = limit
    for name in ("temperature", "top_p"):
        if form.get(name) is not None:
            arguments[name] = form[name]


def _add_tools(form: Mapping[str, Any], asked: ResponsesRequest) -> None:
    given = each(optional(form, "tools", list) or [], "tools")
    tools: list[Tool] = []
    for number, tool in enumerate(given):
        tools += _tools(tool, asked, f"tools[{number}].")
    choice = form.get("tool_choice")
    parallel = optional(form, "parallel_tool_calls", bool)
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        choice, tools = _allowed(choice, tools)
    if _is_search(choice) or (not tools and choice not in (None, "auto", "none")):
        asked.unread.add("tool_choice")  # of the search, or of nothing
        choice = None
    if not tools:
        return
    asked.arguments["tools"] = tools
    if choice is not None or parallel is not None:
        asked.arguments["tool_choice"] = _choice(choice or "auto", parallel, asked)


def _tools(
    form: dict[str, Any], asked: ResponsesRequest, where: str, namespace: str | None = None
) -> Iterator[Tool]:
    """Yield the tools of one entry: a function, a tool that takes a text, or those of a namespace.

    Names say no more than the namespace's; a search of the web is left out.
    """
    kind = needed(form, "type", str, where)
    if kind == "namespace" and namespace is None:
        name = needed(form, "name", str, where)
        asked.unread |= unread_in(form, _NAMESPACE_FIELDS)
        inner = each(optional(form, "tools", list, where) or [], f"{where}tools")
        for number, tool in enumerate(inner):
            yield from _tools(tool, asked, f"{where}tools[{number}].", name)
    elif kind in ("function", "custom"):
        name = needed(form, "name", str, where)
        flat = flat_name(namespace, name)
        if namespace is not None:
            asked.namespaces[flat] = (namespace, name)
        if kind == "custom":
            asked.custom.add(flat)
        asked.unread |= unread_in(form, _TOOL_FIELDS)
        yield Tool(
            name=flat,
            description=optional(form, "description", str, where),
            input_schema=_TEXT_INPUT
            if kind == "custom"
            else optional(form, "parameters", dict, where) or {"type": "object", "properties": {}},
            strict=None if kind == "custom" else optional(form, "strict", bool, where),
        )
    elif kind.startswith(SEARCH):
        asked.searches = True
    else:
        asked.untold.append(f"{where}type: {kind[:40]!r}")
        yield Tool(optional(form, "name", str, where) or kind, server=form)


def _is_search(choice: Any) -> bool:
    return isinstance(choice, dict) and str(choice.get("type")).startswith(SEARCH)


def _allowed(choice: Mapping[str, Any], tools: list[Tool]) -> tuple[str, list[Tool]]:
    """Return the mode of a choice among some of the tools, and these."""
    listed = each(needed(choice, "tools", list, "tool_choice."), "tool_choice.tools")
    names = {
        optional(tool, "name", str, f"tool_choice.tools[{number}].")
        for number, tool in enumerate(listed)
    }
    mode = needed(choice, "mode", str, "tool_choice.")
    return mode, [tool for tool in tools if tool.name in names]


def _choice(choice: Any, parallel: bool | None, asked: ResponsesRequest) -> ToolChoice:
    if isinstance(choice, dict):
        kind = needed(choice, "type", str, "tool_choice.")
        asked.unread |= unread_in(choice, _CHOICE_FIELDS)
        if kind in ("function", "custom"):
            name = needed(choice, "name", str, "tool_choice.")
            return ToolChoice("tool", name, parallel)
        asked.untold.append(f"tool_choice.type: {kind[:40]!r}")
        return ToolChoice("required", None, parallel)
    if not isinstance(choice, str) or choice not in _CHOICES:
        raise wrong("tool_choice", "expected auto, none, required or a tool")
    return ToolChoice(_CHOICES[choice], None, parallel)


def _add_thinking(form: Mapping[str, Any], asked: ResponsesRequest) -> None:
    reasoning = optional(form, "reasoning", dict) or {}
    asked.unread |= unread_in(reasoning, _REASONING_FIELDS)
    effort = optional(reasoning, "effort", str, "reasoning.")
    if effort is not None:
        if effort not in EFFORTS:
            raise wrong("reasoning.effort", f"expected one of {', '.join(EFFORTS)}")
        asked.arguments["thinking"] = effort if effort != "none" else False


def _add_format(form: Mapping[str, Any], asked: ResponsesRequest) -> None:
    text = optional(form, "text", dict) or {}
    asked.unread |= unread_in(text, _TEXT_FIELDS)
    given = optional(text, "format", dict, "text.")
    if given is None:
        return
    asked.unread |= unread_in(given, _FORM_FIELDS)
    kind = needed(given, "type", str, "text.format.")
    if kind == "json_object":
        asked.arguments["response_format"] = ResponseFormat()
    elif kind == "json_schema":
        asked.arguments["response_format"] = ResponseFormat(
            name=needed(given, "name", str, "text.format."),
            schema=needed(given, "schema", dict, "text.format."),
            strict=optional(given, "strict", bool, "text.format."),
        )
    elif kind != "text":
        raise wrong("text.format.type", "expected text, json_object or json_schema")
