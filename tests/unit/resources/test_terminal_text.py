from __future__ import annotations

import pytest

from orchestify.resources.terminal_text import without_controls


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb\x1b]0;c\x07", "a[2Jb]0;c"),
        ("a\x9b31mb", "a31mb"),
        ("a\rb\x08c\x7f", "abc"),
        ("a\u202eb\u2066c\u2069", "abc"),
        ("a\u2028b\u2029c", "abc"),
        ("a\ud800b", "ab"),
        ("a\U000e0041b", "ab"),
    ],
)
def test_what_a_terminal_obeys_is_left_out(text: str, shown: str) -> None:
    assert without_controls(text) == shown


@pytest.mark.parametrize("text", ["a\n\tb", "ü 漢字 👩\u200d💻", "שלום\u200f!", "\u00adx"])
def test_all_other_text_stays(text: str) -> None:
    assert without_controls(text) == text
