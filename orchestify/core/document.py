"""What a reader makes of one text or mapping: plain data, and where each key is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from orchestify.core.problems import Problem

MAX_BYTES = 4_000_000
MAX_DEPTH = 100

TOO_LARGE = f"larger than {MAX_BYTES // 1_000_000} MB"


class Place(NamedTuple):
    """The line and column of a key or list item, from 1, and the places inside its value."""

    line: int
    column: int
    inside: Places


Places: TypeAlias = dict[str | int, Place]


class Origin(NamedTuple):
    """Where a key is written; `line` and `column` begin at 1, and are 0 in a host's mapping."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was read: plain data, the places of its keys, and what is wrong with it.

    `data` is made of dict, list, str, int, float, bool and None; what aliases name is shared.
    `is_whole` is False where reading stopped before the end.
    """

    name: str
    data: Any = field(repr=False)
    places: Places = field(repr=False)
    problems: tuple[Problem, ...]
    is_whole: bool = True
