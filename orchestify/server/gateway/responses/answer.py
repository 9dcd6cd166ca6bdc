"""A call's answer as OpenAI's Responses: a whole body, or the events of a stream.

What a provider of the same protocol answered goes as it is, but for the response's id and the
model's name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from orchestify.calls.stream import ReaderEvent
from orchestify.lanes.large_json import LargeObject
from orchestify.server.gateway.event_text import event_text
from orchestify.server.gateway.responses.kept import item_id, response_id
from orchestify.server.gateway.responses.reasoning import content_of
from orchestify.server.gateway.responses.request import ResponsesRequest
from orchestify.values import (
    LLMResponse,
    NativeEvent,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

_INCOMPLETE: Mapping[str, str] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
"""Our reasons to end that leave an answer incomplete, in the protocol's words."""

_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
"""What an answer repeats of its request, and has where that says nothing."""

_ENDS = frozenset({"response.completed", "response.incomplete"})
_NO_USAGE = Usage()


def whole_answer(response: LLMResponse, asked: ResponsesRequest) -> dict[str, Any]:
    """Return a whole answer of what the client calls `asked.model`."""
    raw = response.raw_response
    if isinstance(raw, dict) and raw.get("object") == "response":
        return _native(raw, response.call_id, asked)
    writer = ResponseWriter(response.call_id, asked)
    thinking = response.thinking
    if thinking is not None:
        writer.of(ThinkingDelta(thinking.text))
    if response.content:
        writer.of(TextDelta(response.content, response.finish_reason == "refusal"))
    for index, call in enumerate(response.tool_calls):
        writer.of(ToolCallDelta(index, call.id, call.name, _arguments(call)))
    return writer.whole(response)


def usage_of(response: LLMResponse) -> dict[str, Any]:
    """Return the tokens and the cost in USD, which is null where nobody knows the price."""
    usage, cost = response.usage or _NO_USAGE, response.cost_usd
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total_tokens,
        "cost": None if cost is None else float(cost),
    }


def _native(raw: Mapping[str, Any], call_id: str, asked: ResponsesRequest) -> dict[str, Any]:
    """Return a response of the provider's, with the names that the client knows."""
    ours: dict[str, Any] = {"id": response_id(call_id), "model": asked.model}
    if asked.previous is not None:
        ours["previous_response_id"] = asked.previous
    if asked.keeps_instead:
        ours["store"] = asked.is_kept
    return {**raw, **ours}


def _arguments(call: ToolCall) -> str:
    return call.raw_arguments or json.dumps(dict(call.arguments), ensure_ascii=False)


class ResponseWriter:
    """Writes one answer's events, which a provider sent so or which are made here.

    A thought, a text or a tool call is an item: it begins with its first piece, and is done where
    another begins; a thought is done at the end, for what is to be sent back with it comes last.
    The last event holds the whole response and, where the events are made here, in `orchestify`
    who answered, what it cost, and the words for what of the request was left out or changed.
    """

    ending = b""

    def __init__(self, call_id: str, asked: ResponsesRequest) -> None:
        self._call_id = call_id
        self._asked = asked
        self._created = int(time.time())
        self._sequence = 0
        self._is_native = False
        self._native_end: Mapping[str, Any] | None = None
        self._has_begun = False
        self._items: list[_Item] = []
        self._calls: dict[int, _Item] = {}
        self._whole: dict[str, Any] | None = None

    def opening(self) -> str:
        """Return nothing: what comes first is known with the first event."""
        return ""

    def next_number(self) -> int:
        """Return the number of the next event."""
        self._sequence += 1
        return self._sequence - 1

    def of(self, event: ReaderEvent) -> str:
        """Return what an event becomes; the end has several."""
        if isinstance(event, NativeEvent):
            self._is_native = True
            return self._passed(event.event)
        if self._is_native:
            return self._last(event.response) if isinstance(event, StreamEnd) else ""
        begun = "" if self._has_begun else self._begin()
        match event:
            case TextDelta():
                return begun + self._text(event)
            case ThinkingDelta():
                return begun + self._thought(event.text)
            case ToolCallDelta():
                return begun + self._call(event)
            case StreamEnd():
                return begun + self._end(event.response)

    def whole(self, response: LLMResponse) -> dict[str, Any]:
        """Return the whole response; it is made once, and its `store` may still change."""
        if self._whole is None:
            self._whole = self._made(response)
        return self._whole

    def _made(self, response: LLMResponse) -> dict[str, Any]:
        if self._is_native and isinstance(response.raw_response, dict):
            return _native(response.raw_response, self._call_id, self._asked)
        self._seal(response)
        reason = _INCOMPLETE.get(response.finish_reason)
        return {
            **self._opened(),
            "status": "incomplete" if reason else "completed",
            "completed_at": None if reason else int(time.time()),
            "incomplete_details": {"reason": reason} if reason else None,
            "output": [item.fields for item in self._items],
            "usage": usage_of(response),
        }

    def _seal(self, response: LLMResponse) -> None:
        """Put what is to be sent back into the first thought, or into one that is told nothing."""
        content = content_of(response.thinking)
        if content is None:
            return
        thoughts = [item for item in self._items if item.kind == "reasoning"]
        item = thoughts[0] if thoughts else self._add("reasoning", {"summary": []})
        item.fields["encrypted_content"] = content

    def _passed(self, event: Mapping[str, Any]) -> str:
        """Return a provider's event; the last waits for what is kept of the answer."""
        self._sequence = max(self._sequence, event.get("sequence_number", self._sequence) + 1)
        if event.get("type") in _ENDS:
            self._native_end = event
            return ""
        if isinstance(event.get("response"), dict):
            event = {**event, "response": _native(event["response"], self._call_id, self._asked)}
        return event_text(event)

    def _last(self, response: LLMResponse) -> str:
        end = self._native_end or {"type": "response.completed"}
        kind = LargeObject if isinstance(end, LargeObject) else dict
        return event_text(kind({**end, "response": self.whole(response)}))

    def _opened(self) -> dict[str, Any]:
        form = self._asked.form
        told = {name: form[name] for name in _ECHOED if form.get(name) is not None}
        return {
            "id": response_id(self._call_id),
            "object": "response",
            "created_at": self._created,
            "status": "in_progress",
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": self._asked.model,
            "output": [],
            "store": self._asked.is_kept,
            "usage": None,
            **_ECHOED,
            **told,
        }

    def _begin(self) -> str:
        self._has_begun = True
        opened = self._opened()
        return "".join(
            self._event(f"response.{kind}", {"response": opened})
            for kind in ("created", "in_progress")
        )

    def _add(self, kind: str, fields: Mapping[str, Any]) -> _Item:
        index = len(self._items)
        short = {"reasoning": "rs", "message": "msg", "custom_tool_call": "ctc"}.get(kind, "fc")
        item = _Item(kind, index, {"id": item_id(short, self._call_id, index), "type": kind})
        item.fields |= fields
        self._items.append(item)
        return item

    def _opened_item(self, kind: str, fields: Mapping[str, Any]) -> tuple[_Item, str]:
        """Begin an item, and return it with the events that end the one before and open it."""
        done = self._done(self._items[-1]) if self._items else ""
        item = self._add(kind, fields)
        added = {**item.fields} if kind == "reasoning" else {**item.fields, "status": "in_progress"}
        at = {"output_index": item.index, "item": added}
        return item, done + self._event("response.output_item.added", at)

    def _open(self, kind: str) -> _Item | None:
        """Return the open item where it is of a kind."""
        last = self._items[-1] if self._items else None
        return last if last is not None and last.kind == kind and not last.is_done else None

    def _thought(self, text: str) -> str:
        item, begun = self._open("reasoning"), ""
        if item is None:
            item, begun = self._opened_item("reasoning", {"summary": []})
        if not text:
            return begun
        if not item.fields["summary"]:
            part = {"type": "summary_text", "text": ""}
            item.fields["summary"] = [part]
            begun += self._of_item(item, "reasoning_summary_part.added", part={**part})
        item.fields["summary"][0]["text"] += text
        return begun + self._of_item(item, "reasoning_summary_text.delta", delta=text)

    def _text(self, event: TextDelta) -> str:
        item, begun = self._open("message"), ""
        name = "refusal" if event.is_refusal else "text"
        part: dict[str, Any] = {"type": "refusal", "refusal": ""}
        if not event.is_refusal:
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        if item is None:
            item, begun = self._opened_item("message", {"role": "assistant", "content": []})
        content: list[dict[str, Any]] = item.fields["content"]
        if not content or name not in content[-1]:
            begun += self._part_done(item) if content else ""
            content.append(part)
            begun += self._of_item(item, "content_part.added", part={**part})
        content[-1][name] += event.text
        kind = "refusal.delta" if event.is_refusal else "output_text.delta"
        more: dict[str, Any] = {} if event.is_refusal else {"logprobs": []}
        return begun + self._of_item(item, kind, delta=event.text, **more)

    def _call(self, event: ToolCallDelta) -> str:
        item, begun = self._calls.get(event.index), ""
        is_custom = event.name in self._asked.custom
        if item is None:
            item, begun = self._opened_item(
                "custom_tool_call" if is_custom else "function_call",
                {**self._named(event), ("input" if is_custom else "arguments"): ""},
            )
            self._calls[event.index] = item
        item.arguments += event.arguments
        if is_custom:  # a text within JSON: it is told at its end
            return begun
        item.fields["arguments"] = item.arguments
        if not event.arguments:
            return begun
        return begun + self._of_item(item, "function_call_arguments.delta", delta=event.arguments)

    def _named(self, event: ToolCallDelta) -> dict[str, Any]:
        namespace, name = self._asked.namespaces.get(event.name, (None, event.name))
        named = {"call_id": event.id, "name": name}
        return named if namespace is None else {**named, "namespace": namespace}

    def _done(self, item: _Item) -> str:
        """Return the events that end an item; a thought's own end comes last."""
        if item.is_done:
            return ""
        item.is_done = True
        match item.kind:
            case "reasoning":
                return self._thought_done(item)
            case "message":
                done = self._part_done(item)
            case "custom_tool_call":
                item.fields["input"] = _text_input(item.arguments)
                told = {"delta": item.fields["input"]}
                done = self._of_item(item, "custom_tool_call_input.delta", **told)
                told = {"input": item.fields["input"]}
                done += self._of_item(item, "custom_tool_call_input.done", **told)
            case _:
                item.fields["arguments"] = item.arguments = item.arguments or "{}"
                told = {"arguments": item.arguments, "name": item.fields["name"]}
                done = self._of_item(item, "function_call_arguments.done", **told)
        item.fields["status"] = "completed"
        return done + self._item_done(item)

    def _thought_done(self, item: _Item) -> str:
        if not item.fields["summary"]:
            return ""
        (part,) = item.fields["summary"]
        text_done = self._of_item(item, "reasoning_summary_text.done", text=part["text"])
        return text_done + self._of_item(item, "reasoning_summary_part.done", part=part)

    def _part_done(self, item: _Item) -> str:
        content = item.fields["content"]
        part = content[-1]
        if part["type"] == "refusal":
            done = self._of_item(item, "refusal.done", refusal=part["refusal"])
        else:
            done = self._of_item(item, "output_text.done", text=part["text"], logprobs=[])
        return done + self._of_item(item, "content_part.done", part=part)

    def _item_done(self, item: _Item) -> str:
        at = {"output_index": item.index, "item": item.fields}
        return self._event("response.output_item.done", at)

    def _end(self, response: LLMResponse) -> str:
        ended = self._done(self._items[-1]) if self._items else ""
        told = len(self._items)
        whole = self.whole(response)
        for item in self._items[told:]:
            ended += self._event(
                "response.output_item.added", {"output_index": item.index, "item": item.fields}
            )
        thoughts = (item for item in self._items if item.kind == "reasoning")
        ended += "".join(self._item_done(item) for item in thoughts)
        cost = response.cost_usd
        last = {
            "response": whole,
            "orchestify": {
                "provider": response.provider,
                "model": response.model,
                "cost_usd": None if cost is None else float(cost),
                "warnings": [*self._asked.warnings, *response.warnings],
            },
        }
        return ended + self._event(f"response.{whole['status']}", last)

    def _of_item(self, item: _Item, kind: str, **fields: Any) -> str:
        """Return an event of an item; what belongs to a part of it says which."""
        at: dict[str, Any] = {"item_id": item.fields["id"], "output_index": item.index}
        if item.kind == "message":
            at["content_index"] = len(item.fields["content"]) - 1
        elif item.kind == "reasoning":
            at["summary_index"] = 0
        return self._event(f"response.{kind}", at | fields)

    def _event(self, kind: str, fields: Mapping[str, Any]) -> str:
        return event_text({"type": kind, "sequence_number": self.next_number(), **fields})


class _Item:
    """An item of the output while it is written; `fields` are as they go out."""

    __slots__ = ("arguments", "fields", "index", "is_done", "kind")

    def __init__(self, kind: str, index: int, fields: dict[str, Any]) -> None:
        self.kind = kind
        self.index = index
        self.fields = fields
        self.arguments = ""
        self.is_done = False


def _text_input(arguments: str) -> str:
    """Return the text that a custom tool is called with, out of the arguments that stand for it."""
    try:
        given = json.loads(arguments)
    except ValueError:
        return arguments
    text = given.get("input") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments
