"""What goes out is what `json` writes, and what it refuses is refused."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, strategies as st

from orchestify.lanes.encoding import json_of


class Word(Enum):
    ONE = "one"


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
)
ODD = st.sampled_from([b"bytes", date(2026, 1, 31), Decimal(1), Word.ONE, {1}, (1, "two"), 1j])
NAMES = st.text(st.characters(exclude_categories=())) | st.integers() | st.none() | st.binary()
VALUES = st.recursive(
    SCALARS | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def by_json(body: Any) -> Any:
    """The body as `json` writes it, read again; None where it refuses it."""
    try:
        written = json.dumps(body, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return json.loads(written.encode("utf-8", "replace"))


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_it_is_what_json_writes(body: dict[Any, Any]) -> None:
    written = json_of(body)
    assert (None if written is None else json.loads(written)) == by_json(body)


@pytest.mark.parametrize("is_list", [True, False])
def test_what_goes_too_deep_or_round_is_refused(is_list: bool) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep] if is_list else {"in": deep}
    assert json_of({"schema": deep}) is None
    cyclic: Any = {}
    cyclic["in"] = [cyclic] if is_list else cyclic
    assert json_of(cyclic) is None
