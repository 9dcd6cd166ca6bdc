"""A whole answer as OpenAI's chat completion, with what it cost."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from orchestify.values import LLMResponse, Thinking, ToolCall, Usage

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


def completion_of(response: LLMResponse, model: str) -> dict[str, Any]:
    """Return a whole answer of what the caller calls `model`, as JSON has it."""
    choice = {
        "index": 0,
        "message": _message(response),
        "logprobs": None,
        "finish_reason": finish_reason(response),
    }
    return {
        "id": f"chatcmpl-{response.call_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage_of(response),
    }


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
