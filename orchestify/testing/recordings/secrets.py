"""Keys struck out of what a file holds, also where a stream cuts them into pieces."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.redaction import KEY_LIKE, secrets_of
from orchestify.testing.recordings.plain import Plain, map_texts
from orchestify.testing.recordings.requests import STRUCK

_SHORTEST = 8  # what is shorter is no key, and stands in words
_REQUEST_ID = re.compile(r"\breq[_-][\w-]{6,}")
_DELTAS = ("text", "thinking", "partial_json")


class Secrets:
    """The keys of the providers that are recorded; they, and what looks like a key, are struck."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def learn(self, config: ProviderConfig) -> None:
        """Know the keys and headers of a provider's configuration."""
        keys = [each.get_secret_value() for each in config.keys]
        self._known |= {each for each in (*secrets_of(config), *keys) if len(each) >= _SHORTEST}

    def struck(self, value: Plain) -> Plain:
        """Return a plain value without keys and ids of requests."""
        return map_texts(value, lambda text: self._struck([text])[0])

    def struck_pieces(self, pieces: Sequence[Plain]) -> list[Plain]:
        """Return a stream's pieces without them, where several pieces make one as well."""
        whole: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
        for at, piece in enumerate(pieces):
            for series, path in _texts_in(piece):
                whole[series].append((at, path))
        struck = list(pieces)
        for places in whole.values():
            texts = self._struck([_at(pieces[at], path) for at, path in places])
            for (at, path), text in zip(places, texts, strict=True):
                struck[at] = _with(struck[at], path, text)
        return [self.struck(piece) for piece in struck]

    def _struck(self, texts: Sequence[str]) -> list[str]:
        """Return texts that follow each other; what is struck stands where it began."""
        spans = self._spans("".join(texts))
        found, begin = [], 0
        for text in texts:
            end, kept, at = begin + len(text), "", begin
            for first, last in spans:
                if first < end and last > begin:
                    kept += text[at - begin : max(first - begin, 0)]
                    kept += STRUCK if first >= begin else ""
                    at = min(last, end)
            found.append(kept + text[at - begin :])
            begin = end
        return found

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Return where something is to be struck, in order, none overlapping another."""
        known = "|".join(map(re.escape, sorted(self._known, key=len, reverse=True)))
        patterns = [KEY_LIKE, _REQUEST_ID, *([re.compile(known)] if known else ())]
        merged: list[tuple[int, int]] = []
        for first, last in sorted(each.span() for one in patterns for each in one.finditer(text)):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        return merged


def _texts_in(piece: Plain) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield where a piece has text that others go on with, and what tells which others."""
    for name in ("text", "thinking"):
        if isinstance(piece.get(name), str):
            yield name, (name,)
    call, native = piece.get("tool_call"), piece.get("native")
    if call is not None and "arguments" in call:
        yield f"call {call.get('index')}", ("tool_call", "arguments")
    delta = None if native is None else native.get("delta")
    if isinstance(delta, str):
        yield f"native {native.get('type')}", ("native", "delta")
    elif isinstance(delta, dict):
        for name in _DELTAS:
            if isinstance(delta.get(name), str):
                yield f"native {name} {native.get('index')}", ("native", "delta", name)


def _at(piece: Plain, path: tuple[str, ...]) -> str:
    for name in path:
        piece = piece[name]
    return str(piece)


def _with(piece: Plain, path: tuple[str, ...], text: str) -> Plain:
    """Return a piece with another text at a path."""
    if not path:
        return text
    return {**piece, path[0]: _with(piece[path[0]], path[1:], text)}
