"""Which tools a run has, and which function answers each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from orchestify.calls.request import ToolLike, tool_of
from orchestify.errors import InvalidParameterError
from orchestify.tools.functions import FunctionTool
from orchestify.values import Tool

RunToolLike: TypeAlias = Callable[..., Any] | str | ToolLike


@dataclass(frozen=True, slots=True)
class ToolSet:
    """What a model is told of its tools, and the functions by name; servers' tools have none."""

    tools: tuple[Tool, ...]
    functions: Mapping[str, FunctionTool]


def tool_set(
    given: Iterable[RunToolLike] | RunToolLike | None,
    names: Sequence[str],
    registered: Mapping[str, FunctionTool],
) -> ToolSet:
    """Return the tools that a caller gives, or those of the `names` where that is None.

    A tool is a function, the name of a registered one, the schema of a registered one, or a tool
    that the provider runs itself.

    Raises:
        InvalidParameterError: a name or a schema without a registered function, or two tools of
            one name.
    """
    if given is None:
        given = names
    elif isinstance(given, (str, Mapping, Tool)) or not isinstance(given, Iterable):
        given = (given,)
    tools: list[Tool] = []
    functions: dict[str, FunctionTool] = {}
    for each in given:
        tool, function = _read(each, registered)
        if any(tool.name == other.name for other in tools):
            raise InvalidParameterError(f"two tools are named {tool.name!r}")
        tools.append(tool)
        if function is not None:
            functions[tool.name] = function
    return ToolSet(tuple(tools), functions)


def _read(
    given: RunToolLike, registered: Mapping[str, FunctionTool]
) -> tuple[Tool, FunctionTool | None]:
    if isinstance(given, str):
        function = _registered(given, registered)
        return function.tool, function
    if isinstance(given, (Tool, Mapping)):
        tool = tool_of(given)
        return tool, None if tool.server is not None else _registered(tool.name, registered)
    function = FunctionTool(given)
    return function.tool, function


def _registered(name: str, registered: Mapping[str, FunctionTool]) -> FunctionTool:
    function = registered.get(name)
    if function is None:
        known = ", ".join(registered) or "none"
        raise InvalidParameterError(
            f"no function is registered for the tool {name!r}; register it with "
            f"registry.register_tool, or give the function itself; there are: {known}"
        )
    return function
