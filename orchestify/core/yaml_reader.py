"""The YAML reader: one text to plain data, with the line and column of every key.

Built from the C parser's events: the composers of PyYAML recurse in C, crash the process at
100,000 nested brackets and take seconds for megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import yaml

from orchestify.core.document import MAX_BYTES, MAX_DEPTH, TOO_LARGE, Document, Place, Places
from orchestify.core.problems import MOST_SHOWN, KeyPath, Problem
from orchestify.core.scalars import PlainText, core_scalar
from orchestify.core.variables import may_hold_variable

MAX_ALIASED = 10_000  # nodes, all aliases of a document together

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_LIBYAML_TOO_DEEP = "exceeded maximum nesting depth"  # of 1,000 levels, since PyYAML 6.0.4
_MERGE = "<<"
_TAB = "a tab cannot indent; use blanks"
_VARIABLE = "a variable is written ${NAME}"

# What libyaml says, and what is meant; it may quote nothing of the text, and neither do these.
_FAULTS = {
    "found unexpected end of stream": "this quote is not closed",
    "did not find expected ',' or ']'": "this [ is not closed, or a comma is missing in the list",
    "did not find expected ',' or '}'": "this { is not closed, or a comma is missing after a value",
    "could not find expected ':'": "expected a colon and a blank after this key",
    "mapping values are not allowed in this context": "a second colon in one value, or a key "
    "indented too deep; put a value with a colon in quotes",
    "did not find expected key": "expected a key; it is indented differently from those above, or "
    "a quote before it ends too early",
    "did not find expected '-' indicator": "expected a - as before the list's other items",
    "block sequence entries are not allowed in this context": "a list's - stands on its own line",
    "found unknown escape character": "a backslash in double quotes must be doubled, or put the "
    "text in single quotes",
    "did not find expected node content": "expected a value, not a bracket or comma",
}
_AT_BEGINNING = ("this ", "expected a colon")  # told where the quote, bracket or key begins
_CANNOT_BEGIN = "found character that cannot start any token"


def compose(text: str, name: str) -> Document:
    """Read one YAML document. Never raises: what is wrong is in `problems`.

    Depth, size and expanded aliases are limited and checked while reading, so that a hostile
    text costs no more than a long one.
    """
    composer = _Composer(name)
    is_whole = False
    text = text.removeprefix("\ufeff")
    try:
        composer.read(text)
        is_whole = True
    except yaml.YAMLError as error:
        composer.report_syntax(error, text)
    except _Stopped:
        pass
    return Document(name, composer.data, composer.places, tuple(composer.problems), is_whole)


class _Stopped(Exception):  # noqa: N818  # no error: the problem has been noted
    """Reading ends here."""


class _Node(NamedTuple):
    """A complete value; `size` and `height` are what an alias to it adds."""

    value: Any
    places: Places
    size: int = 1
    height: int = 0


@dataclass(slots=True)
class _Collection:
    """A mapping or list whose end has not been seen; `place` is the key's or item's at hand."""

    value: Any
    anchor: str | None
    start: tuple[int, int]
    places: Places = field(default_factory=dict)
    key: str | int | None = None
    place: tuple[int, int] = (0, 0)
    kept: bool = True
    merging: bool = False
    merged: list[tuple[_Node, tuple[int, int]]] = field(default_factory=list)
    size: int = 1
    height: int = 1

    @property
    def awaits_key(self) -> bool:
        return self.key is None and isinstance(self.value, dict)

    def is_at(self, line: int, column: int) -> bool:
        return self.start == (line, column)


class _Composer:
    """One reading: events in, data and places out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data: Any = None
        self.places: Places = {}
        self.problems: list[Problem] = []
        self._open: list[_Collection] = []
        self._anchors: dict[str, _Node | None] = {}  # None: its end has not been seen
        self._aliased = 0

    def read(self, text: str) -> None:
        for event in yaml.parse(self._checked(text), Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentEndEvent):
                self._refuse_more(text, event.end_mark)
                break

    def report_syntax(self, error: yaml.YAMLError, text: str) -> None:
        """Note where the YAML breaks, and why."""
        what, place = "unreadable", (0, 0)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            what, mark = _syntax_fault(error, error.problem_mark, text)
            place = _at(mark)
        elif isinstance(error, yaml.reader.ReaderError):
            before = text.encode()[: error.position].decode(errors="ignore")
            what = "a character that YAML does not allow"
            place = before.count("\n") + 1, len(before) - before.rfind("\n")
        said = _TOO_DEEP if what == _LIBYAML_TOO_DEEP else f"not valid YAML: {what}"
        self.problems.append(Problem(self.name, (), said, *place))

    def _checked(self, text: str) -> bytes:
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            self._stop("not valid Unicode text")
        if len(encoded) > MAX_BYTES:
            self._stop(TOO_LARGE)
        if next(_content_lines(text), "").startswith("%"):
            self._stop("a directive (%) is not read; remove it")  # libyaml: quadratic in them
        return encoded

    def _refuse_more(self, text: str, end: Any) -> None:
        if any(line != "..." for line in _content_lines(text[end.index :])):
            self._stop("a second document begins here; keep one", _at(end))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_tag(event)
        if self._open and self._open[-1].awaits_key:
            self._begin_value(self._open[-1], event)
            return
        node = _Node(_plain(event.value) if event.implicit[0] else event.value, {})
        if event.anchor:
            self._anchors[event.anchor] = node
        self._add(node, _at(event.start_mark))

    def _begin_value(self, mapping: _Collection, event: yaml.ScalarEvent) -> None:
        mapping.key, mapping.place = event.value, _at(event.start_mark)
        mapping.merging = event.value == _MERGE and event.implicit[0]
        mapping.kept = not (mapping.merged if mapping.merging else event.value in mapping.value)
        if not event.value:
            self._report("a key is missing", mapping.place)
        elif not mapping.kept:
            self._report("duplicate key; keep one", mapping.place)

    def _begin(self, event: Any) -> None:
        start = _at(event.start_mark)
        self._refuse_tag(event)
        if len(self._open) >= MAX_DEPTH:
            self._stop(_TOO_DEEP, start)
        if self._open and self._open[-1].awaits_key:
            is_braces = self._open[-1].is_at(start[0], start[1] - 1)
            what = "expected a key, not a list or mapping"
            self._stop(f"{what}; {_VARIABLE}" if is_braces else what, start)
        if event.anchor:
            self._anchors[event.anchor] = None
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Collection({} if is_mapping else [], event.anchor, start))

    def _end(self) -> None:
        done = self._open[-1]
        for node, place in done.merged:
            self._merge(done, node, place)
        self._open.pop()
        node = _Node(done.value, done.places, done.size, done.height)
        if done.anchor:
            self._anchors[done.anchor] = node
        self._add(node, done.start)

    def _alias(self, event: yaml.AliasEvent) -> None:
        place = _at(event.start_mark)
        if self._open and self._open[-1].awaits_key:
            self._stop("expected a key, not an alias", place)
        node = self._anchors.get(str(event.anchor))
        if node is None:
            cyclic = event.anchor in self._anchors
            self._report(
                "an alias inside what it names" if cyclic else "an alias without an anchor above",
                place,
            )
            node = _Node(None, {})
        self._aliased += node.size
        if self._aliased > MAX_ALIASED:
            self._stop(f"aliases expand to more than {MAX_ALIASED:,} nodes", place)
        if len(self._open) + node.height > MAX_DEPTH:
            self._stop(_TOO_DEEP, place)
        self._add(node, place)

    def _add(self, node: _Node, place: tuple[int, int]) -> None:
        if not self._open:
            self.data, self.places = node.value, node.places
            return
        parent = self._open[-1]
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if isinstance(parent.value, list):
            parent.places[len(parent.value)] = Place(*place, node.places)
            parent.value.append(node.value)
            return
        if parent.kept and parent.merging:
            parent.merged.append((node, parent.place))
        elif parent.kept and parent.key:
            parent.value[parent.key] = node.value
            parent.places[parent.key] = Place(*parent.place, node.places)
        parent.key = None

    def _merge(self, mapping: _Collection, node: _Node, place: tuple[int, int]) -> None:
        """Take over the keys of a `<<`; those written, and those merged earlier, win."""
        sources = [node]
        if isinstance(node.value, list):
            sources = [
                _Node(value, node.places[index].inside) for index, value in enumerate(node.value)
            ]
        for source in sources:
            if not isinstance(source.value, dict):
                self._report("expected a mapping, or a list of them, after <<", place)
                return
            for key, value in source.value.items():
                if key not in mapping.value:
                    mapping.value[key] = value
                    mapping.places[key] = source.places[key]

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self._report("a tag (!) is not read; remove it", _at(event.start_mark))

    def _report(self, what: str, place: tuple[int, int] = (0, 0)) -> None:
        self.problems.append(Problem(self.name, self._path(), what, *place))
        if len(self.problems) > MOST_SHOWN:
            raise _Stopped

    def _stop(self, what: str, place: tuple[int, int] = (0, 0)) -> NoReturn:
        self._report(what, place)
        raise _Stopped

    def _path(self) -> KeyPath:
        """The keys on the way to what is being read."""
        keys = (len(at.value) if isinstance(at.value, list) else at.key for at in self._open)
        return tuple(key for key in keys if key is not None)


def _syntax_fault(error: yaml.MarkedYAMLError, mark: Any, text: str) -> tuple[str, Any]:
    """Say what is wrong with the YAML, and at which mark; in libyaml's words where ours lack."""
    problem = str(error.problem)
    if text.startswith("\t", mark.index):
        return _TAB, mark
    if text[max(mark.index - 1, 0) : mark.index + 1] == "${":
        return "between brackets or braces, ${NAME} stands in quotes", mark
    if problem == _CANNOT_BEGIN:
        hint = f"; {_VARIABLE}" if text.startswith("%", mark.index) else ""
        return f"a value that begins with %, @ or ` stands in quotes{hint}", mark
    what = _FAULTS.get(problem, problem)
    is_at_beginning = error.context_mark is not None and what.startswith(_AT_BEGINNING)
    return what, error.context_mark if is_at_beginning else mark


def _plain(text: str) -> Any:
    return PlainText(text) if may_hold_variable(text) else core_scalar(text)


def _at(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _content_lines(text: str) -> Iterator[str]:
    """Iterate the lines that are neither empty nor comments, stripped."""
    stripped = (line.strip() for line in text.splitlines())
    return (line for line in stripped if line and not line.startswith("#"))
