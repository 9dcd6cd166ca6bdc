from __future__ import annotations

from pathlib import Path

import pytest

from orchestify.core.config import load_config
from orchestify.errors import ConfigError
from orchestify.models.sampling import sampling_notes
from orchestify.providers.explain import explain

CONFIG = Path(__file__).parents[3] / "config"
VARIABLES = {
    "ANTHROPIC_API_KEY": "made-up-1",
    "OPENAI_API_KEY": "made-up-2",
    "DEEPSEEK_API_KEY": "made-up-3",
    "AZURE_API_KEY": "made-up-4",
    "AZURE_ENDPOINT": "https://myorg.openai.azure.com",
}


def test_example_loads_with_its_variables() -> None:
    config = load_config(CONFIG, environ=VARIABLES)
    providers = ["claude_main", "openai_main", "deepseek", "azure", "local", "scripted"]
    agents = ["planner", "coder", "reviewer", "summarizer", "tester", "archivist"]
    assert list(config.providers.providers) == providers
    assert list(config.agents.agents) == agents
    assert config.providers.off == {}


def test_example_needs_one_key_and_turns_the_rest_off() -> None:
    config = load_config(CONFIG, environ={"ANTHROPIC_API_KEY": "made-up-1"})
    assert dict(config.providers.off) == {
        "openai_main": "OPENAI_API_KEY is not set",
        "deepseek": "DEEPSEEK_API_KEY is not set",
        "azure": "AZURE_API_KEY, AZURE_ENDPOINT are not set",
    }


def test_example_without_any_key_says_which_one_is_missing() -> None:
    with pytest.raises(ConfigError, match="variable ANTHROPIC_API_KEY is not set") as raised:
        load_config(CONFIG, environ={})
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize("agent", ["planner", "coder", "reviewer", "summarizer", "tester"])
def test_every_agent_of_the_example_can_be_asked(agent: str) -> None:
    plan = explain(load_config(CONFIG, environ=VARIABLES), agent)
    assert plan.targets[0].skipped is None


def test_nothing_that_the_example_configures_is_left_out() -> None:
    assert sampling_notes(load_config(CONFIG, environ=VARIABLES)) == ()
