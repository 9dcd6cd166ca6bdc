from __future__ import annotations

from orchestify.lanes.parsing import TextPieces


def test_no_repr_shows_the_text_that_came() -> None:
    text = TextPieces()
    assert text.add("what the model said\ud83d") == "what the model said"
    assert repr(text) == "TextPieces()"
    assert text.add("\ude00") == "😀"
    assert str(text) == "what the model said😀"
