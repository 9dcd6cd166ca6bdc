"""Files and folders that only their owner may use: modes 600 and 700."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = ".orchestify"
"""The default folder of vaults, databases and records that wait to be written."""


def make_private(path: Path) -> None:
    """Make an empty file of mode 600 where there is none, in a folder of `make_folder`.

    SQLite would make it as the umask says; what it puts beside it gets the file's own mode.

    Raises:
        OSError: it cannot be made.
    """
    make_folder(path.parent)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def make_folder(folder: Path) -> None:
    """Make a folder of mode 700 where there is none; a new `.orchestify` is kept out of git.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.name == FOLDER:
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
