"""A configuration given as a mapping of Python's."""

from __future__ import annotations

from typing import Any

import pytest

from orchestify import ProviderRegistry
from orchestify.core.config import load_config, parse_config
from orchestify.errors import ConfigError, InvalidParameterError

RIGHT: dict[str, Any] = {
    "providers": {
        "local": {
            "type": "openai",
            "base_url": "http://127.0.0.1:1/v1",
            "api_key": "${LOCAL_KEY}",
            "default_model": "m",
            "timeout_s": "${LOCAL_TIMEOUT}",
        }
    },
    "agents": {"planner": {"provider": "local", "stop": ("END",), "fallback": []}},
    "budgets": [{"name": "day", "limit_usd": 5, "period": "day"}],
}
AS_YAML = """
providers:
  local:
    type: openai
    base_url: http://127.0.0.1:1/v1
    api_key: ${LOCAL_KEY}
    default_model: m
    timeout_s: ${LOCAL_TIMEOUT}
agents: {planner: {provider: local, stop: [END], fallback: []}}
budgets: [{name: day, limit_usd: 5, period: day}]
"""
ENVIRON = {"LOCAL_KEY": "key-1", "LOCAL_TIMEOUT": "7.5"}


def problems_of(values: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(values, environ={})
    return caught.value.problems


def test_a_mapping_says_what_the_same_yaml_says() -> None:
    read, same = load_config(RIGHT, environ=ENVIRON), parse_config(AS_YAML, environ=ENVIRON)
    assert read.model_dump() == same.model_dump()


def test_problems_of_a_mapping_name_the_path_of_the_key() -> None:
    assert problems_of(
        {
            "providers": {"local": {"type": "mock", "modle": "m"}},
            "agents": {"planner": {"provider": "locl"}},
        }
    ) == (
        "<mapping>: providers.local.modle: unknown key",
        "<mapping>: agents.planner.provider: no such provider; did you mean 'local'?",
    )


@pytest.mark.parametrize("value", [object(), {1, 2}, b"text", lambda: None])
def test_what_yaml_cannot_say_is_a_problem_of_a_mapping(value: object) -> None:
    assert problems_of({"providers": {"local": {"type": "mock", "default_model": value}}}) == (
        "<mapping>: providers.local.default_model: expected text, a number, true, false, None, a "
        "list or a mapping",
    )


def test_a_key_that_is_no_text_is_a_problem_of_a_mapping() -> None:
    assert problems_of({"providers": {"local": {"type": "mock", 3: 4}}}) == (
        "<mapping>: providers.local: a key is text",
    )


def test_a_mapping_that_holds_itself_is_a_problem() -> None:
    values: dict[str, Any] = {"providers": {"local": {"type": "mock"}}}
    values["x-itself"] = values
    assert problems_of(values)[0].endswith("nested deeper than 100 levels")


def test_a_mapping_is_not_changed_and_not_kept() -> None:
    given = {"providers": {"local": {"type": "mock", "api_key": "key-1"}}}
    config = load_config(given)
    given["providers"]["local"]["type"] = "openai"
    assert config.providers.providers["local"].type == "mock"


async def test_a_registry_is_made_from_a_mapping() -> None:
    values = {
        "providers": {"local": {"type": "mock"}},
        "agents": {"planner": {"provider": "local"}},
    }
    async with ProviderRegistry.from_config(values) as registry:
        response = await registry.get_for_agent("planner").complete("hi")
    assert response.content == "This is a mock answer."


@pytest.mark.parametrize("given", ["config", None, ["config"]])
def test_what_is_no_configuration_makes_no_registry(given: Any) -> None:
    with pytest.raises(InvalidParameterError, match="load_config reads a folder, a file or a map"):
        ProviderRegistry.from_config(given)
