"""What may be written over REST: names of options and headers, texts, sizes, numbers.

What comes over REST is data. Nothing in it names a variable, a file or a vault's key, and no
option or header can lead a call elsewhere or change as whom it is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from orchestify.core.error_messages import Finding
from orchestify.core.problems import KeyPath

MOST_BYTES = 16 * 1024
"""Of a row's `config`, as JSON."""

OPTIONS = frozenset(
    {"temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty"}
    | {"repetition_penalty", "repeat_penalty", "logit_bias", "logprobs", "top_logprobs"}
    | {"reasoning_effort", "verbosity", "service_tier", "parallel_tool_calls", "user"}
    | {"safety_settings", "safety_identifier", "prompt_cache_key", "api_version"}
    | {"num_ctx", "keep_alive", "think"}
)
"""Body fields, and Azure's `api_version`: none redirects a call, or lets it write more than its
budget holds for."""

HEADERS = frozenset(
    {"anthropic-version", "anthropic-beta", "openai-organization", "openai-project"}
    | {"openai-beta", "http-referer", "x-title"}
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MODEL = re.compile(r"(?!.*(?:\.\.|//))/?[\w][\w.:/@+-]{0,198}", re.ASCII)
_API_VERSION = re.compile(r"[A-Za-z0-9.-]{1,40}")
_VARIABLE = re.compile(r"\$\{|\$<|^\s*(?:env:|os\.environ/|vault:)", re.IGNORECASE)
_DEEPEST = 16

# The largest number under a key; what is larger serves nobody, and some of it harms others.
_LARGEST: Mapping[str, float] = {
    "timeout_s": 3600,
    "first_output_timeout_s": 3600,
    "attempt_timeout_s": 3600,
    "connect_timeout_s": 3600,
    "idle_timeout_s": 3600,
    "stream_timeout_s": 86_400,
    "first_delay_s": 3600,
    "max_delay_s": 3600,
    "max_attempts": 20,
    "max_tokens": 10_000_000,
    "budget_tokens": 10_000_000,
    "request_usd": 1_000,
    "ttl_s": 604_800,
    "max_entries": 10_000,
    "seed": 2**63 - 1,
}
_LARGEST_USD_PER_MTOK = 100_000
_LARGEST_OTHER = 1e9


def value_problems(
    values: Any, at: KeyPath = (), *, plain: Collection[str] = ()
) -> Iterator[Finding]:
    """Iterate what is wrong with values of any shape: texts, numbers, depth.

    Under the keys `plain` a text may look like a variable: it stays what it is.
    """
    stack: list[tuple[KeyPath, Any]] = [((), values)]
    while stack:
        path, value = stack.pop()
        what = _value_problem(path, value, is_plain=bool(path) and path[0] in plain)
        if what is not None:
            yield (*at, *path), what
        elif isinstance(value, Mapping):
            stack += [((*path, key), inner) for key, inner in value.items()]
        elif isinstance(value, (list, tuple)):
            stack += [((*path, index), inner) for index, inner in enumerate(value)]


def size_problem(values: Mapping[str, Any]) -> str | None:
    """Say why values cannot be stored as JSON, or None."""
    try:
        text = json.dumps(values, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return "expected what JSON can hold"
    return f"at most {MOST_BYTES:,} bytes as JSON" if len(text) > MOST_BYTES else None


def option_problems(options: Mapping[str, Any], at: KeyPath) -> Iterator[Finding]:
    """Iterate what is wrong with the options of a provider."""
    for name in options:
        if name not in OPTIONS:
            yield (*at, name), _not_allowed(OPTIONS)
    version = options.get("api_version")
    if version is not None and not _API_VERSION.fullmatch(str(version)):
        yield (*at, "api_version"), "expected a version, as 2024-10-21"


def header_problems(headers: Mapping[str, Any], at: KeyPath) -> Iterator[Finding]:
    """Iterate what is wrong with the headers of a provider."""
    for name, value in headers.items():
        if str(name).lower() not in HEADERS:
            yield (*at, name), _not_allowed(HEADERS)
        elif len(str(value)) > 1_000:
            yield (*at, name), "at most 1,000 characters"


def cache_problems(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Iterate what is wrong with a response cache: its Redis is the service's."""
    cache = values.get("response_cache")
    if isinstance(cache, Mapping) and cache.get("url") is not None:
        yield ("response_cache", "url"), "not allowed here; the service has a Redis of its own"


def model_problem(model: str) -> str | None:
    """Say why a text is no model's name, or None: some names become a part of an address."""
    if _MODEL.fullmatch(model):
        return None
    return "expected a model's name: at most 200 letters, digits and . : / @ + _ -"


def _value_problem(path: KeyPath, value: Any, *, is_plain: bool) -> str | None:
    if len(path) > _DEEPEST:
        return "nested too deeply"
    if isinstance(value, str):
        return _text_problem(value, is_plain=is_plain)
    if isinstance(value, Mapping):
        return next((what for key in value if (what := _key_problem(key)) is not None), None)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number_problem(path, value)
    return None


def _text_problem(text: str, *, is_plain: bool) -> str | None:
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        return "expected valid Unicode text, without NUL"
    if not is_plain and _VARIABLE.search(text):
        return "a variable or a vault's name is not read here; write the value itself"
    return None


def _key_problem(key: object) -> str | None:
    if not isinstance(key, str):
        return "expected keys that are texts"
    return _text_problem(key, is_plain=True)


def _number_problem(path: KeyPath, number: float) -> str | None:
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    default = _LARGEST_USD_PER_MTOK if name.endswith("_usd_per_mtok") else _LARGEST_OTHER
    largest = _LARGEST.get(name, default)
    return f"expected a number of at most {largest:,.0f}" if abs(number) > largest else None


def _not_allowed(allowed: Collection[str]) -> str:
    return f"not allowed here; allowed are: {', '.join(sorted(allowed))}"
