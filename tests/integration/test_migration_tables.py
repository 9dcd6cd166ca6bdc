"""The tables from other layers' words to ours: every right-hand column runs.

A code span of a column named `here` is Python, one of `here, in YAML` a piece of configuration; a
column `here, as keys` names keys and is not run.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import orchestify
from orchestify import LLMMessage, LLMProvider, LLMResponse, ProviderRegistry
from orchestify.core.config import Config, parse_config
from orchestify.events import events
from orchestify.providers.provider_check import try_providers
from orchestify.testing import StubServer
from tests.lanes import ANTHROPIC_TOOL

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
KEY = "key-of-the-tests-0123456789"
SOME_NAMES = {"None"}  # a code span that is a word of the sentence


class Row(NamedTuple):
    """One row: what another layer says, the code that says it here, and the code's language."""

    there: str
    codes: list[str]
    language: str


def rows() -> list[Row]:
    """Return the rows of the page's tables, in order."""
    found: list[Row] = []
    language = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = re.match(r"\| (.+) \| (.+) \|$", line)
        if cells and cells[2].startswith("here"):
            language = {"here": "python", "here, in YAML": "yaml"}.get(cells[2], "words")
        elif cells and cells[2] != "---":
            codes = [code for code in re.findall(r"`([^`]+)`", cells[2]) if code not in SOME_NAMES]
            found.append(Row(cells[1], codes, language))
    return found


class OwnProvider(LLMProvider):
    """A host's own."""

    @property
    def provider_type(self) -> str:
        return "own"

    async def complete(self, messages: Any, **arguments: Any) -> LLMResponse:  # type: ignore[override]
        self._track_usage(1, 1, 0.001)
        return LLMResponse("hello", "own", 0, 0, "stop")


def get_weather(location: str) -> dict[str, str]:
    """Tell the weather."""
    return {"location": location, "condition": "Sunny"}


def configuration(server: StubServer, more: str = "{}") -> Config:
    """Return a configuration that knows the tables' names, and a piece of YAML on top."""
    document: dict[str, Any] = {
        "providers": {
            "anthropic": {
                "type": "anthropic",
                "default_model": "claude-sonnet-4-5",
                "base_url": server.anthropic_url,
                "api_key": KEY,
            },
            **{
                name: {
                    "type": "openai",
                    "default_model": "gpt-4o",
                    "base_url": server.openai_url,
                    "api_key": KEY,
                }
                for name in ("openai", "deepseek", "ollama")
            },
        },
        "agents": {
            "planner": {
                "provider": "openai",
                "temperature": 0.7,
                "max_tokens": 1000,
                "fallback": ["anthropic"],
            }
        },
        "tasks": {"quick_decision": "planner", "deep_analysis": "planner"},
    }
    for key, value in yaml.safe_load(more).items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
    environ = {"OPENAI_API_KEY": KEY, "ANALYST_KEY": KEY}
    return parse_config(json.dumps(document), environ=environ)


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


@pytest.fixture
async def names(server: StubServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Return the names that the code of the tables may use."""
    monkeypatch.chdir(PAGE.parents[1])  # where the example's folder config is
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    config = configuration(server)
    async with ProviderRegistry.from_config(config) as registry:
        provider = registry.get("openai")
        yield {
            **{name: getattr(orchestify, name) for name in orchestify.__all__},
            **{name: each for name, each in vars(events).items() if inspect.isclass(each)},
            "config": config,
            "registry": registry,
            "provider": provider,
            "agent": registry.get_for_agent("planner"),
            "messages": [LLMMessage("user", "What is the weather?")],
            "tools": [ANTHROPIC_TOOL],
            "response": await provider.complete("hi"),
            "key": KEY,
            "OwnProvider": OwnProvider,
            "get_weather": get_weather,
            "Path": Path,
            "try_providers": try_providers,
            "complete": orchestify.LLMProvider.complete,
            "send": orchestify.LLMProvider.send,
        }


def of(language: str) -> pytest.MarkDecorator:
    """Return one case a row of a language."""
    found = [row for row in rows() if row.language == language]
    return pytest.mark.parametrize("row", found, ids=[row.there for row in found])


def test_every_layer_has_its_table_and_every_row_its_code() -> None:
    assert PAGE.read_text(encoding="utf-8").count("\n## ") == 6
    assert len(rows()) > 80
    assert [row.there for row in rows() if not row.codes and row.language != "words"] == []


@of("python")
async def test_python_of_a_row_runs(row: Row, names: dict[str, Any]) -> None:
    for code in row.codes:
        exec(f"async def say():\n    {code}", names)  # noqa: S102 - it is the page's
        await names["say"]()


@of("yaml")
async def test_yaml_of_a_row_loads(row: Row, server: StubServer) -> None:
    for code in row.codes:
        config = configuration(server, code)
        (key,) = yaml.safe_load(code)
        assert getattr(config, key)
