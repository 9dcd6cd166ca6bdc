"""What answers of all protocols have in common: their face, finish words, errors, tokens, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import NoneType
from typing import Any, Literal, Protocol

from orchestify.lanes.classify import MINIMAX, Failure
from orchestify.lanes.failures import (
    MalformedError,
    RefusedError,
    UnusableError,
    misread,
)
from orchestify.lanes.openai.dialects import COSTS, USAGE, CostField, Path, UsageFields
from orchestify.lanes.parsing import encodable, encodable_text, parse_json
from orchestify.values import (
    NOTHING,
    UNKNOWN_USAGE,
    FinishReason,
    LLMResponse,
    StreamEvent,
    ToolCall,
    Usage,
    believed_usd,
)

MODEL_CHARS = 200
"""What of the name of the model that answered is kept."""

MAX_TOKENS = 10**12  # no call has a trillion tokens

_COUNTED = (
    *("input_tokens", "output_tokens", "cache_read", "cache_write", "cache_write_1h"),
    *("reasoning", "searches"),
)
_MODALITIES = ("input_audio", "input_image", "output_audio", "output_image", "cache_read_audio")
_WORD_CHARS = 40
# Anthropic's words for the usual speed and place, which change no price.
_USUAL = frozenset({"standard", "global", "not_available"})


class Answer(Protocol):
    """An answer that grows: each protocol has one.

    `complete` says that the answer is whole, `ended` that nothing more comes.
    """

    usage: Usage | None
    complete: bool
    ended: bool

    @property
    def cost_usd(self) -> Decimal | None:
        """What the provider says that the answer cost so far."""

    @property
    def text(self) -> str:
        """All text so far."""

    def feed(self, chunk: Any) -> Sequence[StreamEvent]:
        """Take one event's data and return what it brought."""

    def done(self) -> None:
        """Take the protocol-independent end of a stream, `[DONE]`: it proves nothing by itself."""

    def skip(self, what: str) -> None:
        """Count something that could not be read and costs the answer nothing."""

    def response(self, raw: Any = None, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
        """Return the whole answer; `headers` are those it keeps."""


def unusable(error: Exception, answer: Answer) -> UnusableError:
    """Return what fails in reading an answer, with the tokens and the cost that it reports.

    What is none of `UnusableError`, a misreading, becomes a `MalformedError`.
    """
    failure = error if isinstance(error, UnusableError) else misread("the answer")
    failure.usage, failure.cost_usd = answer.usage, answer.cost_usd
    return failure


_STOP = ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "finish", "endoftext")
_LENGTH = (
    *("length", "max_tokens", "model_length", "model_context_window_exceeded", "token_limit"),
    *("max_output_tokens", "error_limit"),
)
_TOOL_CALLS = ("tool_calls", "function_call", "tool_use", "tool_call")
_FILTERED = (
    *("content_filter", "content_filtered", "sensitive", "safety", "recitation", "language"),
    *("prohibited_content", "blocklist", "spii", "image_safety", "image_prohibited_content"),
    *("image_recitation", "guardrail_intervened", "error_toxic", "model_armor"),
)
# Sources: OpenAI, "finish_reason"; Anthropic and Bedrock, "Stop reasons"; Google, "FinishReason",
# which compatible endpoints pass on, as a number too; Cohere; Mistral (model_length), Together
# (eos), Z.ai (sensitive), watsonx (token_limit, eos_token).
FINISH: Mapping[str, FinishReason] = {
    **dict.fromkeys((*_STOP, "1"), "stop"),
    **dict.fromkeys((*_LENGTH, "2"), "length"),
    **dict.fromkeys(_TOOL_CALLS, "tool_calls"),
    **dict.fromkeys((*_FILTERED, "3", "4", "6", "7", "8", "9", "11"), "content_filter"),
    "refusal": "refusal",
    "pause_turn": "pause",
    "compaction": "pause",
}
# The provider gave up in the middle. Sources: OpenRouter, DeepSeek, Z.ai, Google, Bedrock, vLLM,
# Cohere, watsonx.
FAILED = frozenset(
    {
        *(
            "error",
            "insufficient_system_resource",
            "network_error",
            "abort",
            "timeout",
            "cancelled",
        ),
        *("malformed_response", "malformed_model_output", "other", "no_image", "image_other"),
        *("user_cancel", "time_limit", "not_finished", "5"),
    }
)
# A call went wrong; where one came all the same, it is the answer. Sources: Google, Bedrock.
FAILED_CALLS = frozenset(
    {
        *("malformed_function_call", "malformed_tool_use", "unexpected_tool_call"),
        *("too_many_tool_calls", "missing_thought_signature", "10", "12", "13"),
    }
)
_KNOWN = frozenset({*FINISH, *FAILED, *FAILED_CALLS})


def is_finish_word(word: Any) -> bool:
    """Whether a word says, in any protocol, why an answer ended."""
    return _known(word) in _KNOWN


def finish_reason(word: Any, *, has_calls: bool, has_output: bool = True) -> FinishReason:
    """Return our word: a stop with tool calls is `tool_calls` (a forced tool ends so).

    `tool_calls` without a call leaves nothing to do: that is `stop`. A word that nobody knows, or
    none, is `stop` beside output.

    Raises:
        RefusedError: the provider gave up in the middle of the answer.
        MalformedError: the word is none, or nothing came and no known word says why.
    """
    if isinstance(word, bool) or not isinstance(word, (str, int, float, NoneType)):
        raise misread("the finish reason")
    known = _known(word)
    if known in FAILED or (known in FAILED_CALLS and not has_calls):
        raise RefusedError(Failure(500, f"the provider gave up in the middle: {known}"))
    reason = FINISH.get(known)
    if reason is None and not has_output:
        raise MalformedError("the answer is empty, and nothing says why it ended")
    if reason in (None, "stop", "tool_calls"):
        return "tool_calls" if has_calls else "stop"
    return reason


def _known(word: Any) -> str:
    """Return a word as the tables have it, from `function_call_filter: MALFORMED_FUNCTION_CALL`."""
    if word.__class__ is str and word in _KNOWN:
        return str(word)
    if isinstance(word, float) and word.is_integer():
        word = int(word)
    if isinstance(word, bool) or not isinstance(word, (str, int)):
        return ""
    lower = str(word)[:100].lower().strip()
    lower = lower.removeprefix("finishreason.").removeprefix("finish_reason_")
    if lower in _KNOWN:
        return lower
    parts = [*(part.strip() for part in reversed(lower.split(":")))]
    return next((part for part in parts if part in _KNOWN), lower)


def text_in(value: Any, what: str) -> str:
    """Return an essential text; None counts as empty.

    Raises:
        MalformedError: it is of another type.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise misread(what)
    return value


def name_in(value: Any) -> str:
    """Return a name or an id as it can be encoded, empty where it is no text."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else encodable_text(value)


def tool_call(call_id: str, name: str, arguments: str) -> ToolCall:
    """Return a call whose arguments came as text; nothing at all counts as no arguments."""
    try:
        parsed = encodable(parse_json(arguments)) if arguments.strip() else {}
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        return ToolCall(call_id, name, parsed, arguments)
    return ToolCall(call_id, name, {}, arguments, valid=False)


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether an answer with status 200, or an event of a stream, is an error by its shape.

    What says so itself is one whatever stands beside it; else a message is, where no answer and no
    usage is.
    """
    error = body.get("error")
    if any(error.values()) if isinstance(error, Mapping) else error:
        return True
    if body.get("object") == "error" or body.get("type") == "error":
        return True
    own = body.get(MINIMAX)
    if isinstance(own, Mapping) and own.get("status_code") not in (None, 0, "0"):
        return True
    if "choices" in body or "content" in body or "type" in body or body.get("usage"):
        return False
    return any(body.get(name) for name in ("message", "detail", "errors"))


def openai_usage(
    raw: Any,
    service_tier: Any = None,
    fields: UsageFields = USAGE,
    costs: Sequence[CostField] = COSTS,
    *,
    unseen: Literal["input", "output"] | None = "output",
) -> Usage:
    """Read the usage of a Chat Completions answer; unknown where there is none.

    A cost beside the counts that cannot be true is named among what cannot, as a prompt without
    tokens is. What only the total holds is input as far as it was heard (Mistral counts audio
    beside the prompt), and `unseen` says what the rest is: output where thinking is counted beside
    the completion (xAI, Gemini), None where the total is not to be believed.
    """
    if raw is None:
        return UNKNOWN_USAGE
    if not isinstance(raw, dict):
        return replace(UNKNOWN_USAGE, invalid=("usage",))
    counts = _Counts((raw,))
    prompt, completion = counts.first(fields.prompt), counts.first(fields.completion)
    if not (prompt or completion) and all(
        _found(raw, path) is None for path in (*fields.prompt, *fields.completion)
    ):
        return UNKNOWN_USAGE
    rest = counts.first(fields.total) - prompt - completion
    if rest > 0 and unseen is not None and not counts.invalid:
        more_input = rest if unseen == "input" else min(rest, counts.first(fields.input_audio))
        prompt += more_input
        completion += rest - more_input
    if not prompt:
        counts.invalid.append(fields.prompt[0][0])
    if _figures(raw, costs)[0] and reported_cost_usd(raw, costs) is None:
        counts.invalid.append("cost")
    usage = counts.usage(
        prompt,
        completion,
        cache_read=counts.first(fields.cache_read),
        cache_write=counts.first(fields.cache_write),
        reasoning=counts.first(fields.reasoning),
        searches=counts.first(fields.searches),
        service_tier=raw.get("service_tier") or service_tier,
    )
    heard = {}
    for name in _MODALITIES:
        if count := counts.first(getattr(fields, name)):
            heard[name] = count
    return _with_modalities(usage, heard) if heard else usage


def anthropic_usage(raw: Any) -> Usage:
    """Read the `usage` of a Messages answer; unknown where there is none.

    Where several models or a compaction took part, `iterations` lists what each used, and the
    fields beside it only the last: the sum is what is billed, each at its own model's price.
    `speed` and `inference_geo` change the price where they are not the usual ones. Sources:
    Anthropic, "Compaction: understanding usage", "Advisor tool: usage", "Fast mode", "Data
    residency".
    """
    if raw is not None and not isinstance(raw, dict):
        return replace(UNKNOWN_USAGE, invalid=("usage",))
    if raw is None or (raw.get("input_tokens") is None and raw.get("output_tokens") is None):
        return UNKNOWN_USAGE
    iterations = raw.get("iterations")
    listed = iterations if isinstance(iterations, list) else ()
    parts = [part for part in listed if isinstance(part, dict)]
    counts = _Counts(parts or (raw,))
    cache_read = counts.total("cache_read_input_tokens")
    cache_write = counts.total("cache_creation_input_tokens")
    whole = _Counts((raw,))
    given = counts.total("input_tokens") + cache_read + cache_write
    if not given:
        counts.invalid.append("input_tokens")
    usage = counts.usage(
        given,
        counts.total("output_tokens"),
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=counts.total("cache_creation", "ephemeral_1h_input_tokens"),
        reasoning=whole.first((("output_tokens_details", "thinking_tokens"),)),
        searches=whole.first((("server_tool_use", "web_search_requests"),)),
        service_tier=raw.get("service_tier"),
    )
    told = (raw.get("speed"), raw.get("inference_geo"))
    words = [word[:_WORD_CHARS] for word in told if word and isinstance(word, str)]
    modifiers = tuple([word for word in words if word not in _USUAL])
    if len(parts) > 1:
        each = [
            (_model_of(part), replace(one, modifiers=modifiers, service_tier=usage.service_tier))
            for part, one in zip(parts, map(anthropic_usage, parts), strict=True)
        ]
        return replace(usage, modifiers=modifiers, iterations=tuple(each))
    return replace(usage, modifiers=modifiers) if modifiers else usage


def checked_usage(usage: Usage) -> Usage:
    """Return a usage whose counts can be true; those that cannot are left out and named."""
    counts = _Counts(({name: getattr(usage, name) for name in _COUNTED},))
    given = {name: counts.first(((name,),)) for name in _COUNTED}
    checked = counts.usage(**given, service_tier=usage.service_tier)
    invalid = tuple(dict.fromkeys((*usage.invalid, *checked.invalid)))
    checked = replace(checked, source=usage.source, invalid=invalid, modifiers=usage.modifiers)
    heard = {name: getattr(usage, name) for name in _MODALITIES}
    return _with_modalities(checked, heard) if any(heard.values()) else checked


def _with_modalities(usage: Usage, heard: Mapping[str, int]) -> Usage:
    """Return a usage with the parts that are no text, each as large as its whole at most."""
    fresh = usage.input_tokens - usage.cache_read - usage.cache_write
    cached = min(heard.get("cache_read_audio", 0), usage.cache_read)
    audio = min(heard.get("input_audio", 0) - cached, fresh)
    spoken = min(heard.get("output_audio", 0), usage.output_tokens)
    return replace(
        usage,
        cache_read_audio=cached,
        input_audio=max(audio, 0),
        input_image=min(heard.get("input_image", 0), fresh - max(audio, 0)),
        output_audio=spoken,
        output_image=min(heard.get("output_image", 0), usage.output_tokens - spoken),
    )


def _model_of(iteration: Mapping[str, Any]) -> str:
    """The model that an iteration ran on, "" for the one that was asked."""
    model = iteration.get("model")
    return model if isinstance(model, str) else ""


def report_in(chunk: Mapping[str, Any], fields: UsageFields = USAGE) -> Any:
    """Return the usage that a chunk or a whole answer reports, None where it reports none."""
    for path in fields.reports:
        raw = chunk.get(path[0])
        if raw and (len(path) == 1 or (raw := _found(chunk, path))):
            return raw
    return None


def merged(earlier: Any, later: Any) -> Any:
    """Return a report with what a later one says; no count gives way to a 0 or to what is none.

    A stream may report several times, and leave out what has not changed.
    """
    if not isinstance(earlier, dict):
        return earlier if later is None else later
    if not isinstance(later, dict):
        return earlier
    whole = dict(earlier)
    for name, value in later.items():
        before = whole.get(name)
        if isinstance(before, dict):
            whole[name] = merged(before, value)
        elif not _is_count(before) or not before or (_is_count(value) and value):
            whole[name] = before if value is None else value
    return whole


def beside_output(usage: Usage, output_name: str) -> Usage:
    """Return the usage of an answer that has output: a reported 0 cannot be true, and is named.

    `output_name` is the provider's name for the count. What is named and 0 the call estimates.
    """
    if usage.output_tokens or usage.source == "unknown":
        return usage
    return replace(usage, invalid=tuple(dict.fromkeys((*usage.invalid, output_name))))


def reported_cost_usd(raw: Any, costs: Sequence[CostField] = COSTS) -> Decimal | None:
    """Return what the provider says the call cost, None where it says nothing credible."""
    if not isinstance(raw, dict):
        return None
    figures, per_usd = _figures(raw, costs)
    total = Decimal(0)
    for figure in figures:
        usd = believed_usd(figure, per_usd)
        if usd is None:
            return None
        total += usd
    return believed_usd(total) if figures else None


@dataclass(slots=True)
class _Counts:
    """Reads counts by their path; `invalid` names those that cannot be true."""

    sources: Sequence[Mapping[str, Any]]
    invalid: list[str] = field(default_factory=list)

    def first(self, paths: Sequence[Path]) -> int:
        """Return the first count of the first source that is not 0."""
        source = self.sources[0]
        for path in paths:
            value: Any = source.get(path[0])
            if value is not None and len(path) > 1:
                value = _found(value, path[1:])
            if value is None:
                continue
            if value.__class__ is not int or not 0 <= value < MAX_TOKENS:
                value = self._count(value, path)
            if value:
                return int(value)
        return 0

    def total(self, *path: str) -> int:
        """Return the sum of one count over the sources."""
        return sum([self._count(_found(source, path), path) for source in self.sources])

    def usage(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        service_tier: Any,
        cache_read: int = 0,
        cache_write: int = 0,
        cache_write_1h: int = 0,
        reasoning: int = 0,
        searches: int = 0,
    ) -> Usage:
        """Return the usage; a part that is larger than its whole is left out and named."""
        if cache_read > input_tokens:
            self.invalid.append("cache_read")
            cache_read = 0
        if cache_write > input_tokens - cache_read:
            self.invalid.append("cache_write")
            cache_write = 0
        if cache_write_1h > cache_write:
            self.invalid.append("cache_write_1h")
            cache_write_1h = 0
        if reasoning > output_tokens:
            self.invalid.append("reasoning")
            reasoning = 0
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read=cache_read,
            cache_write=cache_write,
            cache_write_1h=cache_write_1h,
            reasoning=reasoning,
            searches=searches,
            service_tier=service_tier if isinstance(service_tier, str) else None,
            invalid=tuple(dict.fromkeys(self.invalid)) if self.invalid else (),
        )

    def _count(self, value: Any, path: Path) -> int:
        """Return a count, 0 where there is none; what is there and is no count is named."""
        if _is_count(value):
            return int(value)
        if value is not None:
            self.invalid.append(".".join(path))
        return 0


def _is_count(value: Any) -> bool:
    is_whole = value.__class__ is int or (isinstance(value, float) and value.is_integer())
    return is_whole and 0 <= value < MAX_TOKENS


def _found(source: Mapping[str, Any], path: Path) -> Any:
    value: Any = source
    for name in path:
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _figures(raw: Mapping[str, Any], costs: Sequence[CostField]) -> tuple[list[Any], int]:
    """Return the figures that make up the reported cost, and how many of their units are a USD."""
    for each in costs:
        figure = _found(raw, each.path) if each.path[0] in raw else None
        if figure is None or (each.per_usd != 1 and not figure):
            continue
        if isinstance(figure, dict):
            continue
        upstream = _found(raw, each.upstream) if raw.get(each.upstream_if) else None
        return [usd for usd in (figure, upstream) if usd is not None], each.per_usd
    return [], 1
