"""A conversation as Gemini's own API counts it: its compatible endpoint does not count.

Source: Google, "Gemini API: models.countTokens".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestify.lanes.fitting import parts_of
from orchestify.values import CompletionRequest, ImagePart, LLMMessage, TextPart

COUNT_KEY_HEADER = "x-goog-api-key"


def count_path(model: str) -> str:
    """Return the path of the counting request, below the API's version."""
    return f"/models/{model.removeprefix('models/')}:countTokens"


def count_body(request: CompletionRequest) -> dict[str, Any] | None:
    """Return the body of a counting request, None where an image is elsewhere than in it."""
    images = [part for part in parts_of(request.messages) if isinstance(part, ImagePart)]
    if any(_inline(image.data_url) is None for image in images):
        return None
    system = [part for each in request.messages if each.role == "system" for part in _parts(each)]
    names = {call.id: call.name for each in request.messages for call in each.tool_calls}
    counted: dict[str, Any] = {
        "model": f"models/{request.model.removeprefix('models/')}",
        "contents": [_content(each, names) for each in request.messages if each.role != "system"],
        "systemInstruction": {"parts": system} if system else None,
        "tools": _tools(request) or None,
    }
    return {"generateContentRequest": {k: v for k, v in counted.items() if v is not None}}


def _content(message: LLMMessage, names: Mapping[str, str]) -> dict[str, Any]:
    if message.role == "tool":
        name = names.get(message.tool_call_id or "", "")
        response = {"name": name, "response": {"result": message.text}}
        return {"role": "user", "parts": [{"functionResponse": response}]}
    calls = [
        {"functionCall": {"name": call.name, "args": dict(call.arguments)}}
        for call in message.tool_calls
    ]
    role = "model" if message.role == "assistant" else "user"
    return {"role": role, "parts": [*_parts(message), *calls]}


def _parts(message: LLMMessage) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"text": message.content}] if message.content else []
    return [
        {"text": part.text}
        if isinstance(part, TextPart)
        else {"inlineData": _inline(part.data_url)}
        for part in message.content
    ]


def _inline(url: str) -> dict[str, str] | None:
    head, _, payload = url.partition(";base64,")
    if not head.startswith("data:") or not payload:
        return None
    return {"mimeType": head.removeprefix("data:"), "data": payload}


def _tools(request: CompletionRequest) -> list[dict[str, Any]]:
    declared = [
        {
            "name": tool.name,
            "description": tool.description or "",
            "parametersJsonSchema": dict(tool.input_schema),
        }
        for tool in request.tools
        if tool.server is None
    ]
    return [{"functionDeclarations": declared}] if declared else []
