"""Anthropic's Messages as the stub server reads and writes them.

Source: https://docs.anthropic.com/en/api/messages and .../messages-streaming, and recorded
answers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from orchestify.testing.answer import (
    Answer,
    CachedPrefix,
    Events,
    ParsedRequest,
    RefusedError,
    arguments_text,
    count_tokens,
    cut,
)
from orchestify.values import Tool, ToolCall, ToolChoice, Usage

_SIGNED = "c3R1Yg"
_MIN_THINKING_TOKENS = 1024
_CHOICES = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}


def api_key(headers: Mapping[str, str]) -> str:
    """Return the key of a request, empty where there is none."""
    return headers.get("x-api-key") or headers.get("Authorization", "").removeprefix("Bearer ")


def read(body: Mapping[str, Any]) -> ParsedRequest:
    """Return what a request asks for.

    Raises: RefusedError where the real server would answer 400.
    """
    ask = read_prompt(body)
    max_tokens = body.get("max_tokens")
    if max_tokens is None:
        raise RefusedError(400, "max_tokens: Field required")
    if not isinstance(max_tokens, int) or max_tokens < 1:
        raise RefusedError(400, "max_tokens: Input should be greater than or equal to 1")
    _check_thinking(body, max_tokens)
    _check_sampling(body)
    _check_ending(body)
    return ask


def read_prompt(body: Mapping[str, Any]) -> ParsedRequest:
    """Return what a request asks for, which need not say how long the answer may be.

    Raises: RefusedError where the real server would answer 400.
    """
    if not body.get("model"):
        raise RefusedError(400, "model: Field required")
    messages = body.get("messages")
    if messages is None:
        raise RefusedError(400, "messages: Field required")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "messages: at least one message is required")
    _check_messages(messages)
    _check_texts(body)
    tools = tuple(_tools(body.get("tools") or ()))
    system = _text(body.get("system"))
    characters = len(system) + sum(len(_text(message["content"])) for message in messages)
    if tools:
        characters += len(json.dumps(body["tools"]))
    prompts = [_text(entry["content"]) for entry in messages if entry["role"] == "user"]
    return ParsedRequest(
        prompt=prompts[-1] if prompts else "",
        call_prefix="toolu",
        input_tokens=count_tokens(characters) + 3 * len(messages),
        max_tokens=body.get("max_tokens"),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        after_tool=bool(_blocks(messages[-1], "tool_result")),
        schema=_schema(body),
        thinking=_thinks(body),
        prefix=_prefix(body),
    )


def sign(thinking: str) -> str:
    """Return the signature of a thinking block; what is sent back with it must be the same text."""
    digest = hashlib.sha256(thinking.encode()).digest()
    return _SIGNED + base64.b64encode(digest).decode()


def _check_messages(messages: list[Any]) -> None:
    called: list[str] = []
    known: set[str] = set()
    for place, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            raise RefusedError(400, f'messages.{place}.role: Input should be "user" or "assistant"')
        if not message.get("content"):
            raise RefusedError(400, f"messages.{place}: content must be non-empty")
        _check_results(message, place, called)
        called = [str(block.get("id")) for block in _blocks(message, "tool_use")]
        _check_call_ids(called, place, known)
        for block in _blocks(message, "thinking"):
            _check_signature(block, place)
    if called:
        raise RefusedError(400, _without_results(len(messages) - 1, called))


def _check_results(message: Mapping[str, Any], place: int, called: Sequence[str]) -> None:
    """Refuse results without their call before them, calls without result, results behind text."""
    results = [str(block.get("tool_use_id")) for block in _blocks(message, "tool_result")]
    if any(result not in called for result in results):
        raise RefusedError(
            400,
            f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks. "
            "Each `tool_result` block must have a corresponding `tool_use` block in the "
            "previous message.",
        )
    if len(set(results)) < len(results):
        raise RefusedError(400, f"messages.{place}: each tool_use must have a single result.")
    content = message["content"] if isinstance(message["content"], list) else []
    first = [block.get("type") == "tool_result" for block in content[: len(results)]]
    missing = [call for call in called if call not in results]
    if missing or not all(first):
        raise RefusedError(400, _without_results(place - 1, missing or called))


def _without_results(place: int, calls: Sequence[str]) -> str:
    return (
        f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately "
        f"after: {', '.join(calls)}. Each `tool_use` block must have a corresponding `tool_result` "
        "block in the next message."
    )


def _check_call_ids(calls: Sequence[str], place: int, known: set[str]) -> None:
    for call in calls:
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", call):
            raise RefusedError(
                400,
                f"messages.{place}.content.0.tool_use.id: String should match pattern "
                "'^[a-zA-Z0-9_-]+$'",
            )
        if call in known:
            raise RefusedError(400, f"messages.{place}: `tool_use` ids must be unique")
        known.add(call)


def _check_texts(body: Mapping[str, Any]) -> None:
    """Refuse texts and stop sequences of spaces only, in tools' results as well."""
    turns = [block for message in body["messages"] for block in _all_blocks(message["content"])]
    inner = [each for block in turns for each in _all_blocks(block.get("content"))]
    for block in [*_all_blocks(body.get("system")), *turns, *inner]:
        if block.get("type") == "text" and not str(block.get("text") or "").strip():
            raise RefusedError(
                400, "messages: text content blocks must contain non-whitespace text"
            )
    if any(not str(sequence).strip() for sequence in body.get("stop_sequences") or ()):
        raise RefusedError(400, "stop_sequences: each stop sequence must contain non-whitespace")


def _check_sampling(body: Mapping[str, Any]) -> None:
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if temperature is not None and not 0 <= temperature <= 1:
        raise RefusedError(400, "temperature: range: 0..1")
    if temperature is not None and top_p is not None and _version(body) >= (4, 1):
        raise RefusedError(
            400,
            "`temperature` and `top_p` cannot both be specified for this model. Please use only "
            "one.",
        )


def _check_ending(body: Mapping[str, Any]) -> None:
    """Refuse an answer that the caller began, where the model takes none, or that ends in spaces.

    A turn that ends with the provider's own tool goes on; it is no such answer.
    """
    last = body["messages"][-1]
    blocks = _all_blocks(last["content"])
    if last["role"] != "assistant" or blocks[-1].get("type") != "text":
        return
    if _version(body) >= (4, 6):
        raise RefusedError(
            400,
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message.",
        )
    if str(blocks[-1]["text"]) != str(blocks[-1]["text"]).rstrip():
        raise RefusedError(
            400, "messages: final assistant content cannot end with trailing whitespace"
        )


def _check_beginning(body: Mapping[str, Any]) -> None:
    """Refuse a turn of calls, still under way, that did not begin with thinking."""
    turn: Mapping[str, Any] | None = None
    for message in reversed(body["messages"]):
        if message["role"] == "assistant":
            if turn is None and not _blocks(message, "tool_use"):
                return
            turn = message
        elif turn is not None and not _blocks(message, "tool_result"):
            break
    if turn is None:
        return
    kind = _all_blocks(turn["content"])[0].get("type")
    if kind not in ("thinking", "redacted_thinking"):
        raise RefusedError(
            400,
            f"Expected `thinking` or `redacted_thinking`, but found `{kind}`. When `thinking` is "
            "enabled, a final `assistant` message must start with a thinking block (preceding the "
            "lastmost set of `tool_use` and `tool_result` blocks).",
        )


def _version(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return a Claude's version; that of others is (0, 0)."""
    found = re.search(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?", str(body["model"]))
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _check_signature(block: Mapping[str, Any], place: int) -> None:
    """Refuse a block without a signature, and a text that is not what the stub had signed."""
    signature = block.get("signature")
    ours = isinstance(signature, str) and signature.startswith(_SIGNED)
    if not signature or (ours and signature != sign(block.get("thinking", ""))):
        raise RefusedError(400, f"messages.{place}: Invalid `signature` in `thinking` block")


def _check_thinking(body: Mapping[str, Any], max_tokens: int) -> None:
    if not _thinks(body):
        return
    thinking = body["thinking"]
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < _MIN_THINKING_TOKENS:
            raise RefusedError(
                400,
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            )
        if budget >= max_tokens:
            raise RefusedError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
        _check_beginning(body)
    if body.get("temperature") not in (None, 1):
        raise RefusedError(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise RefusedError(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _thinks(body: Mapping[str, Any]) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


def _tools(tools: Sequence[Any]) -> Iterator[Tool]:
    """Yield the caller's tools; those that the provider runs itself (`web_search_...`) are not."""
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict) or not tool.get("name"):
            raise RefusedError(400, f"tools.{place}.name: Field required")
        if tool.get("type") not in (None, "custom"):
            continue
        if not isinstance(tool.get("input_schema"), dict):
            raise RefusedError(400, f"tools.{place}.custom.input_schema: Field required")
        yield Tool(tool["name"], input_schema=tool["input_schema"])


def _tool_choice(choice: Any, tools: tuple[Tool, ...]) -> ToolChoice | None:
    if choice is None:
        return None
    mode = _CHOICES.get(str(choice.get("type"))) if isinstance(choice, dict) else None
    if mode is None:
        raise RefusedError(400, "tool_choice: Input tag does not match any of the expected tags")
    if mode == "required" and not tools:
        raise RefusedError(400, "tool_choice: may only be specified while providing tools.")
    if mode == "tool" and choice.get("name") not in {tool.name for tool in tools}:
        raise RefusedError(400, "Tool in tool_choice not found in provided tools")
    return ToolChoice(mode, choice.get("name"))  # type: ignore[arg-type]


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema in `output_config.format`, or in `output_format`, its older name."""
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if not form:
        return None
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise RefusedError(400, "output_config.format.schema: Field required")
    schema: Mapping[str, Any] = form["schema"]
    return schema


def _prefix(body: Mapping[str, Any]) -> CachedPrefix | None:
    """Return the tools and the system prompt where one of them is marked for caching."""
    system = body.get("system")
    parts = [*(body.get("tools") or ()), *(system if isinstance(system, list) else ())]
    marks = [part["cache_control"] for part in parts if part.get("cache_control")]
    if not marks:
        return None
    return CachedPrefix(json.dumps(parts), any(mark.get("ttl") == "1h" for mark in marks))


def _blocks(message: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    content = message["content"]
    if isinstance(content, str):
        return []
    return [block for block in content if isinstance(block, dict) and block.get("type") == kind]


def _all_blocks(content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [block for block in content or () if isinstance(block, dict)]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content or () if isinstance(block, dict))


REQUEST_ID = "request-id"

_FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "pause": "pause_turn",
}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_NAMED = {
    "context_window": (
        "prompt is too long: 210000 tokens > 200000 maximum",
        "invalid_request_error",
    ),
    "content_filter": ("Output blocked by content filtering policy", "invalid_request_error"),
    "quota": (
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing "
        "to upgrade or purchase credits.",
        "invalid_request_error",
    ),
}
_ARGUMENT_PIECE = 12
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def encode(answer: Answer) -> bytes:
    """Return the body of a JSON answer."""
    content: list[dict[str, Any]] = []
    if answer.thinking:
        signature = sign(answer.thinking)
        content.append({"type": "thinking", "thinking": answer.thinking, "signature": signature})
    if text := answer.text or answer.refusal:
        content.append({"type": "text", "text": text})
    content += [_tool_use(call) | {"input": _input(call)} for call in answer.tool_calls]
    body = _message(answer) | {"content": content, "stop_reason": _finish(answer)}
    if (usage := _usage(answer)) is not None:
        body["usage"] = usage
    return json.dumps(body).encode()


def encode_events(answer: Answer) -> Events:
    """Return the events of a stream; a block starts with its first piece, stops with its last."""
    first = None if answer.usage is None else replace(answer.usage, output_tokens=1, reasoning=0)
    message = _message(answer)
    if (usage := _usage(replace(answer, usage=first))) is not None:
        message["usage"] = usage
    ending: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": _finish(answer), "stop_sequence": None},
    }
    if (usage := _usage(answer)) is not None:
        ending["usage"] = usage
    return Events(
        _event({"type": "message_start", "message": message}) + _PING,
        list(_pieces(answer)),
        _event(ending),
        _event({"type": "message_stop"}),
        answer.usage,
        first,
        answer.usage,
    )


def encode_error(status: int, message: str, request_id: str, param: str | None) -> bytes:  # noqa: ARG001 # only OpenAI names the parameter
    """Return an error's body; `message` may be the name of an error of `Reply.error`."""
    kind = _KINDS.get(status, "api_error")
    if message in _NAMED:
        message, kind = _NAMED[message]
    error = {"type": kind, "message": message}
    return json.dumps({"type": "error", "error": error, "request_id": request_id}).encode()


def as_event(error: bytes) -> bytes:
    """Return an error's body as an event of a stream."""
    return b"event: error\ndata: %s\n\n" % error


def encode_models(models: Sequence[str]) -> bytes:
    """Return the body of a list of models."""
    entries = [
        {
            "type": "model",
            "id": model,
            "display_name": model,
            "created_at": "2025-01-01T00:00:00Z",
        }
        for model in models
    ]
    ends = {"first_id": models[0], "last_id": models[-1]} if models else {}
    return json.dumps({"data": entries, "has_more": False, **ends}).encode()


def wrong_key(key: str) -> str:
    """Return the message that refuses a key."""
    return "invalid x-api-key" if key else "x-api-key header is required"


def no_model(model: str) -> str:
    """Return the message for a model that does not exist."""
    return f"model: {model}"


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "model": answer.model,
        "id": f"msg_stub{answer.index:08x}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}


def _input(call: ToolCall) -> Any:
    """Return the arguments as JSON, or the text where the reply says that they are none."""
    try:
        return json.loads(arguments_text(call))
    except ValueError:
        return call.raw_arguments


def _finish(answer: Answer) -> str:
    return _FINISH.get(answer.finish_reason, answer.finish_reason)


def _usage(answer: Answer) -> Mapping[str, Any] | None:
    """Return the usage, whose input is what was neither read from nor written to the cache."""
    if answer.raw_usage is not None:
        return dict(answer.raw_usage) or None
    usage = answer.usage or Usage()
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens - usage.cache_read - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "service_tier": usage.service_tier or "standard",
    }
    if usage.searches:
        counts["server_tool_use"] = {"web_search_requests": usage.searches}
    return counts


def _event(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _pieces(answer: Answer) -> Iterator[bytes]:
    index = 0
    if answer.thinking:
        start = {"type": "thinking", "thinking": "", "signature": ""}
        signature = json.dumps({"type": "signature_delta", "signature": sign(answer.thinking)})
        thoughts = _text_deltas("thinking", cut(answer.thinking, None))
        yield from _block(index, start, (*thoughts, signature.encode()))
        index += 1
    text = answer.pieces or cut(answer.refusal or "", None)
    if text:
        yield from _block(index, {"type": "text", "text": ""}, _text_deltas("text", text))
        index += 1
    for call in answer.tool_calls:
        yield from _block(index, _tool_use(call), _argument_deltas(arguments_text(call)))
        index += 1


def _block(index: int, start: Mapping[str, Any], deltas: Iterable[bytes]) -> Iterator[bytes]:
    """Yield one item a delta: the first with the block's start, the last with its end."""
    head = b'event: content_block_delta\ndata: {"type": "content_block_delta", '
    head += b'"index": %d, "delta": ' % index
    pieces = [b"%s%s}\n\n" % (head, delta) for delta in deltas]
    pieces[0] = (
        _event({"type": "content_block_start", "index": index, "content_block": start}) + pieces[0]
    )
    pieces[-1] += _event({"type": "content_block_stop", "index": index})
    yield from pieces


@lru_cache(maxsize=256)
def _text_deltas(name: str, pieces: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(json.dumps({"type": f"{name}_delta", name: piece}).encode() for piece in pieces)


def _argument_deltas(arguments: str) -> Iterator[bytes]:
    yield b'{"type": "input_json_delta", "partial_json": ""}'
    for place in range(0, len(arguments), _ARGUMENT_PIECE):
        piece = arguments[place : place + _ARGUMENT_PIECE]
        yield json.dumps({"type": "input_json_delta", "partial_json": piece}).encode()
