"""One request of many: a prompt, messages, `complete`'s arguments, or a line of a file of these.

A file is JSON lines, each of them OpenAI's batch form (`{"custom_id", "method", "url", "body"}`),
`{"messages": ...}` or `{"prompt": ...}` with any of `complete`'s arguments and a `custom_id`, or a
text alone. A file that ends in `.txt` is plain prompts, one a line. Empty lines are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

from orchestify.calls.messages import MessagesLike
from orchestify.calls.request import CallKeywords, call_of
from orchestify.errors import InvalidParameterError
from orchestify.values import NOTHING, LLMMessage, ToolChoice

CHAT_PATH = "/chat/completions"
"""What the `url` of a line in OpenAI's form ends in."""

ID_CHARS = 500
_ARGUMENTS = frozenset(
    {"messages", "model", "temperature", "max_tokens", "tools", "thinking"}
    | CallKeywords.__annotations__.keys()
)
_LINE_ARGUMENTS = _ARGUMENTS - {"native"}  # a value of ours, which JSON has not
_ENVELOPE = frozenset({"custom_id", "method", "url", "body"})
_SAME_IN_OPENAI = frozenset(
    {"messages", "model", "temperature", "top_p", "stop", "seed", "tools", "response_format"}
)
_READ_OTHERWISE = frozenset(
    {"max_tokens", "max_completion_tokens", "reasoning_effort", "tool_choice"}
    | {"parallel_tool_calls", "metadata", "stream", "stream_options", "n"}
)


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of many.

    `arguments` are those of `complete`, `custom_id` is the caller's own name for it, `labels` are
    its labels in the ledger.
    """

    arguments: Mapping[str, Any] = field(repr=False)
    custom_id: str | None = None
    labels: Mapping[str, str] = field(default=NOTHING, repr=False)


RequestLike: TypeAlias = BatchRequest | MessagesLike | Mapping[str, Any]
"""A prompt, messages, a mapping of `complete`'s arguments, or a line's object in OpenAI's form."""


class Line(NamedTuple):
    """A line of a file that is not empty: its number, from 1, and its text."""

    number: int
    text: bytes


def request_of(given: RequestLike) -> BatchRequest:
    """Return a request as a value; its arguments are checked when it is asked.

    Raises:
        InvalidParameterError: it has none of the forms, or a field that none of them has.
    """
    if isinstance(given, BatchRequest):
        return given
    if not isinstance(given, Mapping) or "role" in given:
        return BatchRequest({"messages": given})
    custom_id = given.get("custom_id")
    if custom_id is not None and not (
        isinstance(custom_id, str) and 0 < len(custom_id) <= ID_CHARS
    ):
        raise InvalidParameterError(f"custom_id is a text of 1 to {ID_CHARS} characters")
    if "body" in given:
        return _of_openai(given, custom_id)
    arguments = {name: value for name, value in given.items() if name != "custom_id"}
    if "prompt" in arguments:
        if "messages" in arguments:
            raise InvalidParameterError("it has both prompt and messages; give one of them")
        arguments["messages"] = _text(arguments.pop("prompt"), "prompt")
    if "messages" not in arguments:
        raise InvalidParameterError("it has no messages; give messages, a prompt, or OpenAI's body")
    _check_names(arguments, _ARGUMENTS)
    return BatchRequest(arguments, custom_id)


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file that are not empty, without what ends them, one at a time.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip()
            if text:
                yield Line(number, text)


def parse_line(line: Line, path: Path, *, is_checked: bool = False) -> BatchRequest:
    """Return the request in a line of `path`; one without a `custom_id` is `request-NUMBER`.

    The arguments of one that `is_checked` are known to be in order.

    Raises:
        InvalidParameterError: the line holds none, or one that could not be asked; the message
            begins with `FILE:NUMBER:`.
    """
    try:
        request = _parsed(line.text, is_plain=path.suffix == ".txt")
        if not is_checked:
            call_of(**request.arguments)
    except (InvalidParameterError, TypeError, AttributeError) as error:
        said = isinstance(error, InvalidParameterError)
        reason = str(error) if said else "an argument has a type that it cannot have"
        raise InvalidParameterError(f"{path}:{line.number}: {reason}") from None
    if request.custom_id is None:
        return replace(request, custom_id=f"request-{line.number}")
    return request


def _parsed(text: bytes, *, is_plain: bool) -> BatchRequest:
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise InvalidParameterError("the line is not UTF-8; convert the file") from None
    if is_plain:
        return BatchRequest({"messages": decoded})
    try:
        form = _DECODER.decode(decoded)
    except (ValueError, RecursionError):
        raise InvalidParameterError(
            "the line is no JSON; a file of plain prompts is named .txt"
        ) from None
    if isinstance(form, str):
        form = {"prompt": form}
    if not isinstance(form, dict):
        raise InvalidParameterError("a line is an object or a text, in JSON")
    request = request_of({"messages": [form]} if "role" in form else form)
    _check_names(request.arguments, _LINE_ARGUMENTS)
    if not isinstance(request.arguments["messages"], (str, list, dict)):
        raise InvalidParameterError("messages is a text or a list of messages")
    return request


def _of_openai(form: Mapping[str, Any], custom_id: str | None) -> BatchRequest:
    """Read a line of OpenAI's Batch API; what no argument has a name for goes out as it is."""
    _check_names(form, _ENVELOPE)
    body = _body(form)
    arguments = {name: body[name] for name in _SAME_IN_OPENAI if body.get(name) is not None}
    if arguments.get("response_format") == {"type": "text"}:
        del arguments["response_format"]
    for name, argument in _RENAMED:
        if body.get(name) is not None:
            arguments[argument] = body[name]
    if arguments.get("tools") or body.get("tool_choice") is not None:
        arguments["tool_choice"] = _tool_choice(body)
    others = body.keys() - _SAME_IN_OPENAI - _READ_OTHERWISE
    if options := {name: body[name] for name in others if body[name] is not None}:
        arguments["options"] = options
    return BatchRequest(arguments, custom_id, _labels(body.get("metadata")))


def _body(form: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body of what can be asked here: one whole chat completion."""
    url, body = form.get("url"), form["body"]
    if url is not None and not (isinstance(url, str) and url.endswith(CHAT_PATH)):
        raise InvalidParameterError("url is not /v1/chat/completions, which alone is asked here")
    if form.get("method", "POST") != "POST":
        raise InvalidParameterError("method is not POST")
    if not isinstance(body, Mapping):
        raise InvalidParameterError("body is not an object")
    if body.get("messages") is None:
        raise InvalidParameterError("body.messages is missing")
    if body.get("stream"):
        raise InvalidParameterError("body.stream is true; a batch has whole answers, leave it out")
    if body.get("n") not in (None, 1):
        raise InvalidParameterError("body.n is not 1; write a line for each answer")
    return body


_RENAMED = (
    ("max_tokens", "max_tokens"),
    ("max_completion_tokens", "max_tokens"),
    ("reasoning_effort", "thinking"),
)


def _tool_choice(body: Mapping[str, Any]) -> Any:
    """Return OpenAI's `tool_choice` with what it says beside it, None where neither is said."""
    choice, parallel = body.get("tool_choice"), body.get("parallel_tool_calls")
    if not isinstance(parallel, bool):
        return choice
    if isinstance(choice, Mapping):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        return ToolChoice("tool", name, parallel)
    if choice not in (None, "auto", "none", "required"):
        raise InvalidParameterError("body.tool_choice is auto, none, required or a function")
    return ToolChoice(choice or "auto", None, parallel)


def _labels(metadata: Any) -> Mapping[str, str]:
    if metadata is None:
        return NOTHING
    if isinstance(metadata, Mapping) and all(isinstance(each, str) for each in metadata.values()):
        return metadata
    raise InvalidParameterError("body.metadata is an object of texts: labels in the ledger")


def _text(value: Any, name: str) -> str | LLMMessage:
    if isinstance(value, (str, LLMMessage)):
        return value
    raise InvalidParameterError(f"{name} is not a text")


def _check_names(form: Iterable[str], known: frozenset[str]) -> None:
    unknown = sorted(str(name)[:40] for name in form if name not in known)
    if unknown:
        raise InvalidParameterError(
            f"unknown field {unknown[0]!r}; there are {', '.join(sorted(known))}"
        )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)  # NaN and Infinity are no JSON
