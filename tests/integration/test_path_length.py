"""How long the way of a call is: files and functions of ours that the second call passes.

Counted as distinct code objects under `sys.setprofile`, in the task's own thread; the stub
server runs in another. A call that grows longer than this is harder to read and slower.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

import pytest

import orchestify
from orchestify import LLMProvider, ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.testing import StubServer

PACKAGE = str(Path(orchestify.__file__).parent)
PLAIN = """
providers:
  it: {{type: openai, api_key: sk, default_model: gpt-4o, base_url: "{url}"}}
"""
POLICIES = """
retry: {max_attempts: 3}
circuit_breaker: {failures: 5}
timeout_s: 60
rate_limit: {requests_per_minute: 100000, tokens_per_minute: 100000000}
budgets:
  - {name: all, limit_usd: 1000, period: day, on_unpriced: allow}
  - {name: it, match: {provider: it}, limit_usd: 1000, period: day, on_unpriced: allow}
  - {name: model, match: {model: gpt-4o}, limit_usd: 1000, period: day, on_unpriced: allow}
"""


class Passed:
    """The code of ours that runs inside the block."""

    def __init__(self) -> None:
        self.code: set[CodeType] = set()

    @property
    def files(self) -> set[str]:
        return {each.co_filename for each in self.code}

    @property
    def functions(self) -> set[str]:
        return {
            f"{each.co_filename.removeprefix(PACKAGE)}:{each.co_qualname}" for each in self.code
        }

    def __enter__(self) -> Self:
        gc.disable()  # what it collects runs here, too
        sys.setprofile(self._profile)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.setprofile(None)
        gc.enable()

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.code.add(frame.f_code)


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


@pytest.fixture(params=["", POLICIES], ids=["no policy", "all policies"])
async def warm(request: Any, server: StubServer) -> AsyncIterator[tuple[LLMProvider, bool]]:
    """A provider that has made its first call, and whether it has policies."""
    config = parse_config(PLAIN.format(url=server.openai_url) + request.param)
    async with ProviderRegistry.from_config(config) as registry:
        provider = registry.get("it")
        await provider.complete("hello", max_tokens=100)
        yield provider, bool(request.param)


async def test_a_call_passes_few_files_and_functions(warm: tuple[LLMProvider, bool]) -> None:
    provider, has_policies = warm
    with Passed() as passed:
        await provider.complete("hello", max_tokens=100)
    files, functions = (23, 127) if has_policies else (17, 87)
    assert len(passed.files) <= files, sorted(passed.files)
    assert len(passed.functions) <= functions, sorted(passed.functions)


async def test_a_chunk_passes_few_functions(warm: tuple[LLMProvider, bool]) -> None:
    async with warm[0].stream("hello", model="stub;chunks=50") as stream:
        await anext(stream)
        for _ in range(40):
            with Passed() as passed:
                await anext(stream)
            assert len(passed.functions) <= 6, sorted(passed.functions)
