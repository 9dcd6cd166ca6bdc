"""Messages as callers write them: a text, `LLMMessage`s, or OpenAI-style dicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from orchestify.errors import InvalidParameterError
from orchestify.values import Content, ImagePart, LLMMessage, Part, TextPart, Thinking, ToolCall

MessageLike: TypeAlias = LLMMessage | Mapping[str, Any] | str
MessagesLike: TypeAlias = MessageLike | Iterable[MessageLike]


def messages_of(messages: MessagesLike) -> tuple[LLMMessage, ...]:
    """Return a conversation as values; a plain text is a user's message.

    Raises:
        InvalidParameterError: it is empty, or a message has no form we know; its position and
            what is wrong are named, never its content.
    """
    if isinstance(messages, str):
        return (LLMMessage("user", messages),)
    if isinstance(messages, (LLMMessage, Mapping)):
        messages = (messages,)
    try:
        given = list(messages)
    except TypeError:
        raise InvalidParameterError("messages is a text, a message or a list of messages") from None
    if not given:
        raise InvalidParameterError("messages is empty")
    return tuple(_message_of(message, number) for number, message in enumerate(given))


def parse_arguments(text: str) -> tuple[dict[str, Any], bool]:
    """Return a tool call's arguments, and whether the text was a JSON object at all."""
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}, False
    return (arguments, True) if isinstance(arguments, dict) else ({}, False)


def tool_call_of(id_: str, name: str, text: str) -> ToolCall:
    """Return a tool call from the text the model wrote as its arguments."""
    arguments, valid = parse_arguments(text)
    return ToolCall(id_, name, arguments, text, valid)


def image_of(url: str) -> ImagePart:
    """Return an image from its address, or from the base64 in a `data:` URL.

    Raises:
        InvalidParameterError: it is neither.
    """
    if not url.startswith("data:"):
        return ImagePart(url=url)
    head, _, payload = url.partition(",")
    media_type, _, encoding = head.removeprefix("data:").partition(";")
    if encoding != "base64":
        raise InvalidParameterError("an image's data: URL is base64")
    return ImagePart(data=payload, media_type=media_type)


def _message_of(message: MessageLike, number: int) -> LLMMessage:
    if isinstance(message, str):
        return LLMMessage("user", message)
    if not isinstance(message, (LLMMessage, Mapping)):
        raise InvalidParameterError(f"messages[{number}] is a {type(message).__name__}")
    try:
        return _checked(message) if isinstance(message, LLMMessage) else _from_mapping(message)
    except (InvalidParameterError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, InvalidParameterError) else "not a message"
        raise InvalidParameterError(f"messages[{number}]: {reason}") from None


def _checked(message: LLMMessage) -> LLMMessage:
    if isinstance(message.content, str):
        return message
    return replace(message, content=_content(message.content))


def _from_mapping(message: Mapping[str, Any]) -> LLMMessage:
    role = message.get("role")
    content = message.get("content")
    if content is None and role != "assistant":
        raise InvalidParameterError("its content is missing")
    calls = tuple(_tool_call(call) for call in message.get("tool_calls") or ())
    return LLMMessage(
        role="system" if role == "developer" else str(role),
        content=_content("" if content is None else content),
        tool_calls=calls,
        tool_call_id=message.get("tool_call_id"),
        name=message.get("name"),
        thinking=_thinking(message),
    )


def _content(content: Any) -> Content:
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise InvalidParameterError("content is text or a list of parts")
    return tuple(_part(part) for part in content)


def _part(part: Any) -> Part:
    if isinstance(part, (TextPart, ImagePart)):
        return part
    if isinstance(part, str):
        return TextPart(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        return TextPart(str(part["text"]))
    if kind == "image_url":
        image = part["image_url"]
        return image_of(image["url"] if isinstance(image, Mapping) else image)
    if kind == "image":
        source = part["source"]
        if source.get("type") == "url":
            return ImagePart(url=source["url"])
        return ImagePart(data=source["data"], media_type=source["media_type"])
    raise InvalidParameterError("a part is of type text, image_url or image")


def _tool_call(call: Any) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    function = call.get("function", call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        return tool_call_of(str(call["id"]), str(function["name"]), arguments)
    return ToolCall(str(call["id"]), str(function["name"]), dict(arguments))


def _thinking(message: Mapping[str, Any]) -> Thinking | None:
    thinking = message.get("thinking")
    if thinking is None or isinstance(thinking, Thinking):
        return thinking
    if isinstance(thinking, str):
        return Thinking(thinking)
    raise InvalidParameterError("thinking is a Thinking or a text")
