from __future__ import annotations

import pytest

from orchestify.core.config import parse_config
from orchestify.models.thinking import thinking_notes

PROVIDERS = """\
providers:
  openai: {type: openai, default_model: gpt-4o, api_key: made-up}
  claude: {type: anthropic, default_model: claude-sonnet-4-5, api_key: made-up}
  unknown: {type: openai, default_model: m, base_url: "https://llm.example.com/v1"}
  off: {type: openai, default_model: gpt-4o, enabled: false}
agents:
"""


def told(agent: str) -> tuple[str, ...]:
    return thinking_notes(parse_config(f"{PROVIDERS}  planner: {agent}\n", name="config.yaml"))


@pytest.mark.data_of("litellm")
def test_a_model_without_thinking_is_noted_at_its_line() -> None:
    assert told("{provider: openai, thinking: true}") == (
        "config.yaml:7:31: agents.planner.thinking: "
        "openai/gpt-4o has no extended thinking and is never asked",
    )


def test_a_fallback_without_thinking_is_noted_too() -> None:
    fallback = "[{provider: claude, model: claude-3-5-haiku-20241022}, off, unknown]"
    (note,) = told(f"{{provider: claude, thinking: low, fallback: {fallback}}}")
    assert "claude/claude-3-5-haiku-20241022 has no extended thinking" in note


def test_what_can_think_or_is_not_known_is_not_noted() -> None:
    assert told("{provider: claude, thinking: {budget_tokens: 2000}}") == ()
    assert told("{provider: unknown, thinking: high}") == ()


def test_an_agent_that_is_off_or_asks_for_none_is_not_noted() -> None:
    assert told("{provider: openai, thinking: true, enabled: false}") == ()
    assert told("{provider: openai, thinking: false}") == ()
