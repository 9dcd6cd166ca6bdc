"""A vault in a file, for one machine: JSON that only its owner may read."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestify.errors import VaultError
from orchestify.resources.file_permissions import make_folder
from orchestify.vault.store import VAULT_KEYS, Entry, Place, Sealed

T = TypeVar("T")

VERSION = 1
BUSY_S = 10.0

_OWNER_ONLY = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SQLITE = b"SQLite format 3\0"  # source: sqlite.org/fileformat.html, 1.3.1


class Files(Protocol):
    """The calls by which the file is written: those of `os`."""

    def open(self, path: Path, flags: int, mode: int = ..., /) -> int:
        """Open a file."""
        ...

    def write(self, fd: int, content: bytes, /) -> int:
        """Write what fits."""
        ...

    def fsync(self, fd: int, /) -> None:
        """Wait until a file, or a folder's names, are on the disk."""
        ...

    def replace(self, source: Path, target: Path, /) -> None:
        """Put one file in another's place, in one step."""
        ...


class FileStore:
    """The entries in one JSON file of mode 600.

    A change writes a new file beside it and renames it, so that a crash leaves the old file or
    the new one. Writers wait for each other at a lock, a second file, which outlives them.
    """

    def __init__(self, path: Path, files: Files = os, busy_s: float = BUSY_S) -> None:
        if os.name != "posix":
            raise VaultError(
                "a vault's file needs a system with file modes; use a database, "
                "as in ORCHESTIFY_VAULT=sqlite:///vault.db"
            )
        self.where = str(path)
        self._path = Path(os.path.realpath(path))
        self._files = files
        self._busy_s = busy_s

    def read(self) -> dict[str, Entry] | None:
        """Return the entries by name; None where there is no file."""
        try:
            with self._path.open("rb") as file:
                mode, content = os.fstat(file.fileno()).st_mode, file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VaultError(f"{self.where} cannot be read: {_reason(error)}") from None
        if content.startswith(_SQLITE):
            raise VaultError(
                f"{self.where} is a database of SQLite; write it as sqlite:///{self.where}"
            )
        self._check_mode(mode)
        return self._parsed(content)

    def change(self, work: Callable[[dict[str, Entry]], T]) -> T:
        """Give `work` the entries to change in place, and keep what it made of them."""
        try:
            make_folder(self._path.parent)
            with self._lock():
                before = self.read() or {}
                entries = dict(before)
                result = work(entries)
                if entries != before:
                    self._write(entries)
                return result
        except OSError as error:
            raise VaultError(f"{self.where} cannot be written: {_reason(error)}") from None

    def sealed(self) -> dict[Place, str]:
        """Return every ciphertext by its place."""
        return _sealed(self.read() or {})

    def reseal(self, work: Callable[[Mapping[Place, str]], Mapping[Place, Sealed]]) -> int:
        """Replace ciphertexts by what `work` makes of them, all in one step; return how many."""

        def reseal(entries: dict[str, Entry]) -> int:
            changed = work(_sealed(entries))
            for place, sealed in changed.items():
                entries[place.id] = Entry(sealed.ciphertext, entries[place.id].set_at)
            return len(changed)

        return self.change(reseal) if self._path.exists() else 0

    def close(self) -> None:
        """Do nothing: no file stays open."""

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        import fcntl  # noqa: PLC0415 - not on every system

        until = time.monotonic() + self._busy_s
        lock = self._files.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise VaultError(
                            f"{self.where} is held by another process that writes, for more than "
                            f"{self._busy_s:g} s; try again"
                        ) from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(lock)

    def _write(self, entries: Mapping[str, Entry]) -> None:
        new = self._beside(".new")
        new.unlink(missing_ok=True)  # of a process that was killed; the lock is ours
        fd = self._files.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        try:
            rest = _written(entries)
            while rest:
                rest = rest[self._files.write(fd, rest) :]
            self._files.fsync(fd)
        finally:
            os.close(fd)
        self._files.replace(new, self._path)
        folder = self._files.open(self._path.parent, os.O_RDONLY)
        try:
            self._files.fsync(folder)
        finally:
            os.close(folder)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _check_mode(self, mode: int) -> None:
        if mode & _OTHERS:
            raise VaultError(
                f"{self.where} may be used by others than its owner (mode "
                f"{stat.S_IMODE(mode):03o}); run: chmod 600 {shlex.quote(self.where)}"
            )

    def _parsed(self, content: bytes) -> dict[str, Entry]:
        try:
            document = json.loads(content)
            version = document["version"]
            if version == VERSION:
                return {name: _entry(row) for name, row in document["keys"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise VaultError(
                f"{self.where} is not a vault: its JSON is broken; restore it from a backup"
            ) from None
        raise VaultError(
            f"{self.where} is of version {version}, this orchestify knows {VERSION}; upgrade it"
        )


def _entry(row: Mapping[str, Any]) -> Entry:
    ciphertext = row["ciphertext"]
    if not isinstance(ciphertext, str):
        raise TypeError
    return Entry(ciphertext, datetime.fromisoformat(row["set_at"]))


def _written(entries: Mapping[str, Entry]) -> bytes:
    keys = {
        name: {"ciphertext": entry.ciphertext, "set_at": entry.set_at.isoformat()}
        for name, entry in entries.items()
    }
    return json.dumps({"version": VERSION, "keys": keys}, indent=1).encode() + b"\n"


def _sealed(entries: Mapping[str, Entry]) -> dict[Place, str]:
    return {Place(VAULT_KEYS, name): entry.ciphertext for name, entry in entries.items()}


def _reason(error: OSError) -> str:
    return (error.strerror or "no reason given").lower()
