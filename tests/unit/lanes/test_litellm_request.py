from __future__ import annotations

from typing import Any

import pytest

from orchestify.lanes.litellm.request import completion_fields
from orchestify.values import (
    CompletionRequest,
    LLMMessage,
    Thinking,
    ThinkingConfig,
    Tool,
    ToolCall,
)

HI = (LLMMessage("user", "hi"),)
SIGNED = {"type": "thinking", "thinking": "so", "signature": "s"}


def fields(model: str, supported: tuple[str, ...] = ("thinking",), **more: Any) -> dict[str, Any]:
    request = CompletionRequest(**{"messages": HI, "model": model} | more)
    return completion_fields(request, supported, stream=False)


def test_what_nobody_said_is_not_sent() -> None:
    assert fields("groq/llama") == {
        "model": "groq/llama",
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_a_stream_asks_for_its_usage() -> None:
    request = CompletionRequest(messages=HI, model="groq/llama")
    sent = completion_fields(request, (), stream=True)
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(
    "model",
    ["anthropic/claude-sonnet-4-5", "bedrock/us.anthropic.claude-v1:0", "vertex_ai/claude-3-7"],
)
def test_claude_gets_8192_tokens_where_litellm_would_give_64000(model: str) -> None:
    assert fields(model)["max_tokens"] == 8192


def test_claude_at_openrouter_gets_no_limit() -> None:
    assert "max_tokens" not in fields("openrouter/anthropic/claude-sonnet-4-5")


def test_a_budget_that_fills_the_limit_is_added_to_it() -> None:
    thinking = ThinkingConfig(budget_tokens=10_000)
    sent = fields("anthropic/claude-3-7-sonnet", thinking=thinking, max_tokens=4000)
    assert sent["max_tokens"] == 14_000
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 10_000}


def test_a_budget_is_an_effort_where_litellm_takes_no_budget() -> None:
    sent = fields("openai/o3", (), thinking=ThinkingConfig(budget_tokens=4096))
    assert sent["reasoning_effort"] == "high"
    assert "thinking" not in sent


def test_a_budget_is_passed_on_where_litellm_takes_it() -> None:
    sent = fields("gemini/gemini-2.5-pro", thinking=ThinkingConfig(budget_tokens=2048))
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert "reasoning_effort" not in sent


def test_an_effort_is_passed_on() -> None:
    sent = fields("gemini/gemini-2.5-pro", thinking=ThinkingConfig(effort="low"))
    assert sent["reasoning_effort"] == "low"


def test_claude_that_thinks_gets_no_sampling_parameters() -> None:
    more = {"temperature": 0.3, "top_p": 0.9, "thinking": ThinkingConfig(effort="low")}
    sent = fields("bedrock/anthropic.claude-3-7-sonnet", **more)
    assert {"temperature", "top_p"}.isdisjoint(sent)


def test_signed_thinking_goes_back_as_thinking_blocks() -> None:
    said = LLMMessage("assistant", "42", thinking=Thinking("so", (SIGNED,)))
    sent = fields("anthropic/claude-sonnet-4-5", messages=(*HI, said))
    assert sent["messages"][1]["thinking_blocks"] == [SIGNED]


def test_openrouters_details_go_back_as_they_came() -> None:
    detail = {"type": "reasoning.encrypted", "data": "x"}
    said = LLMMessage("assistant", "42", thinking=Thinking("", (detail,)))
    sent = fields("openrouter/openai/gpt-5", messages=(*HI, said))
    assert sent["messages"][1]["reasoning_details"] == [detail]


def test_deepseek_gets_the_thinking_of_its_tool_calls_back() -> None:
    call = ToolCall("1", "look", {})
    said = LLMMessage("assistant", "", tool_calls=(call,), thinking=Thinking("let me look"))
    sent = fields("deepseek/deepseek-reasoner", messages=(*HI, said))
    assert sent["messages"][1]["reasoning_content"] == "let me look"


def test_cache_marks_the_last_system_part_and_the_last_tool() -> None:
    messages = (LLMMessage("system", "be brief"), *HI)
    sent = fields(
        "anthropic/claude-sonnet-4-5",
        messages=messages,
        tools=(Tool("a"), Tool("b")),
        cache=True,
    )
    assert sent["messages"][0]["content"] == [
        {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}
    ]
    assert "cache_control" not in sent["tools"][0]
    assert sent["tools"][1]["cache_control"] == {"type": "ephemeral"}


def test_cache_marks_nothing_for_other_models() -> None:
    messages = (LLMMessage("system", "be brief"), *HI)
    sent = fields("groq/llama", messages=messages, cache=True)
    assert sent["messages"][0] == {"role": "system", "content": "be brief"}
