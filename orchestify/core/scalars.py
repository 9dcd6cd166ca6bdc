"""Scalars of YAML 1.2's core schema: numbers, booleans, null and text."""

from __future__ import annotations

import re
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMBER_BEGINS = frozenset("+-.0123456789")
_LONGEST_NUMBER = 300  # longer ones stay text: they fit no field and cost quadratic time
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


class VariableText(str):
    """The value of a variable that is a whole scalar; fields of other types than text reread it.

    It must, also in quotes: between braces, YAML does not let `${A}` stand without them.
    """

    __slots__ = ()


class PlainText(VariableText):
    """The same where the scalar is unquoted; free-form data rereads it too."""

    __slots__ = ()


def core_scalar(text: str) -> Scalar:
    """Return what a plain scalar means: null, a boolean, a number or the text itself.

    `yes`, `on` and dates are text. Source: YAML 1.2.2, section 10.3.2.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_BEGINS or len(text) > _LONGEST_NUMBER:
        return str(text)
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return str(text)


def reread(value: object) -> object:
    """Return the meaning of a variable's text that was a whole scalar; other values as they are."""
    return core_scalar(value) if isinstance(value, VariableText) else value
