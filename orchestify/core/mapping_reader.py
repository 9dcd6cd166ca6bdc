"""The mapping reader: a mapping of Python's to the plain data that YAML would give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestify.core.document import MAX_DEPTH, Document, Place, Places
from orchestify.core.problems import KeyPath, Problem
from orchestify.core.scalars import PlainText
from orchestify.core.variables import may_hold_variable

_NO_PLAIN_DATA = "expected text, a number, true, false, None, a list or a mapping"


def document_of(values: Mapping[str, Any], name: str) -> Document:
    """Read a mapping as a document whose keys stand at no line. Never raises."""
    problems: list[Problem] = []
    data, places = _read(values, (), name, problems)
    return Document(name, data, places, tuple(problems))


def _read(value: object, path: KeyPath, name: str, problems: list[Problem]) -> tuple[Any, Places]:
    """Return a copy of a value as plain data, and the places of the keys in it."""
    items = _items(value)
    if items is None:
        return _scalar(value, path, name, problems), {}
    if len(path) >= MAX_DEPTH:
        problems.append(Problem(name, path, f"nested deeper than {MAX_DEPTH} levels"))
        return None, {}
    read: dict[Any, Any] = {}
    places: Places = {}
    for key, inner in items:
        if not isinstance(key, str) and isinstance(value, Mapping):
            problems.append(Problem(name, path, "a key is text"))
            continue
        read[key], inside = _read(inner, (*path, key), name, problems)
        places[key] = Place(0, 0, inside)
    return (read if isinstance(value, Mapping) else list(read.values())), places


def _items(value: object) -> Iterator[tuple[Any, Any]] | None:
    """Return the items of a mapping or a sequence by key or index; None of any other value."""
    if isinstance(value, Mapping):
        return iter(value.items())
    return iter(enumerate(value)) if isinstance(value, list | tuple) else None


def _scalar(value: object, path: KeyPath, name: str, problems: list[Problem]) -> Any:
    if isinstance(value, str):
        return PlainText(value) if may_hold_variable(value) else str(value)
    if value is not None and not isinstance(value, bool | int | float):
        problems.append(Problem(name, path, _NO_PLAIN_DATA))
        return None
    return value
