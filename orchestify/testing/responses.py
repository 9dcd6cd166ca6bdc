"""OpenAI's Responses as the stub server reads and writes them.

Source: https://platform.openai.com/docs/api-reference/responses and .../responses-streaming, and
recorded answers. Nothing is kept: what refers to an earlier response is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from itertools import count
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
from orchestify.values import Tool, ToolChoice, Usage

ENCRYPTED = "reasoning.encrypted_content"
_ROLES = ("system", "developer", "user", "assistant")
_CHAT_ONLY = (
    *("messages", "max_tokens", "max_completion_tokens", "stop", "seed", "n", "response_format"),
    *("reasoning_effort", "verbosity", "frequency_penalty", "presence_penalty", "logit_bias"),
)
_NO_REASONING = re.compile(r"gpt-[34]")
_ONLY_REASONING = re.compile(r"o\d|gpt-5(?!\.|-chat)")
_CALLS = ("function_call", "custom_tool_call")
_RESULTS = ("function_call_output", "custom_tool_call_output")
_ARGUMENT_PIECE = 12


def read(body: Mapping[str, Any]) -> ParsedRequest:
    """Return what a request asks for.

    Raises: RefusedError where the real server would answer 400.
    """
    model = str(body.get("model") or "")
    if not model:
        raise RefusedError(400, "Missing required parameter: 'model'.", "model")
    items = _items(body.get("input"))
    _check_fields(body, model)
    _check_items(items, keeps=body.get("store") is not False)
    tools = tuple(_tools(body.get("tools") or ()))
    prompts = [_text(item) for item in items if item.get("role") == "user"]
    characters = len(str(body.get("instructions") or "")) + sum(len(_text(item)) for item in items)
    if tools:
        characters += len(json.dumps(body["tools"]))
    reasoning = body.get("reasoning") or {}
    return ParsedRequest(
        prompt=prompts[-1] if prompts else "",
        call_prefix="call",
        input_tokens=count_tokens(characters) + 3 * len(items),
        max_tokens=body.get("max_output_tokens"),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        after_tool=items[-1].get("type") in _RESULTS,
        schema=_schema(body.get("text")),
        thinking=reasoning.get("effort") not in (None, "none"),
        encrypts=ENCRYPTED in (body.get("include") or ()),
    )


def seal(thinking: str) -> str:
    """Return the encrypted content of a thought; what is sent back with it must be the same."""
    return "gAAAAA" + hashlib.sha256(thinking.encode()).hexdigest()


def _items(given: Any) -> list[dict[str, Any]]:
    if isinstance(given, str) and given:
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise RefusedError(400, "Missing required parameter: 'input'.", "input")
    if not all(isinstance(item, dict) for item in given):
        raise RefusedError(400, "Invalid type for 'input[0]': expected an object.", "input")
    return given


def _check_fields(body: Mapping[str, Any], model: str) -> None:
    for name in _CHAT_ONLY:
        if name in body:
            raise RefusedError(400, f"Unknown parameter: '{name}'.", name)
    if body.get("previous_response_id"):
        raise RefusedError(
            400,
            f"Previous response with id '{body['previous_response_id']}' not found.",
            "previous_response_id",
        )
    if (body.get("max_output_tokens") or 16) < 16:
        raise RefusedError(
            400, "Invalid 'max_output_tokens': integer below minimum value.", "max_output_tokens"
        )
    effort = (body.get("reasoning") or {}).get("effort")
    unsupported = "Unsupported parameter: '{}' is not supported with this model."
    if effort and _NO_REASONING.match(model):
        raise RefusedError(400, unsupported.format("reasoning.effort"), "reasoning.effort")
    if ENCRYPTED in (body.get("include") or ()) and _NO_REASONING.match(model):
        raise RefusedError(400, "Encrypted content is not supported with this model.", "include")
    if body.get("temperature") not in (None, 1) and _ONLY_REASONING.match(model):
        raise RefusedError(400, unsupported.format("temperature"), "temperature")


def _check_items(items: list[dict[str, Any]], *, keeps: bool) -> None:
    called: set[str] = set()
    answered: set[str] = set()
    for place, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "message":
            _check_message(item, place)
        elif kind in _CALLS:
            called.add(item["call_id"])
        elif kind in _RESULTS:
            if item.get("call_id") not in called:
                raise RefusedError(
                    400,
                    "No tool call found for function call output with call_id "
                    f"{item.get('call_id')}.",
                    "input",
                )
            answered.add(item["call_id"])
        elif kind == "item_reference" or (kind == "reasoning" and not _sealed(item)):
            why = "" if keeps else " Items are not persisted when `store` is set to false."
            raise RefusedError(404, f"Item with id '{item.get('id')}' not found.{why}", "input")
    for missing in sorted(called - answered):
        raise RefusedError(400, f"No tool output found for function call {missing}.", "input")


def _check_message(item: Mapping[str, Any], place: int) -> None:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise RefusedError(400, f"Invalid value: 'input[{place}].role'.", f"input[{place}].role")
    taken = "output_text" if role == "assistant" else "input_text"
    for number, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type")
        if (kind in ("output_text", "refusal")) != (role == "assistant"):
            where = f"input[{place}].content[{number}]"
            raise RefusedError(
                400, f"Invalid value: '{kind}'. Supported values are: {taken!r}.", where
            )


def _sealed(item: Mapping[str, Any]) -> bool:
    """Whether a reasoning item has its encrypted content.

    Raises: RefusedError where it is not what was given.
    """
    content = item.get("encrypted_content")
    if not content:
        return False
    thought = "".join(part.get("text", "") for part in item.get("summary") or ())
    if content != seal(thought):
        raise RefusedError(
            400, f"The encrypted content for item {item.get('id')} could not be verified.", "input"
        )
    return True


def _tools(tools: Any) -> Iterator[Tool]:
    """Yield the functions; tools that the provider runs itself are never called here."""
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict) or not tool.get("type"):
            raise RefusedError(400, f"Missing required parameter: 'tools[{place}].type'.", "tools")
        if tool["type"] != "function":
            continue
        if not tool.get("name"):
            raise RefusedError(400, f"Missing required parameter: 'tools[{place}].name'.", "tools")
        yield Tool(tool["name"], input_schema=tool.get("parameters") or {})


def _tool_choice(choice: Any, tools: tuple[Tool, ...]) -> ToolChoice | None:
    if choice is None or isinstance(choice, str):
        if choice not in (None, "auto", "none", "required"):
            raise RefusedError(400, "Invalid value for 'tool_choice'.", "tool_choice")
        return None if choice is None or not tools else ToolChoice(choice)  # type: ignore[arg-type]
    if choice.get("name") not in {tool.name for tool in tools}:
        raise RefusedError(400, "Tool choice names no tool in 'tools'.", "tool_choice")
    return ToolChoice("tool", choice["name"])


def _schema(text: Any) -> Mapping[str, Any] | None:
    form = (text or {}).get("format") or {}
    if form.get("type") == "json_object":
        return {"type": "object"}
    if form.get("type") != "json_schema":
        return None
    if not isinstance(form.get("schema"), dict) or not form.get("name"):
        raise RefusedError(400, "Missing required parameter: 'text.format.schema'.", "text.format")
    schema: Mapping[str, Any] = form["schema"]
    return schema


def _text(item: Mapping[str, Any]) -> str:
    for name in ("content", "output", "arguments", "input"):
        value = item.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return "".join(part.get("text") or "" for part in value if isinstance(part, dict))
    return ""


def encode(answer: Answer) -> bytes:
    """Return the body of a JSON answer."""
    return json.dumps(_response(answer, list(_output(answer)))).encode()


def encode_events(answer: Answer) -> Events:
    """Return the events of a stream; an item opens and closes with its first and last piece."""
    numbers = count()

    def event(kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": next(numbers), **fields}
        return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()

    begun = {**_response(answer, []), "status": "in_progress", "usage": None}
    opening = event("response.created", response=begun)
    opening += event("response.in_progress", response=begun)
    pieces: list[bytes] = []
    for index, item in enumerate(_output(answer)):
        opened, deltas, closed = _events_of(item, answer)
        at = {"output_index": index}
        head = event("response.output_item.added", item=opened[0], **at)
        head += b"".join(event(kind, item_id=item["id"], **at, **more) for kind, more in opened[1])
        told = [event(kind, item_id=item["id"], **at, **more) for kind, more in deltas]
        tail = b"".join(event(kind, item_id=item["id"], **at, **more) for kind, more in closed)
        tail += event("response.output_item.done", item=item, **at)
        told[0] = head + told[0]
        told[-1] += tail
        pieces += told
    whole = _response(answer, list(_output(answer)))
    done = event(f"response.{whole['status']}", response=whole)
    return Events(opening, pieces, b"", done, answer.usage, None, answer.usage)


def as_event(error: bytes) -> bytes:
    """Return an error's body as an event of a stream."""
    told = json.loads(error).get("error")
    fields = told if isinstance(told, dict) else {"message": str(told)}
    data = {**fields, "type": "error", "sequence_number": 0}
    return b"event: error\ndata: %s\n\n" % json.dumps(data).encode()


_Told = list[tuple[str, dict[str, Any]]]


def _events_of(
    item: dict[str, Any], answer: Answer
) -> tuple[tuple[dict[str, Any], _Told], _Told, _Told]:
    """Return how an item opens, its pieces, and what closes it, before it is done."""
    if item["type"] == "function_call":
        text = item["arguments"]
        pieces = [text[at : at + _ARGUMENT_PIECE] for at in range(0, len(text), _ARGUMENT_PIECE)]
        kind = "response.function_call_arguments"
        opened = {**item, "arguments": "", "status": "in_progress"}
        deltas = [(f"{kind}.delta", {"delta": piece}) for piece in pieces or [""]]
        return (opened, []), deltas, [(f"{kind}.done", {"arguments": text})]
    if item["type"] == "reasoning":
        at, text = {"summary_index": 0}, answer.thinking
        part, kind = {"type": "summary_text"}, "response.reasoning_summary"
        begun = [(f"{kind}_part.added", {**at, "part": {**part, "text": ""}})]
        deltas = [(f"{kind}_text.delta", {**at, "delta": piece}) for piece in cut(text, None)]
        closed = [
            (f"{kind}_text.done", {**at, "text": text}),
            (f"{kind}_part.done", {**at, "part": {**part, "text": text}}),
        ]
        return ({"id": item["id"], "type": "reasoning", "summary": []}, begun), deltas, closed
    (whole,) = item["content"]
    named = "refusal" if whole["type"] == "refusal" else "text"
    kind = "response.refusal" if named == "refusal" else "response.output_text"
    at = {"content_index": 0}
    said = cut(whole[named], None) if named == "refusal" else answer.pieces
    more: dict[str, Any] = {} if named == "refusal" else {"logprobs": []}
    begun = [("response.content_part.added", {**at, "part": {**whole, named: ""}})]
    deltas = [(f"{kind}.delta", {**at, "delta": piece, **more}) for piece in said or [""]]
    closed = [
        (f"{kind}.done", {**at, named: whole[named], **more}),
        ("response.content_part.done", {**at, "part": whole}),
    ]
    return ({**item, "content": [], "status": "in_progress"}, begun), deltas, closed


def _output(answer: Answer) -> Iterator[dict[str, Any]]:
    name = f"stub{answer.index:08x}"
    if answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        sealed = {"encrypted_content": seal(answer.thinking)} if answer.encrypts else {}
        yield {"id": f"rs_{name}", "type": "reasoning", "summary": summary, **sealed}
    if answer.refusal is not None or answer.text or not answer.tool_calls:
        part: dict[str, Any] = {"type": "refusal", "refusal": answer.refusal}
        if answer.refusal is None:
            part = {
                "type": "output_text",
                "annotations": [],
                "logprobs": [],
                "text": answer.text,
            }
        yield {
            "id": f"msg_{name}",
            "type": "message",
            "status": "completed",
            "content": [part],
            "role": "assistant",
        }
    for number, call in enumerate(answer.tool_calls):
        yield {
            "id": f"fc_{name}{number:02x}",
            "type": "function_call",
            "status": "completed",
            "arguments": arguments_text(call),
            "call_id": call.id,
            "name": call.name,
        }


_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _response(answer: Answer, output: list[dict[str, Any]]) -> dict[str, Any]:
    reason = _INCOMPLETE.get(answer.finish_reason)
    return {
        "id": f"resp_stub{answer.index:08x}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if reason else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _usage(answer),
    }


def _usage(answer: Answer) -> Mapping[str, Any] | None:
    if answer.raw_usage is not None:
        return dict(answer.raw_usage) or None
    usage = answer.usage or Usage()
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total_tokens,
    }
    return counts if answer.cost_usd is None else {**counts, "cost": answer.cost_usd}
