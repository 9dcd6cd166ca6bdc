from __future__ import annotations

import pytest

from orchestify.testing import Reply, parse_reply
from orchestify.testing.reply import split_model
from orchestify.values import ToolCall, Usage


def test_model_without_directives_is_its_own_name() -> None:
    assert split_model("gpt-4o") == ("gpt-4o", Reply())


def test_directives_are_taken_from_the_name_of_the_model() -> None:
    assert split_model("stub;status=429;retry_after=1") == (
        "stub",
        Reply(status=429, retry_after="1"),
    )


def test_values_are_percent_decoded() -> None:
    assert parse_reply("text=a%3Bb%3Dc d").text == "a;b=c d"


def test_field_without_a_value_is_true() -> None:
    assert parse_reply("reset").reset is True


def test_every_kind_of_value_is_read() -> None:
    assert parse_reply(
        "chunks=50;chunk_delay_s=0.5;cut_after=3;writes=7;done=false;tool_calls=one,two;"
        "usage=input_tokens:100,cache_read:40,output_tokens:5"
    ) == Reply(
        chunks=50,
        chunk_delay_s=0.5,
        cut_after=3,
        writes=7,
        done=False,
        tool_calls=(ToolCall("", "one"), ToolCall("", "two")),
        usage=Usage(input_tokens=100, cache_read=40, output_tokens=5),
    )


def test_usage_without_counts_leaves_the_usage_out() -> None:
    assert parse_reply("usage=").usage == {}


@pytest.mark.parametrize(
    ("directives", "message"),
    [
        ("statsu=429", "unknown field 'statsu' among the model's directives"),
        ("status=many", "field 'status' of the model has no such value"),
        ("reset=perhaps", "field 'reset' of the model has no such value"),
        ("usage=tokens:1", "field 'usage' of the model has no such value"),
        ("cut_after=1;eof_after=1", "a reply has one of"),
        ("writes=0", "words, chunks and writes are at least 1"),
        ("error=boom", "a reply with an error needs a status from 400 on"),
    ],
)
def test_directive_that_cannot_be_followed_is_named(directives: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_reply(directives)


def test_named_error_brings_its_status() -> None:
    assert Reply(error="quota").error_status == 429


def test_repr_shows_no_text() -> None:
    assert "secret" not in repr(Reply(text="secret", thinking="secret", raw_body=b"secret"))
