from __future__ import annotations

import pytest

from orchestify.lanes.failures import MalformedError
from orchestify.lanes.http import sse
from orchestify.lanes.http.sse import ErrorData, EventReader, LargeErrorData


def read(*pieces: bytes) -> list[str | bytearray]:
    reader = EventReader()
    return [data for piece in pieces for data in reader.feed(piece)] + reader.finish()


def test_several_events_come_from_one_piece() -> None:
    assert EventReader().feed(b"data: a\n\ndata: b\n\ndata: c\n\n") == ["a", "b", "c"]


def test_an_event_waits_for_its_end() -> None:
    reader = EventReader()
    assert reader.feed(b"data: a\n") == []
    assert reader.feed(b"\ndata: b") == ["a"]
    assert reader.finish() == ["b"]


STREAM = (
    "\ufeff: hello\r\n\r\n"
    'event: x\r\nid: 7\r\ndata: {"text": "Grüße 🌍"}\r\n\r\n'
    "data:one\r\ndata: two\r\n\r\n"
    "retry: 5\r\n\r\n"
    "data: [DONE]\r\n\r\n"
).encode()
EVENTS = ['{"text": "Grüße 🌍"}', "one\ntwo", "[DONE]"]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_a_cut_anywhere_changes_nothing(size: int, line_end: bytes) -> None:
    body = STREAM.replace(b"\r\n", line_end)
    assert read(*(body[at : at + size] for at in range(0, len(body), size))) == EVENTS


def test_comments_and_keep_alives_are_no_events() -> None:
    assert read(b": OPENROUTER PROCESSING\n\n\n\n\n:\n\ndata: a\n\n") == ["a"]


def test_only_one_space_is_part_of_the_syntax() -> None:
    assert read(b"data:  a\ndata:b\n\n") == [" a\nb"]


def test_a_field_that_begins_like_data_is_none() -> None:
    assert read(b"database: a\n\n") == []


def test_a_last_event_without_a_blank_line_is_read() -> None:
    assert read(b"data: a\n\ndata: [DONE]\n") == ["a", "[DONE]"]
    assert read(b"data: [DONE]\r") == ["[DONE]"]


def test_bytes_that_are_no_utf8_do_not_stop_a_stream() -> None:
    assert read(b"data: \xff\n\ndata: a\n\n") == ["\ufffd", "a"]


def test_a_large_event_is_read_whole() -> None:
    pieces = [b"data: "] + [b"x" * 65_536] * 64 + [b"\n\n"]
    assert [len(data) for data in read(*pieces)] == [64 * 65_536]


def test_an_event_without_end_is_refused() -> None:
    reader = EventReader(1000)
    reader.feed(b"data: " + b"x" * 900)
    with pytest.raises(MalformedError):
        reader.feed(b"x" * 200)


@pytest.mark.parametrize("most", [1, 9, 20, 1_000])
def test_large_events_are_bytes_and_say_the_same(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "LARGE", most)
    body = STREAM + b"event: error\ndata: it failed\n\nevent: error\n\ndata: \xff\n\n: no data\n\n"
    expected = [*EVENTS, "it failed", "", "\ufffd"]
    for size in range(1, len(body) + 1):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        found = read(*pieces)
        assert [_text(data) for data in found] == expected
        if size == 1:  # no event comes with another
            assert [isinstance(data, bytearray) for data in found] == [
                len(_bytes(data)) >= most for data in found
            ]
        failed = [_text(data) for data in found if isinstance(data, (ErrorData, LargeErrorData))]
        assert failed == ["it failed", ""]


def _bytes(data: str | bytearray) -> bytes | bytearray:
    return data.encode() if isinstance(data, str) else data


def _text(data: str | bytearray) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")
