"""What Claude models take, by the version in their names, and the schemas they take.

Sources: Anthropic, "Extended thinking", "Adaptive thinking", "Effort", "Structured outputs".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from orchestify.lanes.fitting import nearest_effort
from orchestify.values import ThinkingConfig

MAX_TOKENS = 8192  # Anthropic wants a limit; sent where none was configured or given

# Thinking budgets in tokens that stand for an effort, where a model takes no effort. The three in
# the middle are LiteLLM's; above 32k there is little to gain ("Extended thinking").
BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 2048,
    "high": 4096,
    "xhigh": 16_384,
    "max": 32_000,
}

_VERSION = re.compile(r"claude-(?:([a-z]+)-)?(\d+)(?:[-.](\d{1,2})(?!\d))?")
_EFFORTS = ("low", "medium", "high", "max")
_EFFORTS_FROM_4_7 = ("low", "medium", "high", "xhigh", "max")
_OUTPUT_TOKENS = (  # from a version on, newest first; Opus 4 and 4.1 have half of the others'
    ((4, 6), 128_000),
    ((3, 7), 64_000),
    ((3, 5), 8192),
    ((0, 0), 4096),
)


@dataclass(frozen=True, slots=True)
class Claude:
    """What a model takes.

    `adaptive`: adaptive thinking, with `efforts`; `budget`: thinking with a budget;
    `json_schema`: native JSON schemas; `sampling`: temperature or top_p, and `both` of them;
    `prefill`: an answer begun by the caller; `forced_tools`; `system_messages` among the turns.
    `output_tokens` is the most that an answer may have, None where nobody knows. `off` is the type
    of thinking that says that there is to be none: None where nothing need be said, empty where it
    cannot be switched off.
    """

    adaptive: bool
    budget: bool
    json_schema: bool
    sampling: bool
    both: bool
    prefill: bool
    forced_tools: bool
    system_messages: bool
    efforts: tuple[str, ...]
    output_tokens: int | None
    off: Literal["disabled", "between_tools", ""] | None


@lru_cache(maxsize=256)
def claude_of(model: str) -> Claude:
    """Return what a model takes.

    A Claude of no known version counts as the newest; what is no Claude (DeepSeek, Kimi and
    others offer the protocol too) as the oldest. Sources beside the module's: Anthropic,
    "Models overview", "Claude Opus 4.1" (temperature or top_p, not both), "What's new in Claude
    4.6" (no prefill), "Mid-conversation system messages" and recorded answers, the migration
    guides of Fable 5, Opus 5.5 and Sonnet 5.5 (thinking that cannot be switched off, no forced
    tools).
    """
    found = _VERSION.search(model)
    is_claude = "claude" in model
    version = (99, 0) if is_claude else (0, 0)
    if found:
        version = (int(found[2]), int(found[3] or 0))
    family = found[1] if found else ""
    return Claude(
        adaptive=version >= (4, 6),
        budget=version < (4, 7),
        json_schema=version >= (4, 5),
        sampling=version < (4, 7),
        both=version < (4, 1),
        prefill=version < (4, 6),
        forced_tools=not (family in {"opus", "sonnet"} and version >= (5, 5)),
        system_messages=_takes_system_messages(family, version),
        efforts=_EFFORTS_FROM_4_7 if version >= (4, 7) else _EFFORTS,
        output_tokens=_output_tokens(family, version) if is_claude else None,
        off=_off(family, version) if is_claude else "disabled",
    )


def budget_of(thinking: ThinkingConfig, model: str) -> int | None:
    """Return the thinking budget that a model gets, None where it gets an effort."""
    claude = claude_of(model)
    if claude.adaptive and (thinking.budget_tokens is None or not claude.budget):
        return None
    return thinking.budget_tokens or BUDGETS[thinking.effort or "medium"]


def effort_of(thinking: ThinkingConfig, model: str) -> str | None:
    """Return the effort that a model of adaptive thinking gets, None for its own measure."""
    asked = thinking.effort or _effort(thinking.budget_tokens)
    return nearest_effort(claude_of(model).efforts, asked) if asked else None


def thinking_fields(thinking: ThinkingConfig, model: str) -> dict[str, Any]:
    """Return the body's fields that make a model think.

    Adaptive thinking hides its text unless a summary is asked for.
    """
    budget = budget_of(thinking, model)
    if budget is not None:
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    effort = effort_of(thinking, model)
    return {"thinking": {"type": "adaptive", "display": "summarized"}} | (
        {"output_config": {"effort": effort}} if effort else {}
    )


def thinking_off_fields(model: str) -> dict[str, Any]:
    """Return the body's fields that tell a model not to think, or to think the least."""
    off = claude_of(model).off
    if off is None:
        return {}
    return {"thinking": {"type": off}} if off else {"output_config": {"effort": "low"}}


def refused_by_claude(model: str, *, thinking: bool) -> frozenset[str]:
    """Return the sampling parameters that a model refuses; a temperature of 1 always goes."""
    if thinking or not claude_of(model).sampling:
        return frozenset({"temperature", "top_p"})
    return frozenset()


def output_schema(schema: Any) -> Any:
    """Return a JSON Schema without the keywords that Anthropic refuses; they become notes.

    Source: Anthropic, "Structured outputs: how SDK transformation works"; the wording of the
    notes is LiteLLM's.
    """
    if not isinstance(schema, Mapping):
        return schema
    result = {key: _sub(key, value) for key, value in schema.items() if key not in _NOTES}
    if "oneOf" in result:
        result["anyOf"] = result.get("anyOf", []) + result.pop("oneOf")
    notes = [_note(key, schema[key]) for key in _NOTES if schema.get(key, False) is not False]
    if notes:
        described = [schema["description"]] if schema.get("description") else []
        result["description"] = " ".join([*described, f"Note: {', '.join(notes)}."])
    if result.get("type") == "object":
        result["additionalProperties"] = False
    return result


_NOTES: Mapping[str, str] = {
    "minItems": "minimum number of items: {}",
    "maxItems": "maximum number of items: {}",
    "uniqueItems": "all array items must be unique",
    "contains": "array must contain an item matching: {}",
    "minContains": "minimum number of matching items: {}",
    "maxContains": "maximum number of matching items: {}",
    "prefixItems": "leading items must match, in order: {}",
    "minimum": "minimum value: {}",
    "maximum": "maximum value: {}",
    "exclusiveMinimum": "exclusive minimum value: {}",
    "exclusiveMaximum": "exclusive maximum value: {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "minimum length: {}",
    "maxLength": "maximum length: {}",
    "minProperties": "minimum number of properties: {}",
    "maxProperties": "maximum number of properties: {}",
    "patternProperties": "properties whose names match each pattern must satisfy: {}",
    "propertyNames": "property names must satisfy: {}",
    "dependentRequired": "dependent required properties: {}",
    "dependentSchemas": "dependent schemas: {}",
    "unevaluatedProperties": "unevaluated properties must satisfy: {}",
    "if": "conditional (if): {}",
    "then": "conditional (then): {}",
    "else": "conditional (else): {}",
    "not": "must not match: {}",
}
_OF_SCHEMAS = frozenset({"properties", "$defs", "definitions"})
_LISTS_OF_SCHEMAS = frozenset({"anyOf", "allOf", "oneOf"})


def _sub(key: str, value: Any) -> Any:
    if key == "items":
        return output_schema(value)
    if key in _OF_SCHEMAS and isinstance(value, Mapping):
        return {name: output_schema(schema) for name, schema in value.items()}
    if key in _LISTS_OF_SCHEMAS and isinstance(value, list):
        return [output_schema(schema) for schema in value]
    return value


def _note(key: str, value: Any) -> str:
    shown = json.dumps(value) if isinstance(value, (dict, list)) else value
    return _NOTES[key].format(shown)


def _effort(budget_tokens: int | None) -> str | None:
    """Return the effort that stands for a budget, None where there is none."""
    if budget_tokens is None:
        return None
    fitting = [name for name in ("low", "medium", "high") if BUDGETS[name] <= budget_tokens]
    return fitting[-1] if fitting else "low"


def _output_tokens(family: str, version: tuple[int, int]) -> int:
    if family == "opus" and version < (4, 5) and version >= (4, 0):
        return 32_000
    return next(tokens for since, tokens in _OUTPUT_TOKENS if version >= since)


def _takes_system_messages(family: str, version: tuple[int, int]) -> bool:
    """Whether a system message may stand among the turns; the user's may say the same to all."""
    if family == "opus":
        return version >= (4, 8)
    return version > (5, 0) or (family in {"fable", "mythos"} and version >= (5, 0))


def _off(family: str, version: tuple[int, int]) -> Literal["disabled", "between_tools", ""] | None:
    """Return how a Claude is told not to think: from 5 on it thinks unless it is told not to."""
    if family in {"fable", "mythos"} or version >= (6, 0):
        return ""
    if version < (5, 0):
        return None
    if version >= (5, 5) and family != "haiku":
        return "between_tools" if family == "sonnet" else ""
    return "disabled"
