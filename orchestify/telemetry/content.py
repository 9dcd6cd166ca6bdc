"""Prompts and answers in the conventions' form; only for those who ask for them.

Source: semantic-conventions-genai, gen-ai-input-messages.json, gen-ai-output-messages.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from orchestify.telemetry.names import FINISH_REASONS
from orchestify.values import ImagePart, LLMMessage, LLMResponse


def input_messages(messages: Sequence[LLMMessage]) -> str:
    """Return a conversation as `gen_ai.input.messages`, JSON in a text."""
    return _json([{"role": each.role, "parts": [*_parts(each)]} for each in messages])


def output_messages(response: LLMResponse) -> str:
    """Return an answer as `gen_ai.output.messages`, JSON in a text."""
    message = response.to_message()
    reason = FINISH_REASONS.get(response.finish_reason, response.finish_reason)
    return _json([{"role": "assistant", "parts": [*_parts(message)], "finish_reason": reason}])


def _parts(message: LLMMessage) -> Iterator[dict[str, Any]]:
    if message.role == "tool":
        yield {
            "type": "tool_call_response",
            "id": message.tool_call_id,
            "response": message.text,
        }
        return
    if message.thinking is not None and message.thinking.text:
        yield {"type": "reasoning", "content": message.thinking.text}
    if not isinstance(message.content, str):
        for part in message.content:
            yield _image(part) if isinstance(part, ImagePart) else _text(part.text)
    elif message.content:
        yield _text(message.content)
    for call in message.tool_calls:
        arguments = dict(call.arguments) if call.valid else call.raw_arguments
        yield {"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _image(image: ImagePart) -> dict[str, Any]:
    if image.url is not None:
        return {"type": "uri", "modality": "image", "uri": image.url}
    return {
        "type": "blob",
        "modality": "image",
        "mime_type": image.media_type,
        "content": image.data,
    }


def _json(messages: list[dict[str, Any]]) -> str:
    return json.dumps(messages, ensure_ascii=False, default=str)
