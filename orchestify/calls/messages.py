"""Messages as callers write them: a text, `LLMMessage`s, or OpenAI-style dicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from orchestify.errors import InvalidParameterError
from orchestify.values import (
    Content,
    FilePart,
    ImagePart,
    LLMMessage,
    Part,
    TextPart,
    Thinking,
    ToolCall,
)

MessageLike: TypeAlias = LLMMessage | Mapping[str, Any] | str
MessagesLike: TypeAlias = MessageLike | Iterable[MessageLike]


def messages_of(messages: MessagesLike) -> tuple[LLMMessage, ...]:
    """Return a conversation as values; a plain text is a user's message.

    Raises:
        InvalidParameterError: it is empty, or a message has no form we know; its position and
            what is wrong are named, never its content.
    """
    if isinstance(messages, (str, LLMMessage, Mapping)):
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


def file_of(data: object, name: object = None) -> FilePart:
    """Return the file in a `data:` URL.

    Raises:
        InvalidParameterError: it is none.
    """
    head, comma, payload = data.partition(",") if isinstance(data, str) else ("", "", "")
    media_type, _, encoding = head.removeprefix("data:").partition(";")
    if not comma or not head.startswith("data:") or not encoding.endswith("base64"):
        raise InvalidParameterError(
            "a file is given as file_data, a base64 data: URL; ids of files and URLs are not taken"
        )
    if name is not None and not isinstance(name, str):
        raise InvalidParameterError("a file's filename is a text")
    return FilePart(payload, media_type, name)


def cache_control_of(given: Any) -> Mapping[str, Any] | None:
    """Return the mark of what is to be cached, in Anthropic's form.

    Raises:
        InvalidParameterError: it is no mapping.
    """
    if given is None or isinstance(given, Mapping):
        return given
    raise InvalidParameterError("cache_control is a mapping: {'type': 'ephemeral'}")


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
    if content is None:
        content = message.get("refusal")
    calls = tuple(_tool_call(call) for call in message.get("tool_calls") or ())
    thoughts: list[Mapping[str, Any]] = []
    if role == "assistant" and isinstance(content, (list, tuple)):
        thoughts = [part for part in content if _is_thought(part)]
        content = [part for part in content if not _is_thought(part)]
    return LLMMessage(
        role="system" if role == "developer" else str(role),
        content=_marked(
            _content("" if content is None else content),
            cache_control_of(message.get("cache_control")),
        ),
        tool_calls=calls,
        tool_call_id=message.get("tool_call_id"),
        name=message.get("name"),
        thinking=_thinking(message, thoughts),
    )


def _content(content: Any) -> Content:
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise InvalidParameterError("content is text or a list of parts")
    return tuple(_part(part) for part in content)


def _marked(content: Content, cache_control: Mapping[str, Any] | None) -> Content:
    """Return content whose end is marked as the end of what is to be cached."""
    if cache_control is None or not content:
        return content
    *before, last = [TextPart(content)] if isinstance(content, str) else content
    return (*before, replace(last, cache_control=last.cache_control or cache_control))


def _part(part: Any) -> Part:
    if isinstance(part, (TextPart, ImagePart, FilePart)):
        return part
    if isinstance(part, str):
        return TextPart(part)
    read = _PARTS.get(part.get("type", "")) if isinstance(part, Mapping) else None
    if read is None:
        raise InvalidParameterError("a part is of type text, image_url, image, file or document")
    made = read(part)
    mark = cache_control_of(part.get("cache_control"))
    return made if mark is None else replace(made, cache_control=mark)


def _text_part(part: Mapping[str, Any]) -> Part:
    return TextPart(str(part["text"]))


def _refusal_part(part: Mapping[str, Any]) -> Part:
    return TextPart(str(part["refusal"]))


def _image_url_part(part: Mapping[str, Any]) -> Part:
    image = part["image_url"]
    if not isinstance(image, Mapping):
        return image_of(image)
    detail = image.get("detail")
    if detail is not None and not isinstance(detail, str):
        raise InvalidParameterError("an image's detail is a text")
    return replace(image_of(image["url"]), detail=detail)


def _image_part(part: Mapping[str, Any]) -> Part:
    source = part["source"]
    if source.get("type") == "url":
        return ImagePart(url=source["url"])
    return ImagePart(data=source["data"], media_type=source["media_type"])


def _file_part(part: Mapping[str, Any]) -> Part:
    """Read OpenAI's form; a file that only its id names is another account's."""
    return file_of(part["file"].get("file_data"), part["file"].get("filename"))


def _document_part(part: Mapping[str, Any]) -> Part:
    source = part["source"]
    if source.get("type") == "text":
        return TextPart(str(source["data"]))
    if source.get("type") != "base64":
        raise InvalidParameterError("a document's source is of type base64 or text")
    return FilePart(source["data"], source["media_type"], part.get("title"))


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Part]] = {
    "file": _file_part,
    "document": _document_part,
    "text": _text_part,
    "refusal": _refusal_part,
    "image_url": _image_url_part,
    "image": _image_part,
}


def _tool_call(call: Any) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    function = call.get("function", call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        return tool_call_of(str(call["id"]), str(function["name"]), arguments)
    return ToolCall(str(call["id"]), str(function["name"]), dict(arguments))


def _is_thought(part: Any) -> bool:
    """Whether a part of an assistant's content is thinking, as Mistral and Anthropic write it."""
    return isinstance(part, Mapping) and part.get("type") in ("thinking", "redacted_thinking")


def _thinking(message: Mapping[str, Any], thoughts: Sequence[Mapping[str, Any]]) -> Thinking | None:
    """Return what a message tells of its model's thinking, in whichever provider's field.

    `reasoning_content` and `reasoning` are text (DeepSeek and others); `reasoning_details`
    (OpenRouter), `thinking_blocks` (LiteLLM) and `thoughts`, parts of the content, are blocks;
    `extra_content` (Gemini) stands in the message or in a call of a tool.
    """
    given = message.get("thinking")
    if isinstance(given, Thinking):
        return given
    texts = [given, message.get("reasoning_content"), message.get("reasoning")]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise InvalidParameterError("thinking is a Thinking or a text, reasoning_content a text")
    blocks = [
        *thoughts,
        *_blocks(message, "thinking_blocks"),
        *_blocks(message, "reasoning_details"),
    ]
    blocks += _extra_contents(message)
    text = next((text for text in texts if text), None) or _text_of(blocks)
    return Thinking(text, tuple(blocks)) if text or blocks else None


def _blocks(message: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    blocks = message.get(name) or ()
    if isinstance(blocks, (list, tuple)) and all(isinstance(each, Mapping) for each in blocks):
        return blocks
    raise InvalidParameterError(f"{name} is a list of mappings")


def _extra_contents(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
    held: list[tuple[Any, str | None]] = [(message.get("extra_content"), None)]
    held += [(call.get("extra_content"), str(call.get("id"))) for call in calls]
    if not all(extra is None or isinstance(extra, Mapping) for extra, _ in held):
        raise InvalidParameterError("extra_content is a mapping")
    return [
        {"type": "extra_content", "tool_call_id": call_id, "extra_content": extra}
        for extra, call_id in held
        if extra
    ]


def _text_of(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Return what blocks of thinking say; Mistral's hold a list of texts."""
    texts: list[str] = []
    for block in blocks:
        said = block.get("thinking") or block.get("text") or block.get("summary") or ""
        pieces = said if isinstance(said, (list, tuple)) else [{"text": said}]
        texts += [str(piece.get("text") or "") for piece in pieces if isinstance(piece, Mapping)]
    return "".join(texts)
