"""Frameworks' own agents on agents of the registry: tool loops, forms, streams, limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.extras import needs

# ruff: noqa: E402 - the imports need these packages

needs("openai-agents", "frameworks")
needs("pydantic-ai-slim", "frameworks")
needs("langchain", "frameworks")

import agents
import openai
from langchain.agents import create_agent
from langchain_core.tools import tool as langchain_tool
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent

from orchestify import InvalidParameterError, ProviderRegistry, scope
from orchestify.adapters import langchain, openai_agents, pydantic_ai
from orchestify.adapters.transport import openai_client
from orchestify.core.config import parse_config
from orchestify.testing import Reply, StubServer
from orchestify.values import ToolCall

CITIES = ("Rome", "Oslo", "Lima")
CONFIG = """
providers:
  claude: {{type: anthropic, api_key: k, default_model: claude-sonnet-4-6, base_url: "{url}"}}
  gpt: {{type: openai, api_key: k, default_model: gpt-5.1, base_url: "{url}/v1"}}
agents:
  claude: {{provider: claude, thinking: {{budget_tokens: 1024}}, max_tokens: 4096}}
  gpt: {{provider: gpt, thinking: high}}
  poor: {{provider: gpt, max_tokens: 100}}
budgets: [{{name: poor, match: {{agent: poor}}, limit_usd: 0.0000001, period: day}}]
retry: {{max_attempts: 1}}
"""


class Weather(BaseModel):
    city: str
    sunny: bool


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest_asyncio.fixture
async def registry(stub: StubServer) -> AsyncIterator[ProviderRegistry]:
    config = parse_config(CONFIG.format(url=stub.url), environ={})
    async with ProviderRegistry.from_config(config) as made:
        yield made


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    agents.set_tracing_disabled(True)
    yield
    agents.set_tracing_disabled(False)


def loop_of_tools() -> list[Reply]:
    """Three turns that think and call a tool, then an answer."""
    asked = [ToolCall(f"call_{city}", "get_weather", {"city": city}) for city in CITIES]
    turns = [Reply(thinking=f"About {each.id}.", tool_calls=(each,)) for each in asked]
    return [*turns, Reply(text="All are sunny.")]


async def by_openai_agents(agent: Any) -> str:
    made = agents.Agent(
        name="w", model=openai_agents.model(agent), tools=[agents.function_tool(get_weather)]
    )
    result = await agents.Runner.run(made, "hello")
    return str(result.final_output)


async def by_openai_agents_streamed(agent: Any) -> str:
    made = agents.Agent(
        name="w", model=openai_agents.model(agent), tools=[agents.function_tool(get_weather)]
    )
    result = agents.Runner.run_streamed(made, "hello")
    async for _ in result.stream_events():
        pass
    return str(result.final_output)


async def by_pydantic_ai(agent: Any) -> str:
    made = PydanticAgent(pydantic_ai.model(agent), tools=[get_weather])
    return (await made.run("hello")).output


async def by_pydantic_ai_streamed(agent: Any) -> str:
    made = PydanticAgent(pydantic_ai.model(agent), tools=[get_weather])
    async with made.run_stream("hello") as result:
        return await result.get_output()


async def by_langchain(agent: Any) -> str:
    graph = create_agent(langchain.model(agent), [langchain_tool(get_weather)])
    state = await graph.ainvoke({"messages": [{"role": "user", "content": "hello"}]})
    return str(state["messages"][-1].content)


async def by_langchain_streamed(agent: Any) -> str:
    graph = create_agent(langchain.model(agent), [langchain_tool(get_weather)])
    texts = []
    asked = {"messages": [{"role": "user", "content": "hello"}]}
    async for chunk, _ in graph.astream(asked, stream_mode="messages"):
        texts.append(chunk.content if chunk.type == "AIMessageChunk" else "")
    return "".join(texts)


async def by_langchain_in_a_thread(agent: Any) -> str:
    graph = create_agent(langchain.model(agent), [langchain_tool(get_weather)])
    asked = {"messages": [{"role": "user", "content": "hello"}]}
    state = await asyncio.to_thread(graph.invoke, asked)
    return str(state["messages"][-1].content)


RUNS = [
    by_openai_agents,
    by_openai_agents_streamed,
    by_pydantic_ai,
    by_pydantic_ai_streamed,
    by_langchain,
    by_langchain_streamed,
    by_langchain_in_a_thread,
]


@pytest.mark.parametrize("name", ["claude", "gpt"])
@pytest.mark.parametrize("run", RUNS)
async def test_three_turns_of_tools_end_in_an_answer_and_are_booked(
    run: Any, name: str, registry: ProviderRegistry, stub: StubServer
) -> None:
    stub.script(*loop_of_tools())
    with scope(job="weather"):
        assert await run(registry.get_for_agent(name)) == "All are sunny."
    total = registry.get_usage_summary()["by_agent"][name]
    assert total["calls"] == 4
    assert total["input_tokens"] == stub.account.billed.input_tokens
    assert [f"sunny in {city}" in stub.requests[-1].raw_body.decode() for city in CITIES] == [
        True
    ] * 3


@pytest.mark.parametrize("run", RUNS)
async def test_claudes_thinking_goes_back_with_the_results(
    run: Any, registry: ProviderRegistry, stub: StubServer
) -> None:
    stub.script(*loop_of_tools())
    await run(registry.get_for_agent("claude"))
    turns = [each for each in stub.requests[-1].body["messages"] if each["role"] == "assistant"]
    assert [[block["type"] for block in each["content"]] for each in turns] == [
        ["thinking", "tool_use"]
    ] * 3


ANSWER = json.dumps({"city": "Rome", "sunny": True})


class TestForms:
    async def test_of_the_agents_sdk(self, registry: ProviderRegistry, stub: StubServer) -> None:
        stub.script(Reply(text=ANSWER))
        made = agents.Agent(
            name="w",
            model=openai_agents.model(registry.get_for_agent("gpt")),
            output_type=Weather,
        )
        result = await agents.Runner.run(made, "hello")
        assert result.final_output == Weather(city="Rome", sunny=True)

    async def test_of_pydantic_ai(self, registry: ProviderRegistry, stub: StubServer) -> None:
        call = ToolCall("c", "final_result", {"city": "Rome", "sunny": True})
        stub.script(Reply(tool_calls=(call,)))
        made = PydanticAgent(
            pydantic_ai.model(registry.get_for_agent("claude")), output_type=Weather
        )
        assert (await made.run("hello")).output == Weather(city="Rome", sunny=True)

    async def test_of_langchain(self, registry: ProviderRegistry, stub: StubServer) -> None:
        stub.script(Reply(text=ANSWER))
        model = langchain.model(registry.get_for_agent("gpt"))
        found = await model.with_structured_output(Weather).ainvoke("hello")
        assert found == Weather(city="Rome", sunny=True)


@pytest.mark.parametrize("model", [openai_agents.model, pydantic_ai.model, langchain.model])
@pytest.mark.parametrize("agent", ["gpt", None])
def test_what_is_no_agent_is_refused(model: Any, agent: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"is what registry\.get_for_agent returns"):
        model(agent)


async def test_a_field_of_the_protocol_goes_to_a_provider_that_speaks_it(
    registry: ProviderRegistry, stub: StubServer
) -> None:
    client = openai_client(registry.get_for_agent("gpt"))
    asked = [{"role": "user", "content": "hello"}]
    await client.chat.completions.create(model="m", messages=asked, prompt_cache_key="run-1")
    assert stub.requests[0].body["prompt_cache_key"] == "run-1"


class TestFailures:
    async def test_a_budget_without_room_is_a_quota_that_is_used_up(
        self, registry: ProviderRegistry, stub: StubServer
    ) -> None:
        model = langchain.model(registry.get_for_agent("poor"))
        with pytest.raises(openai.RateLimitError, match="poor") as failure:
            await model.ainvoke("hello")
        assert failure.value.code == "budget_exceeded"
        assert not stub.requests

    async def test_a_provider_that_fails_is_asked_once(
        self, registry: ProviderRegistry, stub: StubServer
    ) -> None:
        stub.script(Reply(status=503))
        model = langchain.model(registry.get_for_agent("gpt"))
        with pytest.raises(openai.InternalServerError):
            await model.ainvoke("hello")
        assert len(stub.requests) == 1

    async def test_a_stream_that_is_left_is_stopped_and_booked(
        self, registry: ProviderRegistry, stub: StubServer
    ) -> None:
        stub.script(Reply(chunks=1000, stall_after=50))
        client = openai_client(registry.get_for_agent("gpt"))
        asked = [{"role": "user", "content": "hello"}]
        stream = await client.chat.completions.create(model="m", messages=asked, stream=True)
        await anext(stream)
        await stream.close()
        assert registry.get_usage_summary()["by_agent"]["gpt"]["attempts"] == 1

    async def test_the_time_that_a_framework_gives_is_the_calls(
        self, registry: ProviderRegistry, stub: StubServer
    ) -> None:
        stub.script(Reply(slow_headers_s=30))
        made = PydanticAgent(pydantic_ai.model(registry.get_for_agent("gpt")))
        with pytest.raises(Exception, match=r"504|time"):
            await made.run("hello", model_settings={"timeout": 0.2})
