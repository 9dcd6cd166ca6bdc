"""A file of requests, checked whole before the first of them is sent, and read again as they are.

Of each request a digest of 64 bits stays in memory: by that an answer knows the request it is for.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from orchestify.batches.requests import BatchRequest, Line, parse_line, read_lines
from orchestify.errors import BatchFileError, InvalidParameterError

_SHOWN = 20  # problems
_DIGEST_BYTES = 8
_PARTS = 16
_ANY = ("utf-8", "surrogatepass")  # JSON can name halves of characters


class RequestFile:
    """The requests of a file, asked by one agent.

    `asked_by` says who is asked, as the digests have it: the same line to another agent is another
    request.
    """

    def __init__(self, path: Path, asked_by: str) -> None:
        self.path = path
        self.digests = array("Q")
        self._begun = hashlib.blake2b(f"{asked_by}\n".encode(), digest_size=_DIGEST_BYTES)

    def check(self) -> None:
        """Read the whole file.

        Raises:
            BatchFileError: it cannot be read, is empty, or has lines that cannot be asked; the
                message has a line for each of the first 20.
        """
        names, numbers = array("Q"), array("Q")
        problems = _Problems()
        for line in self._lines():
            try:
                request = parse_line(line, self.path)
            except InvalidParameterError as error:
                problems.add(str(error))
                continue
            self.digests.append(self._digest(line))
            names.append(_number(hashlib.blake2b((request.custom_id or "").encode(*_ANY))))
            numbers.append(line.number)
        for number, first in _duplicates(names, numbers):
            problems.add(
                f"{self.path}:{number}: its custom_id is that of line {first}, too; "
                "give each request its own"
            )
        if problems.count:
            raise BatchFileError(problems.told(self.path))
        if not self.digests:
            raise BatchFileError(f"{self.path} has no requests; write one a line")

    def names(self, indexes: Collection[int]) -> Mapping[int, str]:
        """Return the `custom_id`s of some requests by their places."""
        wanted = frozenset(indexes)
        return {
            index: parse_line(line, self.path, is_checked=True).custom_id or ""
            for index, line in enumerate(self._lines() if wanted else ())
            if index in wanted
        }

    def requests(self, states: bytearray) -> Iterator[tuple[int, BatchRequest]]:
        """Yield, one at a time, the requests at whose places `states` has a 0, with these places.

        Raises:
            BatchFileError: the file is no more what was checked.
        """
        read = 0
        for index, line in enumerate(self._lines()):
            if index == len(self.digests):
                return  # what was written behind since is asked by the next run
            read += 1
            if states[index]:
                continue
            if self.digests[index] != self._digest(line):
                raise self._changed()
            yield index, parse_line(line, self.path, is_checked=True)
        if read < len(self.digests):
            raise self._changed()

    def _changed(self) -> BatchFileError:
        return BatchFileError(
            f"{self.path} was changed while its requests were asked; put back what was there, "
            "and run it again"
        )

    def _lines(self) -> Iterator[Line]:
        try:
            yield from read_lines(self.path)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise BatchFileError(f"{self.path} cannot be read: {reason}") from None

    def _digest(self, line: Line) -> int:
        digest = self._begun.copy()
        digest.update(line.text)
        return _number(digest)


class _Problems:
    """What is wrong with a file: the first of it in words, and how much it is."""

    def __init__(self) -> None:
        self.count = 0
        self._shown: list[str] = []

    def add(self, problem: str) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            self._shown.append(problem)

    def told(self, path: Path) -> str:
        """Return a line for the whole, and one for each that is shown."""
        many = "1 line" if self.count == 1 else f"{self.count:,} lines"
        rest = [f"... and {self.count - _SHOWN:,} more"] if self.count > _SHOWN else []
        head = f"{path} has {many} that cannot be asked; nothing was sent"
        return "\n".join([head, *self._shown, *rest])


def _duplicates(names: array[int], numbers: array[int]) -> Iterator[tuple[int, int]]:
    """Yield the lines whose name another one has, each with the first line of that name."""
    if not _has_duplicates(names):
        return
    firsts: dict[int, int] = {}
    for name, number in zip(names, numbers, strict=True):
        first = firsts.setdefault(name, number)
        if first != number:
            yield number, first


def _has_duplicates(names: array[int]) -> bool:
    """Whether a name stands twice; looked for in parts, so that no set holds all of them."""
    for part in range(_PARTS):
        some = [name for name in names if name % _PARTS == part]
        if len(set(some)) < len(some):
            return True
    return False


def _number(digest: hashlib.blake2b) -> int:
    return int.from_bytes(digest.digest()[:_DIGEST_BYTES])
