"""JSON as providers send it: parsed within bounds, and turned into text that can be encoded."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestify.core.providers import AnswerBounds
from orchestify.lanes.large_json import STEP, WINDOW, Body, OversizeError, parse_in_steps, steps_of

MAX_DEPTH = 100
LARGE = 1 << 18
"""Bytes or characters from which on an answer is read in a thread."""

_HALF_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")
_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # of one character
_ESCAPE = 5  # bytes of it less one


BOUNDS = AnswerBounds()


def parse_json(text: str | Body, bounds: AnswerBounds = BOUNDS) -> Any:
    """Return the value of a JSON text, which is bytes only where it is large.

    A number that is too long for Python to convert becomes an infinite float: it is a decoration,
    or a count that cannot be true.

    Raises:
        OversizeError: it may hold more objects and arrays, or one of them more members, than
            `bounds` allow.
        ValueError: it is no JSON, or nested more than 100 deep.
    """
    if len(text) >= LARGE or not isinstance(text, str):
        return _parse_large(text, bounds)
    brackets = text.count("{") + text.count("[")
    if brackets > bounds.max_json_objects:
        raise OversizeError(f"the answer has more than {bounds.max_json_objects:,} JSON objects")
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        parsed = _LENIENT.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if brackets > MAX_DEPTH and _is_deeper(parsed, MAX_DEPTH):
        raise ValueError("nested too deep")
    return parsed


def _parse_large(text: str | Body, bounds: AnswerBounds) -> Any:
    if isinstance(text, str):
        steps = steps_of(text)
        brackets = sum(part.count("{") + part.count("[") for part in steps_of(text))
    else:
        steps = _decoded(text)
        brackets = sum(part.count(b"{") + part.count(b"[") for part in steps_of(text))
    if brackets > bounds.max_json_objects:
        raise OversizeError(f"the answer has more than {bounds.max_json_objects:,} JSON objects")
    parsed = parse_in_steps(steps, _LENIENT, MAX_DEPTH, bounds.max_json_objects)
    if _is_deeper(parsed, MAX_DEPTH):
        raise ValueError("nested too deep")
    return parsed


def parse_whole(body: Body, bounds: AnswerBounds = BOUNDS) -> Any:
    """Return the value of a JSON body; all of its texts can be encoded. Raises as `parse_json`."""
    is_large = len(body) >= LARGE
    parsed = parse_json(body if is_large else body.decode("utf-8-sig", "replace"), bounds)
    if is_large or b"\\u" in body:
        return encodable(parsed) if _has_half_escaped(body) else parsed
    return parsed


def _decoded(body: Body) -> Iterator[str]:
    """Yield a large body as text; bytes that are no UTF-8 become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    for step in steps_of(body):
        yield decoder.decode(step)
    yield decoder.decode(b"", final=True)


def _has_half_escaped(body: Body) -> bool:
    """Whether half a character may be escaped in a body, as both halves of an emoji are."""
    starts = range(0, len(body), STEP)
    return any(_HALF_ESCAPED.search(body, at, at + STEP + _ESCAPE) for at in starts)


def encodable(value: Any) -> Any:
    """Make the texts of a parsed value such as can be encoded as UTF-8, and return it."""
    if isinstance(value, str):
        return encodable_text(value)
    if isinstance(value, dict):
        for name, each in value.items():
            value[name] = encodable(each)
        if any(encodable_text(name) is not name for name in value):
            members = [(encodable_text(name), each) for name, each in value.items()]
            value.clear()
            value.update(members)
    elif isinstance(value, list):
        for at, each in enumerate(value):
            value[at] = encodable(each)
    return value


def encodable_text(text: str) -> str:
    """Join the halves of characters that JSON escapes apart; a half alone becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        for part in steps_of(text):
            part.encode()
    except UnicodeEncodeError:
        return "".join(_whole_characters(text))
    return text


def _whole_characters(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = at + WINDOW
        if _HALVES.match(text, end - 1):
            end += 1
        part = text[at:end].encode("utf-16-le", "surrogatepass")
        yield part.decode("utf-16-le", "replace")
        at = end


@dataclass(slots=True)
class TextPieces:
    """Text that comes in pieces, of which two may share a character.

    The first half of a character at the end of a piece waits for the next one; where none comes
    it is left out.
    """

    pieces: list[str] = field(default_factory=list, repr=False)
    half: str = field(default="", repr=False)

    def add(self, piece: str) -> str:
        """Add a piece and return the text that it completes."""
        if self.half or not piece.isascii():
            piece, self.half = self.half + piece, ""
            if "\ud800" <= piece[-1] <= "\udbff":
                piece, self.half = piece[:-1], piece[-1]
            piece = encodable_text(piece)
        if piece:
            self.pieces.append(piece)
        return piece

    def __bool__(self) -> bool:
        return bool(self.pieces)

    def __str__(self) -> str:
        return "".join(self.pieces)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 1_000 else float(digits)


_LENIENT = json.JSONDecoder(parse_int=_integer)


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(depth):
        children = (each.values() if isinstance(each, dict) else each for each in level)
        level = [child for each in children for child in each if child.__class__ in (dict, list)]
        if not level:
            return False
    return True
