"""Messages and their blocks as Anthropic's protocol writes them, as values.

What this service has no value for stands as the text of its JSON, so that it counts; its place is
noted, for a target of another protocol cannot be asked it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from orchestify.errors import InvalidParameterError
from orchestify.server.gateway.json_fields import each, needed, optional, wrong
from orchestify.values import (
    Content,
    FilePart,
    ImagePart,
    LLMMessage,
    Part,
    TextPart,
    Thinking,
    ToolCall,
)

_READ = {
    "text": frozenset({"type", "text", "cache_control"}),
    "image": frozenset({"type", "source", "cache_control"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "cache_control"}),
}
_LEFT_OUT = ("server_tool_use", "mcp_tool_use", "container_upload", "compaction")
"""Blocks of an assistant's turn, beside results, without which the conversation goes on."""

_SOURCE_FIELDS = frozenset({"type", "url", "media_type", "data"})
_NOT_CITED = {"enabled": False}
_ORDER = {"text": 1, "tool_use": 2}
"""Where blocks stand in an assistant's turn as a rule: all that is thinking comes first."""


@dataclass(slots=True)
class ContentReader:
    """Reads messages; `untold` has the places of what no other protocol can be told.

    `unread` has the names of what is in blocks that can be told, and is left out.
    """

    untold: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)

    def conversation(self, form: Mapping[str, Any]) -> list[LLMMessage]:
        """Return the system prompt and the messages in a body.

        Raises:
            InvalidParameterError: one has another form; its place is named, never its content.
        """
        messages = []
        if form.get("system"):
            messages.append(LLMMessage("system", self._content(form["system"], "system")))
        for number, each_ in enumerate(each(needed(form, "messages", list), "messages")):
            messages += self._message(each_, f"messages[{number}].")
        return messages

    def _message(self, form: Mapping[str, Any], where: str) -> Iterator[LLMMessage]:
        role, content, at = needed(form, "role", str, where), form.get("content"), f"{where}content"
        if role not in ("user", "assistant", "system"):
            raise wrong(f"{where}role", "expected user, assistant or system")
        if isinstance(content, str):
            yield LLMMessage(role, content)
            return
        blocks = each(_listed(content, at), at)
        if role == "assistant":
            yield self._assistant(blocks, at)
        else:
            yield from self._said(role, blocks, at)

    def _said(self, role: str, blocks: list[dict[str, Any]], where: str) -> Iterator[LLMMessage]:
        """Yield the results of tools in a turn, and what is said between and behind them."""
        parts: list[Part] = []
        for number, block in enumerate(blocks):
            at = f"{where}[{number}]."
            if block.get("type") != "tool_result":
                parts.append(self._part(block, at))
                continue
            if parts:
                yield LLMMessage(role, tuple(parts))
                parts = []
            yield self._result(block, at)
        if parts:
            yield LLMMessage(role, tuple(parts))

    def _result(self, block: Mapping[str, Any], where: str) -> LLMMessage:
        self._note(block)
        content = block.get("content")
        said = "" if content is None else self._content(content, f"{where}content")
        return LLMMessage("tool", said, tool_call_id=needed(block, "tool_use_id", str, where))

    def _assistant(self, blocks: list[dict[str, Any]], where: str) -> LLMMessage:
        parts: list[Part] = []
        calls: list[ToolCall] = []
        for number, block in enumerate(blocks):
            kind = needed(block, "type", str, f"{where}[{number}].")
            if kind == "text":
                parts.append(self._part(block, f"{where}[{number}]."))
            elif kind == "tool_use":
                self._note(block)
                calls.append(_call(block, f"{where}[{number}]."))
            elif kind in _LEFT_OUT or kind.endswith("_tool_result"):
                self.unread.add(kind[:40])
            elif kind not in ("thinking", "redacted_thinking"):
                self.untold.append(f"{where}[{number}].type: {kind[:40]!r}")
        return LLMMessage(
            "assistant", tuple(parts) or "", tool_calls=tuple(calls), thinking=_thinking(blocks)
        )

    def _content(self, content: Any, where: str) -> Content:
        if isinstance(content, str):
            return content
        blocks = each(_listed(content, where), where)
        return tuple(self._part(block, f"{where}[{n}].") for n, block in enumerate(blocks))

    def _part(self, block: Mapping[str, Any], where: str) -> Part:
        kind = needed(block, "type", str, where)
        self._note(block)
        mark = optional(block, "cache_control", dict, where)
        if kind == "text":
            return TextPart(optional(block, "text", str, where) or "", mark)
        if kind == "image":
            source = needed(block, "source", dict, where)
            self.unread |= {name[:40] for name in source.keys() - _SOURCE_FIELDS if source[name]}
            made = _image(source, f"{where}source.")
        else:
            made = _document(block) if kind == "document" else None
        if made is None:
            self.untold.append(f"{where}type: {kind[:40]!r}")
            made = TextPart(json.dumps(block))
        return made if mark is None else replace(made, cache_control=mark)

    def _note(self, block: Mapping[str, Any]) -> None:
        known = _READ.get(str(block.get("type")))
        if known is not None:
            self.unread |= {name[:40] for name in block.keys() - known if block[name]}


def _listed(content: Any, where: str) -> list[Any]:
    if not isinstance(content, list):
        raise wrong(where, "expected a text or a list of blocks")
    return content


def _image(source: Mapping[str, Any], where: str) -> Part | None:
    kind = needed(source, "type", str, where)
    try:
        if kind == "url":
            return ImagePart(url=needed(source, "url", str, where))
        if kind == "base64":
            media_type = needed(source, "media_type", str, where)
            return ImagePart(data=needed(source, "data", str, where), media_type=media_type)
    except InvalidParameterError as error:
        raise wrong(where[:-1], str(error)) from None
    return None


def _document(block: Mapping[str, Any]) -> Part | None:
    """Return a document whose source is plain text or a file's bytes, and that is no more."""
    source, title = block.get("source"), block.get("title")
    asks_more = block.get("context") or (block.get("citations") or {}) not in ({}, _NOT_CITED)
    if not isinstance(source, dict) or asks_more:
        return None
    if source.get("type") == "base64":
        with suppress(InvalidParameterError):
            name = title if isinstance(title, str) else None
            return FilePart(str(source.get("data")), str(source.get("media_type")), name)
    if source.get("type") != "text":
        return None
    head = f"{title}\n\n" if isinstance(title, str) else ""
    return TextPart(f"{head}{source.get('data') or ''}")


def _call(block: Mapping[str, Any], where: str) -> ToolCall:
    arguments = optional(block, "input", dict, where) or {}
    return ToolCall(needed(block, "id", str, where), needed(block, "name", str, where), arguments)


def _thinking(blocks: Iterable[dict[str, Any]]) -> Thinking | None:
    """Return what is neither text nor a call, with marks of these where the order is unusual.

    Thinking without a signature is its text alone: no provider takes the block again.
    """
    kept = [block for block in blocks if not _is_unsigned(block)]
    text = "".join(str(block.get("thinking") or "") for block in blocks)
    if not any(_rank(block) == 0 for block in kept):
        return Thinking(text) if text else None
    ranks = [_rank(block) for block in kept]
    if ranks == sorted(ranks):
        return Thinking(text, tuple(block for block in kept if _rank(block) == 0))
    return Thinking(text, tuple(map(_marked, kept)))


def _rank(block: Mapping[str, Any]) -> int:
    return _ORDER.get(str(block.get("type")), 0)


def _is_unsigned(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "thinking" and not block.get("signature")


def _marked(block: dict[str, Any]) -> Mapping[str, Any]:
    match block["type"]:
        case "text":
            return {"type": "text", "text": block.get("text") or ""}
        case "tool_use":
            return {"type": "tool_use", "id": block["id"]}
        case _:
            return block
