from __future__ import annotations

import json
import random
from typing import Any

import pytest

from orchestify.lanes import large_json, parsing
from orchestify.lanes.large_json import LargeObject, parse_in_steps
from orchestify.lanes.parsing import encodable_text
from orchestify.resources import json_steps
from orchestify.resources.json_steps import json_in_steps

DECODER = json.JSONDecoder()


@pytest.fixture(params=[40, 41, 64, 1_000])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(large_json, "WINDOW", request.param)
    monkeypatch.setattr(json_steps, "WINDOW", request.param)
    return int(request.param)


def cut(text: str) -> list[str]:
    """Return a text in steps of many sizes, an empty one among them."""
    chance = random.Random(len(text))  # noqa: S311 - made-up cuts, the same in each run
    steps = [""]
    while text:
        at = chance.choice((1, 7, 50, 3_000))
        steps.append(text[:at])
        text = text[at:]
    return steps


def some_value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(8 if depth else 6)
    text = "".join(chance.choices('ab"\\\n\té€😀\u2028,:]}{[', k=chance.randrange(30)))
    if kind == 6:
        return [some_value(chance, depth - 1) for _ in range(chance.randrange(9))]
    if kind == 7:
        return {f"{text}{at}": some_value(chance, depth - 1) for at in range(chance.randrange(9))}
    return (None, True, chance.randrange(10**12), chance.random() * 1e-9, text, "")[kind]


@pytest.mark.parametrize("seed", range(60))
def test_what_json_reads_is_read_alike_in_windows_of_any_size(window: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - made-up data, the same in each run
    value = some_value(chance, 4)
    for indent, ascii_only in ((None, True), (None, False), (3, True)):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        assert parse_in_steps(cut(text), DECODER, 100) == json.loads(text)
    assert "".join(json_in_steps(value)) == json.dumps(value, ensure_ascii=False)
    assert "".join(json_in_steps(value, ascii_only=True)) == json.dumps(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "[1,2", "[1 2]", "[1,]", '{"a"}', '{"a":1,}', '{"a":1 "b":2}', "{1:2}", "]"),
        *('"abc', '"a\\', '"a\\u12', '"\\u12zz"', '"\n"', "nul", "1 2", "[1]]", '{"a":1}}', "[[[["),
        '["' + "x" * 100,
    ],
)
def test_what_is_no_json_is_none_in_windows_of_any_size(window: int, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        json.loads(text)
    with pytest.raises(ValueError, match=r"."):
        parse_in_steps(cut(text), DECODER, 100)


def test_what_is_nested_too_deep_is_refused(window: int) -> None:
    text = "[" * 3_000 + "]" * 3_000
    with pytest.raises(ValueError, match="nested too deep"):
        parse_in_steps(cut(text), DECODER, 100)


def test_letting_go_of_a_large_value_leaves_what_else_holds_a_part() -> None:
    text = '{"a": [1, {"b": [2, 3]}],' + " " * 40_000 + '"c": {"d": null}}'
    value = parse_in_steps([text], DECODER, 9)
    assert type(value) is LargeObject
    part = value["a"]
    large_json._free_in_steps([*value.values()])
    assert (part, value) == ([1, {"b": [2, 3]}], {"a": part, "c": {"d": None}})


def test_halves_of_characters_are_joined_across_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for window in range(1, 9):
        monkeypatch.setattr(parsing, "WINDOW", window)
        text = "a\ud83d\ude00b\ud83dc\ude00\ud83d\ud83d\ude00"
        assert encodable_text(text) == "a😀b�c��😀"
