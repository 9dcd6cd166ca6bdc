"""From a request and a reply to an answer, in no provider's words yet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import cycle, islice, pairwise
from typing import Any, NamedTuple

from orchestify.testing.reply import Reply
from orchestify.testing.schema import minimal_instance
from orchestify.values import Tool, ToolCall, ToolChoice, Usage

CHARACTERS_A_TOKEN = 4
THINKING = "First the stub reads the request, then it makes up an answer."
_FILLER = ("one", "day", "the", "old", "fox", "ran", "far", "off")
_WORDS = re.compile(r"\S+\s*|\s+")


class RefusedError(Exception):
    """A request that the stub does not answer, as the real server would not."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


class CachedPrefix(NamedTuple):
    """The part of a prompt that is marked for caching, and whether for an hour."""

    text: str
    one_hour: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """What a request asks for.

    `prompt` is the text of the user's last message, `call_prefix` what the protocol's tool call
    ids begin with. `encrypts`: thinking is to come with what is sent back (Responses).
    """

    prompt: str = field(repr=False)
    input_tokens: int
    call_prefix: str
    include_usage: bool = True
    max_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    after_tool: bool = False
    schema: Mapping[str, Any] | None = None
    thinking: bool = False
    prefix: CachedPrefix | None = field(default=None, repr=False)
    encrypts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered. `usage` is None where the reply brings its own mapping, `raw_usage`."""

    index: int
    model: str
    text: str = field(repr=False)
    pieces: tuple[str, ...] = field(repr=False)
    thinking: str = field(repr=False)
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    refusal: str | None = field(repr=False)
    usage: Usage | None
    raw_usage: Mapping[str, Any] | None
    cost_usd: float | None
    include_usage: bool
    encrypts: bool


class Events(NamedTuple):
    """A stream, encoded: the opening events, one item a piece of output, the end, the last mark.

    `usage` is what the whole answer costs. `opening_usage` is what the client has been told once
    the opening was sent, `reported` once the end was.
    """

    opening: bytes
    pieces: list[bytes]
    ending: bytes
    done: bytes
    usage: Usage | None
    opening_usage: Usage | None
    reported: Usage | None

    def usage_of(self, sent: int, *, whole: bool) -> Usage | None:
        """Return what is billed where `sent` pieces were sent: all of the input, their output."""
        if self.usage is None or whole:
            return self.usage
        output = self.usage.output_tokens * sent // max(len(self.pieces), 1)
        reasoning = min(self.usage.reasoning, output)
        return replace(self.usage, output_tokens=output, reasoning=reasoning)


def compose(
    ask: ParsedRequest, reply: Reply, model: str, index: int, words: int, cached: bool
) -> Answer:
    """Return the answer to `ask`: what `reply` says, and the stub's own rules for the rest.

    `words` is the default text's length, 0 for one that says how many words the prompt has.
    `cached` tells whether the prefix marked for caching was there before.
    """
    calls = _tool_calls(ask, reply, index)
    text, finish = _text(ask, reply, model, words, bool(calls))
    thinking = reply.thinking
    if thinking is None:
        thinking = THINKING if ask.thinking else ""
    usage = reply.usage
    if usage is None:
        usage = _usage(ask, text + (reply.refusal or ""), thinking, calls, cached)
    ours = isinstance(usage, Usage)
    return Answer(
        index=index,
        model=reply.model or model,
        text=text,
        pieces=cut(text, reply.chunks),
        thinking=thinking,
        tool_calls=calls,
        finish_reason=reply.finish_reason or finish,
        refusal=reply.refusal,
        usage=usage if ours else None,  # type: ignore[arg-type]
        raw_usage=None if ours else usage,  # type: ignore[arg-type]
        cost_usd=reply.cost_usd,
        include_usage=ask.include_usage,
        encrypts=ask.encrypts,
    )


def arguments_text(call: ToolCall) -> str:
    """Return a tool call's arguments as the model writes them."""
    if call.raw_arguments is not None:
        return call.raw_arguments
    return json.dumps(dict(call.arguments), ensure_ascii=False, separators=(",", ":"))


def count_tokens(characters: int) -> int:
    """Return how many tokens the stub counts for so many characters."""
    return -(-characters // CHARACTERS_A_TOKEN)


@lru_cache(maxsize=256)
def cut(text: str, pieces: int | None) -> tuple[str, ...]:
    """Return `text` in so many pieces: its words where None or as many, else of like size.

    A piece has a character at least, so there may be fewer.
    """
    words = tuple(_WORDS.findall(text))
    if pieces is None or pieces == len(words):
        return words
    number = min(pieces, len(text))
    marks = [place * len(text) // number for place in range(number + 1)] if number > 0 else []
    return tuple(text[start:end] for start, end in pairwise(marks))


@lru_cache(maxsize=256)
def _filler(words: int) -> str:
    return " ".join(islice(cycle(_FILLER), words))


def _text(ask: ParsedRequest, reply: Reply, model: str, words: int, calls: bool) -> tuple[str, str]:
    """Return the text and the finish reason."""
    if reply.refusal is not None:
        return "", "refusal"
    if reply.text is not None or calls:
        return reply.text or "", "tool_calls" if calls else "stop"
    if ask.schema is not None:
        return json.dumps(_instance(ask.schema), separators=(",", ":")), "stop"
    if asked := reply.words or reply.chunks:
        return _filler(asked), "stop"
    text = _filler(words) if words else f"{model} read {len(ask.prompt.split())} words."
    if ask.max_tokens is not None and count_tokens(len(text)) > ask.max_tokens:
        return text[: ask.max_tokens * CHARACTERS_A_TOKEN], "length"
    return text, "stop"


def _tool_calls(ask: ParsedRequest, reply: Reply, index: int) -> tuple[ToolCall, ...]:
    if reply.tool_calls is not None:
        wanted = reply.tool_calls
    elif ask.tools and reply.text is None and reply.refusal is None:
        wanted = tuple(ToolCall("", tool.name) for tool in _requested_tools(ask))
    else:
        return ()
    schemas = {tool.name: tool.input_schema for tool in ask.tools}
    name = f"{ask.call_prefix}_stub{index:06x}"
    return tuple(_filled(call, schemas, f"{name}{n:02x}") for n, call in enumerate(wanted))


def _instance(schema: Mapping[str, Any]) -> Any:
    try:
        return minimal_instance(schema)
    except ValueError as error:
        raise RefusedError(400, f"Invalid schema: {error}") from None


def _filled(call: ToolCall, schemas: Mapping[str, Mapping[str, Any]], call_id: str) -> ToolCall:
    arguments = call.arguments
    if not arguments and call.raw_arguments is None:
        arguments = _instance(schemas.get(call.name) or {"type": "object"})
    return replace(call, id=call.id or call_id, arguments=arguments)


def _requested_tools(ask: ParsedRequest) -> list[Tool]:
    """Return the tools to call: the one forced, else those that the prompt names."""
    choice = ask.tool_choice
    if choice is not None and choice.mode == "tool":
        return [tool for tool in ask.tools if tool.name == choice.name]
    if ask.after_tool or (choice is not None and choice.mode == "none"):
        return []
    prompt = ask.prompt.lower()
    named = [tool for tool in ask.tools if _is_named(tool.name.lower(), prompt)]
    if not named and ("weather" in prompt or (choice is not None and choice.mode == "required")):
        return [ask.tools[0]]
    return named


def _is_named(name: str, prompt: str) -> bool:
    return name in prompt or name.replace("_", " ") in prompt


def _usage(
    ask: ParsedRequest, text: str, thinking: str, calls: tuple[ToolCall, ...], cached: bool
) -> Usage:
    reasoning = count_tokens(len(thinking))
    output = count_tokens(len(text)) + reasoning
    for call in calls:
        output += count_tokens(len(call.name) + len(arguments_text(call)))
    if ask.prefix is None:
        return Usage(ask.input_tokens, output, reasoning=reasoning)
    prefix = min(count_tokens(len(ask.prefix.text)), ask.input_tokens)
    written = 0 if cached else prefix
    return Usage(
        ask.input_tokens,
        output,
        cache_read=prefix - written,
        cache_write=written,
        cache_write_1h=written if ask.prefix.one_hour else 0,
        reasoning=reasoning,
    )
