"""Mappings of bounded size for names that callers make up: the oldest entries make room."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

MODELS_KEPT = 1000  # models of which something is remembered: callers may make up names

_K = TypeVar("_K")
_V = TypeVar("_V")


def bounded_setdefault(
    known: dict[_K, _V],
    key: _K,
    value: _V,
    *,
    limit: int = MODELS_KEPT,
    may_go: Callable[[_V], bool] | None = None,
) -> _V:
    """Set a value unless the key has one, and return the key's value; safe across threads.

    Where there are `limit` keys, the oldest is removed: of those that `may_go` accepts, if any.
    """
    while key not in known and len(known) >= limit:
        # Another thread may change the mapping between two steps.
        with contextlib.suppress(KeyError, RuntimeError, StopIteration):
            oldest = next(iter(known))
            if may_go is not None:
                oldest = next((each for each in known if may_go(known[each])), oldest)
            del known[oldest]
    return known.setdefault(key, value)
