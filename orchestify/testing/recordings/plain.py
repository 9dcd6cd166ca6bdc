"""Values as a file holds them: mappings with sorted keys, lists, texts, numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from orchestify.lanes.parsing import encodable_text

Plain: TypeAlias = Any
"""None, a truth value, a number, a text, a list of such, or a mapping of texts to such."""


def plain(value: object) -> Plain:
    """Return any value as a plain one.

    Of a dataclass what is not its default. Bytes become a digest; of what has no plain form only
    the type's name is told.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return encodable_text(str.__str__(value))  # of a subclass its text, not its own words
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, (bytes, bytearray)):
        return digest(value)
    return _gathered(value)


def digest(data: bytes | bytearray) -> dict[str, Plain]:
    """Return what tells binary data from other data: its length and its SHA-256."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def written_fields(value: object) -> dict[str, Plain]:
    """Return the fields of a dataclass that are not their defaults, in the order declared."""
    found = {}
    for each in fields(value):  # type: ignore[arg-type]  # a dataclass, as is_dataclass says
        given = getattr(value, each.name)
        usual = each.default if each.default_factory is MISSING else each.default_factory()
        if usual is MISSING or given != usual:
            found[each.name] = plain(given)
    return found


def map_texts(value: Plain, change: Callable[[str], str]) -> Plain:
    """Return a plain value with each of its texts changed, names aside."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: map_texts(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [map_texts(each, change) for each in value]
    return value


def _gathered(value: object) -> Plain:
    if isinstance(value, Mapping):
        named = {str(plain(name)): each for name, each in value.items()}
        return {name: plain(named[name]) for name in sorted(named)}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return written_fields(value)
    return f"<{type(value).__name__}>"
