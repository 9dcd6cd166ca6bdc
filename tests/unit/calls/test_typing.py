"""What type checkers say of the calls that hosts write: `mypy --strict` and pyright."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extras import needs
from tests.pages import blocks

needs("mypy", "peers")
needs("pyright", "peers")
from mypy import api  # noqa: E402

PROJECT = Path(__file__).parents[3]

RIGHT = """
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Unpack

from orchestify import (
    CompletionRequest, CompletionStream, LLMProvider, LLMResponse, ProviderRegistry, RunResult,
    StreamEvent,
)
from orchestify.calls.messages import MessagesLike
from orchestify.calls.request import CallKeywords, ThinkingLike, ToolLike
from orchestify.providers import ClaudeProvider, MockProvider


async def calls(provider: LLMProvider) -> None:
    answer: LLMResponse = await provider.complete(
        "hi", "m", 0.5, 100, [{"name": "f"}], True, top_p=0.9, stop=["x"], seed=1,
        tool_choice="auto", response_format={}, fallback=["other"], timeout_s=1.5,
        max_attempts=2, priority="high", options={"a": 1},
    )
    stream: CompletionStream = provider.stream([{"role": "user", "content": "hi"}], stop=None)
    result: RunResult = await provider.run(
        "hi", [calls, "registered", {"name": "f"}], max_turns=3, max_cost_usd=0.5, temperature=0.1,
    )
    async for text in provider.run_stream("hi", calls, timeout_s=1.5, tool_choice="required"):
        str.upper(text + result.content)
    provider.run_sync("hi", tool_timeout_s=3)
    provider.complete_sync("hi", timeout_s=3)
    provider.stream_sync("hi", seed=None)
    content: str = answer.content


class Sends(LLMProvider):
    provider_type = "own"

    async def send(self, request: CompletionRequest) -> LLMResponse:
        raise NotImplementedError

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        raise NotImplementedError
        yield


class TakesAll(LLMProvider):
    provider_type = "own"

    async def complete(self, messages: Any, *args: Any, **more: Any) -> LLMResponse:
        raise NotImplementedError


class Repeats(LLMProvider):
    provider_type = "own"

    async def complete(
        self,
        messages: MessagesLike,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        tools: Iterable[ToolLike] | None = None,
        thinking: ThinkingLike | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> LLMResponse:
        return await MockProvider().complete(messages, model, **keywords)


class Constructed(LLMProvider):
    provider_type = "own"

    def __init__(self, provider_id: str, config: dict[str, Any]) -> None:
        super().__init__(provider_id, config)
        self._track_usage(1, 2, 0.5)


class Narrows(ClaudeProvider):
    async def send(self, request: CompletionRequest) -> LLMResponse:
        raise NotImplementedError
"""

FORMED = """
from collections.abc import Mapping
from typing import Any, assert_type

from pydantic import BaseModel

from orchestify import LLMProvider, LLMResponse


class City(BaseModel):
    name: str


async def calls(provider: LLMProvider, form: type[City] | Mapping[str, Any] | None) -> None:
    city = await provider.complete("hi", response_format=City, timeout_s=3)
    assert_type(city, LLMResponse[City | None])
    assert_type(city.parsed, City | None)
    assert_type(provider.complete_sync("hi", response_format=City).parsed, City | None)
    assert_type(await provider.complete("hi"), LLMResponse)
    assert_type((await provider.complete("hi", response_format={"type": "object"})).parsed, Any)
    assert_type((await provider.complete("hi", response_format=form)).parsed, Any)
    answers: list[LLMResponse] = [city]
"""

NO_OVERLOAD = 'No overload variant of "complete" of "LLMProvider" matches'
WRONG = {
    'provider.complete("hi", timeouts=1)': NO_OVERLOAD,
    'provider.complete("hi", timeout_s="1")': NO_OVERLOAD,
    'provider.complete("hi", priority="urgent")': NO_OVERLOAD,
    'provider.complete("hi", "m", None, "many")': NO_OVERLOAD,
    "provider.complete()": 'All overload variants of "complete" of "LLMProvider" require',
    'provider.stream("hi", seed=0.5)': 'Argument "seed"',
    'provider.stream("hi", top_k=1)': 'Unexpected keyword argument "top_k"',
    'provider.complete_sync("hi", retries=1)': 'Unexpected keyword argument "retries"',
    'provider.stream_sync("hi", stop=1)': 'Argument "stop"',
    'provider.run("hi", turns=3)': 'Unexpected keyword argument "turns"',
    "orchestify.Manager": 'Module has no attribute "Manager"',
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What mypy says of both modules, by module."""
    folder = tmp_path_factory.mktemp("host")
    head = "import orchestify\ndef calls(provider: orchestify.LLMProvider) -> None:"
    (folder / "wrong.py").write_text("\n    ".join([head, *WRONG]) + "\n")
    (folder / "right.py").write_text(RIGHT)
    told, _, _ = api.run(
        ["--config-file=", "--strict", "--no-error-summary", "--hide-error-context", "--no-pretty"]
        + ["--disable-error-code=unused-coroutine"]
        + ["--cache-dir", str(PROJECT / ".mypy_cache")]
        + [str(folder / name) for name in ("right.py", "wrong.py")]
    )
    found = [re.match(r".*(right|wrong)\.py:(\d+): (.*)", line) for line in told.splitlines()]
    by_module: dict[str, list[str]] = {"right": [], "wrong": []}
    for each in found:
        if each is not None:
            by_module[each[1]].append(f"{int(each[2])}: {each[3]}")
    return by_module


def test_what_the_documentation_shows_is_right(said: dict[str, list[str]]) -> None:
    assert said["right"] == []


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_no_call_takes_is_an_error(said: dict[str, list[str]], number: int) -> None:
    line = f"{number + 3}: error: "
    assert [each for each in said["wrong"] if each.startswith(line + list(WRONG.values())[number])]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The README's Python, the examples, and calls that ask for a class."""
    folder = tmp_path_factory.mktemp("hosts")
    python = [each for each in blocks(PROJECT / "README.md") if each.language == "python"]
    for number, block in enumerate(python):
        (folder / f"readme_{number}.py").write_text(block.text)
    (folder / "formed.py").write_text(FORMED)
    return [*folder.glob("*.py"), *(PROJECT / "examples").glob("*.py")]


def test_mypy_passes_what_the_readme_and_the_examples_show(hosts: list[Path]) -> None:
    cache = str(PROJECT / ".mypy_cache")
    told, _, status = api.run(
        ["--config-file=", "--strict", "--cache-dir", cache, *map(str, hosts)]
    )
    assert (status, told) == (0, f"Success: no issues found in {len(hosts)} source files\n")


def test_pyright_passes_what_the_readme_and_the_examples_show(hosts: list[Path]) -> None:
    ran = subprocess.run(  # noqa: S603 - the checker, on files of ours
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
        + [str(each) for each in hosts],
        cwd=hosts[0].parent,
        capture_output=True,
        timeout=300,
        check=False,
    )
    report = json.loads(ran.stdout)
    assert (report["generalDiagnostics"], report["summary"]["filesAnalyzed"]) == ([], len(hosts))
