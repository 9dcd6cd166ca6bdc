"""Tokens and money as providers report them, and what of it cannot be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeAlias

from orchestify.values import UNKNOWN_USAGE, Usage, believed_usd

MAX_TOKENS = 10**12  # no call has a trillion tokens

Path: TypeAlias = tuple[str, ...]

# Where OpenAI-compatible providers report the same thing; the first that is there and not 0.
PROMPT: Path = ("prompt_tokens",)
COMPLETION: Path = ("completion_tokens",)
TOTAL: Path = ("total_tokens",)
CACHE_READ: tuple[Path, ...] = (
    ("prompt_tokens_details", "cached_tokens"),
    ("num_cached_tokens",),  # Mistral
    ("cached_tokens",),  # Moonshot, Together
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("cache_read_input_tokens",),  # Claude on Databricks
)
CACHE_WRITE: tuple[Path, ...] = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("cache_creation_input_tokens",),
)
REASONING: tuple[Path, ...] = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),
)
SEARCHES: tuple[Path, ...] = (
    ("server_tool_use", "web_search_requests"),  # OpenRouter
    ("server_tool_use_details", "web_search_requests"),
    ("num_search_queries",),  # Perplexity
)
XAI_TICKS_PER_USD = 10**10

_COUNTED = (
    *("input_tokens", "output_tokens", "cache_read", "cache_write", "cache_write_1h"),
    *("reasoning", "searches"),
)


def openai_usage(raw: Any, service_tier: Any = None) -> Usage:
    """Read the `usage` of a Chat Completions answer; unknown where there is none.

    A cost beside the counts that cannot be true is named among what cannot. xAI counts reasoning
    beside the completion, the others within it: the total tells.
    """
    if not isinstance(raw, dict) or not _has_counts(raw, "prompt_tokens", "completion_tokens"):
        return UNKNOWN_USAGE
    counts = _Counts(raw)
    if _figures(raw)[0] and reported_cost_usd(raw) is None:
        counts.name_invalid("cost")
    prompt, completion = counts.first(PROMPT), counts.first(COMPLETION)
    reasoning = counts.first(*REASONING)
    if reasoning and counts.first(TOTAL) == prompt + completion + reasoning:
        completion += reasoning
    return counts.usage(
        prompt,
        completion,
        cache_read=counts.first(*CACHE_READ),
        cache_write=counts.first(*CACHE_WRITE),
        reasoning=reasoning,
        searches=counts.first(*SEARCHES),
        service_tier=raw.get("service_tier") or service_tier,
    )


def anthropic_usage(raw: Any) -> Usage:
    """Read the `usage` of a Messages answer; unknown where there is none.

    Where several models or a compaction took part, `iterations` lists what each used, and the
    fields beside it only the last: the sum is what is billed.
    Source: Anthropic, "Compaction: understanding usage", "Advisor tool: usage".
    """
    if not isinstance(raw, dict) or not _has_counts(raw, "input_tokens", "output_tokens"):
        return UNKNOWN_USAGE
    iterations = raw.get("iterations")
    parts: Sequence[Any] = iterations if isinstance(iterations, list) and iterations else (raw,)
    counts = _Counts(*(part for part in parts if isinstance(part, dict)))
    cache_read = counts.total("cache_read_input_tokens")
    cache_write = counts.total("cache_creation_input_tokens")
    whole = _Counts(raw)
    return counts.usage(
        counts.total("input_tokens") + cache_read + cache_write,
        counts.total("output_tokens"),
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=counts.total("cache_creation", "ephemeral_1h_input_tokens"),
        reasoning=whole.first(("output_tokens_details", "thinking_tokens")),
        searches=whole.first(("server_tool_use", "web_search_requests")),
        service_tier=raw.get("service_tier"),
    )


def checked_usage(usage: Usage) -> Usage:
    """Return a usage whose counts can be true; those that cannot are left out and named."""
    counts = _Counts({name: getattr(usage, name) for name in _COUNTED})
    given = {name: counts.first((name,)) for name in _COUNTED}
    checked = counts.usage(**given, service_tier=usage.service_tier)
    invalid = tuple(dict.fromkeys((*usage.invalid, *checked.invalid)))
    return replace(checked, source=usage.source, invalid=invalid)


def reported_cost_usd(raw: Any) -> Decimal | None:
    """Return what the provider says the call cost, None where it says nothing credible.

    Sources: OpenRouter, "Usage accounting" (`cost`, and with a key of one's own what the
    upstream took); Perplexity, "Usage" (`cost.total_cost`); xAI, "Cost tracking" (ticks).
    """
    if not isinstance(raw, dict):
        return None
    figures, per_usd = _figures(raw)
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
        value: Any = source
        for name in path:
            if not isinstance(value, dict):
                return 0
            value = value.get(name)
        is_whole = value.__class__ is int or (isinstance(value, float) and value.is_integer())
        if is_whole and 0 <= value < MAX_TOKENS:
            return int(value)
        if value is not None:
            self._invalid.append(".".join(path))
        return 0

    def _part(self, name: str, part: int, whole: int) -> int:
        if part <= whole:
            return part
        self._invalid.append(name)
        return 0


def _has_counts(raw: Mapping[str, Any], given: str, written: str) -> bool:
    return raw.get(given) is not None or raw.get(written) is not None


def _figures(raw: Mapping[str, Any]) -> tuple[list[Any], int]:
    """Return the figures that make up the reported cost, and how many of their units are a USD."""
    cost = raw.get("cost")
    if cost is None:
        ticks = raw.get("cost_in_usd_ticks")
        return [ticks] if ticks else [], XAI_TICKS_PER_USD
    details = raw.get("cost_details") if raw.get("is_byok") else None
    upstream = details.get("upstream_inference_cost") if isinstance(details, dict) else None
    if isinstance(cost, dict):
        cost, upstream = cost.get("total_cost"), None
    return [figure for figure in (cost, upstream) if figure is not None], 1
