"""The ids of calls, answers and items, which differ with every run: found, and renamed alike.

They stand under `id` and what ends in `_id`, but for what the host's tools, schemas and extra
fields hold under such names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from orchestify.testing.recordings.plain import Plain

_NAMED = re.compile(r"(?:^|_)id$")
_PREFIX = re.compile(r"([A-Za-z]{1,12})[_-]")
_NUMBERED = re.compile(r"[a-z]{1,12}_[1-9]\d{0,3}")
_OTHERS = frozenset(
    {"arguments", "input_schema", "parameters", "schema", "tools", "options", "metadata"}
)


def ids_in(value: Plain) -> list[str]:
    """Return the ids in a plain value, each once, in the order in which they stand there."""
    return list(dict.fromkeys(_ids(value)))


def renamed(value: Plain, name_of: Callable[[str], str]) -> Plain:
    """Return a plain value with other ids in the same places."""
    if isinstance(value, list):
        return [renamed(each, name_of) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: name_of(each)
        if _is_id(name, each)
        else each
        if _is_other(name, each)
        else renamed(each, name_of)
        for name, each in value.items()
    }


def with_local_names(value: Plain) -> Plain:
    """Return a plain value whose ids tell only which of them are the same."""
    names = {each: f"id_{number}" for number, each in enumerate(ids_in(value), 1)}
    return renamed(value, names.__getitem__)


class Names:
    """Gives each id of a recording its name: its own prefix, and a number, as `toolu_1`.

    An id that is such a name already keeps it where it can.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()  # ids and names

    def put(self, value: Plain) -> Plain:
        """Return a plain value with names in place of its ids."""
        self._taken.update(ids_in(value))
        return renamed(value, self._name_of)

    def _name_of(self, known: str) -> str:
        name = self._names.get(known)
        if name is None:
            is_name = _NUMBERED.fullmatch(known) and known not in self._names.values()
            name = self._names[known] = known if is_name else unused(_prefix(known), self._taken)
            self._taken.add(name)
        return name


def unused(prefix: str, taken: set[str]) -> str:
    """Return the first of `prefix_1`, `prefix_2`... that is not taken."""
    number = 1
    while f"{prefix}_{number}" in taken:
        number += 1
    return f"{prefix}_{number}"


def answered_ids(answered: Plain, recorded: Plain, request: Plain) -> Callable[[str], str]:
    """Return what gives the ids of a recorded answer as the present conversation knows them.

    Those of the recorded request become those of the present one; one that is new is another than
    any there.
    """
    present = ids_in(request)
    names: dict[str, str] = dict(zip(ids_in(recorded), present, strict=True))
    taken = set(present)
    for each in ids_in(answered):
        if each not in names:
            names[each] = each if each not in taken else unused(_prefix(each), taken)
            taken.add(names[each])
    return names.__getitem__


def _ids(value: Plain) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _ids(each)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if _is_id(name, each):
                yield each
            elif not _is_other(name, each):
                yield from _ids(each)


def _is_id(name: str, value: Plain) -> bool:
    return isinstance(value, str) and bool(value) and _NAMED.search(name) is not None


def _is_other(name: str, value: Plain) -> bool:
    """Whether what stands there is no protocol's: of `input` that is a tool's, not the items."""
    return name in _OTHERS or (name == "input" and isinstance(value, Mapping))


def _prefix(text: str) -> str:
    found = _PREFIX.match(text)
    return found[1].lower() if found else "call"
