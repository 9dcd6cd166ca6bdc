"""The items of a conversation as Responses write them, as values.

What this service has no value for stands as the text of its JSON, so that it counts; its place is
noted, for a target of another protocol cannot be asked it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestify.calls.messages import file_of, image_of, tool_call_of
from orchestify.errors import InvalidParameterError
from orchestify.server.gateway.json_fields import each, needed, optional, wrong
from orchestify.server.gateway.responses.reasoning import blocks_in
from orchestify.values import Content, LLMMessage, Part, TextPart, Thinking, ToolCall

REFERENCE = "item_reference"
_PART_FIELDS = frozenset(
    {"type", "text", "refusal", "image_url", "file_data", "filename", "file_id", "file_url"}
    | {"annotations", "logprobs"}  # an answer's own, which clients send back
)
_BETWEEN_PARTS = "\n\n"
_TEXTS: Mapping[str, str] = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "summary_text": "text",
    "refusal": "refusal",
}


def flat_name(namespace: str | None, name: str) -> str:
    """Return the name of a function of a namespace for targets that have no namespaces."""
    return f"{namespace}__{name}" if namespace else name


def unread_in(form: Mapping[str, Any], known: frozenset[str]) -> set[str]:
    """Return the names of fields that say something and are not among those known."""
    return {name[:40] for name in form.keys() - known if form[name]}


@dataclass(slots=True)
class ItemReader:
    """Reads items; `untold` has the places of what no other protocol can be told.

    `unread` has the names of what is in parts that can be told, and is left out.
    """

    untold: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    _messages: list[LLMMessage] = field(default_factory=list)
    _turn: _Turn | None = None

    def conversation(self, items: Sequence[Any]) -> list[LLMMessage]:
        """Return the messages of a conversation's items.

        Raises:
            InvalidParameterError: one has another form; its place is named, never its content.
        """
        for number, item in enumerate(each(list(items), "input")):
            self._take(item, f"input[{number}].")
        self._end_turn()
        return self._messages

    def _take(self, item: Mapping[str, Any], where: str) -> None:
        kind = optional(item, "type", str, where) or "message"
        match kind:
            case "message":
                self._take_message(item, where)
            case "function_call" | "custom_tool_call":
                self._in_turn.calls.append(_call(item, kind, where))
            case "function_call_output" | "custom_tool_call_output":
                said = self._content(item.get("output"), f"{where}output")
                call_id = needed(item, "call_id", str, where)
                self._say(LLMMessage("tool", said, tool_call_id=call_id))
            case "reasoning":
                self._in_turn.think(item, where)
            case (
                "item_reference"
            ):  # what it names is put in its place, where it is kept; see `kept`
                needed(item, "id", str, where)
            case _:
                self.untold.append(f"{where}type: {kind[:40]!r}")
                self._say(LLMMessage("user", json.dumps(item)))

    def _take_message(self, item: Mapping[str, Any], where: str) -> None:
        role = needed(item, "role", str, where)
        content = self._content(item.get("content"), f"{where}content")
        if role == "assistant":
            self._in_turn.say(content)
        elif role in ("user", "system", "developer"):
            self._say(LLMMessage("user" if role == "user" else "system", content))
        else:
            raise wrong(f"{where}role", "expected user, assistant, system or developer")

    @property
    def _in_turn(self) -> _Turn:
        if self._turn is None:
            self._turn = _Turn()
        return self._turn

    def _say(self, message: LLMMessage) -> None:
        self._end_turn()
        self._messages.append(message)

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._messages += self._turn.messages()
            self._turn = None

    def _content(self, content: Any, where: str) -> Content:
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            raise wrong(where, "expected a text or a list of parts")
        parts = each(content, where)
        return tuple(self._part(part, f"{where}[{n}].") for n, part in enumerate(parts))

    def _part(self, part: Mapping[str, Any], where: str) -> Part:
        kind = needed(part, "type", str, where)
        known = _PART_FIELDS | {"detail"} if kind == "input_image" else _PART_FIELDS
        self.unread |= unread_in(part, known)
        if kind in _TEXTS:
            return TextPart(optional(part, _TEXTS[kind], str, where) or "")
        if kind == "input_image" and part.get("image_url") is not None:
            url = needed(part, "image_url", str, where)
            detail = optional(part, "detail", str, where)
            try:
                return replace(image_of(url), detail=None if detail == "auto" else detail)
            except InvalidParameterError as error:
                raise wrong(f"{where}image_url", str(error)) from None
        if kind == "input_file" and part.get("file_data") is not None:
            try:
                return file_of(part["file_data"], part.get("filename"))
            except InvalidParameterError as error:
                raise wrong(f"{where}file_data", str(error)) from None
        self.untold.append(f"{where}type: {kind[:40]!r}")
        return TextPart(json.dumps(part))


@dataclass(slots=True)
class _Turn:
    """An assistant's turn while it is read: all that stands between what others say."""

    texts: list[Part] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    blocks: list[Mapping[str, Any]] = field(default_factory=list)

    def say(self, content: Content) -> None:
        self.texts += [TextPart(content)] if isinstance(content, str) else content

    def think(self, item: Mapping[str, Any], where: str) -> None:
        """Take what was thought; other protocols' blocks, or the item itself, go back with it."""
        optional(item, "encrypted_content", str, where)
        read = {name: optional(item, name, list, where) for name in ("summary", "content")}
        name = "summary" if read["summary"] else "content"
        at = f"{where}{name}"
        texts = [
            optional(part, "text", str, f"{at}[{number}].") or ""
            for number, part in enumerate(each(read[name] or [], at))
        ]
        self.thoughts.append(_BETWEEN_PARTS.join(texts))
        self.blocks += blocks_in(item)

    def messages(self) -> Iterable[LLMMessage]:
        """Return the turn; nothing where it has nothing that another protocol can be told."""
        text = "".join(self.thoughts)
        thinking = Thinking(text, tuple(self.blocks)) if text or self.blocks else None
        if not self.texts and not self.calls and not self.blocks:
            return []
        content: Content = tuple(self.texts)
        if all(type(part) is TextPart for part in self.texts):
            content = "".join(part.text for part in self.texts if isinstance(part, TextPart))
        return [LLMMessage("assistant", content, tool_calls=tuple(self.calls), thinking=thinking)]


def _call(item: Mapping[str, Any], kind: str, where: str) -> ToolCall:
    call_id = needed(item, "call_id", str, where)
    name = needed(item, "name", str, where)
    if kind == "custom_tool_call":
        return ToolCall(call_id, name, {"input": optional(item, "input", str, where) or ""})
    named = flat_name(optional(item, "namespace", str, where), name)
    return tool_call_of(call_id, named, optional(item, "arguments", str, where) or "")
