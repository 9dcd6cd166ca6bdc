"""The values that go down the call path and come back: messages, requests, answers, usage.

All are frozen. None shows a prompt or an answer in its repr.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from orchestify.errors import InvalidParameterError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    ParsedT_co = TypeVar("ParsedT_co", covariant=True, default=Any)
else:  # the default is for type checkers alone: `LLMResponse` is `LLMResponse[Any]`
    from typing import TypeVar

    ParsedT_co = TypeVar("ParsedT_co", covariant=True)

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "pause"
]
UsageSource: TypeAlias = Literal["reported", "estimated", "unknown"]
Effort: TypeAlias = Literal["minimal", "low", "medium", "high", "xhigh", "max"]
Priority: TypeAlias = Literal["critical", "high", "medium", "normal", "low"]
CircuitState: TypeAlias = Literal["closed", "open", "half_open"]

ROLES = ("system", "user", "assistant", "tool")
EFFORTS: tuple[Effort, ...] = ("minimal", "low", "medium", "high", "xhigh", "max")

MOST_USD = Decimal(1_000_000)
"""What one call can cost at most: a report of more is not believed, a price that gives more ends
here."""

_MOST_DECIMALS = 40  # a 64-bit float's own text has fewer
_PICO = Decimal("1e-12")
_ZERO = Decimal(0)


class _Nothing(Mapping[str, Any]):
    """The empty mapping: it cannot change, has a hash, and is itself again when unpickled."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NOTHING"


NOTHING: Mapping[str, Any] = _Nothing()


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text in a message.

    `cache_control` marks the end of what a provider is to cache, in Anthropic's form.
    """

    text: str = field(repr=False)
    cache_control: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image in a message: either `url` (http, https), or base64 `data` with its `media_type`.

    `detail` is OpenAI's `low`, `high` or `auto`; `cache_control` as in `TextPart`.
    """

    url: str | None = field(default=None, repr=False)
    data: str | None = field(default=None, repr=False)
    media_type: str | None = None
    detail: str | None = None
    cache_control: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.data is None):
            raise InvalidParameterError("an image has either a url or data")
        if self.data is not None and not self.media_type:
            raise InvalidParameterError("an image given as data needs a media_type")
        if self.data is not None and not isinstance(self.data, str):
            raise InvalidParameterError(
                "an image's data is base64 text; encode bytes with base64.b64encode(...).decode()"
            )
        if self.url is not None and not self.url.startswith(("https://", "http://", "data:")):
            raise InvalidParameterError("an image's url begins with https://, http:// or data:")

    @property
    def data_url(self) -> str:
        """The image as a URL: its own, or a `data:` URL."""
        return self.url or f"data:{self.media_type};base64,{self.data}"


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file in a message, a PDF as a rule: base64 `data` with its `media_type`.

    `name` is the file's, told to models that see it; `cache_control` as in `TextPart`.
    """

    data: str = field(repr=False)
    media_type: str = "application/pdf"
    name: str | None = field(default=None, repr=False)
    cache_control: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, str) or not self.data:
            raise InvalidParameterError(
                "a file's data is base64 text; encode bytes with base64.b64encode(...).decode()"
            )
        if not isinstance(self.media_type, str) or "/" not in self.media_type:
            raise InvalidParameterError("a file's media_type is one as application/pdf")

    @property
    def data_url(self) -> str:
        """The file as a `data:` URL."""
        return f"data:{self.media_type};base64,{self.data}"


Part: TypeAlias = TextPart | ImagePart | FilePart
Content: TypeAlias = str | Sequence[Part]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that the model asks for; `arguments` are parsed.

    `raw_arguments` is the text the model wrote. Where that is no JSON object, `arguments` is
    empty and `valid` False.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    raw_arguments: str | None = field(default=None, repr=False)
    valid: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the model may call; `input_schema` is a JSON Schema object.

    `server` holds a tool that the provider runs itself, in the provider's own form; it is
    passed on as it is. `cache_control` as in `TextPart`.
    """

    name: str
    description: str | None = None
    input_schema: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None
    server: Mapping[str, Any] | None = None
    cache_control: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model calls tools: `auto`, `none`, `required`, or `tool` with its `name`.

    `parallel` says whether it may call several at once; None leaves that to the provider.
    """

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None
    parallel: bool | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The form an answer must have: a JSON Schema, or any JSON object where `schema` is None.

    With `model_class`, a pydantic model, `LLMResponse.parsed` is an instance of it.
    """

    name: str = "answer"
    schema: Mapping[str, Any] | None = None
    model_class: type[Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ThinkingConfig:
    """How much the model may think: an `effort`, or a budget in tokens, or neither (its own)."""

    effort: Effort | None = None
    budget_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a model thought: `text`, and the provider's own `blocks` with their signatures.

    Where the thinking stood between texts and tool calls, these stand among the blocks as well
    (`text` with its text, `tool_use` with its id), since the provider wants to see the order
    again. Send it back in an `LLMMessage` where the conversation goes on with tool results.
    """

    text: str = field(default="", repr=False)
    blocks: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return bool(self.text or self.blocks)


@dataclass(frozen=True, slots=True)
class LLMMessage:
    """One message of a conversation.

    `content` is text, or a sequence of `TextPart`, `ImagePart` and `FilePart`. An assistant's
    message may hold `tool_calls` and `thinking`; a tool's result has role `tool` and the
    `tool_call_id` it answers. `name` is the speaker's, where a provider takes one.
    """

    role: str
    content: Content = field(default="", repr=False)
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    thinking: Thinking | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise InvalidParameterError(
                f"a message's role is one of {', '.join(ROLES)}, not {str(self.role)[:20]!r}"
            )
        if self.content is None:  # as OpenAI writes it beside tool calls
            object.__setattr__(self, "content", "")
        elif not isinstance(self.content, (str, tuple)):
            object.__setattr__(self, "content", tuple(self.content))
        if not isinstance(self.tool_calls, tuple):
            object.__setattr__(self, "tool_calls", tuple(self.tool_calls))

    @property
    def text(self) -> str:
        """The message's text, its parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def has_images(self) -> bool:
        """Whether an image is among the parts."""
        return not isinstance(self.content, str) and any(
            isinstance(part, ImagePart) for part in self.content
        )

    @property
    def has_files(self) -> bool:
        """Whether a file is among the parts."""
        return not isinstance(self.content, str) and any(
            isinstance(part, FilePart) for part in self.content
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call.

    Counts are inclusive: `input_tokens` includes `cache_read` and `cache_write`,
    `output_tokens` includes `reasoning`. `cache_write_1h` is the part of `cache_write` kept for
    an hour (dearer than five minutes). `input_audio` and `input_image` are the parts of what no
    cache held that are no text, `cache_read_audio` those of `cache_read`, `output_audio` and
    `output_image` those of the output. `searches` counts the provider's own web
    searches. `service_tier` is the provider's word (`batch`, `priority`, `flex`...), `modifiers`
    are its words for what else changes the price (`fast`, `us`). `iterations` lists, where several
    models or passes took part, the model of each ("" for the one that was asked) and what it used;
    their sums are the counts beside it. `source` says whether the provider `reported` the counts,
    we `estimated` them, or they are `unknown`. `invalid` names counts that the provider reported
    and that cannot be true.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    searches: int = 0
    service_tier: str | None = None
    source: UsageSource = "reported"
    invalid: tuple[str, ...] = ()
    input_audio: int = 0
    input_image: int = 0
    output_audio: int = 0
    output_image: int = 0
    cache_read_audio: int = 0
    modifiers: tuple[str, ...] = ()
    iterations: tuple[tuple[str, Usage], ...] = ()

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


UNKNOWN_USAGE = Usage(source="unknown")


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many input tokens a call has: counted by its provider, or estimated by us."""

    tokens: int
    source: Literal["reported", "estimated"]


@dataclass(slots=True)
class TokenUsage:
    """Cumulative usage: a reading of the ledger's totals, no total of its own.

    `total_cost_usd` leaves out calls whose price nobody knows; `unpriced_calls` counts them.
    """

    total_input: int = 0
    total_output: int = 0
    total_cost_usd: float = 0.0
    call_count: int = 0
    unpriced_calls: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one target: `outcome` is `ok`, `failed`, `skipped`, `cancelled`, `interrupted`.

    It is `cached` where the response cache had the answer, and nothing was sent. While a stream is
    under way, the outcome of the attempt that answers is `open`.

    `error` is the error's class name, None where it went well.
    """

    provider: str
    model: str
    outcome: str
    error: str | None = None
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LLMResponse(Generic[ParsedT_co]):
    """An answer, with what it used and what it cost.

    `finish_reason` is one of `stop | length | tool_calls | content_filter | refusal | pause`;
    the provider's own word is in `raw_response`, which of a large answer (256 KiB) is a subclass of
    `dict`. `parsed` is set where a `response_format` was asked for, but for an answer that calls
    tools or is refused; with a class, as in `complete(..., response_format=City)`, the answer is an
    `LLMResponse[City | None]`. `cost_usd` is None where nobody knows the price; `cost_source` says
    who does.
    `headers` are those of the provider's that tell its rate limits and the request's id, with
    names in lower case. `warnings` are short words for programs: for what of the request was left
    out or changed, because the provider refuses it (`temperature_dropped`), and `unread:FIELD` for
    a part of the answer that could not be read and was left out. `is_cached` says that the response
    cache had the answer: it used and cost nothing, and `saved_usd` is what it had cost, None where
    nobody knows.
    """

    content: str = field(repr=False)
    model: str
    tokens_input: int
    tokens_output: int
    finish_reason: str
    raw_response: Any = field(default=None, repr=False)
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: Thinking | None = field(default=None, repr=False)
    parsed: ParsedT_co = field(default=None, repr=False)  # type: ignore[assignment]
    usage: Usage = UNKNOWN_USAGE
    cost_usd: Decimal | None = None
    cost_source: str = "none"
    provider: str = ""
    latency_s: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    call_id: str = ""
    headers: Mapping[str, str] = field(default=NOTHING, repr=False)
    warnings: tuple[str, ...] = ()
    is_cached: bool = False
    saved_usd: Decimal | None = None

    def to_message(self) -> LLMMessage:
        """Return the answer as the assistant's message, to be sent back with what follows."""
        return LLMMessage(
            "assistant", self.content, tool_calls=self.tool_calls, thinking=self.thinking
        )


@dataclass(frozen=True, slots=True)
class NativeRequest:
    """A request in the words of a protocol, for targets that speak it.

    `protocol` is `messages` (Anthropic's) or `responses` (OpenAI's). `body` goes out as it is, but
    for the model, whether it streams, and what is configured and not said. `headers` are sent
    beside the target's own.
    """

    protocol: Literal["messages", "responses"]
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """What one target is asked: the caller's words over the agent's over the provider's.

    None means: not configured and not given, so not sent. `thinking_off` says that the model is
    not to think, `thinking_configured` that only configuration, and not the caller, asked for
    `thinking`. `options` are extra body fields. `native` is the same in the words of one protocol:
    a target that speaks it gets that, and answers in its words, too. Times are in seconds;
    `timeout_s` is for the whole call, or until a stream's first output.
    """

    messages: tuple[LLMMessage, ...] = field(repr=False)
    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    thinking: ThinkingConfig | None = None
    thinking_off: bool = False
    thinking_configured: bool = field(default=False, compare=False)
    cache: bool = False
    options: Mapping[str, Any] = field(default=NOTHING, repr=False)
    native: NativeRequest | None = None
    timeout_s: float | None = None
    connect_timeout_s: float | None = None
    idle_timeout_s: float | None = None

    @property
    def price_terms(self) -> Mapping[str, Any]:
        """What may change the price: the extra fields, in the protocol's words where these go out.

        `cache_ttl` is beside them the longest time that is asked of a cache, where one is.
        """
        body = None if self.native is None else self.native.body
        marks = [] if body is None else list(_marks_in(body))
        marked: list[Part | Tool] = [*self.tools]
        for message in self.messages:
            if not isinstance(message.content, str):
                marked += message.content
        for each in marked:
            if each.cache_control is not None:
                marks.append(each.cache_control)
        if not marks and not self.cache and body is None:
            return self.options
        terms = {**(body or {}), **self.options}
        if marks or self.cache:
            terms["cache_ttl"] = "1h" if any(mark.get("ttl") == "1h" for mark in marks) else "5m"
        return terms


EmbeddingInput: TypeAlias = str | tuple[int, ...]
"""What one vector is made of: a text, or the tokens that the model's own tokenizer makes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest(CompletionRequest):
    """What one target is asked to embed, in one request.

    `messages` tell the inputs to those who count tokens or look for the caller's words: a message
    each, a word a token where tokens are given.
    """

    inputs: tuple[EmbeddingInput, ...] = field(repr=False)
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingResponse:
    """Vectors, one for each text in the order given, with what they used and what they cost.

    A vector is an array of floats as NumPy takes it without a copy: of 32 bits where the provider
    sent it so, else of 64. All are of one `model` at one `provider`. Several requests may have been
    sent: `usage` and `cost_usd` are their sums, the cost None where nobody knows a part of it, and
    `attempts` are all. The other fields are those of `LLMResponse`.
    """

    vectors: tuple[array[float], ...] = field(repr=False)
    model: str
    usage: Usage = UNKNOWN_USAGE
    cost_usd: Decimal | None = None
    cost_source: str = "none"
    provider: str = ""
    latency_s: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    call_id: str = ""
    headers: Mapping[str, str] = field(default=NOTHING, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def tokens_input(self) -> int:
        """How many tokens the texts have."""
        return self.usage.input_tokens

    def packed(self) -> tuple[str, ...]:
        """Return each vector as base64 of 32-bit floats, the lowest byte first."""
        return tuple(map(_packed, self.vectors))


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text; `is_refusal` where the provider says that it is a refusal."""

    text: str = field(repr=False)
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """A piece of what the model thinks."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call; `arguments` is the JSON text that has come since the last piece.

    Pieces of one call share their `index`; `id` and `name` stand in each. `extra_content` is what
    Gemini gives with a call and wants to see again.
    """

    index: int
    id: str
    name: str
    arguments: str = field(default="", repr=False)
    extra_content: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class UsageUpdate:
    """Tokens the provider has reported before the end; the last one holds."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class NativeEvent:
    """An event as the provider sent it, where the request was in its words as well.

    `is_output` says whether something of the answer has come with it.
    """

    event: Mapping[str, Any] = field(repr=False)
    is_output: bool


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The protocol's end was seen; `response` is the whole answer."""

    response: LLMResponse


StreamEvent: TypeAlias = (
    TextDelta | ThinkingDelta | ToolCallDelta | UsageUpdate | NativeEvent | StreamEnd
)


def _marks_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the marks of what is to be cached, wherever they stand in a body."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, Mapping):
            mark = each.get("cache_control")
            if isinstance(mark, Mapping):
                yield mark
            stack += each.values()
        elif isinstance(each, (list, tuple)):
            stack += each


def _packed(vector: array[float]) -> str:
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def believed_usd(reported: Any, per_usd: int = 1) -> Decimal | None:
    """Return a cost that somebody else reports; None where it cannot be true.

    It is a number, or one as text, of which `per_usd` make a dollar. What it is worth is told
    before anything is computed with it: an exponent may be as long as it likes. What has more
    than 40 decimals is rounded to 1e-12 USD.
    """
    if isinstance(reported, bool) or not isinstance(reported, (int, float, str, Decimal)):
        return None
    try:
        amount = Decimal(str(reported))
    except (InvalidOperation, ValueError):
        return None
    if not amount.is_finite() or not 0 <= amount <= MOST_USD * per_usd:
        return None
    usd = abs(amount / per_usd)
    exponent = usd.as_tuple().exponent
    return usd.quantize(_PICO) if isinstance(exponent, int) and exponent < -_MOST_DECIMALS else usd


def bounded_usd(usd: Decimal | None) -> Decimal | None:
    """Return a cost as it can be summed and stored: from 0 to `MOST_USD`; None where it is none."""
    return None if usd is None or usd.is_nan() else min(max(usd, _ZERO), MOST_USD)
