from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestify.batches.request_file import RequestFile
from orchestify.errors import BatchFileError


def file_of(
    folder: Path, *lines: object, name: str = "in.jsonl", asked_by: str = "it"
) -> RequestFile:
    path = folder / name
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return RequestFile(path, asked_by)


def problems(file: RequestFile) -> list[str]:
    with pytest.raises(BatchFileError) as raised:
        file.check()
    return str(raised.value).replace(str(file.path), file.path.name).splitlines()


def test_the_open_requests_are_read_in_order_with_their_places(tmp_path: Path) -> None:
    file = file_of(tmp_path, "one", {"prompt": "two", "custom_id": "b"}, "three")
    file.check()
    found = list(file.requests(bytearray([0, 1, 0])))
    assert [(place, request.custom_id) for place, request in found] == [
        (0, "request-1"),
        (2, "request-3"),
    ]
    assert [request.arguments for _, request in found] == [
        {"messages": "one"},
        {"messages": "three"},
    ]


def test_names_are_found_by_place(tmp_path: Path) -> None:
    file = file_of(tmp_path, "one", {"prompt": "two", "custom_id": "b"})
    assert file.names([1]) == {1: "b"}
    assert file.names([]) == {}


def test_all_lines_that_cannot_be_asked_are_told_at_once(tmp_path: Path) -> None:
    file = file_of(tmp_path, {"prompt": 5}, "good", {"promt": "x"})
    assert problems(file) == [
        "in.jsonl has 2 lines that cannot be asked; nothing was sent",
        "in.jsonl:1: prompt is not a text",
        "in.jsonl:3: it has no messages; give messages, a prompt, or OpenAI's body",
    ]


def test_of_many_the_first_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    told = problems(file_of(tmp_path, *[5] * 1_025))
    assert told[0] == "in.jsonl has 1,025 lines that cannot be asked; nothing was sent"
    assert told[20] == "in.jsonl:20: a line is an object or a text, in JSON"
    assert told[21:] == ["... and 1,005 more"]


def test_two_requests_cannot_have_one_id(tmp_path: Path) -> None:
    named = {"prompt": "x", "custom_id": "a"}
    file = file_of(tmp_path, named, "x", {"prompt": "x", "custom_id": "request-2"}, named, named)
    assert problems(file) == [
        "in.jsonl has 3 lines that cannot be asked; nothing was sent",
        "in.jsonl:3: its custom_id is that of line 2, too; give each request its own",
        "in.jsonl:4: its custom_id is that of line 1, too; give each request its own",
        "in.jsonl:5: its custom_id is that of line 1, too; give each request its own",
    ]


def test_a_file_without_requests_is_no_run(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n \n")
    assert problems(RequestFile(path, "it")) == ["in.jsonl has no requests; write one a line"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert problems(RequestFile(tmp_path / "no.jsonl", "it")) == [
        "no.jsonl cannot be read: No such file or directory"
    ]
    assert problems(RequestFile(tmp_path, "it"))[0].endswith("cannot be read: Is a directory")


def test_the_same_line_to_another_agent_is_another_request(tmp_path: Path) -> None:
    one, other = file_of(tmp_path, "x", "x"), file_of(tmp_path, "x", "x", asked_by="other")
    one.check()
    other.check()
    assert one.digests[0] == one.digests[1]
    assert one.digests[0] != other.digests[0]


@pytest.mark.parametrize("changed", [["one", "three"], ["one"]])
def test_a_file_that_changes_while_it_is_asked_is_told(tmp_path: Path, changed: list[str]) -> None:
    file = file_of(tmp_path, "one", "two")
    file.check()
    file_of(tmp_path, *changed)
    with pytest.raises(BatchFileError, match="was changed while its requests were asked"):
        list(file.requests(bytearray(2)))


def test_what_is_written_behind_is_left_to_the_next_run(tmp_path: Path) -> None:
    file = file_of(tmp_path, "one")
    file.check()
    file_of(tmp_path, "one", "two")
    assert [place for place, _ in file.requests(bytearray(1))] == [0]
