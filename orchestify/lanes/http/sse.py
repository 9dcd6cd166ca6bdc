"""Server-sent events out of bytes that may be cut anywhere.

Source: WHATWG HTML, "Server-sent events", 9.2.6; what comes after the last blank line is kept,
since providers leave the blank line out.
"""

from __future__ import annotations

from orchestify.lanes.failures import too_long
from orchestify.lanes.large_json import steps_of
from orchestify.lanes.parsing import LARGE

MAX_EVENT_BYTES = 64 << 20
MAX_EVENT_LINES = 100_000
_MARK = "\ufeff".encode()
_ERROR = b"event: error"


class EventTooLongError(Exception):
    """An event has more than `MAX_EVENT_LINES` lines."""


class ErrorData(str):
    """The data of an event that is named `error`."""

    __slots__ = ()


class LargeErrorData(bytearray):
    """The same of a large event."""


class EventReader:
    """Turns pieces of a body into the `data` of its events, in order; large data stays bytes.

    Comments, ids and event names are dropped, for both protocols say in the data what it is; but
    the data of an event named `error` is `ErrorData`, and comes even where it is empty. `size`
    counts the bytes so far, of which there are `most` at most.
    """

    __slots__ = ("_held_cr", "_most", "_started", "pending", "size")

    def __init__(self, most: int = MAX_EVENT_BYTES) -> None:
        self.size = 0
        self.pending = bytearray()
        self._most = most
        self._held_cr = False
        self._started = False

    def feed(self, piece: bytes) -> list[str | bytearray]:
        """Return the data of the events that this piece completes.

        Raises:
            EventTooLongError: an event has too many lines.
            MalformedError: the stream is.
        """
        self.size += len(piece)
        if self.size > self._most:
            raise too_long(self._most)
        if self._held_cr or b"\r" in piece:
            piece = self._with_line_feeds(piece)
        pending = self.pending
        seen = max(0, len(pending) - 1)
        pending += piece
        end = pending.rfind(b"\n\n", seen)
        if end < 0:
            return []
        found: list[str | bytearray] = []
        if len(pending) >= LARGE:
            end -= self._take_first(pending.find(b"\n\n", seen), found)
            pending = self.pending
            if end < 0:
                return found
        text = pending[:end].decode("utf-8", "replace")
        del pending[: end + 2]
        if not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        for event in text.split("\n\n"):
            is_line = event.startswith("data: ") and "\n" not in event
            data = event[6:] if is_line else _data_in(event)
            if data or data.__class__ is ErrorData:
                found.append(data)
        return found

    def finish(self) -> list[str | bytearray]:
        """Return what the body ended with, where its last event has no blank line behind it."""
        self._held_cr = False
        self._most += 2
        return self.feed(b"\n\n")

    def _take_first(self, end: int, found: list[str | bytearray]) -> int:
        """Take the first event, that ends at `end` and may be large; return where the next begins.

        It is neither copied nor decoded, but where its data has several lines.
        """
        event, self.pending = self.pending, self.pending[end + 2 :]
        del event[end:]
        if not self._started:
            self._started = True
            if event.startswith(_MARK):
                del event[: len(_MARK)]
        data = _bytes_in(event)
        if len(data) >= LARGE:
            found.append(data)
            return end + 2
        text = data.decode("utf-8", "replace")
        if isinstance(data, LargeErrorData):
            found.append(ErrorData(text))
        elif text:
            found.append(text)
        return end + 2

    def _with_line_feeds(self, piece: bytes) -> bytes:
        """Turn CRLF and CR into LF; a CR at the end waits for what follows it."""
        if self._held_cr:
            piece = b"\r" + piece
        self._held_cr = piece.endswith(b"\r")
        if self._held_cr:
            piece = piece[:-1]
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data_in(event: str) -> str:
    """Return an event's data lines, joined; empty where it has none."""
    if event.count("\n") > MAX_EVENT_LINES:
        raise EventTooLongError
    lines = event.split("\n")
    data = "\n".join([line[5:].removeprefix(" ") for line in lines if line[:5] == "data:"])
    is_error = "event: error" in lines or "event:error" in lines
    return ErrorData(data) if is_error else data


def _bytes_in(event: bytearray) -> bytearray:
    """Return a large event's data lines as `_data_in` does, within its own memory if it is one."""
    if sum(step.count(b"\n") for step in steps_of(event)) > MAX_EVENT_LINES:
        raise EventTooLongError
    data, at, is_error = [], 0, False
    while at <= len(event):
        end = event.find(b"\n", at)
        end = len(event) if end < 0 else end
        if event.startswith(b"data:", at):
            data.append((at + 6 if event.startswith(b" ", at + 5) else at + 5, end))
        elif end - at <= len(_ERROR):
            is_error |= event[at:end] in (_ERROR, b"event:error")
        at = end + 1
    if len(data) == 1:
        [(begin, end)] = data
        del event[end:]
        del event[:begin]
    else:
        event = bytearray(b"\n").join([event[begin:end] for begin, end in data])
    return LargeErrorData(event) if is_error else event
