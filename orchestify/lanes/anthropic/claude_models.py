"""What Claude models take, by the version in their names, and the schemas they take.

Sources: Anthropic, "Extended thinking", "Adaptive thinking", "Structured outputs".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestify.values import ThinkingConfig

BUDGETS: Mapping[str, int] = {"low": 1024, "medium": 2048, "high": 4096}  # as LiteLLM's

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?")


@dataclass(frozen=True, slots=True)
class Claude:
    """What a model takes: adaptive thinking, a budget, native JSON schemas, sampling."""

    adaptive: bool
    budget: bool
    json_schema: bool
    sampling: bool


@lru_cache(maxsize=256)
def claude_of(model: str) -> Claude:
    """Return what a model takes.

    A Claude of no known version counts as the newest; what is no Claude (DeepSeek, Kimi and
    others offer the protocol too) as the oldest.
    """
    found = _VERSION.search(model)
    newest = (99, 0) if "claude" in model else (0, 0)
    version = (int(found[1]), int(found[2] or 0)) if found else newest
    return Claude(
        adaptive=version >= (4, 6),
        budget=version < (4, 7),
        json_schema=version >= (4, 5),
        sampling=version < (4, 7),
    )


def thinking_fields(thinking: ThinkingConfig, model: str) -> dict[str, Any]:
    """Return the body's fields that make a model think.

    Adaptive thinking hides its text unless a summary is asked for.
    """
    claude = claude_of(model)
    if claude.adaptive and (thinking.budget_tokens is None or not claude.budget):
        effort = thinking.effort or _effort(thinking.budget_tokens)
        return {"thinking": {"type": "adaptive", "display": "summarized"}} | (
            {"output_config": {"effort": effort}} if effort else {}
        )
    budget = thinking.budget_tokens or BUDGETS[thinking.effort or "medium"]
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


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
    fitting = [effort for effort, budget in BUDGETS.items() if budget <= budget_tokens]
    return fitting[-1] if fitting else "low"
