"""Fields of a JSON body, read with the type they must have; an error names the field's place."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from orchestify.errors import InvalidParameterError

_T = TypeVar("_T")

_WORDS = {
    str: "a text",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a whole number",
}
_MOST_CONTAINERS = 200_000  # objects and lists: a tenth of a second; an empty one is two bytes
_DECODER = msgspec.json.Decoder()


def body_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        InvalidParameterError: it is none, holds numbers or characters that JSON has not, or more
            objects and lists than a conversation has.
    """
    if body.count(b"{") + body.count(b"[") > _MOST_CONTAINERS:
        raise InvalidParameterError(f"the body has more than {_MOST_CONTAINERS:,} braces")
    try:
        parsed = _DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidParameterError("the body is no JSON") from None
    if not isinstance(parsed, dict):
        raise InvalidParameterError("the body is JSON, but no object")
    return parsed


def optional(form: Mapping[str, Any], name: str, kind: type[_T], where: str = "") -> _T | None:
    """Return a field of an object; None where it is absent or null.

    Raises:
        InvalidParameterError: it is of another type.
    """
    value = form.get(name)
    if value is None or type(value) is kind:
        return value
    raise wrong(f"{where}{name}", f"expected {_WORDS[kind]}")


def needed(form: Mapping[str, Any], name: str, kind: type[_T], where: str = "") -> _T:
    """Return a field of an object.

    Raises:
        InvalidParameterError: it is absent, empty or of another type.
    """
    value = optional(form, name, kind, where)
    if not value:
        raise wrong(f"{where}{name}", f"expected {_WORDS[kind]} that is not empty")
    return value


def each(values: list[Any], where: str) -> list[dict[str, Any]]:
    """Return a list whose items are all objects.

    Raises:
        InvalidParameterError: one is not.
    """
    for number, value in enumerate(values):
        if type(value) is not dict:
            raise wrong(f"{where}[{number}]", "expected an object")
    return values


Objects: TypeAlias = Iterable[tuple[str, str, Any, frozenset[str]]]
"""Objects of a body: a name, the place, what is there, and the fields that are known."""


def unknown_in(objects: Objects, allowed: Container[str]) -> Iterator[str]:
    """Yield the places of fields that are not known; `NAME.FIELD` is allowed for all of a name."""
    for name, where, given, known in objects:
        for field in sorted(given.keys() - known) if isinstance(given, dict) else ():
            if given[field] is not None and f"{name}.{field}" not in allowed:
                yield f"{where}.{field[:40]}"


def wrong(where: str, what: str, code: str | None = None) -> InvalidParameterError:
    """Return the error of a field, with the protocol's own word for it."""
    error = InvalidParameterError(f"{where}: {what}")
    error.param, error.code = where.partition(":")[0], code
    return error
