"""A recording's file: YAML, one exchange after the other, in the order in which they began."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from orchestify.errors import RecordingError
from orchestify.testing.recordings.plain import Plain

VERSION = 1
_HEAD = f"""\
# What providers answered, for tests. `pytest --recordings=all` records it anew.
version: {VERSION}
exchanges:
"""
_Loader: TypeAlias = Any  # which of the two there is depends on how PyYAML was built


class Exchange(NamedTuple):
    """What was asked and what came of it; `line` is where it begins in the file, from 1."""

    form: dict[str, Plain]
    line: int


def as_text(exchange: dict[str, Plain]) -> str:
    """Return an exchange as it stands in the file."""
    return yaml.dump([exchange], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def write(path: Path, exchanges: Iterable[str]) -> None:
    """Write a file of such exchanges, whole or not at all.

    Raises:
        RecordingError: it cannot be written.
    """
    beside = _beside(path)
    try:
        beside.write_text("".join([_HEAD, *exchanges]), encoding="utf-8", newline="\n")
        beside.replace(path)
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {_reason(error)}") from None


def check_writable(path: Path) -> None:
    """Make the file's folder, and see whether files can be written there.

    Raises:
        RecordingError: they cannot.
    """
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {_reason(error)}") from None


def read(path: Path) -> list[Exchange]:
    """Return the exchanges of a file, in its order.

    Raises:
        RecordingError: it cannot be read, or is no recording; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise RecordingError(f"{path} is no recording: it is no UTF-8") from None
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {_reason(error)}") from None
    kind: _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = kind(text)
    try:
        node = loader.get_single_node()
        document = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise RecordingError(f"{path}{line} is no YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecordingError(f"{path} is no YAML") from None
    finally:
        loader.dispose()
    return _exchanges(path, document, node)


def _beside(path: Path) -> Path:
    """The file in which another is written before it takes its place."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def _exchanges(path: Path, document: Plain, node: Any) -> list[Exchange]:
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise RecordingError(f"{path} is no recording: it does not say `version: {VERSION}`")
    listed = document.get("exchanges") or []
    if not isinstance(listed, list) or not all(_is_exchange(each) for each in listed):
        raise RecordingError(f"{path} is no recording: each of its exchanges has ask and request")
    at = next((value for key, value in node.value if key.value == "exchanges"), None)
    lines = [each.start_mark.line + 1 for each in at.value] if listed and at is not None else []
    return [Exchange(*each) for each in zip(listed, lines, strict=True)]


def _is_exchange(form: Plain) -> bool:
    return isinstance(form, dict) and {"ask", "provider", "request"} <= form.keys()


def _reason(error: OSError) -> str:
    return (error.strerror or "no reason given").lower()


# Controls and other line ends, which only escapes in double quotes keep as they are.
_ESCAPED = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _ESCAPED.search(text) else "|" if "\n" in text.strip("\n") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
