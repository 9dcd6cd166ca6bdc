"""Tokens and money as providers report them, and what of it cannot be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

from orchestify.lanes.openai.dialects import COSTS, USAGE, CostField, Path, UsageFields
from orchestify.values import UNKNOWN_USAGE, Usage, believed_usd

MAX_TOKENS = 10**12  # no call has a trillion tokens

_COUNTED = (
    *("input_tokens", "output_tokens", "cache_read", "cache_write", "cache_write_1h"),
    *("reasoning", "searches"),
)
_MODALITIES = ("input_audio", "input_image", "output_audio", "output_image", "cache_read_audio")
_WORD_CHARS = 40
# Anthropic's words for the usual speed and place, which change no price.
_USUAL = frozenset({"standard", "global", "not_available"})


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
    if not any(_found(raw, path) is not None for path in (*fields.prompt, *fields.completion)):
        return UNKNOWN_USAGE
    counts = _Counts(raw)
    prompt, completion = counts.first(*fields.prompt), counts.first(*fields.completion)
    rest = counts.first(*fields.total) - prompt - completion
    if rest > 0 and unseen is not None and not counts.has_invalid:
        more_input = rest if unseen == "input" else min(rest, counts.first(*fields.input_audio))
        prompt += more_input
        completion += rest - more_input
    if not prompt:
        counts.name_invalid(fields.prompt[0][0])
    if _figures(raw, costs)[0] and reported_cost_usd(raw, costs) is None:
        counts.name_invalid("cost")
    usage = counts.usage(
        prompt,
        completion,
        cache_read=counts.first(*fields.cache_read),
        cache_write=counts.first(*fields.cache_write),
        reasoning=counts.first(*fields.reasoning),
        searches=counts.first(*fields.searches),
        service_tier=raw.get("service_tier") or service_tier,
    )
    heard = {name: counts.first(*getattr(fields, name)) for name in _MODALITIES}
    return _with_modalities(usage, heard) if any(heard.values()) else usage


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
    counts = _Counts(*(parts or (raw,)))
    cache_read = counts.total("cache_read_input_tokens")
    cache_write = counts.total("cache_creation_input_tokens")
    whole = _Counts(raw)
    given = counts.total("input_tokens") + cache_read + cache_write
    if not given:
        counts.name_invalid("input_tokens")
    usage = counts.usage(
        given,
        counts.total("output_tokens"),
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=counts.total("cache_creation", "ephemeral_1h_input_tokens"),
        reasoning=whole.first(("output_tokens_details", "thinking_tokens")),
        searches=whole.first(("server_tool_use", "web_search_requests")),
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
    counts = _Counts({name: getattr(usage, name) for name in _COUNTED})
    given = {name: counts.first((name,)) for name in _COUNTED}
    checked = counts.usage(**given, service_tier=usage.service_tier)
    invalid = tuple(dict.fromkeys((*usage.invalid, *checked.invalid)))
    checked = replace(checked, source=usage.source, invalid=invalid, modifiers=usage.modifiers)
    heard = {name: getattr(usage, name) for name in _MODALITIES}
    return _with_modalities(checked, heard) if any(heard.values()) else checked


def _with_modalities(usage: Usage, heard: Mapping[str, int]) -> Usage:
    """Return a usage with the parts that are no text, each as large as its whole at most."""
    fresh = usage.input_tokens - usage.cache_read - usage.cache_write
    cached = min(heard["cache_read_audio"], usage.cache_read)
    audio = min(heard["input_audio"] - cached, fresh)
    spoken = min(heard["output_audio"], usage.output_tokens)
    return replace(
        usage,
        cache_read_audio=cached,
        input_audio=max(audio, 0),
        input_image=min(heard["input_image"], fresh - max(audio, 0)),
        output_audio=spoken,
        output_image=min(heard["output_image"], usage.output_tokens - spoken),
    )


def _model_of(iteration: Mapping[str, Any]) -> str:
    """The model that an iteration ran on, "" for the one that was asked."""
    model = iteration.get("model")
    return model if isinstance(model, str) else ""


def report_in(chunk: Mapping[str, Any], fields: UsageFields = USAGE) -> Any:
    """Return the usage that a chunk or a whole answer reports, None where it reports none."""
    for path in fields.reports:
        if raw := _found(chunk, path):
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


class _Counts:
    """Reads counts by their path and remembers which cannot be true."""

    def __init__(self, *sources: Mapping[str, Any]) -> None:
        self._sources = sources
        self._invalid: list[str] = []

    def first(self, *paths: Path) -> int:
        """Return the first count of the first source that is not 0."""
        source = self._sources[0]
        for path in paths:
            if path[0] in source and (count := self._count(source, path)):
                return count
        return 0

    @property
    def has_invalid(self) -> bool:
        """Whether a count was read that cannot be true."""
        return bool(self._invalid)

    def total(self, *path: str) -> int:
        """Return the sum of one count over the sources."""
        return sum([self._count(source, path) for source in self._sources])

    def name_invalid(self, name: str) -> None:
        """Name something else of the report that cannot be true."""
        self._invalid.append(name)

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
        cache_read = self._part("cache_read", cache_read, input_tokens)
        cache_write = self._part("cache_write", cache_write, input_tokens - cache_read)
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read=cache_read,
            cache_write=cache_write,
            cache_write_1h=self._part("cache_write_1h", cache_write_1h, cache_write),
            reasoning=self._part("reasoning", reasoning, output_tokens),
            searches=searches,
            service_tier=service_tier if isinstance(service_tier, str) else None,
            invalid=tuple(dict.fromkeys(self._invalid)) if self._invalid else (),
        )

    def _count(self, source: Mapping[str, Any], path: Path) -> int:
        value = _found(source, path)
        if _is_count(value):
            return int(value)
        if value is not None:
            self._invalid.append(".".join(path))
        return 0

    def _part(self, name: str, part: int, whole: int) -> int:
        if part <= whole:
            return part
        self._invalid.append(name)
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
    for field in costs:
        figure = _found(raw, field.path)
        if figure is None or (field.per_usd != 1 and not figure):
            continue
        if isinstance(figure, dict):
            continue
        upstream = _found(raw, field.upstream) if raw.get(field.upstream_if) else None
        return [each for each in (figure, upstream) if each is not None], field.per_usd
    return [], 1
