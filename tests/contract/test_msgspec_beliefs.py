"""What the lanes believe of msgspec: it reads as `json` does, or refuses what `json` then reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st
from msgspec import DecodeError
from msgspec.json import decode

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))  # no half of a character: see below
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES.map(json.dumps))
def test_it_reads_what_json_writes_as_json_does(text: str) -> None:
    assert repr(decode(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ['"\\ud83d"', '{"\\ude00": 1}', "NaN", "[Infinity]", "1e400"])
def test_it_refuses_what_only_json_reads(text: str) -> None:
    json.loads(text)
    with pytest.raises(DecodeError):
        decode(text)


@pytest.mark.parametrize("text", ["", "[1,]", "01", '"a\nb"', '"\\x"', "[1] 2", "{'a': 1}"])
def test_it_refuses_what_json_refuses(text: str) -> None:
    with pytest.raises(DecodeError):
        decode(text)
    with pytest.raises(ValueError, match=r"line 1|Expecting|Extra|Invalid"):
        json.loads(text)
