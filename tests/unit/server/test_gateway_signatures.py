"""Gemini's thought signatures in their native place, beside the field of our own."""

from __future__ import annotations

import json
from typing import Any

from orchestify.calls.chat_completion import completion_of
from orchestify.lanes.openai.answer import ChatAnswer
from orchestify.server.gateway.chat.answer import ChunkWriter
from orchestify.server.gateway.chat.request import chat_request
from orchestify.values import (
    CompletionRequest,
    LLMMessage,
    LLMResponse,
    Thinking,
    ToolCall,
    ToolCallDelta,
)

SIGNED = {"google": {"thought_signature": "c2lnbmVk"}}
BLOCK = {"type": "extra_content", "tool_call_id": "call_1", "extra_content": SIGNED}
OF_MESSAGE = {"type": "extra_content", "tool_call_id": None, "extra_content": SIGNED}
FUNCTION = {"name": "get_weather", "arguments": "{}"}
CALL = {"id": "call_1", "type": "function", "function": FUNCTION}


def answered(*blocks: dict[str, Any]) -> Any:
    """The message of an answer with a call and these blocks."""
    response = LLMResponse(
        content="",
        model="gemini-3-pro",
        tokens_input=1,
        tokens_output=1,
        finish_reason="tool_calls",
        tool_calls=(ToolCall("call_1", "get_weather"),),
        thinking=Thinking("", blocks),
    )
    return json.loads(json.dumps(completion_of(response, "gemini")))["choices"][0]["message"]


def asked(message: dict[str, Any]) -> Thinking | None:
    """The thinking of a message as a client sends it."""
    body = {"model": "gemini", "messages": [{"role": "assistant", **message}]}
    (read,) = chat_request(json.dumps(body).encode()).arguments["messages"]
    thinking: Thinking | None = read.thinking
    return thinking


def test_a_calls_signature_stands_in_the_call() -> None:
    message = answered(BLOCK)
    assert message["tool_calls"][0]["extra_content"] == SIGNED
    assert "extra_content" not in message


def test_a_messages_signature_stands_in_the_message() -> None:
    message = answered(OF_MESSAGE)
    assert message["extra_content"] == SIGNED
    assert "extra_content" not in message["tool_calls"][0]


def test_signatures_are_read_from_where_they_stand() -> None:
    in_call = asked({"content": None, "tool_calls": [{**CALL, "extra_content": SIGNED}]})
    in_message = asked({"content": "hi", "extra_content": SIGNED})
    assert in_call == Thinking("", (BLOCK,))
    assert in_message == Thinking("", (OF_MESSAGE,))


def test_a_signature_in_both_places_counts_once() -> None:
    message = {"content": None, "tool_calls": [{**CALL, "extra_content": SIGNED}]}
    assert asked({**message, "thinking_blocks": [BLOCK]}) == Thinking("", (BLOCK,))


def test_a_streamed_calls_signature_comes_with_its_first_piece() -> None:
    writer = ChunkWriter("1", "gemini", include_usage=False)
    first = writer.of(ToolCallDelta(0, "call_1", "get_weather", "{}", SIGNED))
    (call,) = json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["tool_calls"]
    assert call["extra_content"] == SIGNED


def test_the_lane_tells_the_signature_of_a_streamed_call() -> None:
    request = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="gemini-3-pro")
    piece = {**CALL, "index": 0, "extra_content": SIGNED}
    events = ChatAnswer(request).feed({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]})
    assert events == [ToolCallDelta(0, "call_1", "get_weather", "{}", SIGNED)]
