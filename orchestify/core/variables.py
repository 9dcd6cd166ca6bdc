"""Variables in values: `${VAR}`, `${VAR:-default}`, `$<VAR>`, `env:VAR`, `os.environ/VAR`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from orchestify.core.problems import KeyPath
from orchestify.core.scalars import PlainText, VariableText

MALFORMED = "a variable is written ${NAME} or ${NAME:-default}; write $${ for a literal ${"

NOT_SUBSTITUTED = "not read as a variable and sent as it stands; a variable is written ${NAME}"

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_WHOLE_PREFIXES = ("env:", "os.environ/")
_WHOLE = re.compile(rf"(?:env:|os\.environ/)({_NAME})")
_REFERENCE = re.compile(
    r"(?P<literal>\$\$\{)"
    rf"|\$\{{(?P<name>{_NAME})(?::-(?P<default>(?:[^}}$]|\$(?!\{{))*))?\}}"
    rf"|\$<(?P<angled>{_NAME})>"
    r"|(?P<malformed>\$\{)"
)


# Variables as shells, templates and programs write them: copied from there, they are filled by
# nobody. A lower-case word after a $ may be a key.
_FOREIGN = re.compile(
    r"\$[A-Z_][A-Z0-9_]*|\$\(\w+\)|\$env:\w+|%\w+%|\{\{.*\}\}|<%.*%>"
    r"|process\.env\.\w+|os\.environ[.[].*|os\.getenv\(.*\)"
)


class _Absent:
    """Stands for a value whose variable is not set; it is left out of what holds it."""


_ABSENT: Final = _Absent()


def may_hold_variable(text: str) -> bool:
    """Say whether a text may hold a variable; quick, and never wrongly no."""
    return "$" in text or text.startswith(_WHOLE_PREFIXES)


def is_foreign_variable(text: object) -> bool:
    """Say whether a whole text, `Bearer` aside, is a variable in another program's notation."""
    return isinstance(text, str) and bool(_FOREIGN.fullmatch(text.strip().removeprefix("Bearer ")))


@dataclass(slots=True)
class Variables:
    """Substitutes variables, once, and remembers which are not set and which are malformed.

    A variable set to nothing counts as unset. `unset` holds the key's path and the variable's
    name, in document order. With `all_plain`, every text counts as unquoted (values in code).
    """

    environ: Mapping[str, str]
    all_plain: bool = False
    unset: list[tuple[KeyPath, str]] = field(default_factory=list)
    malformed: list[KeyPath] = field(default_factory=list)

    def substitute(self, value: Any, path: KeyPath = ()) -> Any:
        """Return a copy of `value` with its variables substituted; what is unset is left out."""
        substituted = self._substitute(value, path)
        return None if substituted is _ABSENT else substituted

    @property
    def unset_names(self) -> tuple[str, ...]:
        """The names of the variables that are not set, in document order."""
        return tuple(dict.fromkeys(name for _, name in self.unset))

    def _substitute(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, str):
            return self._text(value, path) if may_hold_variable(value) else value
        if isinstance(value, Mapping):
            pairs = ((key, self._substitute(inner, (*path, key))) for key, inner in value.items())
            return {key: substituted for key, substituted in pairs if substituted is not _ABSENT}
        if isinstance(value, (list, tuple)):
            items = (self._substitute(inner, (*path, index)) for index, inner in enumerate(value))
            return [substituted for substituted in items if substituted is not _ABSENT]
        return value

    def _text(self, text: str, path: KeyPath) -> str | _Absent | None:
        whole = _WHOLE.fullmatch(text)
        if whole:
            substituted = self._look_up(whole[1], None, path)
            return self._alone(substituted, text)
        found = _REFERENCE.match(text)
        if found and found.end() == len(text) and not found["literal"]:
            return self._alone(self._reference(found, path), text)
        return self._mixed(text, path)

    def _alone(self, substituted: str | _Absent, text: str) -> str | _Absent | None:
        plain = self.all_plain or isinstance(text, PlainText)
        if isinstance(substituted, _Absent):
            return substituted
        if not plain:
            return VariableText(substituted)
        return PlainText(substituted) if substituted else None

    def _mixed(self, text: str, path: KeyPath) -> str | _Absent:
        pieces: list[str] = []
        absent = False
        end = 0
        for found in _REFERENCE.finditer(text):
            piece = self._reference(found, path)
            absent = absent or isinstance(piece, _Absent)
            pieces += [text[end : found.start()], "" if isinstance(piece, _Absent) else piece]
            end = found.end()
        return _ABSENT if absent else "".join([*pieces, text[end:]])

    def _reference(self, found: re.Match[str], path: KeyPath) -> str | _Absent:
        if found["literal"]:
            return "${"
        if found["malformed"]:
            self.malformed.append(path)
            return _ABSENT
        return self._look_up(found["name"] or found["angled"], found["default"], path)

    def _look_up(self, name: str, default: str | None, path: KeyPath) -> str | _Absent:
        value = self.environ.get(name) or default
        if value is None:
            self.unset.append((path, name))
            return _ABSENT
        return value
