"""Answers that must have a form."""

from __future__ import annotations

import traceback
from dataclasses import replace

import pytest
from pydantic import BaseModel, field_validator

from orchestify.calls.request import response_format_of
from orchestify.calls.structured import parsed_answer
from orchestify.errors import StructuredOutputError
from orchestify.values import LLMResponse, ResponseFormat, StreamEnd, ToolCall
from tests.calls import USED, Bench, Scripted, answer


class Place(BaseModel):
    name: str
    size: int


ANY = ResponseFormat()
PLACE = ResponseFormat("Place", Place.model_json_schema(), Place)


def test_json_is_read() -> None:
    assert parsed_answer(answer('{"a": [1]}'), ANY).parsed == {"a": [1]}


def test_a_model_class_gives_an_instance() -> None:
    parsed = parsed_answer(answer('{"name": "Rome", "size": 3}'), PLACE).parsed
    assert parsed == Place(name="Rome", size=3)


@pytest.mark.parametrize(
    "text",
    [
        '<think>{"name": "Rome"}?</think>\n{"name": "Oslo", "size": 1}',
        'so I say</thinking>{"name": "Oslo", "size": 1}',
        '```json\n{"name": "Oslo", "size": 1}\n```',
        'Here you are:\n```\n{"name": "Oslo", "size": 1}\n```\nAnything else?',
        '```{"name": "Oslo", "size": 1}```',
        'First\n```json\n{}\n```\nno:\n```json\n{"name": "Oslo", "size": 1}\n```',
        '<think>```hm</think>```json\n{"name": "Oslo", "size": 1}\n```',
    ],
)
def test_json_behind_thoughts_or_in_a_fence_is_read(text: str) -> None:
    assert parsed_answer(answer(text), PLACE).parsed == Place(name="Oslo", size=1)
    assert parsed_answer(answer(text), ANY).parsed == {"name": "Oslo", "size": 1}


def test_text_in_json_that_looks_like_thoughts_or_a_fence_is_left_alone() -> None:
    said = '{"a": "</think>", "b": "```json\\n1\\n```"}'
    assert parsed_answer(answer(said), ANY).parsed == {"a": "</think>", "b": "```json\n1\n```"}


@pytest.mark.parametrize(
    "response",
    [
        replace(answer(""), tool_calls=(ToolCall("c", "t"),), finish_reason="tool_calls"),
        replace(answer("I cannot"), finish_reason="refusal"),
        replace(answer(""), finish_reason="content_filter"),
    ],
)
def test_what_is_no_answer_is_left_as_it_is(response: LLMResponse) -> None:
    assert parsed_answer(response, PLACE) is response


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (answer("certainly!"), "the answer is no JSON"),
        (
            replace(answer('{"a": '), finish_reason="length"),
            "the answer is no JSON, it was cut at max_tokens",
        ),
        (answer("[" * 100_000), "the answer is no JSON"),
    ],
)
def test_what_is_no_json_is_an_error_with_the_answer(response: LLMResponse, message: str) -> None:
    with pytest.raises(StructuredOutputError) as caught:
        parsed_answer(replace(response, provider="one"), ANY)
    assert str(caught.value) == f"one/m: {message}"
    assert caught.value.response.content == response.content


class Checked(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        return str(len(name) // 0)


def test_a_validator_that_raises_does_not_lose_the_answer() -> None:
    said = answer('{"name": "my secret"}')
    with pytest.raises(StructuredOutputError) as caught:
        parsed_answer(said, response_format_of(Checked))  # type: ignore[arg-type]
    assert str(caught.value) == "m: a validator of Checked raised ZeroDivisionError"
    assert caught.value.response is said
    assert "my secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("is_stream", [False, True])
async def test_nor_does_it_in_a_call(is_stream: bool) -> None:
    said, bench = answer('{"name": "x"}'), Bench()
    route = bench.route(Scripted("one", [StreamEnd(said)] if is_stream else said))
    with pytest.raises(StructuredOutputError) as caught:
        await (
            anext(route.stream("hi", response_format=Checked))
            if is_stream
            else route.complete("hi", response_format=Checked)
        )
    assert (caught.value.response.content, caught.value.response.usage) == (said.content, USED)
    assert bench.ledger.outcomes == [("one", "ok", "")]


def test_what_does_not_fit_is_named_and_not_shown() -> None:
    said = answer('{"name": "my secret", "size": "my secret"}')
    with pytest.raises(StructuredOutputError) as caught:
        parsed_answer(said, PLACE)
    assert str(caught.value) == "m: the answer does not fit Place: size"
    assert "my secret" not in "".join(traceback.format_exception(caught.value))
