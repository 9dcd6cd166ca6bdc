"""How a request that is not recorded differs from the nearest that is, without its texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestify.resources.terminal_text import without_controls
from orchestify.testing.recordings.plain import Plain

_MOST = 8
_SHOWN_CHARS = 60
# What stands in errors anyhow; all other texts may be a prompt's.
_SHOWN = frozenset({"ask", "provider", "model", "role", "mode", "effort"})
_NAMED = frozenset({"tools", "tool_calls"})
_HIDDEN = frozenset({"arguments", "native", "options", "schema", "input_schema", "server"})
_ABSENT = object()


def nearest(request: Plain, recorded: Sequence[Plain]) -> int:
    """Return the index of the recorded request that is most like this one; the first of equals."""
    leaves = _leaves(request)
    distances = [_distance(leaves, _leaves(each)) for each in recorded]
    return distances.index(min(distances))


def differences(request: Plain, recorded: Plain) -> list[str]:
    """Return in which places two requests differ and how, a line each.

    Numbers and the names of what takes part are told; of other texts only how long they are and
    where they part.
    """
    here, there = _leaves(request), _leaves(recorded)
    paths = [path for path in dict.fromkeys((*here, *there)) if _differ(path, here, there)]
    lines = [f"{_path(path)}: {_how(path, here, there)}" for path in paths[:_MOST]]
    more = len(paths) - _MOST
    return lines if more <= 0 else [*lines, f"and {more} more"]


def _leaves(value: Plain, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Plain]:
    return dict(_walk(value, path))


def _walk(value: Plain, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Plain]]:
    """Yield what stands at each path; an empty mapping or list stands for itself."""
    members = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(members, dict) or not members:
        yield path, value
        return
    for name, each in members.items():
        yield from _walk(each, (*path, str(name)))


def _distance(
    here: Mapping[tuple[str, ...], Plain], there: Mapping[tuple[str, ...], Plain]
) -> float:
    """Count the places that differ; a text that begins alike counts less."""
    return sum(
        1.0 - _shared(here.get(path), there.get(path))
        for path in here.keys() | there.keys()
        if _differ(path, here, there)
    )


def _shared(one: Plain, other: Plain) -> float:
    """Return the part of two texts that is the same from the beginning, from 0 to 1."""
    if not (isinstance(one, str) and isinstance(other, str)):
        return 0.0
    return _alike(one, other) / max(len(one), len(other))


def _alike(one: str, other: str) -> int:
    """Return how many characters from the beginning are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _differ(
    path: tuple[str, ...],
    here: Mapping[tuple[str, ...], Plain],
    there: Mapping[tuple[str, ...], Plain],
) -> bool:
    one, other = here.get(path, _ABSENT), there.get(path, _ABSENT)
    return (type(one) is not type(other) and not _are_numbers(one, other)) or one != other


def _are_numbers(one: object, other: object) -> bool:
    return {type(one), type(other)} == {int, float}


def _how(
    path: tuple[str, ...],
    here: Mapping[tuple[str, ...], Plain],
    there: Mapping[tuple[str, ...], Plain],
) -> str:
    if path not in there:
        return f"{_told(path, here[path])}, only here"
    if path not in here:
        return f"{_told(path, there[path])}, only recorded"
    one, other = here[path], there[path]
    said = f"{_told(path, one)} here, {_told(path, other)} recorded"
    if isinstance(one, str) and isinstance(other, str) and not _is_shown(path, one):
        return f"{said}, the same up to character {_alike(one, other)}"
    return said


def _told(path: tuple[str, ...], value: Plain) -> str:
    if isinstance(value, str) and not _is_shown(path, value):
        return f"a text of {len(value):,} characters"
    if isinstance(value, (dict, list)):
        return "nothing"
    return repr(without_controls(value)) if isinstance(value, str) else str(value)


def _is_shown(path: tuple[str, ...], value: str) -> bool:
    if len(value) > _SHOWN_CHARS or not _HIDDEN.isdisjoint(path):
        return False
    return path[-1] in _SHOWN or (path[-1] == "name" and not _NAMED.isdisjoint(path))


def _path(path: tuple[str, ...]) -> str:
    return ".".join(without_controls(part[:_SHOWN_CHARS]) for part in path)
