"""The smallest JSON value that fits a JSON Schema, as far as a stub needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 32
_CONSTANTS: Mapping[str, bool | None] = {"boolean": True, "null": None}
_FORMATS = {
    "date": "2025-01-01",
    "date-time": "2025-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "stub@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def minimal_instance(schema: Any) -> Any:
    """Return a small value that fits `schema`, always the same one.

    An object has its required properties, or all where it says nothing of any. `pattern` and
    conditions (`if`, `not`, `dependentRequired`) are not looked at.

    Raises:
        ValueError: it is no schema, such as one whose `type` is a number.
    """
    try:
        return _value(schema, schema, 0)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise ValueError("not a JSON Schema") from None


def _value(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    part = _part(schema, root)
    return _of_type(schema, root, depth) if part is None else _value(part, root, depth + 1)


def _part(schema: Mapping[str, Any], root: Any) -> Any:
    """Return the schema that this one stands for: what it refers to, joins or leaves to choose."""
    if "$ref" in schema:
        return _resolve(str(schema["$ref"]), root)
    if "allOf" in schema:
        return _merged(schema, root)
    choices = schema.get("anyOf") or schema.get("oneOf")
    return choices[0] if choices else None


def _of_type(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        known = schema.get("properties", {})
        names = schema.get("required", known)
        return {name: _value(known.get(name, {}), root, depth + 1) for name in names}
    if kind == "array":
        prefix = [_value(item, root, depth + 1) for item in schema.get("prefixItems", ())]
        missing = schema.get("minItems", 0) - len(prefix)
        return prefix + [_value(schema.get("items", {}), root, depth + 1) for _ in range(missing)]
    if kind in ("integer", "number"):
        return _number(schema)
    return _CONSTANTS[kind] if kind in _CONSTANTS else _text(schema)


def _number(schema: Mapping[str, Any]) -> Any:
    """Return the lowest number allowed on the grid, zero where nothing bounds it from below."""
    step = schema.get("multipleOf", 1)
    above = schema.get("exclusiveMinimum")
    low = schema.get("minimum", above)
    if low is None:
        return min(0, schema.get("maximum", schema.get("exclusiveMaximum", 1) - step))
    value = -(-low // step) * step
    value += step if value == above else 0
    return low if value > schema.get("maximum", value) else value


def _text(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), "stub")
    text += "." * (int(schema.get("minLength", 0)) - len(text))
    return text[: int(schema.get("maxLength", len(text)))]


def _resolve(reference: str, root: Any) -> Any:
    found = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name:
            found = found.get(name.replace("~1", "/").replace("~0", "~"), {})
    return found


def _merged(schema: Mapping[str, Any], root: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        resolved = _resolve(part["$ref"], root) if "$ref" in part else part
        for name, value in resolved.items():
            old = merged.get(name)
            if isinstance(old, Mapping):
                merged[name] = {**old, **value}
            elif name == "required" and old:
                merged[name] = [*old, *value]
            else:
                merged[name] = value
    return merged
