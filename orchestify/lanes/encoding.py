"""A request's body as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from msgspec.json import encode

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_PLAIN = frozenset({str, int, bool, type(None)})


def json_of(body: Mapping[str, Any]) -> bytes | None:
    """Return a body as JSON, None where it holds what JSON has not.

    Half a character becomes a question mark.
    """
    try:
        if _is_json(body):
            return encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass  # half a character, a number above 64 bits, a name that is no text
    try:
        return _ENCODER.encode(body).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError):
        return None


def _is_json(value: Any) -> bool:
    """Whether a value holds but JSON's own types, as nearly all do.

    `msgspec` writes those as `json` does, several times faster, and beside them what JSON has not.

    Raises:
        TypeError: the name of a field is no text.
    """
    kind, members = value.__class__, value
    if kind is dict:
        "".join(value)
        members = value.values()
    elif kind is not list:
        return kind in _PLAIN or (kind is float and isfinite(value))
    for each in members:
        if each.__class__ in _PLAIN:
            continue
        if not _is_json(each):
            return False
    return True
