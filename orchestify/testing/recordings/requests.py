"""What a lane is asked, as plain values: by these requests are compared, and people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from orchestify.lanes.parsing import encodable_text
from orchestify.testing.recordings.plain import Plain, digest, plain, written_fields
from orchestify.values import (
    CompletionRequest,
    EmbeddingRequest,
    FilePart,
    ImagePart,
    LLMMessage,
    Part,
    TextPart,
    ToolCall,
)

Ask: TypeAlias = Literal["complete", "stream", "embed", "count", "models"]
"""What a lane is asked for: its `send`, `open_stream`, `embed_inputs`, `count_input` or
`list_models`."""

_SETTINGS = (
    *("temperature", "max_tokens", "top_p", "stop", "seed", "tool_choice", "thinking"),
    *("thinking_off", "cache"),
)
_HEADERS = frozenset({"headers", "extra_headers", "http_headers", "default_headers"})
_SECRET = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
STRUCK = "***"
"""What stands in place of what was struck out."""


def asked(ask: Ask, provider_id: str, request: CompletionRequest | None) -> dict[str, Plain]:
    """Return what a lane is asked, times aside: they are no part of the request."""
    return {
        "ask": ask,
        "provider": provider_id,
        "request": {} if request is None else _request(request),
    }


def call_form(call: ToolCall) -> dict[str, Plain]:
    """Return a tool call; its arguments as values where they could be read, else as written."""
    form: dict[str, Plain] = {"id": call.id, "name": call.name}
    if call.valid:
        return form | {"arguments": plain(call.arguments)}
    return form | {"raw_arguments": plain(call.raw_arguments), "valid": False}


def _request(request: CompletionRequest) -> dict[str, Plain]:
    found: dict[str, Plain] = {"model": request.model}
    if isinstance(request, EmbeddingRequest):
        found |= {"inputs": plain(request.inputs), "dimensions": request.dimensions}
    elif request.native is not None:  # it says what the messages and tools say
        body = _without_binaries(plain(request.native.body))
        found["native"] = {"protocol": request.native.protocol, "body": body}
    else:
        found["messages"] = [_message(each) for each in request.messages]
        found["tools"] = [written_fields(each) for each in request.tools]
    found |= {name: plain(getattr(request, name)) for name in _SETTINGS}
    if request.response_format is not None:
        form = request.response_format
        schema = plain(form.schema)
        found["response_format"] = {"name": form.name, "schema": schema, "strict": form.strict}
    found["options"] = _options(request.options)
    return {name: value for name, value in found.items() if _is_said(value)}


def _options(options: Mapping[str, Any]) -> dict[str, Plain]:
    """Return extra fields without headers, and without the values of what is named a secret."""
    return {
        name: STRUCK if isinstance(value, str) and _SECRET.search(name) else value
        for name, value in plain(options).items()
        if name.lower() not in _HEADERS
    }


def _message(message: LLMMessage) -> dict[str, Plain]:
    content, thinking = message.content, message.thinking
    parts = content if not isinstance(content, str) else ()
    found = {
        "role": message.role,
        "name": plain(message.name),
        "tool_call_id": message.tool_call_id,
        "content": [_part(each) for each in parts] or plain(content),
        "thinking": written_fields(thinking) if thinking else None,
        "tool_calls": [call_form(each) for each in message.tool_calls],
    }
    return {name: value for name, value in found.items() if _is_said(value)}


def _is_said(value: Plain) -> bool:
    return value is not None and value is not False and value not in ("", [], {})


def _part(part: Part) -> dict[str, Plain]:
    if isinstance(part, TextPart):
        return written_fields(part)
    if isinstance(part, FilePart):
        told = {"media_type": part.media_type, "file_name": plain(part.name)}
        return {"file": _told(told, part.data), **_mark(part)}
    told = {"media_type": part.media_type, "detail": part.detail}
    url = part.url
    if url is not None and not url.startswith("data:"):
        return {"image": {"url": encodable_text(url), **_known(told)}, **_mark(part)}
    return {"image": _told(told, part.data or url or ""), **_mark(part)}


def _mark(part: ImagePart | FilePart) -> dict[str, Plain]:
    return {} if part.cache_control is None else {"cache_control": plain(part.cache_control)}


def _told(told: Mapping[str, Plain], data: str) -> dict[str, Plain]:
    return _known(told) | digest(data.encode("utf-8", "replace"))


def _known(told: Mapping[str, Plain]) -> dict[str, Plain]:
    return {name: value for name, value in told.items() if value is not None}


def _without_binaries(value: Plain, name: str = "", kind: Plain = None) -> Plain:
    """Return a protocol's body with digests in place of images and files."""
    if isinstance(value, dict):
        own = value.get("type")
        return {key: _without_binaries(each, key, own) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_binaries(each, name, kind) for each in value]
    is_data = name in {"data", "file_data"} and kind != "redacted_thinking"
    if isinstance(value, str) and (is_data or value.startswith("data:")):
        return digest(value.encode("utf-8", "replace"))
    return value
