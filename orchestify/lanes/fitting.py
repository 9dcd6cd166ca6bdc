"""What the last look at a request has in common for all protocols.

A provider refuses some requests as a whole for one thing in them. What can be left out or changed
is, and a word says so; what cannot is an `InvalidParameterError` before anything is sent. The
rules of each protocol are in `anthropic/fitting.py` and `openai/request.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestify.errors import InvalidParameterError
from orchestify.values import (
    EFFORTS,
    CompletionRequest,
    Content,
    LLMMessage,
    Part,
    TextPart,
    ToolCall,
)

BLANK_DROPPED = "blank_text_dropped"


@dataclass(slots=True)
class Fitting:
    """A request while it is fitted to its target, and the words for what was changed."""

    request: CompletionRequest
    warnings: tuple[str, ...] = ()

    def change(self, *warnings: str, **fields: Any) -> None:
        """Change fields of the request; each warning is told once."""
        self.request = replace(self.request, **fields)
        self.warn(*warnings)

    def warn(self, *warnings: str) -> None:
        """Tell what is changed elsewhere than in a field of the request."""
        self.warnings += tuple(word for word in warnings if word not in self.warnings)

    def refuse(self, why: str) -> InvalidParameterError:
        """Return the error of what cannot be mended."""
        error = InvalidParameterError(f"{self.request.model} {why}")
        error.param = "model"
        return error

    @property
    def forces_tool(self) -> bool:
        """Whether the model must call a tool."""
        choice = self.request.tool_choice
        return choice is not None and choice.mode in ("required", "tool")


def nearest_effort(taken: Sequence[str], asked: str) -> str:
    """Return the effort that a model takes for the one that is asked for: at most that, if it can.

    `taken` are in rising order; words that are no effort of ours (`default`) count as any.
    """
    if asked in taken:
        return asked
    ranks: dict[str, int] = {word: rank for rank, word in enumerate(EFFORTS)}
    below = [word for word in taken if ranks.get(word, len(ranks)) < ranks[asked]]
    return below[-1] if below else taken[0]


def drop_blanks(fitting: Fitting, *, keep_results: bool = False) -> None:
    """Leave out texts without a visible character, and messages with nothing else in them.

    With `keep_results` a tool's result is left as it is.

    Raises:
        InvalidParameterError: nothing is left.
    """
    messages = fitting.request.messages
    if not any(_is_blank(message) for message in messages):
        return
    kept = [
        message if keep_results and message.role == "tool" else _without_blanks(message)
        for message in messages
    ]
    left = tuple(message for message in kept if not _is_empty(message))
    told = () if kept == list(messages) == list(left) else (BLANK_DROPPED,)
    fitting.change(*told, messages=left)
    if all(message.role == "system" for message in left):
        raise fitting.refuse("takes no conversation of blank texts only")


def drop_names(fitting: Fitting) -> None:
    """Say that speakers' names are left out; a tool's is known by its call."""
    messages = fitting.request.messages
    if any(message.name is not None and message.role != "tool" for message in messages):
        fitting.warn("name_dropped")


def wrap_arguments(fitting: Fitting) -> None:
    """Put a tool call's arguments that are no JSON object into one, so that the model sees them.

    Source: Anthropic, "Fine-grained tool streaming: handling invalid JSON in tool responses".
    """
    messages = fitting.request.messages
    if all(call.valid for message in messages for call in message.tool_calls):
        return
    wrapped = (
        replace(message, tool_calls=tuple(map(_wrapped, message.tool_calls)))
        for message in messages
    )
    fitting.change("arguments_changed", messages=tuple(wrapped))


def _wrapped(call: ToolCall) -> ToolCall:
    if call.valid:
        return call
    arguments = {"INVALID_JSON": call.raw_arguments}
    return replace(call, arguments=arguments, raw_arguments=None, valid=True)


def parts_of(messages: Iterable[LLMMessage]) -> list[Part]:
    """Return the parts of all contents that are not plain text."""
    given = [message.content for message in messages if not isinstance(message.content, str)]
    return [part for content in given for part in content]


def _is_blank(message: LLMMessage) -> bool:
    if isinstance(message.content, str):
        return not message.content or message.content.isspace()
    return any(isinstance(part, TextPart) and not part.text.strip() for part in message.content)


def _without_blanks(message: LLMMessage) -> LLMMessage:
    content: Content
    if isinstance(message.content, str):
        content = message.content if message.content.strip() else ""
    else:
        content = tuple(part for part in message.content if _is_visible(part))
    return message if content == message.content else replace(message, content=content)


def _is_visible(part: Part) -> bool:
    return not isinstance(part, TextPart) or bool(part.text.strip())


def _is_empty(message: LLMMessage) -> bool:
    """Whether nothing would be sent of a message; a tool's result is one without a text as well."""
    if message.content or message.tool_calls or message.role == "tool":
        return False
    return message.thinking is None or not message.thinking.blocks
