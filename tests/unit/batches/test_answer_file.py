"""The file of answers and its journal: what is read of them again, and what the disk refuses."""

from __future__ import annotations

import errno
import os
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestify.batches.answer_file import AnswerFile, State, Usage
from orchestify.errors import BatchFileError

DIGESTS = [0x11, 0x22, 0x33]
LINE = '{"index":0,"request":"0000000000000011","id":null,"custom_id":"a","response":null,'
ANSWER = LINE + '"error":null}\n'


def opened(folder: Path, files: Any = os) -> AnswerFile:
    file = AnswerFile(folder / "out.jsonl", DIGESTS, files)
    file.open()
    return file


def told(folder: Path) -> str:
    with pytest.raises(BatchFileError) as raised:
        opened(folder)
    return str(raised.value).replace(f"{folder}/", "")


def answer(text: str = "Hi") -> dict[str, Any]:
    return {"custom_id": "a", "response": {"body": {"usage": {}, "text": text}}, "error": None}


class FullDisk:
    """The calls of `os`; what is written after `room` bytes does not fit."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, content: bytes) -> int:
        fits = content[: self.room]
        if not fits:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(fits)
        return os.write(fd, fits)


def test_what_has_ended_is_known_again(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.begin(0)
    file.begin(1)
    usage = Usage(10, 5, 0.1)
    line = answer()
    line["response"]["body"]["usage"] = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.1}
    file.add(0, line, State.ANSWERED, usage)
    error = {"code": "RateLimitError", "message": "no"}
    file.add(1, {"custom_id": "b", "response": None, "error": error}, State.FAILED)
    before = file.tally
    file.close()
    again = opened(tmp_path)
    assert again.tally == before
    assert (again.tally.answered, again.tally.failed, again.tally.total) == (1, 1, 3)
    assert again.tally.cost_usd == Decimal("0.1")
    assert list(again.states) == [State.ANSWERED, State.FAILED, State.OPEN]
    again.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    file = opened(tmp_path)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    file.close()
    assert modes == {0o600}


def test_the_journal_holds_places_and_no_texts(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.begin(0)
    file.begin(2)
    file.take_back(0)
    file.close()
    journal = (tmp_path / "out.jsonl.journal").read_text()
    assert journal == "sent 0 0000000000000011\nsent 2 0000000000000033\nunsent 0\n"


def test_what_was_sent_and_has_no_answer_is_unsettled_until_it_is_told(tmp_path: Path) -> None:
    file = opened(tmp_path)
    for place in range(3):
        file.begin(place)
    file.add(1, answer(), State.ANSWERED, Usage())
    file.take_back(2)
    file.close()
    again = opened(tmp_path)
    assert again.unsettled == [0]
    again.settle({0: "a"})
    assert again.unsettled == []
    assert again.tally.unknown == 1
    again.close()
    last = opened(tmp_path)
    assert list(last.states) == [State.UNKNOWN, State.ANSWERED, State.OPEN]
    last.forget(State.UNKNOWN)
    assert (last.tally.unknown, last.tally.answered) == (0, 1)
    last.close()
    assert list(opened(tmp_path).states) == [State.OPEN, State.ANSWERED, State.OPEN]


def test_half_of_a_line_at_the_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(ANSWER + LINE)
    file = opened(tmp_path)
    file.begin(1)
    file.add(1, answer(), State.ANSWERED, Usage())
    file.close()
    assert path.read_text().startswith(ANSWER + '{"index":1,')
    assert list(opened(tmp_path).states) == [State.ANSWERED, State.ANSWERED, State.OPEN]


def test_half_of_a_line_of_the_journal_was_not_sent(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.journal").write_text("sent 0 0000000000000011\nsent 1 00000")
    assert opened(tmp_path).unsettled == [0]


def test_a_half_of_a_character_is_read_again(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.add(0, answer("\ud800"), State.ANSWERED, Usage())
    file.close()
    assert list(opened(tmp_path).states) == [State.ANSWERED, State.OPEN, State.OPEN]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("notes of somebody", "out.jsonl:1: this is no answer of a run; name another file"),
        ("notes\n", "out.jsonl:1: this is no answer of a run; name another file"),
        (ANSWER + "{}\n", "out.jsonl:2: this is no answer of a run; name another file"),
        (ANSWER.replace("11", "12"), "out.jsonl:1: this is of another request than the one in"),
        (ANSWER.replace(":0,", ":3,"), "out.jsonl:1: this is of another request than the one"),
        (ANSWER.replace(":0,", ":-1,"), "out.jsonl:1: this is of another request than the one"),
    ],
)
def test_a_file_that_is_none_of_ours_stays_as_it_is(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(content)
    assert told(tmp_path).startswith(said)
    assert path.read_text() == content
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sent 0 0000000000000099\n", "out.jsonl.journal:1: this is of another request than"),
        ("sent 9 0000000000000011\n", "out.jsonl.journal:1: this is of another request than"),
        ("\0\0\0\n", "out.jsonl.journal:1: the line is damaged, so that nobody knows what was"),
        ("sent x 0000000000000011\n", "out.jsonl.journal:1: the line is damaged"),
    ],
)
def test_a_journal_that_cannot_be_believed_stops_the_run(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "out.jsonl.journal").write_text(content)
    assert told(tmp_path).startswith(said)
    assert (tmp_path / "out.jsonl.journal").read_text() == content


def test_two_runs_cannot_have_one_file(tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert told(tmp_path) == (
        "another run writes out.jsonl; wait until it ends, or name another file"
    )
    first.close()
    opened(tmp_path).close()


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").mkdir()
    assert told(tmp_path) == "out.jsonl cannot be used: Is a directory"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "out.jsonl").rmdir()
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "fifo")
    assert "is no file; answers are kept in a file of their own" in told(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert told(tmp_path / "no") == "out.jsonl cannot be used: No such file or directory"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "real.jsonl")
    (tmp_path / "real.jsonl").write_text(LINE + '"error":{"code":"X"}}\n')
    file = opened(tmp_path)
    file.forget(State.FAILED)
    file.close()
    assert (tmp_path / "out.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_text() == ""


def test_a_line_that_does_not_fit_on_the_disk_leaves_nothing_of_itself(tmp_path: Path) -> None:
    disk = FullDisk(room=60)
    file = opened(tmp_path, disk)
    file.begin(0)
    with pytest.raises(BatchFileError, match="cannot be used: No space left on device"):
        file.add(0, answer(), State.ANSWERED, Usage())
    assert (tmp_path / "out.jsonl").read_text() == ""
    assert file.tally.answered == 0
    disk.room = 1_000
    file.add(0, answer(), State.ANSWERED, Usage())
    file.close()
    assert list(opened(tmp_path).states) == [State.ANSWERED, State.OPEN, State.OPEN]


def test_a_journal_that_does_not_fit_says_nothing_was_sent(tmp_path: Path) -> None:
    file = opened(tmp_path, FullDisk(room=10))
    with pytest.raises(BatchFileError, match="No space left on device"):
        file.begin(0)
    assert file.unsettled == []
    file.close()
    assert not (tmp_path / "out.jsonl.journal").exists()


def test_lines_that_do_not_fit_when_others_are_taken_out_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    failed = LINE.replace(":0,", ":1,").replace("11", "22") + '"error":{"code":"X"}}\n'
    path.write_text(ANSWER + failed)
    file = opened(tmp_path, FullDisk(room=20))
    with pytest.raises(BatchFileError, match="No space left on device"):
        file.forget(State.FAILED)
    assert path.read_text() == ANSWER + failed
    assert not (tmp_path / "out.jsonl.new").exists()
