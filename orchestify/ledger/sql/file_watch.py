"""Notices that the file of a SQLite ledger was deleted, replaced or cut while it is in use.

SQLite itself goes on writing to a file that has no name any more. The file is looked at with
`stat` alone: a second descriptor that is closed would end SQLite's locks on it.
Source: sqlite.org/howtocorrupt.html, sections 2.2 and 4.2.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

Loss: TypeAlias = Literal["deleted", "replaced", "cut"]

Identity: TypeAlias = tuple[int, int]
"""Device and inode."""

EVERY_S = 0.5
"""How often an idle ledger looks at its file."""


class FileWatch:
    """Compares the file with the one that was there when it was noted."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._log = f"{path}-wal"
        self._identity: Identity | None = None
        self._log_identity: Identity | None = None
        self._size = 0

    def note(self) -> None:
        """Remember the file that is there now, unless one is remembered."""
        if self._identity is None:
            self._identity, self._log_identity = _identity(self._path), _identity(self._log)
            self._size = 0

    def loss(self, is_sound: Callable[[], bool]) -> Loss | None:
        """Return how the file was lost; None where it is unchanged.

        A file may shrink because somebody compacted it: `is_sound` then says whether SQLite can
        still read the whole of it.
        """
        if self._identity is None:
            return None
        try:
            found = os.stat(self._path)
        except OSError:
            return "deleted"
        if (found.st_dev, found.st_ino) != self._identity:
            return "replaced"
        if found.st_size < self._size and not is_sound():
            return "cut"
        self._size = found.st_size
        self._log_identity = _identity(self._log)
        return None

    def make_way(self, loss: Loss) -> None:
        """Forget the lost file and rename its remains, once all connections are closed.

        The log of a file that was moved stays under its name when it is closed, and SQLite
        would play it into whatever file stands there next.
        """
        is_old_log = self._log_identity == _identity(self._log)
        left = ["-wal", "-shm"] if is_old_log else []
        suffix = f".lost-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        for part in ["", *left] if loss == "cut" else left:
            with contextlib.suppress(OSError):  # it is not there, or another process was faster
                os.replace(f"{self._path}{part}", f"{self._path}{suffix}{part}")
        self._identity = self._log_identity = None


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class FileCheck:
    """Has a ledger look at its file twice a second; a chore of the ledger's writer."""

    def __init__(self, check: Callable[[], None], every_s: float = EVERY_S) -> None:
        self._check = check
        self._every_s = every_s
        self.due_at = time.monotonic() + every_s

    def run(self) -> None:
        """Look at the file."""
        self.due_at = time.monotonic() + self._every_s
        self._check()

    def close(self) -> None:
        """Do nothing: a closed ledger needs no file."""
