from __future__ import annotations

from orchestify.core.agents import AgentConfig
from orchestify.core.config import parse_config
from orchestify.core.providers import ProviderConfig
from orchestify.models.sampling import changed, left_out, sampling_notes

ALL = AgentConfig(temperature=0.2, top_p=0.9, stop=("END",))
THINKING = AgentConfig(temperature=0.2, top_p=0.9, stop=("END",), thinking=True)


def provider(type_: str, model: str, **more: str) -> ProviderConfig:
    return ProviderConfig(type=type_, default_model=model, api_key="made-up", **more)


def test_claude_gets_all_unless_it_thinks() -> None:
    claude = provider("anthropic", "claude-sonnet-4-5")
    assert left_out(claude, "claude-sonnet-4-0", ALL) == ()
    assert left_out(claude, "claude-sonnet-4-5", ALL) == ("top_p",)
    assert left_out(claude, "claude-sonnet-4-5", THINKING) == ("temperature", "top_p")


def test_a_temperature_of_one_is_never_left_out() -> None:
    claude = provider("anthropic", "claude-sonnet-4-5")
    assert left_out(claude, "claude-sonnet-4-5", AgentConfig(temperature=1, thinking=True)) == ()


def test_openais_reasoning_models_refuse_sampling() -> None:
    assert left_out(provider("openai", "o3"), "o3", ALL) == ("temperature", "top_p")
    assert left_out(provider("openai", "gpt-4o"), "gpt-4o", ALL) == ()


def test_claude_through_litellm_refuses_what_claude_refuses() -> None:
    bedrock = "bedrock/anthropic.claude-sonnet-4-5"
    assert left_out(provider("litellm", bedrock), bedrock, THINKING) == ("temperature", "top_p")


def test_a_scripted_provider_takes_everything() -> None:
    scripted = provider("anthropic", "claude-sonnet-4-5", engine="mock")
    assert left_out(scripted, "claude-sonnet-4-5", THINKING) == ()


def test_a_note_tells_agent_parameter_target_and_line() -> None:
    config = parse_config(
        "providers:\n"
        "  claude: {type: anthropic, api_key: made-up, default_model: claude-sonnet-4-5}\n"
        "agents:\n"
        "  planner:\n"
        "    provider: claude\n"
        "    thinking: true\n"
        "    temperature: 0.2\n",
        name="config.yaml",
    )
    assert sampling_notes(config) == (
        "config.yaml:7:5: agents.planner.temperature: not sent to claude/claude-sonnet-4-5, "
        "which refuses it while it thinks",
    )


def test_a_note_tells_that_top_p_gives_way_to_the_temperature() -> None:
    config = parse_config(
        "providers:\n"
        "  claude: {type: anthropic, api_key: made-up, default_model: claude-sonnet-4-5}\n"
        "agents:\n"
        "  planner: {provider: claude, temperature: 0.2, top_p: 0.9}\n",
        name="config.yaml",
    )
    assert sampling_notes(config) == (
        "config.yaml:4:49: agents.planner.top_p: not sent to claude/claude-sonnet-4-5, which "
        "refuses it beside temperature",
    )


def test_notes_tell_what_is_changed_and_where_it_is_written() -> None:
    config = parse_config(
        "providers:\n"
        "  gpt: {type: openai, api_key: made-up, default_model: o3}\n"
        "  claude:\n"
        "    type: anthropic\n"
        "    api_key: made-up\n"
        "    default_model: claude-sonnet-4-5\n"
        "    max_tokens: 100000\n"
        "agents:\n"
        "  quick: {provider: gpt, thinking: false, fallback: [claude]}\n",
        name="config.yaml",
    )
    assert sampling_notes(config) == (
        "config.yaml:9:26: agents.quick.thinking: cannot be switched off; the model is asked for "
        "the least (gpt/o3)",
        "config.yaml:7:5: providers.claude.max_tokens: lowered to the most that the model can "
        "write (claude/claude-sonnet-4-5)",
    )


def test_what_is_changed_by_key() -> None:
    gpt = provider("openai", "gpt-5.1")
    assert changed(gpt, "gpt-5.1", AgentConfig(thinking="none")) == {}
    assert list(changed(gpt, "o3", AgentConfig(thinking="none"))) == ["thinking"]
    assert list(changed(gpt, "o3", AgentConfig(thinking="max"))) == ["thinking"]
    gemini = provider("litellm", "gemini/gemini-3-pro-preview")
    assert list(changed(gemini, "gemini/gemini-3-pro-preview", AgentConfig(thinking=False))) == [
        "thinking"
    ]
