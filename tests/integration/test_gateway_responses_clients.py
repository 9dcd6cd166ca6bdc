"""Frameworks for agents against the gateway's Responses: tool loops of three turns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestify.testing import Reply
from orchestify.values import ToolCall
from tests.extras import needs
from tests.gateways import Gateway, gateway

needs("pydantic-ai-slim", "frameworks")
needs("openai-agents", "frameworks")
import agents  # noqa: E402 - an extra
from pydantic import BaseModel  # noqa: E402
from pydantic_ai import Agent  # noqa: E402 - an extra
from pydantic_ai.models.openai import OpenAIResponsesModel  # noqa: E402
from pydantic_ai.providers.openai import OpenAIProvider  # noqa: E402

CITIES = ("Rome", "Oslo", "Lima")
THINKERS = {
    "claude": {"provider": "claude", "thinking": {"budget_tokens": 1024}, "max_tokens": 4096},
    "gemini": {"provider": "gemini", "thinking": "low"},
    "chat": {"provider": "deep", "thinking": "low"},
    "native": {"provider": "own", "thinking": "low"},
}
PROVIDERS = {
    "deep": {"type": "openai", "default_model": "gpt-5.1"},
    "gemini": {"type": "openai", "default_model": "gemini-3-pro"},
    "own": {"type": "openai", "api": "responses", "default_model": "gpt-5.1"},
}
MODELS = [f"agent:{name}" for name in THINKERS]


class City(BaseModel):
    name: str


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, THINKERS, PROVIDERS) as each:
        for number, city in enumerate(CITIES):
            call = ToolCall(f"call_{number}", "get_weather", {"city": city})
            each.stub.script(Reply(thinking=f"On {city}.", tool_calls=(call,)))
        each.stub.script(Reply(thinking="", text="All are sunny."))
        yield each


def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"sunny in {city}"


def thoughts_sent(gate: Gateway) -> list[bool]:
    """Whether the provider saw what it thought in each turn, in the last request."""
    sent = json.dumps(gate.sent)
    return [f"On {city}." in sent and f"sunny in {city}" in sent for city in CITIES]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
async def test_pydantic_ais_tool_loop_keeps_its_thinking(
    gate: Gateway, model: str, is_stream: bool
) -> None:
    own = OpenAIResponsesModel(model, provider=OpenAIProvider(openai_client=gate.client))
    agent = Agent(own, tools=[get_weather])
    if is_stream:
        async with agent.run_stream("the weather?") as run:
            answer = await run.get_output()
    else:
        answer = (await agent.run("the weather?")).output
    assert answer == "All are sunny."
    assert thoughts_sent(gate) == [True] * 3


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
async def test_openai_agents_tool_loop_keeps_its_thinking(
    gate: Gateway, model: str, is_stream: bool
) -> None:
    agents.set_tracing_disabled(True)
    own = agents.OpenAIResponsesModel(model=model, openai_client=gate.client)
    agent = agents.Agent(name="weather", model=own, tools=[agents.function_tool(get_weather)])
    if is_stream:
        run: Any = agents.Runner.run_streamed(agent, "the weather?")
        assert [event async for event in run.stream_events()]
    else:
        run = await agents.Runner.run(agent, "the weather?")
    assert run.final_output == "All are sunny."
    assert thoughts_sent(gate) == [True] * 3


async def test_openai_agents_go_on_from_a_kept_response(gate: Gateway) -> None:
    agents.set_tracing_disabled(True)
    own = agents.OpenAIResponsesModel(model="agent:claude", openai_client=gate.client)
    agent = agents.Agent(name="weather", model=own, tools=[agents.function_tool(get_weather)])
    first = await agents.Runner.run(agent, "the weather?", auto_previous_response_id=True)
    gate.stub.script(Reply(text="As I said."))
    await agents.Runner.run(agent, "again?", previous_response_id=first.last_response_id)
    assert thoughts_sent(gate) == [True] * 3
    assert gate.sent["messages"][-1]["content"][0]["text"] == "again?"


async def test_pydantic_ais_output_has_its_form(tmp_path: Path) -> None:
    async with gateway(tmp_path, THINKERS, PROVIDERS) as gate:
        own = OpenAIResponsesModel("agent:chat", provider=OpenAIProvider(openai_client=gate.client))
        answer = await Agent(own, output_type=City).run("use final_result for a city")
    assert answer.output == City(name="stub")
