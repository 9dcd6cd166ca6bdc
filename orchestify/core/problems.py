"""Problems of a configuration: one line each, at the key's own place, never with a value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]

MOST_SHOWN = 1_000  # lines in one error; a file of nothing but mistakes has a million
_MOST_COMPARED = 200  # comparing costs 10 µs
_DEEPEST_SHOWN = 10
_HIDDEN = "…"
_SHOWABLE = re.compile(r"[\w.@/+< -]{1,64}")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a key; `line` and `column` begin at 1, and 0 means the whole file."""

    file: str
    path: KeyPath
    what: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(filter(None, (place, dotted(self.path), self.what)))


def dotted(path: KeyPath) -> str:
    """Write a key path with dots; what is deep is shown as `…`, as is a key that looks like none.

    A missing blank turns a value into a key: `{api_key:sk-123}`.
    """
    shown = [
        key if _SHOWABLE.fullmatch(key := str(part)) and key.strip() == key else _HIDDEN
        for part in path[:_DEEPEST_SHOWN]
    ]
    return ".".join(shown if len(path) <= _DEEPEST_SHOWN else [*shown, _HIDDEN])


def in_file_order(problems: Iterable[Problem], files: Iterable[str]) -> list[str]:
    """Return the problems' lines, file by file and top to bottom; at most `MOST_SHOWN`."""
    order = {file: index for index, file in enumerate(files)}
    ordered = sorted(
        dict.fromkeys(problems),
        key=lambda problem: (order.get(problem.file, -1), problem.line, problem.column),
    )
    lines = [str(problem) for problem in ordered[:MOST_SHOWN]]
    if len(ordered) > MOST_SHOWN:
        lines.append(f"and more; these are the first {MOST_SHOWN:,}")
    return lines


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """Return `; did you mean '...'?` with the one of `words` that is meant, or nothing."""
    if not isinstance(word, str) or len(word) > 64:
        return ""
    known = list(words)
    if len(known) > _MOST_COMPARED:
        known = [other for other in known if abs(len(other) - len(word)) <= 2][:_MOST_COMPARED]
    found = difflib.get_close_matches(word.lower(), known, n=1) or [
        candidate for candidate in known if word.lower() in candidate.split("_")
    ]
    return f"; did you mean '{dotted((found[0],))}'?" if found else ""
