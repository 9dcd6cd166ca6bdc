"""Which file a recording is in: the one that is named, or that of the test that runs."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Protocol, cast

from orchestify.errors import InvalidParameterError
from orchestify.testing.recordings.recording import Mode, Recordings

_PLUGIN = "pytest_orchestify"
_SUFFIXES = (".yaml", ".yml")
_ODD = re.compile(r"[^A-Za-z0-9_.\[\]-]+")
_NAME_CHARS = 100


class RunningTest(Protocol):
    """The test that runs in this process, as the pytest plugin tells it.

    `opened` holds its recordings by their files: all its registries share them.
    """

    path: Path
    name: str
    mode: Mode
    opened: dict[Path, Recordings]


def opened(recordings: str | Path | Recordings) -> Recordings:
    """Return a recording: itself, that of a `.yaml` file, or in a folder that of the running test.

    Within a test run by pytest `--recordings` says how, and a file is opened once; elsewhere it is
    recorded once.

    Raises:
        InvalidParameterError: a folder is named, and no test runs.
        RecordingError: the file cannot be read, or is no recording.
    """
    if isinstance(recordings, Recordings):
        return recordings
    path, test = Path(recordings), _running_test()
    if path.suffix not in _SUFFIXES:
        if test is None:
            raise InvalidParameterError(
                f"recordings: {path} is a folder, in which pytest's tests have a file each, and no "
                "test runs; name a file that ends in .yaml"
            )
        path = file_of(path, test.path, test.name)
    if test is None:
        return Recordings(path)
    place = path.absolute()
    if place not in test.opened:
        test.opened[place] = Recordings(path, test.mode)
    return test.opened[place]


def file_of(folder: Path, test_path: Path, name: str) -> Path:
    """Return the file of a test in a folder: by the test's module and its name there.

    A module below the folder's parent is known by where it is there, another by its name alone.
    Names that make no file's, or a long one, are told apart by a digest.
    """
    parent = folder.absolute().parent
    module = test_path.with_suffix("")
    is_below = module.is_relative_to(parent)
    below = module.relative_to(parent) if is_below else Path(module.name)
    plain_name = _ODD.sub("_", name)[:_NAME_CHARS]
    if plain_name != name:
        plain_name += f"-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return folder / below / f"{plain_name}.yaml"


def _running_test() -> RunningTest | None:
    plugin = sys.modules.get(_PLUGIN)
    return cast("RunningTest | None", getattr(plugin, "RUNNING", None))
