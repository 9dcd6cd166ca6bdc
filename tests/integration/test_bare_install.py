"""LiteLLM as a bare install has it: inside the declared range, and usable without `mcp`."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.litellm

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

CALLS = textwrap.dedent(
    """
    import asyncio, sys
    sys.modules["mcp"] = None  # importing it fails, as where it is not installed
    from orchestify import LiteLLMProvider
    from orchestify.testing import StubServer

    TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}

    async def main():
        async with StubServer() as server:
            provider = LiteLLMProvider("it", {
                "default_model": "openai/gpt-4o", "api_key": "any", "base_url": server.openai_url,
            })
            response = await provider.complete("the weather?", tools=[TOOL])
            stream = provider.stream("the weather?", tools=[TOOL])
            events = [event async for event in stream.events()]
            print(response.tool_calls[0].name, stream.response.tool_calls[0].name)
            print("".join([text async for text in provider.stream("hello")]))

    asyncio.run(main())
    """
)


@pytest.fixture
def declared() -> Requirement:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    (found,) = [each for each in project["dependencies"] if each.startswith("litellm")]
    return Requirement(found)


def test_installed_litellm_is_in_the_declared_range(declared: Requirement) -> None:
    assert importlib.metadata.version("litellm") in declared.specifier


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.106.0", "1.106.3"])
def test_malicious_and_broken_releases_are_outside(declared: Requirement, version: str) -> None:
    assert version not in declared.specifier


def test_tools_and_streams_work_without_mcp() -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", CALLS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["get_weather get_weather", "gpt-4o read 1 words."]
    assert done.stderr == ""
    assert done.returncode == 0
