"""What a caller gives to `complete` and `stream`, checked and turned into values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack

from pydantic import PydanticUserError

from orchestify.calls.messages import MessagesLike, cache_control_of, messages_of
from orchestify.errors import InvalidParameterError
from orchestify.models.model_map import ModelEntry, has_thinking
from orchestify.values import (
    EFFORTS,
    NOTHING,
    CompletionRequest,
    Effort,
    EmbeddingRequest,
    LLMMessage,
    NativeRequest,
    Priority,
    ResponseFormat,
    ThinkingConfig,
    Tool,
    ToolChoice,
)

ThinkingLike: TypeAlias = bool | Effort | Literal["none"] | Mapping[str, int] | ThinkingConfig
ToolLike: TypeAlias = Tool | Mapping[str, Any]
ToolChoiceLike: TypeAlias = str | Mapping[str, Any] | ToolChoice
ResponseCacheLike: TypeAlias = bool | Literal["refresh"]
FallbackLike: TypeAlias = bool | Sequence[str | Mapping[str, str]]
ResponseFormatLike: TypeAlias = ResponseFormat | Mapping[str, Any] | type[Any]

OURS = frozenset(
    {"api_key", "key", "model", "base_url", "api_base", "messages", "stream", "timeout"}
    | {"retries", "max_retries", "num_retries", "fallbacks", "caching"}
)
PRIORITIES = ("critical", "high", "medium", "normal", "low")
_NUMBERS: Mapping[str, tuple[bool, float, float]] = {  # whether it is whole, at least, at most
    "temperature": (False, 0, math.inf),
    "max_tokens": (True, 1, math.inf),
    "top_p": (False, 0, 1),
    "seed": (True, -math.inf, math.inf),
    "timeout_s": (False, 0, math.inf),
    "max_attempts": (True, 1, math.inf),
    "thinking.budget_tokens": (True, 1024, math.inf),  # Anthropic, "Extended thinking"
}
CHARS_PER_TOKEN_AT_MOST = 8  # prose has 4 to 5; a prompt of more is surely too long
MODEL_CHARS = 500  # a model's name is remembered in several places


class SharedKeywords(TypedDict, total=False):
    """What a call takes by keyword only, alone or in a run; the form of its answer is elsewhere."""

    top_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    tool_choice: ToolChoiceLike | None
    fallback: FallbackLike | None
    max_attempts: int | None
    priority: Priority | None
    response_cache: ResponseCacheLike | None
    options: Mapping[str, Any] | None


class TurnKeywords(SharedKeywords, total=False):
    """What every call takes by keyword only, alone or in a run of several; see `CallKeywords`."""

    response_format: ResponseFormatLike | None


class FormedCallKeywords(SharedKeywords, total=False):
    """What a call takes beside a `response_format` that type checkers know the class of."""

    timeout_s: float | None
    native: NativeRequest | None


class CallKeywords(FormedCallKeywords, TurnKeywords, total=False):
    """What `complete` and `stream` take by keyword only; None says as little as leaving it out.

    `timeout_s` covers the whole call in seconds, waits and fallbacks included; of a stream, the
    time until its first output. `fallback` replaces the agent's chain, False means none.
    `response_cache` False neither reads nor keeps an answer, `"refresh"` asks and keeps a new one;
    True means as it is configured.
    `options` are extra fields of the request's body, `native` is the request in the words of a
    protocol, for targets that speak it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What an agent, then a provider, configures for a call; None where it says nothing.

    `timeout_s` is the call's, `provider_timeout_s` bounds what is spent at the provider.
    """

    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    thinking: ThinkingConfig | None = None
    thinking_off: bool = False
    cache: bool = False
    timeout_s: float | None = None
    provider_timeout_s: float | None = None
    first_output_timeout_s: float | None = None
    attempt_timeout_s: float | None = None
    connect_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    stream_timeout_s: float | None = None


class FallbackTarget(NamedTuple):
    """A target a caller names for one call; its provider's own model where `model` is None."""

    provider: str
    model: str | None = None


@dataclass(slots=True, kw_only=True)  # not frozen: made for every call, and read only
class Call:
    """One call as its caller wants it; None means: what the agent, then the provider, says.

    `thinking_off` tells a caller's `thinking=False` from a silence. `fallback` replaces the
    agent's chain; empty means none.
    """

    messages: tuple[LLMMessage, ...] = field(repr=False)
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    thinking: ThinkingConfig | None = None
    thinking_off: bool = False
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    fallback: tuple[FallbackTarget, ...] | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    priority: Priority | None = None
    response_cache: ResponseCacheLike | None = None
    options: Mapping[str, Any] = field(default=NOTHING, repr=False)
    native: NativeRequest | None = None

    def request(self, defaults: Defaults, *, model: str) -> CompletionRequest:
        """Return what a target with these `defaults` is asked, at this `model`."""
        is_said = self.thinking_off or self.thinking is not None
        thinking = self.thinking if is_said else defaults.thinking
        temperature, max_tokens, top_p = self.temperature, self.max_tokens, self.top_p
        timeout_s = defaults.timeout_s if self.timeout_s is None else self.timeout_s
        own_s = defaults.provider_timeout_s
        if own_s is not None:
            timeout_s = own_s if timeout_s is None else min(timeout_s, own_s)
        return CompletionRequest(
            messages=self.messages,
            model=model,
            temperature=defaults.temperature if temperature is None else temperature,
            max_tokens=defaults.max_tokens if max_tokens is None else max_tokens,
            top_p=defaults.top_p if top_p is None else top_p,
            stop=self.stop or defaults.stop,
            seed=self.seed,
            tools=self.tools,
            tool_choice=self.tool_choice,
            response_format=self.response_format,
            thinking=thinking,
            thinking_off=self.thinking_off if is_said else defaults.thinking_off,
            thinking_configured=not is_said and thinking is not None,
            cache=defaults.cache,
            options=self.options,
            native=self.native,
            timeout_s=timeout_s,
            connect_timeout_s=defaults.connect_timeout_s,
            idle_timeout_s=defaults.idle_timeout_s,
        )


def call_of(
    messages: MessagesLike,
    model: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    tools: Iterable[ToolLike] | None = None,
    thinking: ThinkingLike | None = None,
    **keywords: Unpack[CallKeywords],
) -> Call:
    """Check a call's arguments and return them as values.

    Raises:
        InvalidParameterError: one of them cannot be used; the message names it.
        TypeError: a keyword that `CallKeywords` does not have.
    """
    if model is not None and not (isinstance(model, str) and 0 < len(model) <= MODEL_CHARS):
        raise InvalidParameterError(f"model is a text of 1 to {MODEL_CHARS} characters")
    if temperature is not None:
        _check_number("temperature", temperature)
    if max_tokens is not None:
        _check_number("max_tokens", max_tokens)
    call = Call(
        messages=(LLMMessage("user", messages),)
        if isinstance(messages, str)
        else messages_of(messages),
        model=model,
        temperature=temperature,
        max_tokens=max_tokens,
    )
    if tools:
        if not isinstance(tools, Iterable):
            raise InvalidParameterError(f"tools are several, not a {type(tools).__name__}")
        call.tools = tuple(map(tool_of, tools))
    if thinking is not None:
        call.thinking, call.thinking_off = thinking_of(thinking), is_off(thinking)
    if keywords:
        _take_keywords(call, keywords)
    return call


def lacking(request: CompletionRequest, entry: ModelEntry | None) -> str | None:
    """Return what the model is known to lack for the request, in words; None where nothing."""
    if request.thinking is not None and not has_thinking(request.model, entry):
        return "has no extended thinking"
    if entry is None:
        return None
    lack = None
    characters, limit = 0, entry.max_input_tokens
    for message in request.messages:
        content = message.content
        characters += len(content if isinstance(content, str) else message.text)
    if isinstance(request, EmbeddingRequest):  # each text stands for itself
        characters = max((len(message.text) for message in request.messages), default=0)
    if request.tools and entry.tools is False:
        lack = "cannot call tools"
    elif entry.images is False and any(message.has_images for message in request.messages):
        lack = "takes no images"
    elif entry.raw.get("supports_pdf_input") is False and any(
        message.has_files for message in request.messages
    ):
        lack = "reads no files"
    elif request.response_format is not None and entry.structured_output is False:
        lack = "has no structured output"
    elif limit is not None and characters > limit * CHARS_PER_TOKEN_AT_MOST:
        lack = f"takes at most {limit} tokens of input"
    return lack


def tool_of(tool: ToolLike) -> Tool:
    """Return a tool given as a `Tool`, in Anthropic's form or in OpenAI's.

    `{"type": "web_search_20250305", ...}`, a tool that the provider runs itself, is kept as it
    is.
    """
    if isinstance(tool, Tool):
        return tool
    if not isinstance(tool, Mapping):
        raise InvalidParameterError("a tool is a mapping: {name, description, input_schema}")
    kind = tool.get("type", "custom")
    if kind == "function" and isinstance(tool.get("function"), Mapping):
        return _tool(tool["function"], "parameters", tool.get("cache_control"))
    if kind == "custom":
        schema = "input_schema" if "input_schema" in tool else "parameters"
        return _tool(tool, schema, tool.get("cache_control"))
    return Tool(name=str(tool.get("name", kind)), server=dict(tool))


def thinking_of(thinking: ThinkingLike | None) -> ThinkingConfig | None:
    """Return how much to think; None where thinking is off or nothing was said."""
    if thinking is None or is_off(thinking):
        return None
    if isinstance(thinking, ThinkingConfig):
        return thinking
    if thinking is True:
        return ThinkingConfig()
    if isinstance(thinking, str) and thinking in EFFORTS:
        return ThinkingConfig(effort=thinking)
    if isinstance(thinking, Mapping) and set(thinking) == {"budget_tokens"}:
        budget = thinking["budget_tokens"]
        _check_number("thinking.budget_tokens", budget)
        return ThinkingConfig(budget_tokens=budget)
    words = ", ".join(repr(word) for word in ("none", *EFFORTS))
    raise InvalidParameterError(
        f"thinking is true, false, {{'budget_tokens': n}} or one of {words}"
    )


def is_off(thinking: object) -> bool:
    """Whether the model is told not to think."""
    return thinking is False or thinking == "none"


def response_format_of(value: ResponseFormatLike | None) -> ResponseFormat | None:
    """Return the answer's form, given as a JSON Schema, OpenAI's wrapping of one, or a model."""
    if value is None or isinstance(value, ResponseFormat):
        return value
    if isinstance(value, type) and callable(getattr(value, "model_json_schema", None)):
        try:
            schema = value.model_json_schema()
        except PydanticUserError as error:
            raise InvalidParameterError(
                f"response_format: {value.__name__} has no JSON Schema ({error.code})"
            ) from None
        return ResponseFormat(name=_form_name(value.__name__), schema=schema, model_class=value)
    if not isinstance(value, Mapping):
        raise InvalidParameterError("response_format is a JSON Schema or a pydantic model class")
    if value.get("type") == "json_object" and "properties" not in value:
        return ResponseFormat()
    wrapped = value.get("json_schema")
    if value.get("type") == "json_schema" and isinstance(wrapped, Mapping):
        return ResponseFormat(
            name=str(wrapped.get("name", "answer")),
            schema=wrapped.get("schema"),
            strict=wrapped.get("strict"),
        )
    return ResponseFormat(name=_form_name(str(value.get("title", ""))), schema=value)


def stop_of(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return stop sequences, given as one text or several."""
    if stop is None:
        return ()
    sequences = (stop,) if isinstance(stop, str) or not isinstance(stop, Iterable) else tuple(stop)
    is_object = isinstance(stop, Mapping)
    if is_object or not all(isinstance(sequence, str) and sequence for sequence in sequences):
        raise InvalidParameterError("stop is one text or several, none of them empty")
    return sequences


def _take_keywords(call: Call, given: CallKeywords) -> None:
    unknown = given.keys() - CallKeywords.__annotations__.keys()
    if unknown:
        raise TypeError(f"a call got an unexpected keyword argument {min(unknown)!r}")
    for name, value in given.items():
        if value is not None and name in _NUMBERS:
            _check_number(name, value)
    call.priority = given.get("priority")
    if call.priority is not None and call.priority not in PRIORITIES:
        raise InvalidParameterError(f"priority is one of {', '.join(PRIORITIES)}")
    call.response_cache = given.get("response_cache")
    if call.response_cache not in (None, True, False, "refresh"):
        raise InvalidParameterError("response_cache is true, false or 'refresh'")
    call.top_p, call.seed = given.get("top_p"), given.get("seed")
    call.timeout_s, call.max_attempts = given.get("timeout_s"), given.get("max_attempts")
    call.stop = stop_of(given.get("stop"))
    call.tool_choice = _tool_choice_of(given.get("tool_choice"), call.tools)
    call.response_format = response_format_of(given.get("response_format"))
    call.fallback = _fallback_of(given.get("fallback"))
    call.options, call.native = _options_of(given.get("options")), given.get("native")
    if not isinstance(call.native, NativeRequest | None):
        raise InvalidParameterError("native is a NativeRequest")


def _tool(form: Mapping[str, Any], schema_key: str, cache_control: Any) -> Tool:
    name = form.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidParameterError("a tool needs a name")
    schema = form.get(schema_key) or {"type": "object", "properties": {}}
    if not isinstance(schema, Mapping):
        raise InvalidParameterError(f"the {schema_key} of tool {name!r} is a JSON Schema object")
    return Tool(
        name=name,
        description=form.get("description"),
        input_schema=schema,
        strict=form.get("strict"),
        cache_control=cache_control_of(cache_control),
    )


def _tool_choice_of(value: ToolChoiceLike | None, tools: tuple[Tool, ...]) -> ToolChoice | None:
    if value is None:
        return None
    choice = _parse_tool_choice(value)
    if not tools:
        if choice.mode == "none":
            return None
        raise InvalidParameterError("tool_choice needs tools to choose from")
    names = [tool.name for tool in tools]
    if choice.mode == "tool" and choice.name not in names:
        raise InvalidParameterError(
            f"tool_choice is auto, none, required or the name of a tool ({', '.join(names)})"
        )
    return choice


def _parse_tool_choice(value: ToolChoiceLike) -> ToolChoice:
    if isinstance(value, ToolChoice):
        return value
    if isinstance(value, Mapping):
        kind = value.get("type")
        function = value.get("function")
        name = function.get("name") if isinstance(function, Mapping) else value.get("name")
        value = str(name) if name else str(kind)
    match value:
        case "auto" | "none" | "required":
            return ToolChoice(value)
        case "any":
            return ToolChoice("required")
        case _:
            return ToolChoice("tool", value)


def _fallback_of(value: FallbackLike | None) -> tuple[FallbackTarget, ...] | None:
    if value is None or value is True:
        return None
    if value is False:
        return ()
    targets = (value,) if isinstance(value, (str, Mapping)) else value
    if not isinstance(targets, Iterable):
        raise InvalidParameterError("fallback is False, a provider's name or a list of targets")
    return tuple(_fallback_target(target) for target in targets)


def _fallback_target(target: str | Mapping[str, str]) -> FallbackTarget:
    if isinstance(target, str):
        return FallbackTarget(target)
    if not isinstance(target, Mapping) or not isinstance(target.get("provider"), str):
        raise InvalidParameterError("a fallback is a provider's name, or {provider, model}")
    return FallbackTarget(target["provider"], target.get("model"))


def _options_of(options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not options:
        return NOTHING
    if not isinstance(options, Mapping):
        raise InvalidParameterError("options is a mapping of the body's extra fields")
    taken = sorted(OURS & set(options))
    if taken:
        raise InvalidParameterError(
            f"options cannot hold {', '.join(taken)}: these are arguments or configuration"
        )
    return options


def _form_name(title: str) -> str:
    """Return a name that OpenAI takes: at most 64 of a-z, A-Z, 0-9, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", title)[:64] or "answer"


def _check_number(name: str, value: object) -> None:
    whole, least, most = _NUMBERS[name]
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise InvalidParameterError(f"{name} is a {'whole ' if whole else ''}number")
    if not least <= value <= most:
        bounds = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise InvalidParameterError(f"{name} is {bounds}, not {value}")
