"""Messages as OpenAI's protocol writes them, as values.

Thinking comes back as it was sent: its text in `reasoning_content`, and the provider's own blocks,
with the signatures that Claude wants to see again beside its tool calls, in `thinking_blocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestify.calls.messages import image_of, tool_call_of
from orchestify.errors import InvalidParameterError
from orchestify.server.gateway.fields import each, needed, optional, wrong
from orchestify.values import ROLES, Content, LLMMessage, Part, TextPart, Thinking, ToolCall


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
        thinking=_thinking(form, where),
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
        raise wrong(f"{where}type", f"{kind[:40]!r} is not supported; parts are text and image_url")
    return read(form, where)


def _text(form: Mapping[str, Any], where: str) -> Part:
    return TextPart(optional(form, "text", str, where) or "")


def _refusal(form: Mapping[str, Any], where: str) -> Part:
    return TextPart(optional(form, "refusal", str, where) or "")


def _image(form: Mapping[str, Any], where: str) -> Part:
    url = form.get("image_url")
    if not isinstance(url, str):
        url = needed(needed(form, "image_url", dict, where), "url", str, f"{where}image_url.")
    try:
        return image_of(url)
    except InvalidParameterError as error:
        raise wrong(f"{where}image_url", str(error)) from None


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], Part]] = {
    "text": _text,
    "image_url": _image,
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


def _thinking(form: Mapping[str, Any], where: str) -> Thinking | None:
    text = optional(form, "reasoning_content", str, where) or ""
    blocks = optional(form, "thinking_blocks", list, where) or []
    for number, block in enumerate(each(blocks, f"{where}thinking_blocks")):
        kind = needed(block, "type", str, f"{where}thinking_blocks[{number}].")
        if kind == "extra_content":  # Gemini's; it is read by this key
            needed(block, kind, dict, f"{where}thinking_blocks[{number}].")
    return Thinking(text, tuple(blocks)) if text or blocks else None
