"""The tool loop on every lane, over real HTTP: calls, results, thinking and its signatures."""

from __future__ import annotations

from typing import Any

import pytest

from orchestify import LLMProvider, ProviderRegistry
from orchestify.core.config import parse_config
from orchestify.testing import Reply, StubServer
from orchestify.values import ToolCall
from tests.lanes import ANTHROPIC_LANES, LANE_NAME, LITELLMS_OWN_WARNINGS, Lane

pytestmark = LITELLMS_OWN_WARNINGS

ASKED = Reply(tool_calls=(ToolCall("", "look", {"what": "a"}), ToolCall("", "look", {"what": "b"})))
STREAMED = pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])


def look(what: str) -> str:
    """Look at something."""
    return f"saw {what}"


async def run(provider: LLMProvider, *, is_stream: bool, **given: Any) -> Any:
    """Run with one tool, whole or as a stream."""
    if not is_stream:
        return await provider.run("Look at both.", tools=[look], **given)
    async with provider.run_stream("Look at both.", tools=[look], **given) as stream:
        async for _ in stream:
            pass
    return stream.result


@STREAMED
async def test_calls_get_their_results(
    server: StubServer, provider: LLMProvider, is_stream: bool
) -> None:
    server.script(ASKED, Reply(text="both seen"))
    result = await run(provider, is_stream=is_stream)
    assert result.content == "both seen"
    assert [each.content for each in result.turns[0].results] == ["saw a", "saw b"]
    assert result.usage.call_count == len(server.requests) == 2
    sent = server.requests[1].raw_body.decode()
    assert sent.index("saw a") < sent.index("saw b")


@STREAMED
async def test_the_tool_is_told_by_its_schema(
    server: StubServer, provider: LLMProvider, is_stream: bool
) -> None:
    server.script(ASKED, Reply(text="both seen"))
    await run(provider, is_stream=is_stream)
    for request in server.requests:
        told = str(request.body["tools"])
        assert "Look at something." in told
        assert "'required': ['what']" in told


@STREAMED
@pytest.mark.parametrize("lane", ANTHROPIC_LANES, ids=LANE_NAME)
async def test_thinking_goes_back_with_its_signature(
    server: StubServer, registry: ProviderRegistry, lane: Lane, is_stream: bool
) -> None:
    asked = Reply(thinking="let me see", tool_calls=ASKED.tool_calls)
    server.script(asked, Reply(text="both seen", thinking=""))
    await run(registry.get_for_agent("thinking"), is_stream=is_stream)
    kinds = [block["type"] for block in server.requests[1].body["messages"][1]["content"]]
    assert kinds == ["thinking", "tool_use", "tool_use"]
    thought = server.requests[1].body["messages"][1]["content"][0]
    assert thought["thinking"] == "let me see"
    assert thought["signature"].startswith("c3R1Yg")
    results = server.requests[1].body["messages"][2]["content"]
    assert [each["type"] for each in results] == ["tool_result", "tool_result"]


@STREAMED
async def test_an_answer_cut_inside_a_call_goes_on(
    server: StubServer, provider: LLMProvider, is_stream: bool
) -> None:
    cut = Reply(tool_calls=ASKED.tool_calls, finish_reason="length")
    server.script(cut, Reply(text="sorry"))
    result = await run(provider, is_stream=is_stream)
    assert [each.outcome for each in result.turns[0].results] == ["not_run", "not_run"]
    assert result.content == "sorry"


async def test_a_run_goes_on_at_a_target_of_another_protocol(server: StubServer) -> None:
    config = parse_config(f"""
        retry: {{max_attempts: 1}}
        providers:
          claude: {{type: anthropic, api_key: k, default_model: claude-sonnet-4-5,
                   base_url: "{server.anthropic_url}"}}
          gpt: {{type: openai, api_key: k, default_model: gpt-4o, base_url: "{server.openai_url}"}}
        agents:
          worker: {{provider: claude, fallback: [gpt]}}
    """)
    thought = Reply(thinking="let me see", tool_calls=ASKED.tool_calls)
    async with ProviderRegistry.from_config(config) as registry:
        server.script(thought, Reply(status=503), Reply(text="both seen", thinking=""))
        result = await run(registry.get_for_agent("worker"), is_stream=False)
    assert [turn.response.provider for turn in result.turns] == ["claude", "gpt"]
    assert [each["role"] for each in server.requests[2].body["messages"]] == [
        *("user", "assistant", "tool", "tool"),
    ]
