"""The scripted provider, for hosts' own tests."""

from __future__ import annotations

import asyncio
import pickle
from decimal import Decimal
from typing import Any

import pytest

from orchestify.core.providers import ProviderConfig
from orchestify.errors import ConfigError, RateLimitError, StreamInterruptedError
from orchestify.providers import ClaudeProvider, MockAnswer, MockProvider
from orchestify.values import StreamEnd, TextDelta, ThinkingDelta, ToolCallDelta, Usage

TOOL = {"name": "look", "input_schema": {"type": "object"}}


async def test_it_answers_without_any_script() -> None:
    response = await MockProvider().complete("one two three")
    assert response.content == "This is a mock answer."
    assert response.usage == Usage(3, 5)
    assert response.cost_usd == Decimal(0)
    assert response.provider == "mock"


async def test_answers_come_in_order_and_the_last_repeats() -> None:
    mock = MockProvider(answers=["a", MockAnswer(text="b")])
    assert [(await mock.complete("hi")).content for _ in range(3)] == ["a", "b", "b"]


async def test_it_keeps_what_it_was_asked() -> None:
    mock = MockProvider(config={"default_model": "m"})
    await mock.complete("hi", temperature=0.5)
    assert [(each.model, each.temperature) for each in mock.requests] == [("m", 0.5)]
    assert await mock.list_models() == ["m"]


async def test_tool_calls() -> None:
    mock = MockProvider(answers=[MockAnswer(tool_calls=[("look", {"at": "x"})])])
    response = await mock.complete("hi", tools=[TOOL])
    assert [(each.name, each.arguments) for each in response.tool_calls] == [("look", {"at": "x"})]
    assert response.finish_reason == "tool_calls"
    assert response.content == ""


async def test_thinking_counts_and_a_finish_reason() -> None:
    scripted = MockAnswer(
        text="a", thinking="hm", input_tokens=100, output_tokens=50, finish_reason="length"
    )
    response = await MockProvider(answers=[scripted]).complete("hi")
    assert str(response.thinking) == "hm"
    assert response.usage == Usage(100, 50)
    assert response.finish_reason == "length"


async def test_an_error_by_its_name_is_raised_and_retried_like_any_other() -> None:
    mock = MockProvider(
        config={"retry": {"max_attempts": 2, "first_delay_s": 0}},
        answers=[MockAnswer(error="ServerError"), "a"],
    )
    assert (await mock.complete("hi")).content == "a"
    assert len(mock.requests) == 2


async def test_a_rate_limit_says_when() -> None:
    mock = MockProvider(answers=[MockAnswer(error="RateLimitError", retry_after_s=7)])
    with pytest.raises(RateLimitError) as caught:
        await mock.complete("hi", max_attempts=1)
    assert caught.value.retry_after_s == 7
    assert caught.value.provider == "mock"


async def test_a_delay_can_be_cancelled() -> None:
    mock = MockProvider(answers=[MockAnswer(delay_s=60)])
    with pytest.raises(TimeoutError):
        await mock.complete("hi", timeout_s=0.01)


async def test_a_stream_says_it_word_by_word() -> None:
    scripted = MockAnswer(text="one two", thinking="hm", tool_calls=[("look", {"a": 1})])
    stream = MockProvider(answers=[scripted]).stream("hi", tools=[TOOL])
    events = [event async for event in stream.events()]
    assert events[:3] == [ThinkingDelta("hm"), TextDelta("one "), TextDelta("two")]
    assert isinstance(events[3], ToolCallDelta)
    assert events[3].arguments == '{"a": 1}'
    assert isinstance(events[4], StreamEnd)
    assert stream.response.tool_calls[0].id == events[3].id


@pytest.mark.parametrize(("after", "texts"), [(1, ["one "]), (2, ["one ", "two"])])
async def test_a_stream_is_cut_after_so_many_pieces(after: int, texts: list[str]) -> None:
    stream = MockProvider(answers=[MockAnswer(text="one two", cut_after=after)]).stream("hi")
    assert [await anext(stream) for _ in range(after)] == texts
    with pytest.raises(StreamInterruptedError) as caught:
        await anext(stream)
    assert caught.value.text == "".join(texts)


async def test_a_stream_may_be_slow() -> None:
    stream = MockProvider(answers=[MockAnswer(text="a b", chunk_delay_s=60)]).stream("hi")
    assert await anext(stream) == "a "
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.01)


@pytest.mark.parametrize(
    ("options", "contents"),
    [
        ({}, ["This is a mock answer."]),
        ({"answer": "a"}, ["a", "a"]),
        ({"answer": {"text": "a"}}, ["a"]),
        ({"answers": ["a", {"text": "b"}]}, ["a", "b"]),
    ],
)
async def test_the_configuration_may_hold_the_script(
    options: dict[str, Any], contents: list[str]
) -> None:
    mock = MockProvider("m", {"options": options})
    assert [(await mock.complete("hi")).content for _ in contents] == contents


async def test_the_configuration_may_hold_tool_calls() -> None:
    options = {"answer": {"tool_calls": [{"name": "look", "arguments": {"a": 1}}]}}
    response = await MockProvider("m", {"options": options}).complete("hi")
    assert response.tool_calls[0].arguments == {"a": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answers": "a"}, "providers.m.options.answers: expected a list"),
        ({"answer": 5}, "an answer is a text or has keys of"),
        ({"answer": {"txt": "a"}}, "an answer is a text or has keys of"),
        ({"answer": {"error": "OddError"}}, "error is the name of an APIError"),
        ({"answer": {"error": "ConfigError"}}, "error is the name of an APIError"),
        ({"answer": {"tool_calls": ["look"]}}, "a tool call has a name, and arguments"),
        ({"answer": {"tool_calls": [{}]}}, "a tool call has a name, and arguments"),
    ],
)
def test_a_script_of_another_form_is_a_config_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MockProvider("m", {"options": options})


async def test_engine_mock_lets_any_provider_answer() -> None:
    claude = ClaudeProvider(
        "claude",
        {"default_model": "claude-sonnet-4-5", "engine": "mock", "options": {"answer": "a"}},
    )
    response = await claude.complete("hi")
    assert response.content == "a"
    assert claude.provider_type == "anthropic"


async def test_engine_mock_changes_nothing_for_a_mock() -> None:
    mock = MockProvider("m", {"engine": "mock"}, answers=["a"])
    assert (await mock.complete("hi")).content == "a"
    assert len(mock.requests) == 1


async def test_an_answer_can_be_pickled() -> None:
    response = await MockProvider(answers=[MockAnswer(tool_calls=[("look", {})])]).complete("hi")
    assert pickle.loads(pickle.dumps(response)) == response  # noqa: S301 - our own bytes


async def test_its_usage_is_its_own() -> None:
    mock = MockProvider()
    await mock.complete("one two")
    assert mock.get_usage().total_input == 2
    assert mock.get_usage().call_count == 1
    mock.reset_usage()
    assert mock.get_usage().call_count == 0


def test_it_takes_a_configuration_of_its_own_type_only() -> None:
    with pytest.raises(ConfigError, match=r"providers\.m\.type: MockProvider takes mock"):
        MockProvider("m", ProviderConfig(type="external"))


def test_it_supports_what_a_script_can_hold() -> None:
    mock = MockProvider()
    assert (mock.supports_tools(), mock.supports_thinking()) == (True, True)
    assert mock.supports_code_execution() is False
    assert mock.provider_type == "mock"
