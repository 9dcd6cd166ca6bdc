from __future__ import annotations

import pytest

from orchestify.cli.errors import show_error
from orchestify.cli.output import console, least_width, print_json, show_table, table
from orchestify.errors import OrchestifyError

ID = "01a1f9d1cb04490d8c917e38786a06fa"
COLUMNS = ("id", "name", "scopes", "made")
ROWS = [(ID, "deploy", "call, read, write", "2026-03-14 12:00")]


def shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> tuple[list[str], str]:
    monkeypatch.setenv("COLUMNS", str(width))
    show_table("", COLUMNS, ROWS, spare=("made", "name"))
    said = capsys.readouterr()
    return [" ".join(line.split()) for line in said.out.splitlines()], said.err


def test_what_has_room_is_shown_in_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, noted = shown(capsys, monkeypatch, 80)
    assert lines[0] == "id name scopes made"
    assert lines[2] == f"{ID} deploy call, read, write 2026-03-14 12:00"
    assert noted == ""


def test_cells_are_folded_between_words_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, noted = shown(capsys, monkeypatch, 60)
    assert lines[2].startswith(f"{ID} deploy call, ")
    assert noted == ""


def test_then_spare_columns_are_left_out_in_order_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, noted = shown(capsys, monkeypatch, 50)
    assert lines[0] == "id name scopes"
    assert lines[2].startswith(f"{ID} deploy call,")
    assert noted == "note: too narrow to show: made\n"


def test_a_narrow_table_is_printed_row_by_row_where_words_would_be_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    made = table("Agents", "name", "asks", "then", "state")
    made.add_row("planner", "claude_main/claude-opus-4-6", "openai_main/gpt-5.1", "on")
    made.add_row("tester", "scripted", "", "on")
    console().print(made)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "Agents",
        "planner",
        "  asks  claude_main/claude-opus-4-6",
        "  then  openai_main/gpt-5.1",
        "  state on",
        "tester",
        "  asks  scripted",
        "  state on",
    ]


def test_a_word_is_broken_rather_than_cut_where_nothing_else_helps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, noted = shown(capsys, monkeypatch, 30)
    assert (lines[0] + lines[1]).startswith(ID)
    assert noted == "note: too narrow to show: made, name\n"


def test_a_table_is_as_wide_as_its_words_or_its_cells() -> None:
    assert least_width(COLUMNS, ROWS) == 32 + 2 + 6 + 2 + 6 + 2 + 10
    assert least_width(COLUMNS, ROWS, whole=True) == 32 + 2 + 6 + 2 + 17 + 2 + 16


def test_no_cell_and_no_json_holds_what_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_table("", ("name",), [("a\x1b]0;b\x07\u202ec",)])
    print_json({"a": "b\x9b31m\u202e\U000e0041ü"})
    said = capsys.readouterr().out
    assert "a]0;bc" in said
    assert r'"b\u009b31m\u202e\udb40\udc41ü"' in said


def test_an_error_holds_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(OrchestifyError("a\x1b[2Jb\u202ec"))
    assert capsys.readouterr().err == "Error: OrchestifyError: a[2Jbc\n"
