"""What a docstring says of a function and its parameters: Google's, NumPy's or Sphinx's style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

_SECTIONS = re.compile(
    r"^(?:(?:Args|Arguments|Parameters|Returns|Yields|Raises):[ \t]*$"
    r"|(?:Parameters|Returns|Yields|Raises)[ \t]*\n-{3,}[ \t]*$"
    r"|:(?:param|parameter|type|returns?|rtype|raises?)\b)",
    re.MULTILINE,
)
_GOOGLE = re.compile(
    r"^(?:Args|Arguments|Parameters):[ \t]*\n((?:[ \t]+.*(?:\n|\Z)|[ \t]*\n)*)", re.MULTILINE
)
_GOOGLE_ENTRY = re.compile(r"(\w+)(?:[ \t]*\(.*?\))?:[ \t]*(.*)")
_NUMPY = re.compile(
    r"^Parameters[ \t]*\n-{3,}[ \t]*\n(.*?)(?=^\w[^\n]*\n-{3,}[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
_NUMPY_ENTRY = re.compile(r"(\w+)(?:[ \t]*:.*)?()")
_SPHINX = re.compile(
    r"^:param(?:eter)?[ \t]+(?:[^:\n]*[ \t])?(\w+):(.*(?:\n[ \t]+.*)*)", re.MULTILINE
)


def described(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Return what stands before the sections, and each parameter's description by its name."""
    text = inspect.cleandoc(docstring or "")
    first = _SECTIONS.search(text)
    return text[: first.start() if first else None].strip(), dict(_parameters(text))


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    for section, entry in ((_GOOGLE, _GOOGLE_ENTRY), (_NUMPY, _NUMPY_ENTRY)):
        found = section.search(text)
        if found:
            yield from _entries(inspect.cleandoc("\n" + found[1]), entry)
    for each in _SPHINX.finditer(text):
        yield each[1], _joined(each[2].splitlines())


def _entries(section: str, entry: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Iterate the parameters of a section; what is indented goes on with the one before."""
    name, lines = "", [""]
    for line in section.splitlines():
        found = entry.fullmatch(line)
        if found is None:
            lines.append(line)
            continue
        if name:
            yield name, _joined(lines)
        name, lines = found[1], [found[2]]
    if name:
        yield name, _joined(lines)


def _joined(lines: list[str]) -> str:
    return " ".join(filter(None, (line.strip() for line in lines)))
