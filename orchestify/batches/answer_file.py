"""The file of answers and its journal: which requests have ended, and which may have been sent.

    answers.jsonl           a line for each request that has ended, as `answers.py` has it
    answers.jsonl.journal   a line before each request is sent: `sent PLACE DIGEST`, and
                            `unsent PLACE` where it came back unsent; no texts

The journal is there while a run is under way, and after one that was killed. What it says was sent
and has no answer may have been billed: it gets the error `UnknownOutcome` and is not asked again
by itself. A line is written by one call of the system, in the order sent, answer; so a process may
be killed between any two, and even in the middle of a line. Files have mode 600.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from msgspec import DecodeError, MsgspecError, Struct, convert
from msgspec.json import Decoder

from orchestify.batches.answers import encode_line
from orchestify.errors import BatchFileError

UNKNOWN = "UnknownOutcome"
"""The code of the error of a request that may have been sent and has no answer."""

_UNKNOWN_ERROR = {
    "code": UNKNOWN,
    "message": "the run was ended after this was sent and before its answer was written",
    "status": None,
    "may_be_billed": True,
}
_BEGINNING = b'{"index":'
_OWNER_ONLY = 0o600


class State(IntEnum):
    """What is known of a request; what is `OPEN` is still to be asked."""

    OPEN = 0
    ANSWERED = 1
    FAILED = 2
    UNKNOWN = 3


class Files(Protocol):
    """The calls by which the files are written: those of `os`."""

    def open(self, path: Path, flags: int, mode: int = ..., /) -> int:
        """Open a file."""
        ...

    def write(self, fd: int, content: bytes, /) -> int:
        """Write what fits."""
        ...

    def ftruncate(self, fd: int, length: int, /) -> None:
        """Cut a file off."""
        ...

    def fsync(self, fd: int, /) -> None:
        """Wait until a file is on the disk."""
        ...

    def replace(self, source: Path, target: Path, /) -> None:
        """Put one file in another's place, in one step."""
        ...

    def unlink(self, path: Path, /) -> None:
        """Remove a file."""
        ...


@dataclass(slots=True)
class Tally:
    """What became of the requests of a file, over all runs; `unpriced` answers have no cost."""

    total: int = 0
    answered: int = 0
    failed: int = 0
    unknown: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0

    @property
    def ended(self) -> int:
        """How many are not to be asked any more."""
        return self.answered + self.failed + self.unknown

    def count(self, state: State, usage: Usage | None, sign: int = 1) -> None:
        """Add a request that has ended, or take it away again."""
        self.answered += sign * (state is State.ANSWERED)
        self.failed += sign * (state is State.FAILED)
        self.unknown += sign * (state is State.UNKNOWN)
        if usage is None:
            return
        self.input_tokens += sign * usage.prompt_tokens
        self.output_tokens += sign * usage.completion_tokens
        if usage.cost is None:
            self.unpriced += sign
        else:
            self.cost_usd += sign * Decimal(repr(usage.cost))


class Usage(Struct):
    """What a line says was used; `cost` in USD, None where nobody knows it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


class _Body(Struct):
    usage: Usage


class _Response(Struct):
    body: _Body


class _Error(Struct):
    code: str


class _Line(Struct):
    """What is read of a line of answers."""

    index: int
    request: str
    response: _Response | None
    error: _Error | None

    @property
    def state(self) -> State:
        if self.error is None:
            return State.ANSWERED
        return State.UNKNOWN if self.error.code == UNKNOWN else State.FAILED

    @property
    def usage(self) -> Usage | None:
        return None if self.response is None else self.response.body.usage


_DECODER = Decoder(_Line)


class AnswerFile:
    """The answers to the requests whose digests are given, and the journal beside them.

    `states` has a byte for each request, `tally` counts them. `unsettled` are the places of those
    that an earlier run may have sent, and has not answered. Nothing is known before `open`.
    """

    def __init__(self, path: Path, digests: Sequence[int], files: Files = os) -> None:
        self.path = Path(os.path.realpath(path))
        self.shown = path
        self.states = bytearray(len(digests))
        self.tally = Tally(len(digests))
        self._digests = digests
        self._files = files
        self._journal_path = self.path.with_name(f"{self.path.name}.journal")
        self._sent: set[int] = set()  # and neither answered nor taken back
        self._is_closed = False

    @property
    def unsettled(self) -> Sequence[int]:
        """The places of requests that may have been sent and have no answer, in order."""
        return sorted(self._sent)

    def open(self) -> None:
        """Take the files for this run alone, and read what earlier ones have written.

        Raises:
            BatchFileError: they cannot be read or written, another run has them, or they are those
                of other requests.
        """
        if os.name != "posix":
            raise BatchFileError("a run of a file needs a system that can lock files")
        with self._told(), ExitStack() as undo:
            self._journal = self._locked_journal()
            undo.callback(os.close, self._journal.fd)
            if not self._journal.size:
                undo.callback(self._files.unlink, self._journal_path)
            self._answers = self._opened(self.path)
            undo.callback(os.close, self._answers.fd)
            self._read_answers()
            self._read_journal()
            undo.pop_all()

    def settle(self, names: Mapping[int, str]) -> None:
        """Write that nobody knows what became of the `unsettled`, whose `custom_id`s are given."""
        with self._told():
            for index in self.unsettled:
                told = {"id": None, "custom_id": names[index], "response": None}
                self.add(index, {**told, "error": _UNKNOWN_ERROR}, State.UNKNOWN)
            if self._journal.size:
                self._files.fsync(self._answers.fd)
                self._journal.cut(0)

    def forget(self, *states: State) -> None:
        """Take out the lines of requests in these states, which are open again then."""
        if not any(state in self.states for state in states):
            return
        with self._told():
            new_path = self.path.with_name(f"{self.path.name}.new")
            new_path.unlink(missing_ok=True)  # of a run that was killed; the lock is ours
            new = self._opened(new_path)
            try:
                self._copy_without(states, new)
                self._files.fsync(new.fd)
                self._files.replace(new_path, self.path)
            except BaseException:
                os.close(new.fd)
                new_path.unlink(missing_ok=True)
                raise
            os.close(self._answers.fd)
            self._answers = new

    def begin(self, index: int) -> None:
        """Write that a request is about to be sent."""
        with self._told():
            self._journal.append(b"sent %d %016x\n" % (index, self._digests[index]))
        self._sent.add(index)

    def take_back(self, index: int) -> None:
        """Write that it was not sent, or surely has cost nothing: it stays open."""
        with self._told():
            self._journal.append(b"unsent %d\n" % index)
        self._sent.discard(index)

    def add(
        self, index: int, answer: Mapping[str, Any], state: State, usage: Usage | None = None
    ) -> None:
        """Write the line of a request that has ended."""
        line = {"index": index, "request": f"{self._digests[index]:016x}", **answer}
        with self._told():
            self._answers.append(encode_line(line))
        self.states[index] = state
        self.tally.count(state, usage)
        self._sent.discard(index)

    def close(self) -> None:
        """Let the files go; the journal only goes where nothing is left that it alone tells."""
        if self._is_closed:
            return
        self._is_closed = True
        with self._told():
            try:
                self._files.fsync(self._answers.fd)
                if not self._sent:
                    self._files.unlink(self._journal_path)
            finally:
                os.close(self._answers.fd)
                os.close(self._journal.fd)

    def _copy_without(self, states: Collection[State], new: _Appended) -> None:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                entry = self._entry(line, number)
                if entry.state not in states:
                    new.append(line)
                    continue
                self.states[entry.index] = State.OPEN
                self.tally.count(entry.state, entry.usage, -1)

    def _locked_journal(self) -> _Appended:
        import fcntl  # noqa: PLC0415 - not on every system

        journal = self._opened(self._journal_path)
        try:
            fcntl.flock(journal.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(journal.fd), self._journal_path.stat()):
                return journal
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(journal.fd)
        raise BatchFileError(
            f"another run writes {self.shown}; wait until it ends, or name another file"
        )

    def _opened(self, path: Path) -> _Appended:
        fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _OWNER_ONLY)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise BatchFileError(f"{path} is no file; answers are kept in a file of their own")
        return _Appended(fd, found.st_size, self._files)

    def _read_answers(self) -> None:
        read = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and _is_begun(line):
                    break  # its writer was killed
                entry = self._entry(line, number)
                self.states[entry.index] = entry.state
                self.tally.count(entry.state, entry.usage)
                read += len(line)
        if read < self._answers.size:
            self._answers.cut(read)

    def _entry(self, line: bytes, number: int) -> _Line:
        where = f"{self.shown}:{number}"
        try:
            try:
                entry = _DECODER.decode(line)
            except DecodeError:  # half of a character, as JSON can have it
                entry = convert(json.loads(line), _Line)
        except (MsgspecError, ValueError, RecursionError):
            raise BatchFileError(
                f"{where}: this is no answer of a run; name another file for the answers"
            ) from None
        if not self._is_ours(entry.index, entry.request):
            raise self._others(where)
        return entry

    def _read_journal(self) -> None:
        with self._journal_path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break  # its writer was killed before anything was sent
                where = f"{self.shown}.journal:{number}"
                match line.split():
                    case [b"sent", index, digest] if index.isdigit():
                        if not self._is_ours(int(index), digest.decode("ascii", "replace")):
                            raise self._others(where)
                        if self.states[int(index)] == State.OPEN:
                            self._sent.add(int(index))
                    case [b"unsent", index] if index.isdigit():
                        self._sent.discard(int(index))
                    case _:
                        raise BatchFileError(
                            f"{where}: the line is damaged, so that nobody knows what was sent; "
                            "remove the file where all without an answer may be asked again"
                        )

    def _is_ours(self, index: int, digest: str) -> bool:
        return 0 <= index < len(self._digests) and f"{self._digests[index]:016x}" == digest

    def _others(self, where: str) -> BatchFileError:
        return BatchFileError(
            f"{where}: this is of another request than the one in that place: the file is that of "
            "other requests, another agent or another model; name another file for the answers"
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what the system refuses."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise BatchFileError(f"{self.shown} cannot be used: {reason}") from error


@dataclass(slots=True)
class _Appended:
    """A file to which whole lines are appended; `size` is that of those that it has."""

    fd: int
    size: int
    files: Files

    def append(self, line: bytes) -> None:
        rest = line
        try:
            while rest:
                rest = rest[self.files.write(self.fd, rest) :]
        except OSError:
            with suppress(OSError):
                self.cut(self.size)
            raise
        self.size += len(line)

    def cut(self, size: int) -> None:
        self.files.ftruncate(self.fd, size)
        self.size = size


def _is_begun(line: bytes) -> bool:
    """Whether it may be the beginning of a line of ours."""
    return line.startswith(_BEGINNING) or _BEGINNING.startswith(line)
