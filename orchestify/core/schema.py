"""The JSON Schema of a configuration file, for editors."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic.json_schema import models_json_schema

from orchestify.core.agents import AgentConfig
from orchestify.core.files import HOST_PREFIX
from orchestify.core.policies import Settings
from orchestify.core.providers import ProviderConfig

Schema: TypeAlias = dict[str, Any]

_VARIABLE = "Variable"
_NAMED = frozenset({"properties", "$defs", "patternProperties"})
_SCALARS = frozenset({"boolean", "integer", "number"})
_TOLD_OUTSIDE = ("default", "description", "title")


def config_schema() -> Schema:
    """Return the schema of one file with any of the keys.

    Where a number, a boolean or one of some words is expected, a variable may stand.
    """
    _, definitions = models_json_schema(
        [(model, "validation") for model in (Settings, ProviderConfig, AgentConfig)]
    )
    parts = _or_variable(definitions["$defs"], named=True)
    top = parts.pop(Settings.__name__)
    properties = {
        "providers": _by_name(ProviderConfig.__name__),
        "agents": _by_name(AgentConfig.__name__),
        **top["properties"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "orchestify configuration",
        "type": "object",
        "properties": properties,
        "patternProperties": {f"^{HOST_PREFIX}": {}},
        "additionalProperties": False,
        "$defs": {**parts, _VARIABLE: _variable()},
    }


def _by_name(model: str) -> Schema:
    reference = {"anyOf": [{"$ref": f"#/$defs/{model}"}, {"type": "null"}]}
    return {"type": ["object", "null"], "additionalProperties": reference}


def _variable() -> Schema:
    return {
        "type": "string",
        "pattern": r"^(\$\{[^}]+\}|\$<\w+>|env:\w+|os\.environ/\w+)$",
        "description": "A variable, as in ${NAME} or ${NAME:-default}",
    }


def _or_variable(node: Any, *, named: bool = False) -> Any:
    """Allow a variable beside every scalar of a schema; `named`: `node` maps names to schemas."""
    if isinstance(node, list):
        return [_or_variable(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    walked = {
        key: inner
        if key in {"default", "enum"} and not named
        else _or_variable(inner, named=key in _NAMED and not named)
        for key, inner in node.items()
    }
    if named or not (walked.get("type") in _SCALARS or "enum" in walked or "const" in walked):
        return walked
    told = {key: walked.pop(key) for key in _TOLD_OUTSIDE if key in walked}
    return {**told, "anyOf": [walked, {"$ref": f"#/$defs/{_VARIABLE}"}]}
