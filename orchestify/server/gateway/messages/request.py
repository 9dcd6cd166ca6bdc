"""A request of Anthropic's Messages, read into the arguments of a call.

Read: `model`, `messages`, `system`, `max_tokens`, `tools`, `tool_choice`, `thinking`,
`output_config` (or `output_format`), `temperature`, `top_p`, `stop_sequences`, `stream`. All of
the body goes to targets of the same protocol; see `native`. For others, `IGNORED` is left out
and said to be, and what remains is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestify.server.gateway.json_fields import body_of, each, needed, optional, wrong
from orchestify.server.gateway.messages.content import ContentReader
from orchestify.values import EFFORTS, ResponseFormat, Tool, ToolChoice

READ = frozenset(
    {"model", "messages", "system", "max_tokens", "tools", "tool_choice", "thinking"}
    | {"output_config", "output_format", "temperature", "top_p", "stop_sequences", "stream"}
)
IGNORED = frozenset({"metadata", "top_k", "context_management", "service_tier", "cache_control"})
"""Fields without which an answer is an answer: no target of another protocol is told of them."""

_TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
OBJECT_FIELDS: Mapping[str, frozenset[str]] = {
    "tool_choice": frozenset({"type", "name", "disable_parallel_tool_use"}),
    "thinking": frozenset({"type", "budget_tokens", "display"}),
    "output_config": frozenset({"effort", "format"}),
}
"""What is known in objects of the body."""

_MOST = 2**31 - 1
_CHOICES: Mapping[str, Literal["auto", "none", "required", "tool"]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "tool": "tool",
}


@dataclass(slots=True)
class MessagesRequest:
    """What is asked for: `arguments` are those of `complete` and `stream`, `form` is the body.

    `untold` has the places of what only a target of the same protocol can be told, `unread` the
    names of what an answer can do without there.
    """

    model: str
    form: dict[str, Any] = field(repr=False)
    arguments: dict[str, Any] = field(repr=False)
    untold: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    is_stream: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def thinks_if_it_can(self) -> bool:
        """Whether the model is asked to think as it likes, and not by so many tokens."""
        return (self.form.get("thinking") or {}).get("type") == "adaptive"


def messages_request(body: bytes) -> MessagesRequest:
    """Read the body of a request for an answer.

    Raises:
        InvalidParameterError: a field cannot be used; the message begins with its name.
    """
    asked = counted_request(body)
    form, arguments = asked.form, asked.arguments
    limit = needed(form, "max_tokens", int)
    if not 0 < limit <= _MOST:
        raise wrong("max_tokens", f"expected a number from 1 to {_MOST}")
    arguments["max_tokens"] = limit
    for name in ("temperature", "top_p"):
        if form.get(name) is not None:
            arguments[name] = form[name]
    stop = optional(form, "stop_sequences", list)
    if stop:
        if not all(isinstance(each_, str) and each_ for each_ in stop):
            raise wrong("stop_sequences", "expected texts, none of them empty")
        arguments["stop"] = stop
    choice = optional(form, "tool_choice", dict)
    if choice is not None:
        arguments["tool_choice"] = _choice(choice)
    _add_thinking(form, asked)
    _add_format(form, arguments)
    for name, known in OBJECT_FIELDS.items():
        given = form.get(name) or {}
        asked.unread += sorted(each_[:40] for each_ in given.keys() - known if given[each_])
    asked.is_stream = optional(form, "stream", bool) or False
    return asked


def counted_request(body: bytes) -> MessagesRequest:
    """Read the body of a request to count: what is asked, and the tools.

    Raises:
        InvalidParameterError: a field cannot be used; the message begins with its name.
    """
    form, reader = body_of(body), ContentReader()
    arguments: dict[str, Any] = {"messages": reader.conversation(form)}
    tools = each(optional(form, "tools", list) or [], "tools")
    if tools:
        arguments["tools"] = [_tool(tool, f"tools[{n}].") for n, tool in enumerate(tools)]
    given: list[Tool] = arguments.get("tools", [])
    untold = [
        *reader.untold,
        *(f"tools[{number}].type" for number, tool in enumerate(given) if tool.server),
        *sorted(form.keys() - READ - IGNORED),
    ]
    unread = reader.unread.union(
        name[:40]
        for tool in tools
        if tool.get("type") in (None, "custom")
        for name in tool.keys() - _TOOL_FIELDS
        if tool[name]
    )
    return MessagesRequest(
        needed(form, "model", str),
        form,
        arguments,
        untold,
        sorted({*unread, *IGNORED & form.keys()}),
    )


def _tool(form: dict[str, Any], where: str) -> Tool:
    kind = optional(form, "type", str, where) or "custom"
    if kind != "custom":
        return Tool(optional(form, "name", str, where) or kind, server=form)
    return Tool(
        name=needed(form, "name", str, where),
        description=optional(form, "description", str, where),
        input_schema=needed(form, "input_schema", dict, where),
        strict=optional(form, "strict", bool, where),
        cache_control=optional(form, "cache_control", dict, where),
    )


def _choice(choice: Mapping[str, Any]) -> ToolChoice:
    mode = _CHOICES.get(needed(choice, "type", str, "tool_choice."))
    if mode is None:
        raise wrong("tool_choice.type", "expected auto, any, tool or none")
    name = needed(choice, "name", str, "tool_choice.") if mode == "tool" else None
    alone = optional(choice, "disable_parallel_tool_use", bool, "tool_choice.")
    return ToolChoice(mode, name, None if alone is None else not alone)


def _add_thinking(form: Mapping[str, Any], asked: MessagesRequest) -> None:
    arguments = asked.arguments
    thinking = optional(form, "thinking", dict)
    output = optional(form, "output_config", dict) or {}
    effort = optional(output, "effort", str, "output_config.")
    if thinking is None:
        if effort:
            asked.unread.append("effort")
        return
    kind = needed(thinking, "type", str, "thinking.")
    budget = optional(thinking, "budget_tokens", int, "thinking.")
    if kind in ("disabled", "between_tools"):
        arguments["thinking"] = False
    elif budget is not None:
        if budget > _MOST:
            raise wrong("thinking.budget_tokens", f"expected a number up to {_MOST}")
        arguments["thinking"] = {"budget_tokens": budget}
    else:
        arguments["thinking"] = effort if effort in EFFORTS else True


def _add_format(form: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    output = optional(form, "output_config", dict) or {}
    given = optional(output, "format", dict, "output_config.") or optional(
        form, "output_format", dict
    )
    if given is not None:
        if needed(given, "type", str, "output_config.format.") != "json_schema":
            raise wrong("output_config.format.type", "expected json_schema")
        schema = needed(given, "schema", dict, "output_config.format.")
        arguments["response_format"] = ResponseFormat(schema=schema)
