from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from orchestify.core.config import load_config
from orchestify.errors import ConfigError
from orchestify.providers.template import template

TODAY = date(2026, 11, 29)
KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-made-up-1",
    "AZURE_OPENAI_API_KEY": "made-up-2",
    "AZURE_OPENAI_DEPLOYMENT": "our-gpt",
    "AZURE_OPENAI_ENDPOINT": "https://myorg.openai.azure.com",
    "OLLAMA_URL": "http://localhost:11434",
    "LLM_RATE_LIMIT_PER_MINUTE": "60",
    "LLM_DAILY_COST_ALERT_THRESHOLD": "7.5",
}


def load(tmp_path: Path, environ: dict[str, str]):
    for name, text in template(environ, TODAY).items():
        (tmp_path / name).write_text(text)
    return load_config(tmp_path, environ=environ)


def test_what_is_written_loads_with_the_providers_that_were_found(tmp_path: Path) -> None:
    config = load(tmp_path, KEYS)
    assert list(config.providers.providers) == ["azure", "anthropic", "ollama"]
    assert config.providers.providers["azure"].default_model == "azure/our-gpt"
    assert [each.provider for each in config.agents.agents["assistant"].fallback] == [
        "anthropic",
        "ollama",
    ]
    assert config.rate_limit is not None
    assert config.rate_limit.requests_per_minute == 60
    assert config.alerts is not None
    assert str(config.alerts.daily_cost_usd) == "7.5"


def test_without_keys_a_provider_that_needs_none_is_written(tmp_path: Path) -> None:
    config = load(tmp_path, {})
    assert {name: each.type for name, each in config.providers.providers.items()} == {
        "offline": "mock"
    }


@pytest.mark.parametrize("name", ["providers.yaml", "agents.yaml", "orchestify.schema.json"])
def test_no_key_or_address_of_the_environment_is_written(name: str) -> None:
    text = template(KEYS, TODAY)[name]
    assert "sk-ant-made-up-1" not in text
    assert "made-up-2" not in text
    assert "our-gpt" not in text
    assert "myorg" not in text


def test_editors_find_the_schema_in_the_first_line() -> None:
    files = template({}, TODAY)
    assert list(files) == [
        "providers.yaml",
        "agents.yaml",
        "policies.yaml",
        "orchestify.schema.json",
    ]
    first = "# yaml-language-server: $schema=orchestify.schema.json"
    assert {files[name].splitlines()[0] for name in list(files)[:3]} == {first}
    assert "providers" in json.loads(files["orchestify.schema.json"])["properties"]


def test_a_variable_that_cannot_be_used_is_refused_without_its_value() -> None:
    with pytest.raises(ConfigError) as raised:
        template({"OPENAI_API_KEY": "made up\nin two lines"}, TODAY)
    assert "providers.openai.api_key: a key has no line breaks" in str(raised.value)
    assert "made up" not in str(raised.value)
