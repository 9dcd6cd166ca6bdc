"""Writes docs/keys.md: every key of a configuration, from its JSON Schema.

python tools/config_keys.py            writes the page
python tools/config_keys.py --check    says whether it is current, by its exit code
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestify.core.schema import config_schema

PAGE = Path(__file__).parents[1] / "docs" / "keys.md"

HEAD = """\
# Every key

<!-- written by tools/config_keys.py from the JSON Schema; change the models, then run it -->

What [a configuration](configuration.md) may say, from the schema that `orchestify schema` prints.
A `*` stands for a name of yours, `[]` for each entry of a list. Wherever a number, a truth value
or a word is expected, a variable may stand. Policies at the top hold for all calls; those of a
provider stand over these, and those of an agent over both, key by key. Where nobody says otherwise
`timeout_s` is 600, `connect_timeout_s` 10 and `idle_timeout_s` 300.

| key | takes | unwritten | meaning |
| --- | --- | --- | --- |
"""

_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false"}


class Table:
    """Rows of a schema, each definition written out where it is first met."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.definitions = schema["$defs"]
        self.told: dict[str, str] = {}

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield key, what it takes, what holds where it is unwritten, and its meaning."""
        properties = dict(self.schema["properties"])
        last = {name: properties.pop(name) for name in ("providers", "agents")}
        yield from self._of({"properties": {**properties, **last}}, "")

    def _of(self, node: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
        needed = node.get("required", ())
        for name, each in node.get("properties", {}).items():
            key = f"{path}{name}"
            unwritten = "**needed**" if name in needed else _shown(each.get("default"))
            inner, below = self._inner(each), f"{key}."
            known = self.told.get(inner) if inner else None
            takes = f"as `{known}`" if known else self._takes(each)
            yield key, takes, unwritten, each.get("description", self._about(inner))
            if inner and not known:
                self.told[inner] = key
                yield from self._of(self.definitions[inner], self._below(each, below))

    def _inner(self, node: dict[str, Any]) -> str | None:
        """Return the definition of a key's own keys, None where it has none."""
        names = [name for name in _references(node) if "properties" in self.definitions[name]]
        return names[0] if names else None

    def _below(self, node: dict[str, Any], below: str) -> str:
        if node.get("type") == "array":
            return f"{below[:-1]}[]."
        return f"{below}*." if "additionalProperties" in node else below

    def _about(self, inner: str | None) -> str:
        text = self.definitions[inner].get("description", "") if inner else ""
        return text.partition("\n")[0].rstrip(".")

    def _takes(self, node: dict[str, Any]) -> str:
        return ", ".join(dict.fromkeys(self._kinds(node)))

    def _kinds(self, node: dict[str, Any]) -> Iterator[str]:
        for each in node.get("anyOf") or node.get("oneOf") or ():
            yield from self._kinds(each)
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            if name != "Variable":
                yield from self._kinds(self.definitions[name])
        elif "enum" in node or "const" in node:
            yield from (f"`{_shown(word)}`" for word in node.get("enum", [node.get("const")]))
        elif node.get("type") == "array":
            yield f"list of {self._takes(node['items'])}" if "items" in node else "list"
        elif "properties" in node or "additionalProperties" in node:
            yield "keys"
        elif node.get("type") in _KINDS:
            yield _bounded(node)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for key, inner in node.items():
            if key != "$ref":
                yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)


def _bounded(node: dict[str, Any]) -> str:
    bounds = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}"}
    told = [words.format(f"{node[key]:g}") for key, words in bounds.items() if key in node]
    return " ".join((_KINDS[node["type"]], *told))


def _shown(value: Any) -> str:
    if value in (None, [], {}, "") or isinstance(value, dict):
        return ""
    return json.dumps(value).strip('"').removesuffix(".0")


def page() -> str:
    """Return the page's text."""
    rows = (f"| `{key}` | {' | '.join(cells)} |" for key, *cells in Table(config_schema()).rows())
    return HEAD + "\n".join(rows) + "\n"


def main() -> int:
    """Write the page, or say whether it is current."""
    text = page()
    if "--check" in sys.argv:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
