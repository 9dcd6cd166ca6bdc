"""A chat completion request of OpenAI's protocol, read into the arguments of a call.

Read: `model`, `messages`, `tools`, `tool_choice`, `parallel_tool_calls`, `response_format`,
`temperature`, `top_p`, `stop`, `seed`, `max_completion_tokens` (or `max_tokens`),
`reasoning_effort` (or `reasoning`, `thinking`), `stream`, `stream_options.include_usage`, and
`metadata`, which labels the call in the ledger. `UNSUPPORTED` is refused; where every other field
goes is in `fields`, and docs/fields.md has all of them.

Thinking comes back as it was sent: its text in `reasoning_content`, and the provider's own blocks,
with the signatures that Claude wants to see again beside its tool calls, in `thinking_blocks`;
Gemini's signatures also in `extra_content`, of a tool call or of the message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestify.calls.messages import file_of, image_of, tool_call_of
from orchestify.calls.request import response_format_of
from orchestify.errors import InvalidParameterError
from orchestify.server.gateway.json_fields import body_of, each, needed, optional, wrong
from orchestify.values import (
    EFFORTS as THINKING_EFFORTS,
    ROLES,
    Content,
    LLMMessage,
    Part,
    ResponseFormat,
    TextPart,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
)

READ = frozenset(
    {"model", "messages", "temperature", "top_p", "stop", "seed", "max_completion_tokens"}
    | {"max_tokens", "tools", "tool_choice", "parallel_tool_calls", "response_format", "n"}
    | {"reasoning_effort", "reasoning", "thinking", "stream", "stream_options", "metadata"}
    | {"logprobs", "top_logprobs", "modalities"}
)
"""Fields that are read here; `fields` says where the others go."""

UNSUPPORTED = {
    "functions": "is deprecated; use tools",
    "function_call": "is deprecated; use tool_choice",
    "audio": "is not supported",
    "web_search_options": "is not supported",
}
EFFORTS = ("none", *THINKING_EFFORTS)
MAX_LABELS, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512
"""OpenAI's bounds of `metadata`; the ledger keeps `LABEL_CHARS` of a value."""

LABEL_CHARS = 200
_GIVEN = ("temperature", "top_p", "stop", "seed")
_MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_call_id"})
_PARTS_FIELDS = {
    "image_url": frozenset({"url", "detail"}),
    "file": frozenset({"file_data", "filename", "file_id"}),
}
_OBJECTS_FIELDS = {
    "tool_choice": frozenset({"type", "function"}),
    "thinking": frozenset({"type", "budget_tokens", "display"}),
    "stream_options": frozenset({"include_usage", "include_obfuscation"}),
    "response_format": frozenset({"type", "json_schema"}),
}
_PART_FIELDS = frozenset({"type", "text", "refusal", "image_url", "file", "cache_control"})
_TOOL_FIELDS = frozenset(
    {"type", "function", "name", "description", "parameters", "strict", "cache_control"}
)
_CHOICE_FIELDS = {"function": frozenset({"name"})}
_FORMAT_FIELDS = {"json_schema": frozenset({"name", "schema", "strict"})}
_CHOICES: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}
_MOST = 2**31 - 1
_TWO_LIMITS = (
    "max_tokens",
    "says another number than max_completion_tokens; give one of them",
    "invalid_parameter_combination",
)
_LEAST_BUDGET = 1024  # Anthropic's


@dataclass(slots=True)
class ChatRequest:
    """What is asked for: `arguments` are those of `complete` and `stream`.

    `others` are the fields that have no argument; see `fields`.
    """

    model: str
    arguments: dict[str, Any] = field(repr=False)
    others: dict[str, Any] = field(default_factory=dict, repr=False)
    labels: dict[str, str] = field(default_factory=dict)
    is_stream: bool = False
    include_usage: bool = False
    warnings: tuple[str, ...] = ()


def chat_request(body: bytes) -> ChatRequest:
    """Read a request's body.

    Raises:
        InvalidParameterError: a field cannot be used; the message begins with its name.
    """
    form = body_of(body)
    _refuse_unsupported(form)
    arguments: dict[str, Any] = {"messages": messages_of(form), **_limits(form)}
    for name in _GIVEN:
        if form.get(name) is not None:
            arguments[name] = form[name]
    _add_tools(form, arguments)
    _add_thinking(form, arguments)
    if form.get("response_format") is not None:
        arguments["response_format"] = _response_format(form)
    options = optional(form, "stream_options", dict) or {}
    labels, cut = labels_of(form)
    return ChatRequest(
        needed(form, "model", str),
        arguments,
        {name: form[name] for name in form.keys() - READ - UNSUPPORTED.keys()},
        labels,
        optional(form, "stream", bool) or False,
        optional(options, "include_usage", bool, "stream_options.") or False,
        (*_unread(form), *cut),
    )


def _unread(form: Mapping[str, Any]) -> list[str]:
    """Return words for what stands in the objects of a body and is not read.

    What else stands in an assistant's message is not named: answers have fields of their own, which
    clients send back with them.
    """
    found: set[str] = set()
    for message in form["messages"]:
        if message["role"] != "assistant":
            found |= _others(message, _MESSAGE_FIELDS)
        if isinstance(message.get("content"), list):
            for part in message["content"]:
                found |= _others(part, _PART_FIELDS) | _others_inside(part, _PARTS_FIELDS)
    for tool in form.get("tools") or ():
        found |= _others(tool, _TOOL_FIELDS) | _others(tool["function"], _TOOL_FIELDS)
    found |= _others_inside(form, _OBJECTS_FIELDS)
    found |= _others_inside(_inner(form, "tool_choice"), _CHOICE_FIELDS)
    found |= _others_inside(_inner(form, "response_format"), _FORMAT_FIELDS)
    return [f"{name[:40]}_dropped" for name in sorted(found)]


def _others(form: Mapping[str, Any], known: frozenset[str]) -> set[str]:
    """Return the names of an object's fields that are not known, and not null."""
    return {name for name in form.keys() - known if form[name] is not None}


def _others_inside(form: Mapping[str, Any], known: Mapping[str, frozenset[str]]) -> set[str]:
    """Return those of the objects that stand in an object's fields."""
    found: set[str] = set()
    for name in form.keys() & known.keys():
        found |= _others(_inner(form, name), known[name])
    return found


def _inner(form: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = form.get(name)
    return value if isinstance(value, dict) else {}


def _refuse_unsupported(form: Mapping[str, Any]) -> None:
    for name in form.keys() & UNSUPPORTED.keys():
        if form[name] is not None:
            raise wrong(name, UNSUPPORTED[name])
    if optional(form, "n", int) not in (None, 1):
        raise wrong("n", "only one choice is supported; ask again for another")
    if optional(form, "logprobs", bool):
        raise wrong("logprobs", "are not supported")
    if optional(form, "top_logprobs", int):
        raise wrong("top_logprobs", "are not supported")
    if (optional(form, "modalities", list) or ["text"]) != ["text"]:
        raise wrong("modalities", "only text is supported")


def _limits(form: Mapping[str, Any]) -> dict[str, int]:
    limits: dict[str, int] = {}
    for name in ("max_completion_tokens", "max_tokens"):
        limit = optional(form, name, int)
        if limit is not None:
            if not 0 < limit <= _MOST:
                raise wrong(name, f"expected a number from 1 to {_MOST}")
            if limits.setdefault("max_tokens", limit) != limit:
                raise wrong(*_TWO_LIMITS)
    return limits


def _add_tools(form: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    tools = each(optional(form, "tools", list) or [], "tools")
    choice = form.get("tool_choice")
    parallel = optional(form, "parallel_tool_calls", bool)
    if tools:
        arguments["tools"] = [_tool(tool, f"tools[{n}].") for n, tool in enumerate(tools)]
    if choice is not None or (tools and parallel is not None):
        arguments["tool_choice"] = _choice(choice or "auto", parallel)


def _tool(form: Mapping[str, Any], where: str) -> Tool:
    kind = needed(form, "type", str, where)
    if kind != "function":
        raise wrong(f"{where}type", f"{kind[:40]!r} is not supported; tools are functions")
    function, inner = needed(form, "function", dict, where), f"{where}function."
    schema = optional(function, "parameters", dict, inner)
    return Tool(
        name=needed(function, "name", str, inner),
        description=optional(function, "description", str, inner),
        input_schema=schema or {"type": "object", "properties": {}},
        strict=optional(function, "strict", bool, inner),
        cache_control=optional(form, "cache_control", dict, where)
        or optional(function, "cache_control", dict, inner),
    )


def _choice(choice: Any, parallel: bool | None) -> ToolChoice:
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise wrong("tool_choice.type", "only 'function' is supported")
        function = needed(choice, "function", dict, "tool_choice.")
        return ToolChoice("tool", needed(function, "name", str, "tool_choice.function."), parallel)
    if not isinstance(choice, str) or choice not in _CHOICES:
        raise wrong("tool_choice", "expected auto, none, required or a function")
    return ToolChoice(_CHOICES[choice], None, parallel)


def _add_thinking(form: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    """Take OpenAI's effort, or what others have in its place.

    That is OpenRouter's `reasoning`, and the switch of Anthropic and DeepSeek.
    """
    reasoning = optional(form, "reasoning", dict)
    if reasoning is not None:
        _add_reasoning(reasoning, arguments)
    effort = optional(form, "reasoning_effort", str)
    if effort is not None:
        arguments["thinking"] = _effort(effort, "reasoning_effort")
    switch = optional(form, "thinking", dict)
    if switch is not None:
        budget = optional(switch, "budget_tokens", int, "thinking.")
        if budget is not None and budget > _MOST:
            raise wrong("thinking.budget_tokens", f"expected a number up to {_MOST}")
        is_on = optional(switch, "type", str, "thinking.") != "disabled"
        arguments["thinking"] = {"budget_tokens": budget} if is_on and budget else is_on


def _add_reasoning(form: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    refused = form.keys() - {"effort", "max_tokens", "enabled", "exclude"}
    if optional(form, "exclude", bool, "reasoning."):
        refused.add("exclude")
    if refused:
        raise wrong(f"reasoning.{min(refused)[:40]}", "is not supported")
    effort = optional(form, "effort", str, "reasoning.")
    budget = optional(form, "max_tokens", int, "reasoning.")
    if effort is not None:
        arguments["thinking"] = _effort(effort, "reasoning.effort")
    elif budget is not None:
        if not 0 < budget <= _MOST:
            raise wrong("reasoning.max_tokens", f"expected a number from 1 to {_MOST}")
        arguments["thinking"] = {"budget_tokens": max(budget, _LEAST_BUDGET)}
    else:
        arguments["thinking"] = optional(form, "enabled", bool, "reasoning.") is not False


def _effort(effort: str, where: str) -> str | bool:
    if effort not in EFFORTS:
        raise wrong(where, f"expected one of {', '.join(EFFORTS)}")
    return effort if effort != "none" else False


def _response_format(form: Mapping[str, Any]) -> ResponseFormat | None:
    given = needed(form, "response_format", dict)
    kind = needed(given, "type", str, "response_format.")
    if kind == "text":
        return None
    if kind == "json_schema":
        wrapped = needed(given, "json_schema", dict, "response_format.")
        where = "response_format.json_schema."
        needed(wrapped, "name", str, where)
        optional(wrapped, "schema", dict, where)
        optional(wrapped, "strict", bool, where)
    elif kind != "json_object":
        raise wrong("response_format.type", "expected text, json_object or json_schema")
    return response_format_of({"type": kind, "json_schema": given.get("json_schema")})


def labels_of(form: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a call's labels in the ledger, as `metadata` says, and words where they differ.

    A character that cannot be printed becomes a space in the label; a long value is cut.

    Raises:
        InvalidParameterError: there are too many, or one is too long.
    """
    labels: dict[str, str] = optional(form, "metadata", dict) or {}
    if not labels:
        return {}, ()
    if len(labels) > MAX_LABELS:
        raise wrong("metadata", f"at most {MAX_LABELS} labels, not {len(labels)}")
    for key, value in labels.items():
        if not 0 < len(key) <= MAX_KEY_CHARS:
            raise wrong("metadata", f"expected keys of 1 to {MAX_KEY_CHARS} characters")
        if not isinstance(value, str) or len(value) > MAX_VALUE_CHARS:
            raise wrong("metadata", f"expected texts of up to {MAX_VALUE_CHARS} characters")
    printable = {_printable(key): _printable(value) for key, value in labels.items()}
    words = {
        "metadata_changed": printable != labels,
        "metadata_cut": any(len(value) > LABEL_CHARS for value in printable.values()),
    }
    kept = {name: value[:LABEL_CHARS] for name, value in printable.items()}
    return kept, tuple(word for word, holds in words.items() if holds)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def messages_of(body: Mapping[str, Any]) -> list[LLMMessage]:
    """Return the conversation in a request's body.

    Raises:
        InvalidParameterError: a message has another form; its place is named, never its content.
    """
    forms = each(needed(body, "messages", list), "messages")
    return [_message(form, f"messages[{number}].") for number, form in enumerate(forms)]


def _message(form: Mapping[str, Any], where: str) -> LLMMessage:
    role = needed(form, "role", str, where)
    if role == "developer":
        role = "system"
    elif role not in ROLES:
        raise wrong(f"{where}role", "expected system, developer, user, assistant or tool")
    content = form.get("content")
    if isinstance(content, str) and len(form) == 2 and role != "tool":
        return LLMMessage(role, content)
    if role == "assistant":
        return _assistant(form, where)
    name = optional(form, "name", str, where)
    call_id = needed(form, "tool_call_id", str, where) if role == "tool" else None
    return LLMMessage(role, _content(content, where), tool_call_id=call_id, name=name)


def _assistant(form: Mapping[str, Any], where: str) -> LLMMessage:
    if form.get("function_call") is not None:
        raise wrong(f"{where}function_call", "is deprecated; use tool_calls")
    if form.get("audio") is not None:
        raise wrong(f"{where}audio", "is not supported")
    content = form.get("content")
    if content is None:
        content = optional(form, "refusal", str, where) or ""
    calls = each(optional(form, "tool_calls", list, where) or [], f"{where}tool_calls")
    return LLMMessage(
        "assistant",
        _content(content, where),
        tool_calls=tuple(
            _call(call, f"{where}tool_calls[{number}].") for number, call in enumerate(calls)
        ),
        name=optional(form, "name", str, where),
        thinking=_thinking(form, calls, where),
    )


def _content(content: Any, where: str) -> Content:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong(f"{where}content", "expected a text or a list of parts")
    parts = each(content, f"{where}content")
    return tuple(_part(part, f"{where}content[{number}].") for number, part in enumerate(parts))


def _part(form: Mapping[str, Any], where: str) -> Part:
    kind = needed(form, "type", str, where)
    read = _PARTS.get(kind)
    if read is None:
        raise wrong(
            f"{where}type", f"{kind[:40]!r} is not supported; parts are text, image_url and file"
        )
    return read(form, where)


def _text(form: Mapping[str, Any], where: str) -> Part:
    mark = optional(form, "cache_control", dict, where)
    return TextPart(optional(form, "text", str, where) or "", mark)


def _refusal(form: Mapping[str, Any], where: str) -> Part:
    return TextPart(optional(form, "refusal", str, where) or "")


def _image(form: Mapping[str, Any], where: str) -> Part:
    url, detail = form.get("image_url"), None
    if not isinstance(url, str):
        image, inner = needed(form, "image_url", dict, where), f"{where}image_url."
        url, detail = needed(image, "url", str, inner), optional(image, "detail", str, inner)
    mark = optional(form, "cache_control", dict, where)
    try:
        return replace(image_of(url), detail=detail, cache_control=mark)
    except InvalidParameterError as error:
        raise wrong(f"{where}image_url", str(error)) from None


def _file(form: Mapping[str, Any], where: str) -> Part:
    file, inner = needed(form, "file", dict, where), f"{where}file"
    if file.get("file_id") is not None:
        raise wrong(f"{inner}.file_id", "is not supported; give the file as file_data")
    mark = optional(form, "cache_control", dict, where)
    try:
        return replace(file_of(file.get("file_data"), file.get("filename")), cache_control=mark)
    except InvalidParameterError as error:
        raise wrong(inner, str(error)) from None


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], Part]] = {
    "text": _text,
    "image_url": _image,
    "file": _file,
    "refusal": _refusal,
}


def _call(form: Mapping[str, Any], where: str) -> ToolCall:
    if form.get("type", "function") != "function":
        raise wrong(f"{where}type", "only calls of functions are supported")
    function, inner = needed(form, "function", dict, where), f"{where}function."
    return tool_call_of(
        needed(form, "id", str, where),
        needed(function, "name", str, inner),
        optional(function, "arguments", str, inner) or "",
    )


def _extra(form: Mapping[str, Any], call_id: Any, where: str) -> dict[str, Any] | None:
    """Return the block of what Gemini gave beside a call, or beside the message."""
    extra = optional(form, "extra_content", dict, where)
    if not extra:
        return None
    return {"type": "extra_content", "tool_call_id": call_id, "extra_content": extra}


def _thinking(form: Mapping[str, Any], calls: list[dict[str, Any]], where: str) -> Thinking | None:
    """Return what a message tells of thinking; what stands in two fields counts once."""
    text = optional(form, "reasoning_content", str, where) or ""
    blocks = optional(form, "thinking_blocks", list, where) or []
    for number, block in enumerate(each(blocks, f"{where}thinking_blocks")):
        kind = needed(block, "type", str, f"{where}thinking_blocks[{number}].")
        if kind == "extra_content":  # Gemini's; it is read by this key
            needed(block, kind, dict, f"{where}thinking_blocks[{number}].")
    extras = [_extra(form, None, where)]
    for number, call in enumerate(calls):
        extras.append(_extra(call, call.get("id"), f"{where}tool_calls[{number}]."))
    blocks = [*blocks, *(extra for extra in extras if extra and extra not in blocks)]
    return Thinking(text, tuple(blocks)) if text or blocks else None
