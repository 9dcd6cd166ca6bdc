"""A call's answer in OpenAI's protocol: a whole body, or the chunks of a stream, with its cost."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from orchestify.calls.stream import ReaderEvent
from orchestify.values import (
    LLMResponse,
    StreamEnd,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

FINISH_REASONS: Mapping[str, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "pause": "stop",
}
"""Ours to OpenAI's, which says a refusal by the message's `refusal`."""

_NO_USAGE = Usage()


def answer_body(response: LLMResponse, model: str) -> bytes:
    """Return a whole answer of what the client calls `model`."""
    choice = {
        "index": 0,
        "message": _message(response),
        "logprobs": None,
        "finish_reason": finish_reason(response),
    }
    answer = {
        "id": f"chatcmpl-{response.call_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage_of(response),
    }
    return json.dumps(answer).encode()


def usage_of(response: LLMResponse) -> dict[str, Any]:
    """Return the tokens and the cost in USD, which is null where nobody knows the price."""
    usage = response.usage or _NO_USAGE
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        "cost": _number(response.cost_usd),
    }


def finish_reason(response: LLMResponse) -> str:
    """Return why the model stopped, in OpenAI's words."""
    return FINISH_REASONS.get(response.finish_reason, "stop")


def thinking_blocks(thinking: Thinking | None) -> dict[str, Any]:
    """Return what is to be sent back beside tool calls, as fields of a message."""
    if thinking is None or not thinking.blocks:
        return {}
    return {"thinking_blocks": thinking.blocks, **_extra(thinking, None)}


def tool_call(call: ToolCall, thinking: Thinking | None = None) -> dict[str, Any]:
    """Return a tool call, its arguments as the model wrote them, with Gemini's signature."""
    arguments = call.raw_arguments or json.dumps(dict(call.arguments), ensure_ascii=False)
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
        **_extra(thinking, call.id),
    }


def _extra(thinking: Thinking | None, call_id: str | None) -> dict[str, Any]:
    """Return what Gemini gave beside a call, or beside the message, in its own field."""
    for block in () if thinking is None else thinking.blocks:
        if block.get("type") == "extra_content" and block.get("tool_call_id") == call_id:
            return {"extra_content": block["extra_content"]}
    return {}


def _message(response: LLMResponse) -> dict[str, Any]:
    refused = response.finish_reason == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or not response.content else response.content,
        "refusal": (response.content or "the model refused") if refused else None,
    }
    if response.tool_calls:
        message["tool_calls"] = [tool_call(call, response.thinking) for call in response.tool_calls]
    elif not refused:
        message["content"] = response.content
    if response.thinking:
        message["reasoning_content"] = response.thinking.text
        message |= thinking_blocks(response.thinking)
    return message


def _number(cost_usd: Decimal | None) -> float | None:
    return None if cost_usd is None else float(cost_usd)


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
