"""JSON written in small steps, so that other threads have their turns in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

WINDOW = 1 << 15
"""Characters that are written in one step: less than 1 ms."""

_ASCII = json.JSONEncoder().encode
_PLAIN = json.JSONEncoder(ensure_ascii=False).encode
_AT_ONCE = 100  # members of what is large, written in one step where they are small


def json_in_steps(value: Any, *, ascii_only: bool = False) -> Iterator[str]:
    """Yield a value as `json.dumps` writes it, what is large of it in steps."""
    return _written(value, _ASCII if ascii_only else _PLAIN)


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    """Return a value as `json.dumps` writes it, written in steps."""
    return "".join(json_in_steps(value, ascii_only=ascii_only))


def _written(value: Any, encode: Callable[[Any], str]) -> Iterator[str]:
    if _weight(value) <= WINDOW or not isinstance(value, (str, dict, list)):
        yield encode(value)
        return
    if isinstance(value, str):
        yield '"'
        for at in range(0, len(value), WINDOW):
            yield encode(value[at : at + WINDOW])[1:-1]
        yield '"'
        return
    is_list = isinstance(value, list)
    members, comma = iter(value if isinstance(value, list) else value.items()), ""
    yield "[" if is_list else "{"
    while part := list(islice(members, _AT_ONCE)):
        small = part if is_list else dict(part)
        if _weight(small) <= WINDOW:
            yield comma + encode(small)[1:-1]
        else:
            for number, each in enumerate(part):
                yield ", " if number else comma
                if not is_list:
                    yield from (*_written(each[0], encode), ": ")
                yield from _written(each if is_list else each[1], encode)
        comma = ", "
    yield "]" if is_list else "}"


def _weight(value: Any) -> int:
    """Return about how many characters a value takes as JSON; beyond a window it is not exact."""
    if isinstance(value, str):
        return len(value) + 2
    weight = 2
    if isinstance(value, (dict, list)):
        for each in chain(value, value.values()) if isinstance(value, dict) else value:
            weight += _weight(each) + 2
            if weight > WINDOW:
                break
    return weight
