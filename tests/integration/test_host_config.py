"""A real host's configuration directory, and a very large one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestify.core.config import load_config, parse_config
from orchestify.core.warnings import config_warnings

ROOT = Path(__file__).parents[2]
HOST = Path(os.environ.get("ORCHESTIFY_HOST_CONFIG", ROOT.parent / "shared" / "host" / "config"))
KEY = "sk-ant-host"


@pytest.fixture
def host() -> Path:
    if not HOST.is_dir() and os.environ.get("CI") != "true":
        pytest.skip("the host's configuration is not beside this checkout")
    return HOST


def test_host_directory_loads_as_it_is(host: Path) -> None:
    config = load_config(host, environ={"ANTHROPIC_API_KEY": KEY})
    (provider,) = config.providers.providers.values()
    assert provider.api_key is not None
    assert provider.api_key.get_secret_value() == KEY
    assert (provider.base_url, provider.max_tokens) == (None, 8192)
    assert config_warnings(config) == ()


def test_all_eleven_agents_of_the_host_are_there(host: Path) -> None:
    agents = load_config(host, environ={"ANTHROPIC_API_KEY": KEY}).agents.agents
    assert list(agents) == [
        *("executor", "reviewer", "qa", "planner", "architect", "validator", "documenter"),
        *("debugger", "synthesizer", "scorecardist", "recycler"),
    ]
    assert {agent.provider for agent in agents.values()} == {"anthropic"}
    assert {agent.mode for agent in agents.values()} == {"autonomous"}
    assert (agents["planner"].thinking, agents["qa"].thinking) == (True, False)


def test_thousand_providers_and_ten_thousand_agents_load() -> None:
    provider = "type: openai, api_key: $<KEY>, base_url: 'https://h/v1', default_model: m"
    agent = "model: n, temperature: 0.7, max_tokens: 4096, thinking: true, mode: autonomous"
    lines = ["providers:"]
    lines += [f"  p{n}: {{{provider}, timeout_s: 30}}" for n in range(1_000)]
    lines += ["agents:"]
    lines += [
        f"  a{n}: {{provider: p{n % 1_000}, {agent}, fallback: [p{(n + 1) % 1_000}]}}"
        for n in range(10_000)
    ]
    text = "\n".join(lines)
    config = parse_config(text, environ={"KEY": KEY})
    assert (len(config.providers.providers), len(config.agents.agents)) == (1_000, 10_000)
