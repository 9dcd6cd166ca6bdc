from __future__ import annotations

import math
import re

import pytest

from orchestify.core.document import Document
from orchestify.core.scalars import core_scalar
from orchestify.core.variables import Variables
from orchestify.core.yaml_reader import compose


def read(text: str) -> Document:
    return compose(text, "a.yaml")


def problems(text: str) -> list[str]:
    return [str(problem) for problem in read(text).problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("12", 12),
        ("-7", -7),
        ("0o17", 15),
        ("0x1f", 31),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("yes", "yes"),
        ("off", "off"),
        ("No", "No"),
        ("2024-10-21", "2024-10-21"),
        ("1:30", "1:30"),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("9" * 301, "9" * 301),
    ],
)
def test_plain_scalar_is_read_as_yaml_1_2_says(text: str, value: object) -> None:
    assert core_scalar(text) == value
    assert type(core_scalar(text)) is type(value)


def test_quoted_scalar_is_text() -> None:
    assert read("a: '1'\nb: \"true\"\nc: ''").data == {"a": "1", "b": "true", "c": ""}


def test_every_key_and_item_has_its_place() -> None:
    places = read("a:\n  b: 1\n  c: [x, {d: y}]\n").places
    assert places["a"][:2] == (1, 1)
    assert places["a"].inside["b"][:2] == (2, 3)
    assert places["a"].inside["c"].inside[1][:2] == (3, 10)
    assert places["a"].inside["c"].inside[1].inside["d"][:2] == (3, 11)


def test_column_counts_characters_and_no_byte_order_mark() -> None:
    assert read("\ufeff{é: 1, b: 2}").places["b"][:2] == (1, 8)


def test_merged_keys_come_after_written_ones_and_stand_where_they_are_written() -> None:
    document = read("base: &b {x: 1, y: 2}\nuse:\n  y: 3\n  <<: *b\n")
    assert document.data["use"] == {"y": 3, "x": 1}
    assert document.places["use"].inside["x"][:2] == (1, 11)
    assert document.places["use"].inside["y"][:2] == (3, 3)


def test_of_merged_mappings_the_first_wins() -> None:
    text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n"
    assert read(text).data["c"] == {"x": 1, "y": 2}


def test_quoted_merge_key_is_a_key() -> None:
    assert read("a: {'<<': 1}").data == {"a": {"<<": 1}}


def test_merge_of_what_is_no_mapping_is_a_problem() -> None:
    assert problems("a:\n  <<: 3\n") == [
        "a.yaml:2:3: a: expected a mapping, or a list of them, after <<"
    ]


def test_alias_shares_the_value() -> None:
    assert read("a: &a [1, 2]\nb: *a\n").data == {"a": [1, 2], "b": [1, 2]}


def test_keys_are_text_as_written() -> None:
    assert read("{1: a, null: b, yes: c}").data == {"1": "a", "null": "b", "yes": "c"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", "a.yaml:2:1: a: duplicate key; keep one"),
        ("x:\n  <<: {a: 1}\n  <<: {b: 1}\n", "a.yaml:3:3: x.<<: duplicate key; keep one"),
        ("a: !!python/object:os.system x", "a.yaml:1:4: a: a tag (!) is not read; remove it"),
        ("a: ! x", "a.yaml:1:4: a: a tag (!) is not read; remove it"),
        ("a: !!map {}", "a.yaml:1:4: a: a tag (!) is not read; remove it"),
        ("a: &a [*a]", "a.yaml:1:8: a.0: an alias inside what it names"),
        ("a: &a {<<: *a}", "a.yaml:1:12: a.<<: an alias inside what it names"),
        ("a: *b", "a.yaml:1:4: a: an alias without an anchor above"),
        ("? [a]\n: 1", "a.yaml:1:3: expected a key, not a list or mapping"),
        ("a: &a b\n*a : 1", "a.yaml:2:1: expected a key, not an alias"),
        ("{? : 1}", "a.yaml:1:4: …: a key is missing"),
        ("a: 1\n---\nb: 2", "a.yaml:2:1: a second document begins here; keep one"),
        ("a: 1\n...\n%TAG ! x", "a.yaml:2:4: a second document begins here; keep one"),
        ("# c\n%YAML 1.1\n---\na: 1", "a.yaml: a directive (%) is not read; remove it"),
        ("a:\n  é: \x07", "a.yaml:2:6: not valid YAML: a character that YAML does not allow"),
        ("a:\n\tb: 1", "a.yaml:2:1: not valid YAML: a tab cannot indent; use blanks"),
        ("a:\n  b: 1\n  \tc: 2", "a.yaml:3:3: not valid YAML: a tab cannot indent; use blanks"),
        ("a: é\nb:\n\tc: 2", "a.yaml:3:1: not valid YAML: a tab cannot indent; use blanks"),
        ("é: |\n\tx", "a.yaml:2:1: not valid YAML: a tab cannot indent; use blanks"),
        ("a: \ud800", "a.yaml: not valid Unicode text"),
    ],
)
def test_what_yaml_allows_and_we_do_not_is_one_problem(text: str, problem: str) -> None:
    assert problem in problems(text)


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ('a: "b\nc: 1\nd: 2\n', "1:4", "this quote is not closed"),
        ("a: {k: 'b}\nc: 1\n", "1:8", "this quote is not closed"),
        ("a: [1", "1:4", "this [ is not closed, or a comma is missing in the list"),
        ("a: {k: 1\nb: 2\n", "1:4", "this { is not closed, or a comma is missing after a value"),
        ("a: {k: ${X}}", "1:9", "between brackets or braces, ${NAME} stands in quotes"),
        ("a: [${X:-b}]", "1:6", "between brackets or braces, ${NAME} stands in quotes"),
        ("a: @b", "1:4", "a value that begins with %, @ or ` stands in quotes"),
        (
            "a: %KEY%",
            "1:4",
            "a value that begins with %, @ or ` stands in quotes; a variable is written ${NAME}",
        ),
        (
            "a: b: c",
            "1:5",
            "a second colon in one value, or a key indented too deep; put a value with a colon in "
            "quotes",
        ),
        (
            "a:\n  b: 1\n c: 2\n",
            "3:2",
            "expected a key; it is indented differently from those above, or a quote before it "
            "ends too early",
        ),
        ("a: 1\nb\nc: 2\n", "2:1", "expected a colon and a blank after this key"),
        ("- a\nb: 1\n", "2:1", "expected a - as before the list's other items"),
        ("a: - b\n", "1:4", "a list's - stands on its own line"),
        (
            'a: "C:\\path"\n',
            "1:7",
            "a backslash in double quotes must be doubled, or put the text in single quotes",
        ),
        ("a: ]", "1:4", "expected a value, not a bracket or comma"),
    ],
)
def test_a_fault_of_yaml_is_told_where_it_begins_and_what_to_write(
    text: str, place: str, what: str
) -> None:
    assert problems(text) == [f"a.yaml:{place}: not valid YAML: {what}"]


def test_a_template_in_braces_is_answered_with_how_a_variable_is_written() -> None:
    assert problems("a: {{ env.KEY }}") == [
        "a.yaml:1:5: a: expected a key, not a list or mapping; a variable is written ${NAME}"
    ]


def test_comments_and_an_end_mark_may_follow_the_document() -> None:
    assert read("a: é\n...\n# the end\n").problems == ()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "a: [" + "[" * 100_000],
)
def test_deep_nesting_stops_reading(text: str) -> None:
    (problem,) = problems(text)
    assert re.fullmatch(r"a\.yaml:1:\d+: ([a0.…]+: )?nested deeper than 100 levels", problem)


def test_depth_of_100_is_read() -> None:
    assert problems("[" * 100 + "]" * 100) == []


def test_depth_counts_what_aliases_bring() -> None:
    (problem,) = problems(f"a: &a {'[' * 60}{']' * 60}\nb: {'[' * 60}*a{']' * 60}\n")
    assert problem.endswith("nested deeper than 100 levels")


def test_aliases_stop_at_10_000_nodes() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    (problem,) = problems("\n".join(lines))
    assert problem.endswith("aliases expand to more than 10,000 nodes")


def test_text_over_4_mb_is_not_read() -> None:
    assert problems("a: 1\n" * 2_500_000) == ["a.yaml: larger than 4 MB"]


def test_directives_cost_nothing() -> None:
    assert problems("%TAG !a! x\n" * 300_000) == ["a.yaml: a directive (%) is not read; remove it"]


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A}", "one"),
        ("$<A>", "one"),
        ("env:A", "one"),
        ("os.environ/A", "one"),
        ("<${A}-$<A>>", "<one-one>"),
        ("${A:-x}", "one"),
        ("${EMPTY:-x}", "x"),
        ("${GONE:-http://localhost:11434}", "http://localhost:11434"),
        ("${GONE:-}", ""),
        ("${GONE:-a$b}", "a$b"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("x env:A", "x env:A"),
        ("env:not a name", "env:not a name"),
        ("$A $(A) $<1> $", "$A $(A) $<1> $"),
    ],
)
def test_variable_is_filled_in(text: str, filled: str) -> None:
    assert Variables({"A": "one", "EMPTY": ""}).substitute(text) == filled


def test_value_of_a_variable_is_not_filled_in_again() -> None:
    assert Variables({"A": "${B} env:B", "B": "no"}).substitute("${A}") == "${B} env:B"


def test_what_is_unset_is_left_out_and_named() -> None:
    variables = Variables({"EMPTY": ""})
    assert variables.substitute({"a": "${GONE}", "b": ["${EMPTY}", 1], "c": 2}) == {
        "b": [1],
        "c": 2,
    }
    assert variables.unset == [(("a",), "GONE"), (("b", 0), "EMPTY")]


@pytest.mark.parametrize("text", ["${", "${A", "${A-b}", "${1}", "a ${} b", "${A:-${B}}"])
def test_malformed_variable_is_noted(text: str) -> None:
    variables = Variables({"A": "one"})
    variables.substitute({"key": text})
    assert variables.malformed == [("key",)]
