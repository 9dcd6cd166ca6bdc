"""Texts of others, without what a terminal obeys or what makes them read as something else."""

from __future__ import annotations

import re

# Control characters but line feed and tab (escape sequences begin with one), line and paragraph
# separators, overrides and isolates of direction, halves of surrogate pairs, invisible tags.
# Sources: ECMA-48; Unicode Technical Report 36, 2.4 "Bidirectional Text Spoofing".
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)


def without_controls(text: str) -> str:
    """Return a text without characters that control how it is shown."""
    return CONTROLS.sub("", text)
