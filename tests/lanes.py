"""Every way out to a provider, for suites that run over all of them."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, TypeVar

import pytest

from orchestify import ProviderRegistry
from orchestify.core.config import Config, parse_config
from orchestify.testing import StubServer

# What goes through LiteLLM; what pydantic says of its types, and its use of what is deprecated.
LITELLMS_OWN_WARNINGS = [
    pytest.mark.litellm,
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm"),
    # Of a call that is cancelled it may leave a coroutine which it has not begun; to warn of that
    # fails where the garbage collector runs in a function without builtins.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <coroutine object OpenAIChatCompletion"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
]

KEY = "key-of-the-tests-0123456789"

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"location": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["location"],
}
ANTHROPIC_TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "Tells the weather",
    "input_schema": WEATHER,
}
OPENAI_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Tells the weather", "parameters": WEATHER},
}


@dataclass(frozen=True)
class Lane:
    """One way out: the protocol it speaks in the end, and its part of the configuration."""

    name: str
    protocol: Literal["anthropic", "openai", "responses"]
    settings: Mapping[str, Any]

    @property
    def is_direct(self) -> bool:
        """Whether it does without LiteLLM."""
        return "litellm" not in self.settings.values()

    @property
    def model(self) -> str:
        """The model as the configuration names it."""
        return str(self.settings["default_model"])

    def base_url(self, server: StubServer) -> str:
        """Return the server's address for this protocol."""
        return server.anthropic_url if self.protocol == "anthropic" else server.openai_url


CLAUDE, GPT = "claude-sonnet-4-5", "gpt-4o"
ANTHROPIC = Lane("anthropic", "anthropic", {"type": "anthropic", "default_model": CLAUDE})
OPENAI = Lane("openai", "openai", {"type": "openai", "default_model": GPT})
RESPONSES = Lane(
    "responses", "responses", {"type": "openai", "api": "responses", "default_model": GPT}
)
LANES = (
    ANTHROPIC,
    OPENAI,
    RESPONSES,
    Lane(
        "anthropic-litellm",
        "anthropic",
        {"type": "anthropic", "engine": "litellm", "default_model": CLAUDE},
    ),
    Lane("openai-litellm", "openai", {"type": "openai", "engine": "litellm", "default_model": GPT}),
    Lane("litellm-openai", "openai", {"type": "litellm", "default_model": f"openai/{GPT}"}),
    Lane(
        "litellm-anthropic",
        "anthropic",
        {"type": "litellm", "default_model": f"anthropic/{CLAUDE}"},
    ),
)
ANTHROPIC_LANES = tuple(lane for lane in LANES if lane.protocol == "anthropic")
OPENAI_LANES = tuple(lane for lane in LANES if lane.protocol == "openai")


LANE_NAME = attrgetter("name")


def configured(lane: Lane, base_url: str, *, key: str = KEY, **settings: Any) -> Config:
    """Return a configuration of one provider, `it`, that tries once, and some agents."""
    provider = {**lane.settings, "base_url": base_url, "api_key": key, **settings}
    agents = {
        "plain": {"provider": "it"},
        "caching": {"provider": "it", "cache": True},
        "thinking": {"provider": "it", "thinking": {"budget_tokens": 1024}, "max_tokens": 4096},
    }
    return parse_config(
        json.dumps({"providers": {"it": provider}, "agents": agents, "retry": {"max_attempts": 1}})
    )


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[ProviderRegistry]:
    """Open a registry, and close it and what LiteLLM keeps open."""
    async with ProviderRegistry.from_config(config) as registry:
        yield registry
    await close_litellms_clients()
    if any("litellm" in {each.type, each.engine} for each in config.providers.providers.values()):
        collect_quietly(1)


async def close_litellms_clients() -> None:
    """Close the clients that LiteLLM keeps for the running loop and leaves to the collector."""
    cache = getattr(sys.modules.get("litellm"), "in_memory_llm_clients_cache", None)
    ours = f"-{id(asyncio.get_running_loop())}"
    for key in [key for key in list(getattr(cache, "cache_dict", ())) if key.endswith(ours)]:
        await cache.cache_dict.pop(key).close()


def collect_quietly(generation: int = 2) -> None:
    """Collect what LiteLLM leaves open, so that no later test is blamed for it."""
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect(generation)


_T = TypeVar("_T")


async def alone(work: Awaitable[_T]) -> _T:
    """Do something in an event loop of its own, and leave nothing of LiteLLM's open in it."""
    try:
        return await work
    finally:
        await close_litellms_clients()
