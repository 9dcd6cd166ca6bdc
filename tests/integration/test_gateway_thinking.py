"""Agents that think, with clients that send no thinking back: tool loops go on all the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestify.testing import Reply
from orchestify.values import ToolCall
from tests.gateways import CALL_WEATHER, HELLO, WEATHER, Gateway, gateway

CITIES = ("Rome", "Oslo", "Lima")
AGENTS = {
    "planner": {"provider": "claude", "thinking": {"budget_tokens": 1024}, "max_tokens": 4096},
    "deepseek": {"provider": "gpt", "model": "deepseek-v4-flash", "thinking": "low"},
    "other": {"provider": "claude", "thinking": {"budget_tokens": 1024}, "max_tokens": 4096},
}


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, AGENTS) as each:
        yield each


def call_of(city: str, call_id: str = "call_1") -> ToolCall:
    return ToolCall(call_id, "get_weather", {"city": city})


def told(message: Any, call_id: str | None = None) -> list[dict[str, Any]]:
    """An answer and its tool's result, as a client sends them that knows of no thinking."""
    (call,) = message.tool_calls
    function = {"name": call.function.name, "arguments": call.function.arguments}
    used = call_id or call.id
    calls = [{"id": used, "type": "function", "function": function}]
    result = {"role": "tool", "tool_call_id": used, "content": "sunny"}
    return [{"role": "assistant", "content": None, "tool_calls": calls}, result]


async def ask(gate: Gateway, messages: Any, *, is_stream: bool = False, **more: Any) -> Any:
    asked = {"model": "agent:planner", "messages": messages, "tools": [WEATHER], **more}
    if not is_stream:
        return await gate.client.chat.completions.create(**asked)
    async with gate.client.chat.completions.stream(**asked) as stream:
        return await stream.get_final_completion()


def blocks_sent(gate: Gateway) -> list[list[str]]:
    """The types of the blocks of each assistant's turn that the provider got last."""
    turns = [each for each in gate.sent["messages"] if each["role"] == "assistant"]
    return [[block["type"] for block in each["content"]] for each in turns]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_three_turns_of_tools_keep_their_thinking(gate: Gateway, is_stream: bool) -> None:
    thoughts = [Reply(thinking=f"About {c}.", tool_calls=(call_of(c),)) for c in CITIES]
    gate.stub.script(*thoughts, Reply(text="All are sunny."))
    messages = list(HELLO)
    for _ in CITIES:
        answer = await ask(gate, messages, is_stream=is_stream)
        messages += told(answer.choices[0].message)
    last = await ask(gate, messages, is_stream=is_stream)
    assert last.choices[0].message.content == "All are sunny."
    assert blocks_sent(gate) == [["thinking", "tool_use"]] * 3
    assert gate.sent["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert [f"About {city}." in json.dumps(gate.sent) for city in CITIES] == [True] * 3


@pytest.mark.parametrize("is_stream", [False, True])
async def test_three_turns_keep_their_thinking_on_openais_protocol(
    gate: Gateway, is_stream: bool
) -> None:
    thoughts = [Reply(thinking=f"About {c}.", tool_calls=(call_of(c),)) for c in CITIES]
    gate.stub.script(*thoughts, Reply(text="All are sunny."))
    messages = list(HELLO)
    for _ in CITIES:
        answer = await ask(gate, messages, is_stream=is_stream, model="agent:deepseek")
        messages += told(answer.choices[0].message)
    last = await ask(gate, messages, is_stream=is_stream, model="agent:deepseek")
    assert last.choices[0].message.content == "All are sunny."
    turns = [each for each in gate.sent["messages"] if each["role"] == "assistant"]
    assert [each["reasoning_content"] for each in turns] == [f"About {city}." for city in CITIES]


async def test_calls_whose_ids_the_client_changes_keep_their_thinking(gate: Gateway) -> None:
    gate.stub.script(Reply(thinking="Hm.", tool_calls=(call_of("Rome"),)))
    answer = await ask(gate, HELLO)
    await ask(gate, [*HELLO, *told(answer.choices[0].message, "mine_7")])
    assert blocks_sent(gate) == [["thinking", "tool_use"]]
    assert json.dumps(gate.sent).count("mine_7") == 2


@pytest.mark.parametrize(
    ("model", "first"),
    [
        ("agent:other", HELLO),
        ("agent:planner", [{"role": "user", "content": "something else"}]),
        ("agent:planner", [{"role": "system", "content": "Be brief."}, *HELLO]),
    ],
)
async def test_thinking_of_another_conversation_is_not_put_in(
    gate: Gateway, model: str, first: Any
) -> None:
    gate.stub.script(Reply(thinking="Hm.", tool_calls=(call_of("Rome"),)))
    answer = await ask(gate, HELLO)
    await ask(gate, [*first, *told(answer.choices[0].message)], model=model)
    assert blocks_sent(gate) == [["tool_use"]]


async def test_another_tenant_gets_no_thinking(gate: Gateway) -> None:
    gate.stub.script(Reply(thinking="Hm.", tool_calls=(call_of("Rome"),)))
    answer = await ask(gate, HELLO)
    async with gate.client.with_options(api_key=gate.served.token("other", "call")) as client:
        await client.chat.completions.create(
            model="agent:planner",
            messages=[*HELLO, *told(answer.choices[0].message)],
            tools=[WEATHER],
        )
    assert blocks_sent(gate) == [["tool_use"]]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_turn_whose_thinking_is_gone_is_asked_without_and_says_so(
    gate: Gateway, is_stream: bool
) -> None:
    gate.stub.script(Reply(thinking="Hm.", tool_calls=(call_of("Rome"),)))
    answer = await ask(gate, HELLO)
    forgotten = await gate.served.ask(
        "DELETE", "/api/v1/conversations", gate.served.token("acme", "write")
    )
    raw = await gate.client.chat.completions.with_raw_response.create(
        model="agent:planner",
        messages=[*HELLO, *told(answer.choices[0].message)],
        tools=[WEATHER],
        stream=is_stream,
    )
    body = raw.http_response
    said = raw.headers.get("x-orchestify-warnings") or (await body.aread()).decode()
    assert forgotten.status_code == 204
    assert "thinking_dropped" in said
    assert "thinking" not in gate.sent


@pytest.mark.parametrize("choice", ["required", CALL_WEATHER])
async def test_a_tool_is_forced_at_an_agent_that_thinks(gate: Gateway, choice: Any) -> None:
    answer = await ask(gate, HELLO, tool_choice=choice)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert "thinking" not in gate.sent


async def test_claudes_thinking_that_a_client_sends_is_taken_as_it_is(gate: Gateway) -> None:
    gate.stub.script(Reply(thinking="Hm.", tool_calls=(call_of("Rome"),)))
    answer = await ask(gate, HELLO)
    await gate.served.service.conversations.forget("acme")
    message = answer.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    await ask(gate, [*HELLO, message, result])
    assert blocks_sent(gate) == [["thinking", "tool_use"]]
