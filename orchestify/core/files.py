"""Configuration files: which are read, their top-level keys and where each is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestify.core.document import MAX_BYTES, TOO_LARGE, Document, Origin, Place, Places
from orchestify.core.mapping_reader import document_of
from orchestify.core.problems import KeyPath, Problem

SECTIONS = ("providers", "agents")
FILES = (*SECTIONS, "policies")
REQUIRED = "providers"
VAULT = Path(".orchestify") / "vault.json"
HOST_PREFIX = "x-"
NOT_A_MAPPING = "expected a mapping of keys to values"

_SUFFIXES = (".yaml", ".yml")
_SINGULARS = {"providers": "provider", "agents": "agent", "policies": "policy"}
_NO_SUCH = "no such file or directory"


@dataclass(slots=True)
class Origins:
    """Where each key of a configuration is written; `files` holds the file of each top key."""

    places: Places = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def find(self, path: str | Sequence[str | int]) -> Origin | None:
        """Return where a key is written, or None; `path` is `agents.planner.model` or its parts.

        A list's item goes by its index: `budgets.0.name`.
        """
        parts = _resolve(path.split("."), self.places) if isinstance(path, str) else tuple(path)
        origin, depth = self.nearest(parts or ())
        return origin if parts and depth == len(parts) else None

    def nearest(self, path: KeyPath) -> tuple[Origin | None, int]:
        """Return where the innermost written key on the path stands, and its depth, from 1."""
        found: Place | None = None
        places, depth = self.places, 0
        for part in path:
            place = places.get(part)
            if place is None:
                break
            found, places, depth = place, place.inside, depth + 1
        if found is None:
            return None, 0
        return Origin(self.files[str(path[0])], found.line, found.column), depth


@dataclass(slots=True)
class Sources:
    """What was read: the values of all top-level keys, where they stand, and what is wrong.

    `names` are the files, in the order read. `broken` says that a file could not be read to its
    end, so that what seems missing may be there. Relative paths start at `folder`. `misnamed`
    are files of the folder that are not read, each with the name that would be.
    """

    names: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    origins: Origins = field(default_factory=Origins, repr=False)
    problems: list[Problem] = field(default_factory=list)
    broken: bool = False
    folder: Path | None = None
    misnamed: dict[str, str] = field(default_factory=dict)

    def report(self, path: KeyPath, what: str) -> None:
        """Note a problem at a key, or at the innermost key around it that is written."""
        origin, _ = self.origins.nearest(path)
        place = origin or Origin(self.names[0], 0, 0)
        self.problems.append(Problem(place.file, path, what, place.line, place.column))

    def add(self, document: Document, *, may_be_empty: bool = False) -> None:
        """Take over a document's top-level keys."""
        self.names.append(document.name)
        self.problems += document.problems
        self.broken = self.broken or not document.is_whole
        if isinstance(document.data, dict):
            for key, value in document.data.items():
                self._add_key(document, key, value)
        elif document.data is not None:
            self._break(document.name, NOT_A_MAPPING)
        elif document.is_whole and not may_be_empty:
            self._break(document.name, "the file is empty")

    def add_text(self, text: str, name: str, *, may_be_empty: bool = False) -> None:
        """Read a text and take over its top-level keys."""
        from orchestify.core.yaml_reader import compose  # noqa: PLC0415 - brings PyYAML: 10 ms

        self.add(compose(text, name), may_be_empty=may_be_empty)

    def add_file(self, path: Path, *, may_be_empty: bool = False) -> None:
        """Read a file and take over its top-level keys."""
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                self._fail(path, TOO_LARGE)
                return
            text = content.decode("utf-8-sig")
        except OSError as error:
            self._fail(path, f"cannot be read: {(error.strerror or 'no reason given').lower()}")
        except UnicodeDecodeError:
            self._fail(path, "not UTF-8; save it as UTF-8")
        else:
            self.add_text(text, str(path), may_be_empty=may_be_empty)

    def _add_key(self, document: Document, key: str, value: Any) -> None:
        other = self.origins.files.get(key)
        if other is None:
            self.values[key] = value
            self.origins.files[key] = document.name
            self.origins.places[key] = document.places[key]
        elif not key.startswith(HOST_PREFIX):
            place = document.places[key]
            self.problems.append(
                Problem(document.name, (key,), f"also stands in {other}; keep one", *place[:2])
            )

    def _fail(self, path: Path, what: str) -> None:
        self.names.append(str(path))
        self._break(str(path), what)

    def _break(self, name: str, what: str) -> None:
        self.broken = True
        self.problems.append(Problem(name, (), what))


def read(path: Path) -> Sources:
    """Read a directory's files, or one file. Never raises: what is wrong is in `problems`."""
    if path.is_dir():
        return _read_directory(path)
    sources = Sources(folder=path.parent)
    if path.is_file():
        sources.add_file(path)
    else:
        sources.names.append(str(path))
        sources._break(str(path), "not a file" if path.exists() else _NO_SUCH)
    return sources


def file_states(path: Path, vault: str | None = None) -> tuple[object, ...]:
    """Return what tells whether the files at a path have changed since; nothing is read.

    That is their names, times and sizes, and those of the vault: `vault`, else the one beside them.
    """
    stems = [path / (stem + suffix) for stem in FILES for suffix in _SUFFIXES]
    folder = path if path.is_dir() else path.parent
    return tuple(map(_state, [*stems, path, Path(vault) if vault else folder / VAULT]))


def read_text(text: str, name: str) -> Sources:
    """Read one document in memory."""
    sources = Sources()
    sources.add_text(text, name)
    return sources


def read_mapping(values: Mapping[str, Any], name: str) -> Sources:
    """Read a mapping of the host's, made in code."""
    sources = Sources()
    sources.add(document_of(values, name))
    return sources


def _read_directory(path: Path) -> Sources:
    sources = Sources(folder=path)
    missing: Path | None = None
    for stem in FILES:
        found = _named(path, stem)
        singulars = _named(path, _SINGULARS[stem])
        sources.misnamed |= {str(file): stem + _SUFFIXES[0] for file in singulars}
        if len(found) > 1:
            sources._fail(found[1], f"{found[0].name} is there too; keep one")
        elif found:
            sources.add_file(found[0], may_be_empty=stem != REQUIRED)
        elif stem == REQUIRED:
            missing = path / (stem + _SUFFIXES[0])
    if missing is not None and REQUIRED not in sources.values:
        misnamed = _named(path, _SINGULARS[REQUIRED])
        hint = f"; {misnamed[0].name} is there: rename it" if misnamed else ""
        sources._fail(missing, _NO_SUCH + hint)
    return sources


def _state(path: Path) -> tuple[object, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _named(path: Path, stem: str) -> list[Path]:
    return [file for suffix in _SUFFIXES if (file := path / (stem + suffix)).is_file()]


def _resolve(words: Sequence[str], places: Mapping[str | int, Place]) -> KeyPath | None:
    """Find the keys that dotted words stand for; a key may hold dots itself."""
    if not words:
        return ()
    for count in range(1, len(words) + 1):
        word = ".".join(words[:count])
        for key in (word, int(word) if word.isdecimal() else word):
            rest = _resolve(words[count:], places[key].inside) if key in places else None
            if rest is not None:
                return (key, *rest)
    return None
