from __future__ import annotations

from typing import Any

import pytest

from orchestify.testing import minimal_instance

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "string"}, "stub"),
        ({"type": "string", "minLength": 6}, "stub.."),
        ({"type": "string", "maxLength": 2}, "st"),
        ({"type": "string", "format": "date"}, "2025-01-01"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "minimum": 3, "multipleOf": 5}, 5),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "number", "minimum": 0.2, "maximum": 0.4}, 0.2),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["integer", "null"]}, 0),
        ({"const": 7}, 7),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"type": "array", "prefixItems": [{"type": "null"}]}, [None]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "stub"),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"type": "integer"}}}, {"a": 0}),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
                "required": ["b"],
            },
            {"b": "stub"},
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "boolean"}}}, True),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "null"}}, "required": ["b"]},
                ]
            },
            {"a": 0, "b": None},
        ),
    ],
)
def test_instance_fits_the_schema(schema: dict[str, Any], instance: object) -> None:
    assert minimal_instance(schema) == instance


def test_schema_that_refers_to_itself_ends() -> None:
    assert "next" in minimal_instance({"$ref": "#/$defs/Node", "$defs": {"Node": NODE}})


@pytest.mark.parametrize(
    "schema", [{"type": []}, {"properties": True}, {"type": 5, "minLength": []}]
)
def test_what_is_no_schema_is_told(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a JSON Schema"):
        minimal_instance(schema)
