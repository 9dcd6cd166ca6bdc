"""The tool calls of a Chat Completions answer, put together from their pieces.

A piece belongs to a call by the protocol's rules where the endpoint keeps them: by its index, and
the call's id and name stand in its first piece. Endpoints repeat ids, invent new ones with every
piece, count the index wrong or leave it out; the rules here give every piece to one call.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from orchestify.lanes.answers import name_in, text_in, tool_call
from orchestify.lanes.failures import MalformedError, misread
from orchestify.lanes.parsing import BOUNDS, TextPieces, parse_json
from orchestify.resources.json_steps import json_text
from orchestify.values import ToolCall, ToolCallDelta

_LOOKED_AT = 1 << 20
"""Characters of arguments that are parsed, in all, to see whether a call is complete."""


class ToolCalls:
    """The calls of one answer, in the order they began."""

    def __init__(self, most: int = BOUNDS.max_tool_calls) -> None:
        self._most = most
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._left_to_look_at = _LOOKED_AT
        self._last: _Call

    def __bool__(self) -> bool:
        return any(call.is_named for call in self._calls)

    def take(self, piece: Mapping[str, Any], *, is_whole: bool) -> ToolCallDelta | None:
        """Take a piece, or a whole call, and return what of the call is new.

        Raises:
            MalformedError: a name or arguments are no text, or there are too many calls.
        """
        function, custom = piece.get("function"), piece.get("custom")
        is_custom = not isinstance(function, dict)
        called = custom if is_custom else function
        if not isinstance(called, dict):
            raise misread("a tool call")
        name = name_in(text_in(called.get("name"), "a tool call's name"))
        arguments = _arguments(called.get("input" if is_custom else "arguments"))
        call = self._call(piece, name, arguments, is_whole=is_whole)
        call.is_custom |= is_custom
        call.name = call.name or name
        return call.add(arguments)

    def last_id(self) -> str | None:
        """Return the id of the call that the last piece belonged to."""
        return self._last.id if self._calls else None

    def values(self) -> tuple[ToolCall, ...]:
        """Return the calls. What has arguments but no name is an invalid call."""
        return tuple([call.value() for call in self._calls if call.is_named or call.size])

    def _call(
        self, piece: Mapping[str, Any], name: str, arguments: str, *, is_whole: bool
    ) -> _Call:
        index = piece.get("index")
        index = index if index.__class__ is int else None
        call_id = name_in(piece.get("id"))
        call = None if is_whole else self._known(index, call_id, name)
        is_new_index = index is not None and index not in self._by_index
        if call is None or self._begins_another(
            call,
            name,
            has_more=is_new_index or bool(arguments.strip()) or call_id not in ("", call.id),
        ):
            call = self._begin(call_id)
        if index is not None:
            self._by_index[index] = call
        if call_id:
            self._by_id.setdefault(call_id, call)
        self._last = call
        return call

    def _known(self, index: int | None, call_id: str, name: str) -> _Call | None:
        """Return the call that a piece seems to go on with, None where it begins one."""
        by_index = None if index is None else self._by_index.get(index)
        by_id = self._by_id.get(call_id) if call_id else None
        if by_index is not None and (by_id is None or by_index.id == call_id):
            return by_index
        if by_id is not None and name in ("", by_id.name):
            return by_id
        if by_index is not None:
            return by_index
        if self._calls and not name and not (call_id and self._is_complete(self._last)):
            return self._last
        if self._calls and index is None and not call_id and name == self._last.name:
            return self._last
        return None

    def _begins_another(self, call: _Call, name: str, *, has_more: bool) -> bool:
        """Whether a piece begins a call beside the one it seems to go on with.

        It does where it has another name. With the same name it does once the arguments are
        complete, for nothing could be added to them, unless it says nothing new.
        """
        if not name or not call.name:
            return False
        return name != call.name or (has_more and self._is_complete(call))

    def _is_complete(self, call: _Call) -> bool:
        """Whether a call's arguments are a whole JSON object, as far as may be looked at."""
        if not call.may_be_complete or call.size > self._left_to_look_at:
            return False
        self._left_to_look_at -= call.size
        try:
            return isinstance(parse_json(str(call.arguments)), dict)
        except ValueError:
            return False

    def _begin(self, call_id: str) -> _Call:
        if len(self._calls) >= self._most:
            raise MalformedError(f"the answer has more than {self._most} tool calls")
        call = _Call(len(self._calls), call_id or f"call_{uuid.uuid4().hex[:24]}")
        self._calls.append(call)
        return call


class _Call:
    """A tool call that grows."""

    __slots__ = (
        *("arguments", "id", "is_custom", "may_be_complete", "name", "position", "size", "unsent"),
    )

    def __init__(self, position: int, call_id: str) -> None:
        self.position = position
        self.id = call_id
        self.name = ""
        self.arguments = TextPieces()
        self.unsent: list[str] = []
        self.size = 0
        self.may_be_complete = False
        self.is_custom = False

    @property
    def is_named(self) -> bool:
        return bool(self.name)

    def add(self, arguments: str) -> ToolCallDelta | None:
        """Add to the arguments and return what is new, None until the name is known."""
        text = self.arguments.add(arguments)
        if not text.isspace() and text:
            self.may_be_complete = text.rstrip().endswith("}")
        self.size += len(text)
        self.unsent.append(text)
        if not self.name:
            return None
        unsent, self.unsent = "".join(self.unsent), []
        return ToolCallDelta(self.position, self.id, self.name, unsent)

    def value(self) -> ToolCall:
        text = str(self.arguments)
        if self.is_custom:
            return ToolCall(self.id, self.name, {"input": text}, text, valid=self.is_named)
        call = tool_call(self.id, self.name, text)
        return call if self.name else ToolCall(self.id, "", {}, text, valid=False)


def _arguments(value: Any) -> str:
    """Return arguments as text: some endpoints give the object itself.

    Raises:
        MalformedError: they are neither text nor an object.
    """
    if isinstance(value, dict):
        return json_text(value)
    return text_in(value, "a tool call's arguments")
