"""Recorded answers, each field replaced by every other type: an answer comes, or an error of ours.

`ORCHESTIFY_LONG=1` takes all of them; a run of the suite takes a sample.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from orchestify.errors import APIError
from orchestify.lanes.anthropic import answer as anthropic
from orchestify.lanes.failures import UnusableError
from orchestify.lanes.openai import answer as openai
from orchestify.lanes.parsing import parse_whole
from orchestify.values import CompletionRequest, LLMMessage, LLMResponse
from tests import recorded
from tests.recorded import Exchange
from tests.streams import read_stream

REQUEST = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="asked")
EVERYTHING = os.environ.get("ORCHESTIFY_LONG") == "1"
SAMPLE = 1_500
PLACE = "@here@"
SHAPES = (
    *("null", "true", "false", "0", "-1", "5", "1.5", "1e999", "NaN", "-Infinity", "9" * 5_000),
    *('""', '"text"', '"\\ud83d"', '"\\ude00 \\ud83d!"', '"[DONE]"', '"5"'),
    *("[]", "[null]", "[5]", '["a", {}]', "{}", '{"a": 1}', '{"text": 5}', '{"index": "x"}'),
    *("[" * 90 + "]" * 90, "[" * 5_000 + "]" * 5_000, '{"a":' * 300 + "1" + "}" * 300),
)


async def test_a_field_of_any_shape_never_raises_what_is_not_ours() -> None:
    recorded.need_recorded()
    chosen = random.Random(12)  # noqa: S311 - a sample, the same in each run
    for kind, is_stream in (
        ("chat", False),
        ("chat", True),
        ("messages", False),
        ("messages", True),
    ):
        variants = list(_places(kind, is_stream=is_stream))
        if not EVERYTHING:
            variants = chosen.sample(variants, min(SAMPLE, len(variants)))
        for text in variants:
            for shape in SHAPES if EVERYTHING else chosen.sample(SHAPES, 4):
                await _read(kind, text.replace(json.dumps(PLACE), shape), is_stream=is_stream)


async def _read(kind: str, text: str, *, is_stream: bool) -> None:
    if is_stream:
        made = (openai.ChatAnswer if kind == "chat" else anthropic.MessageAnswer)(REQUEST)
        _, outcome = await read_stream(made, text.encode())
        if isinstance(outcome, APIError):
            str(outcome).encode()
        else:
            _hold_to_types(outcome)
        return
    answer = openai.answer if kind == "chat" else anthropic.answer
    try:
        body = parse_whole(text.encode())
    except ValueError:
        return
    try:
        response = answer(body, REQUEST)
    except UnusableError:
        return
    _hold_to_types(response)


def _hold_to_types(response: LLMResponse) -> None:
    """Assert that whoever takes the answer need not doubt it."""
    assert isinstance(response.model, str)
    assert response.usage is not None
    counts = (response.usage.input_tokens, response.usage.output_tokens, response.usage.reasoning)
    assert all(type(count) is int and count >= 0 for count in counts)
    for call in response.tool_calls:
        assert all(isinstance(each, str) for each in (call.id, call.name, call.raw_arguments))
        json.dumps([call.id, call.name, dict(call.arguments)], ensure_ascii=False).encode()
    thinking = response.thinking
    blocks = [] if thinking is None else [str(thinking), *map(dict, thinking.blocks)]
    texts = [response.content, response.model, response.finish_reason, blocks]
    json.dumps([texts, response.raw_response], ensure_ascii=False).encode()


def _places(kind: str, *, is_stream: bool) -> Iterator[str]:
    """Yield each recorded answer once for each of its fields, with `PLACE` in the field's place."""
    for exchange in recorded.exchanges():
        if exchange.kind != kind or exchange.is_stream != is_stream or exchange.status >= 300:
            continue
        yield from _places_in_stream(exchange) if is_stream else _places_in_body(exchange)


def _places_in_body(exchange: Exchange) -> Iterator[str]:
    yield from (json.dumps(each) for each in _replaced(json.loads(exchange.body)))


def _places_in_stream(exchange: Exchange) -> Iterator[str]:
    lines = exchange.body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    seen: set[str] = set()
    for at, line in enumerate(lines):
        try:
            chunk = json.loads(line.removeprefix("data:"))
        except ValueError:
            continue
        shape = json.dumps(_shape(chunk))
        if shape not in seen:
            seen.add(shape)
            for each in _replaced(chunk):
                yield "\n".join([*lines[:at], f"data: {json.dumps(each)}", *lines[at + 1 :]])


def _replaced(value: Any) -> Iterator[Any]:
    yield PLACE
    if isinstance(value, dict):
        for name, each in value.items():
            yield from ({**value, name: replaced} for replaced in _replaced(each))
    elif isinstance(value, list):
        for at, each in enumerate(value[:3]):
            yield from ([*value[:at], replaced, *value[at + 1 :]] for replaced in _replaced(each))


def _shape(value: Any) -> Any:
    """Return the names and types in a chunk: chunks of one shape are read alike."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    return [_shape(each) for each in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize("answer", [openai.answer, anthropic.answer])
@pytest.mark.parametrize("body", [[], "text", 5, None, True, float("nan"), {}, {"choices": 5}])
def test_what_is_no_answer_is_an_error_of_ours(answer: Any, body: Any) -> None:
    with pytest.raises(UnusableError):
        answer(body, REQUEST)
