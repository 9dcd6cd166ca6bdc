"""OpenAI's Chat Completions as the stub server reads and writes them.

Source: https://platform.openai.com/docs/api-reference/chat/create, and recorded answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from orchestify.testing.answer import (
    Answer,
    Events,
    ParsedRequest,
    RefusedError,
    arguments_text,
    count_tokens,
    cut,
)
from orchestify.values import Tool, ToolCall, ToolChoice, Usage

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))


def api_key(headers: Mapping[str, str]) -> str:
    """Return the key of a request, empty where there is none."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else headers.get("api-key", "")


def read(body: Mapping[str, Any]) -> ParsedRequest:
    """Return what a request asks for.

    Raises: RefusedError where the real server would answer 400.
    """
    if not body.get("model"):
        raise RefusedError(400, "you must provide a model parameter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "Missing required parameter: 'messages'.", "messages")
    _check_messages(messages)
    tools = tuple(_tools(body.get("tools") or ()))
    prompts = [_text(entry) for entry in messages if entry["role"] == "user"]
    characters = sum(len(_text(entry)) for entry in messages)
    if tools:
        characters += len(json.dumps(body["tools"]))
    options = body.get("stream_options") or {}
    return ParsedRequest(
        prompt=prompts[-1] if prompts else "",
        call_prefix="call",
        input_tokens=count_tokens(characters) + 3 * len(messages),
        include_usage=body.get("stream") is not True or options.get("include_usage") is True,
        max_tokens=_max_tokens(body),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        after_tool=messages[-1]["role"] == "tool",
        schema=_schema(body.get("response_format")),
        thinking=body.get("reasoning_effort") not in (None, "none"),
    )


def _check_messages(messages: list[Any]) -> None:
    called: set[str] = set()
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise RefusedError(400, f"Invalid value: 'messages[{place}].role'.", "messages")
        for call in message.get("tool_calls") or ():
            called.add(call.get("id"))
        if message["role"] == "tool" and message.get("tool_call_id") not in called:
            raise RefusedError(
                400,
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                "message with 'tool_calls'.",
                f"messages.[{place}].role",
            )


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or limit < 1:
            raise RefusedError(400, f"Invalid value for '{name}': a positive integer.", name)
        return limit
    return None


def _tools(tools: Sequence[Any]) -> Iterator[Tool]:
    for place, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            raise RefusedError(
                400, f"Missing required parameter: 'tools[{place}].function'.", "tools"
            )
        yield Tool(function["name"], input_schema=function.get("parameters") or {})


def _tool_choice(choice: Any, tools: tuple[Tool, ...]) -> ToolChoice | None:
    if choice is None:
        return None
    if not tools:
        raise RefusedError(
            400, "'tool_choice' is only allowed when 'tools' are specified.", "tool_choice"
        )
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise RefusedError(400, "Invalid value for 'tool_choice'.", "tool_choice")
        return ToolChoice(choice)  # type: ignore[arg-type]
    name = choice.get("function", {}).get("name")
    if name not in {tool.name for tool in tools}:
        raise RefusedError(400, "Tool choice names no tool in 'tools'.", "tool_choice")
    return ToolChoice("tool", name)


def _schema(response_format: Any) -> Mapping[str, Any] | None:
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        return None
    schema = response_format.get("json_schema", {}).get("schema")
    if not isinstance(schema, dict):
        raise RefusedError(
            400,
            "Missing required parameter: 'response_format.json_schema.schema'.",
            "response_format.json_schema.schema",
        )
    return schema


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or () if isinstance(part, dict))


REQUEST_ID = "x-request-id"

_FINISH = {"refusal": "stop", "pause": "stop"}
_KINDS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "permission_denied"),
    404: ("invalid_request_error", "model_not_found"),
    422: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}
_NAMED = {
    "context_window": (
        "This model's maximum context length is 128000 tokens. However, your messages resulted "
        "in 130000 tokens. Please reduce the length of the messages.",
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "content_filter": (
        "The response was filtered due to the prompt triggering the content management policy.",
        "invalid_request_error",
        "content_filter",
    ),
    "quota": (
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
}
_ARGUMENT_PIECE = 12


def encode(answer: Answer) -> bytes:
    """Return the body of a JSON answer."""
    refused = answer.refusal is not None
    content = answer.text if not refused and (answer.text or not answer.tool_calls) else None
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content,
        "refusal": answer.refusal,
        "annotations": [],
    }
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in answer.tool_calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    body = _head(answer, "chat.completion", int(time.time())) | {"choices": [choice]}
    if (usage := _usage(answer)) is not None:
        body["usage"] = usage
    return json.dumps(body).encode()


def encode_events(answer: Answer) -> Events:
    """Return the chunks of a stream."""
    chunk = _head(answer, "chat.completion.chunk", int(time.time()))
    if answer.include_usage:
        chunk["usage"] = None
    head = f"data: {json.dumps(chunk)[:-1]}, ".encode()

    def event(delta: bytes, finish: bytes = b"null") -> bytes:
        return (
            b'%s"choices": [{"index": 0, "delta": %s, "logprobs": null, '
            % (
                head,
                delta,
            )
            + b'"finish_reason": %s}]}\n\n' % finish
        )

    ending = event(b"{}", json.dumps(_finish(answer)).encode())
    usage = _usage(answer) if answer.include_usage else None
    if usage is not None:
        ending += b"data: %s\n\n" % json.dumps(chunk | {"choices": [], "usage": usage}).encode()
    return Events(
        event(b'{"role": "assistant", "content": "", "refusal": null}'),
        [event(delta) for delta in _deltas(answer)],
        ending,
        b"data: [DONE]\n\n",
        answer.usage,
        None,
        answer.usage if answer.include_usage else None,
    )


def encode_error(status: int, message: str, request_id: str, param: str | None) -> bytes:  # noqa: ARG001 # only Anthropic names the request
    """Return an error's body; `message` may be the name of an error of `Reply.error`."""
    kind, code = _KINDS.get(status, ("server_error", None))
    if message in _NAMED:
        message, kind, code = _NAMED[message]
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}).encode()


def as_event(error: bytes) -> bytes:
    """Return an error's body as an event of a stream."""
    return b"data: %s\n\n" % error


def encode_models(models: Sequence[str]) -> bytes:
    """Return the body of a list of models."""
    entries = [
        {"id": model, "object": "model", "created": 1735689600, "owned_by": "stub"}
        for model in models
    ]
    return json.dumps({"object": "list", "data": entries}).encode()


def wrong_key(key: str) -> str:
    """Return the message that refuses a key; unlike the real one it echoes the whole key."""
    return f"Incorrect API key provided: {key}." if key else "You didn't provide an API key."


def no_model(model: str) -> str:
    """Return the message for a model that does not exist."""
    return f"The model `{model}` does not exist or you do not have access to it."


def _head(answer: Answer, kind: str, created: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-stub{answer.index:08x}",
        "object": kind,
        "created": created,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_stub",
    }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments_text(call)}
    return {"id": call.id, "type": "function", "function": function}


def _finish(answer: Answer) -> str:
    return _FINISH.get(answer.finish_reason, answer.finish_reason)


def _usage(answer: Answer) -> Mapping[str, Any] | None:
    if answer.raw_usage is not None:
        return dict(answer.raw_usage) or None
    counts = _counts(answer.usage or Usage())
    return counts if answer.cost_usd is None else counts | {"cost": answer.cost_usd}


def _counts(usage: Usage) -> dict[str, Any]:
    prompt_details = {"cached_tokens": usage.cache_read, "audio_tokens": 0}
    if usage.cache_write:
        prompt_details["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _deltas(answer: Answer) -> Iterator[bytes]:
    yield from _text_deltas("reasoning_content", cut(answer.thinking, None))
    yield from _text_deltas("content", answer.pieces)
    if answer.refusal:
        yield from _text_deltas("refusal", cut(answer.refusal, None))
    for index, call in enumerate(answer.tool_calls):
        yield from _call_deltas(index, call)


@lru_cache(maxsize=256)
def _text_deltas(name: str, pieces: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(json.dumps({name: piece}).encode() for piece in pieces)


def _call_deltas(index: int, call: ToolCall) -> Iterator[bytes]:
    start = _tool_call(call)
    arguments = start["function"]["arguments"]
    start["function"]["arguments"] = ""
    yield json.dumps({"tool_calls": [{"index": index, **start}]}).encode()
    for place in range(0, len(arguments), _ARGUMENT_PIECE):
        piece = {"arguments": arguments[place : place + _ARGUMENT_PIECE]}
        yield json.dumps({"tool_calls": [{"index": index, "function": piece}]}).encode()
