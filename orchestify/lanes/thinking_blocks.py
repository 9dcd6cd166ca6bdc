"""Blocks of thinking as a provider wants to see them again, put together from their pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestify.lanes.parsing import encodable

_GROWING = ("text", "summary", "data", "thinking")


class ThinkingBlocks:
    """The blocks of one answer in the order they came; a piece continues the block before it.

    It does where type and index are the same. Pieces are joined once, at the end.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[dict[str, Any], dict[str, list[Any]]]] = []

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def begin(self, block: Mapping[str, Any]) -> None:
        """Add a block that continues none."""
        self._blocks.append((dict(block), {}))

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add a piece of a block, or a whole one."""
        last = self._blocks[-1][0] if self._blocks else None
        if last is None or any(last.get(name) != piece.get(name) for name in ("type", "index")):
            last = {name: piece.get(name) for name in ("type", "index") if name in piece}
            self._blocks.append((last, {}))
        growing = self._blocks[-1][1]
        for name, value in piece.items():
            if name in _GROWING and value:
                growing.setdefault(name, []).append(value)
            if value is not None or name not in last:
                last[name] = value

    def whole(self) -> tuple[dict[str, Any], ...]:
        """Return the blocks."""
        return tuple(
            encodable(fields | {name: _joined(pieces) for name, pieces in growing.items()})
            for fields, growing in self._blocks
        )


def _joined(pieces: list[Any]) -> Any:
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return [each for piece in pieces for each in piece]
    return pieces[-1]
