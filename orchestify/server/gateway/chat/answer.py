"""A call's answer in OpenAI's protocol: a whole body, or the chunks of a stream, with its cost."""

from __future__ import annotations

import json
import time
from typing import Any

from orchestify.calls.chat_completion import (
    finish_reason,
    thinking_blocks,
    usage_of,
)
from orchestify.calls.stream import ReaderEvent
from orchestify.values import (
    LLMResponse,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)

_TAIL = ',"logprobs":null,"finish_reason":null}]}\n\n'


class ChunkWriter:
    """Writes one answer's events: what all of them share is put together once.

    The cost is in the last chunk's `usage`: that is a chunk of its own where the caller asked for
    it with `include_usage`, as OpenAI does it, and else the one with the `finish_reason`. With
    `names_provider` the last chunk names who answered, as headers that were sent before cannot;
    it also has the words for what of the request was left out or changed.
    """

    ending = b"data: [DONE]\n\n"

    def __init__(
        self, call_id: str, model: str, *, include_usage: bool, names_provider: bool = False
    ) -> None:
        self._names_provider = names_provider
        self._include_usage = include_usage
        self._shared = {
            "id": f"chatcmpl-{call_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        head = "data: " + json.dumps(self._shared)[:-1]
        if include_usage:
            head += ',"usage":null'
        head += ',"choices":[{"index":0,"delta":'
        self._head = head
        self._text = head + '{"content":'
        self._calls: set[int] = set()
        self._has_refused = False

    def opening(self) -> str:
        """Return the first chunk, which names the role."""
        return self._delta({"role": "assistant", "content": ""})

    def of(self, event: ReaderEvent) -> str:
        """Return the chunks of an event; the end has several."""
        if type(event) is TextDelta:
            if event.is_refusal:
                self._has_refused = True
                return self._delta({"refusal": event.text})
            return f"{self._text}{json.dumps(event.text)}}}{_TAIL}"
        if type(event) is ThinkingDelta:
            return self._delta({"reasoning_content": event.text})
        if type(event) is ToolCallDelta:
            return self._delta({"tool_calls": [self._call(event)]})
        assert isinstance(event, StreamEnd)  # noqa: S101 - there is no other
        return self._end(event.response)

    def _delta(self, delta: dict[str, Any]) -> str:
        return self._head + json.dumps(delta) + _TAIL

    def _call(self, event: ToolCallDelta) -> dict[str, Any]:
        """Return a piece of a tool call; only the first of each has its id and name."""
        if event.index in self._calls:
            return {"index": event.index, "function": {"arguments": event.arguments}}
        self._calls.add(event.index)
        return {
            "index": event.index,
            "id": event.id,
            "type": "function",
            "function": {"name": event.name, "arguments": event.arguments},
            **({"extra_content": event.extra_content} if event.extra_content else {}),
        }

    def _end(self, response: LLMResponse) -> str:
        delta: dict[str, Any] = thinking_blocks(response.thinking)
        if response.finish_reason == "refusal" and not self._has_refused:
            delta["refusal"] = response.content or "the model refused"
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason(response),
        }
        usage = usage_of(response)
        if self._names_provider:
            told = {"provider": response.provider, "provider_model": response.model}
            self._shared |= told
        if response.warnings:
            self._shared["warnings"] = response.warnings
        last = {**self._shared, "choices": [choice], "usage": usage}
        if not self._include_usage:
            return _event(last)
        return _event({**last, "usage": None}) + _event(
            {**self._shared, "choices": [], "usage": usage}
        )


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"
