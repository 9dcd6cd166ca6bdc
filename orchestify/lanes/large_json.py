"""Large JSON, parsed in small steps, so that other threads have their turns.

`json.loads` holds the interpreter's lock until it is done: for seconds, where a text of 64 MiB is
hostile. Here the parser of `json` sees a window at a time, and what is larger than a window is
taken apart: arrays and objects into their members, strings into pieces. The text itself comes in
steps as well, and is never there as a whole.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeAlias, TypeVar

WINDOW = 1 << 15
"""Characters that are parsed in one step: about 0.2 ms."""

STEP = 1 << 18
"""Characters or bytes that are searched, decoded or encoded in one step: about 1 ms."""

Body: TypeAlias = bytes | bytearray
T = TypeVar("T", str, Body)
_SPACE = re.compile(r"[ \t\n\r]*")
_UNESCAPED = re.compile(r'[^"\\]*(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*)*', re.DOTALL)
_ESCAPE = 6  # characters of `\\ud83d`
_NOT_WHOLE = (StopIteration, ValueError, RecursionError)


class OversizeError(ValueError):
    """A JSON text holds more objects, or one of them more members, than an answer may have."""


def steps_of(text: T) -> Iterator[T]:
    """Yield a text in pieces of 256 KiB."""
    return (text[at : at + STEP] for at in range(0, len(text), STEP))


class LargeObject(dict[str, Any]):
    """The object that a large text is; what it holds is freed in a thread, in steps.

    Whoever lets go of it, in one step, would stop all threads for as long as a million values take.
    """

    def __del__(self) -> None:
        _free_in_thread([*self.values()])


class LargeArray(list[Any]):
    """The array that a large text is, freed alike."""

    def __del__(self) -> None:
        _free_in_thread([*self])


def _free_in_thread(held: list[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # none begins as the interpreter ends
        _thread.start_new_thread(_free_in_steps, (held,))


def _free_in_steps(held: list[Any]) -> None:
    """Free values, an object or array at a time; what else holds one keeps it."""
    while held:
        value = held.pop()
        members = value.values() if value.__class__ is dict else value
        if value.__class__ in (dict, list):
            held += [each for each in [*members] if each.__class__ in (dict, list)]


def parse_in_steps(
    steps: Iterable[str], decoder: json.JSONDecoder, max_depth: int, max_members: int = 1_000_000
) -> Any:
    """Return the value of a JSON text that comes in steps, cut anywhere.

    An object or array has at most `max_members`: a larger one is moved, searched for garbage and
    freed in one step each.

    Raises:
        OversizeError: one has more.
        ValueError: it is no JSON, or what is larger than a window is nested deeper than
            `max_depth`.
    """
    reader = _Reader(iter(steps), decoder, max_depth, max_members)
    value, end = reader.value(reader.skip(0), 0)
    if reader.window(reader.skip(end)):
        raise ValueError("there is more behind the JSON")
    return value


class _Reader:
    """Reads forwards: what is before the last window is no longer held."""

    def __init__(
        self, steps: Iterator[str], decoder: json.JSONDecoder, max_depth: int, max_members: int
    ) -> None:
        self._steps = steps
        self._held = ""
        self._begin = 0  # where in the text `_held` begins
        self._scan: Callable[[str, int], tuple[Any, int]] = decoder.raw_decode
        self._max_depth = max_depth
        self._max_members = max_members

    def window(self, at: int) -> str:
        """Return what is at `at`, as much as a step takes; empty at the text's end."""
        start = at - self._begin
        if len(self._held) - start <= WINDOW:
            held = [self._held[start:]]
            size = len(held[0])
            while size <= WINDOW and (step := next(self._steps, None)) is not None:
                held.append(step)
                size += len(step)
            self._held, self._begin, start = "".join(held), at, 0
        return self._held[start : start + WINDOW]

    def skip(self, at: int) -> int:
        """Return where the white space ends that begins at `at`."""
        while True:
            window = self.window(at)
            end = _end_of_space(window, 0)
            at += end
            if not window or end < len(window):
                return at

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        """Return the value that begins at `at`, and where it ends."""
        if depth > self._max_depth:
            raise ValueError("nested too deep")
        window = self.window(at)
        try:
            value, end = self._scan(window, 0)
        except _NOT_WHOLE:
            pass
        else:
            # of a number that is cut by the window's end two characters may be left: `e+`
            if end + 2 < len(window) or len(self._held) - (at - self._begin) <= WINDOW:
                return value, at + end
        match window[:1]:
            case "[":
                values: list[Any] = [] if depth else LargeArray()
                return values, self._elements(at + 1, depth, values)
            case "{":
                members: dict[str, Any] = {} if depth else LargeObject()
                return members, self._pairs(at + 1, depth, members)
            case '"':
                return self._string(at + 1)
        raise ValueError("no JSON")

    def _elements(self, at: int, depth: int, values: list[Any]) -> int:
        """Put the elements of an array where they belong; return where it ends."""
        at = self.skip(at)
        if self._mark(at) == "]":
            return at + 1
        while True:
            at = self._plain_values(at, values)
            at = self._small_members(at, self._element, values, values.append)
            value, at = self.value(at, depth + 1)
            values.append(value)
            self._check_size(values)
            at, is_closed = self._behind_member(at, "]")
            if is_closed:
                return at

    def _pairs(self, at: int, depth: int, members: dict[str, Any]) -> int:
        """Put the members of an object where they belong; return where it ends."""
        at = self.skip(at)
        if self._mark(at) == "}":
            return at + 1
        while True:
            at = self._small_members(
                at, self._pair, members, lambda pair: members.__setitem__(*pair)
            )
            (name, value), at = self._large_pair(at, depth)
            members[name] = value
            self._check_size(members)
            at, is_closed = self._behind_member(at, "}")
            if is_closed:
                return at

    def _mark(self, at: int) -> str:
        return self.window(at)[:1]

    def _behind_member(self, at: int, close: str) -> tuple[int, bool]:
        """Return where the text goes on behind a member, and whether the whole is closed there."""
        at = self.skip(at)
        mark = self._mark(at)
        if mark == close:
            return at + 1, True
        if mark != ",":
            raise ValueError("no JSON")
        return self.skip(at + 1), False

    def _check_size(self, held: Sized) -> None:
        if len(held) > self._max_members:
            raise OversizeError(
                f"an object or array of the answer has more than {self._max_members:,} members"
            )

    def _plain_values(self, at: int, values: list[Any]) -> int:
        """Put the elements that are neither arrays nor objects, a window at a time."""
        while True:
            window = self.window(at)
            end = window.rfind(",")
            if end < 1 or window[0] in "[{":
                return at
            try:
                found, closed = self._scan(f"[{window[:end]}]", 0)
            except _NOT_WHOLE:
                return at
            if closed != end + 2:
                return at
            values += found
            self._check_size(values)
            at = self.skip(at + end + 1)

    def _small_members(
        self,
        at: int,
        scan: Callable[[str, int], tuple[Any, int]],
        held: Sized,
        put: Callable[[Any], None],
    ) -> int:
        """Put the members that have another behind them in a window; return where the next is."""
        while True:
            window, begin = self.window(at), 0
            while True:
                try:
                    member, end = scan(window, begin)
                except _NOT_WHOLE:
                    break
                end = _end_of_space(window, end)
                if window[end : end + 1] != ",":
                    break
                following = _end_of_space(window, end + 1)
                put(member)
                begin = following
            if not begin:
                return at
            self._check_size(held)
            at = self.skip(at + begin)

    def _element(self, window: str, at: int) -> tuple[Any, int]:
        return self._scan(window, at)

    def _pair(self, window: str, at: int) -> tuple[tuple[str, Any], int]:
        name, end = self._scan(window, at)
        end = _end_of_space(window, end)
        if not isinstance(name, str) or window[end : end + 1] != ":":
            raise ValueError("no JSON")
        value, end = self._scan(window, _end_of_space(window, end + 1))
        return (name, value), end

    def _large_pair(self, at: int, depth: int) -> tuple[tuple[str, Any], int]:
        name, at = self.value(at, depth + 1)
        at = self.skip(at)
        if not isinstance(name, str) or self._mark(at) != ":":
            raise ValueError("no JSON")
        value, at = self.value(self.skip(at + 1), depth + 1)
        return (name, value), at

    def _string(self, at: int) -> tuple[str, int]:
        pieces: list[str] = []
        while True:
            window = self.window(at)
            found = _UNESCAPED.match(window)
            end = found.end() if found else 0
            piece = self._scan(f'"{window[:end]}"', 0)[0]
            is_closed = window[end : end + 1] == '"'
            if not is_closed and end > _ESCAPE and "\ud800" <= piece[-1] <= "\udbff":
                piece, end = piece[:-1], end - _ESCAPE  # half a character: with its other half
            pieces.append(piece)
            at += end
            if is_closed:
                return "".join(pieces), at + 1
            if not end:
                raise ValueError("no JSON")


def _end_of_space(window: str, at: int) -> int:
    found = _SPACE.match(window, at)
    return found.end() if found else at
