"""Anthropic's own client against the gateway, with agents on both direct lanes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
import pytest_asyncio

from orchestify.testing import Reply
from orchestify.values import ToolCall, Usage
from tests.gateways import HELLO, Gateway, gateway
from tests.ledgers import until
from tests.servers import PROVIDERS

MESSAGES = "/v1/messages"
LANES = ["agent:writer", "agent:reader"]
CITIES = ("Rome", "Oslo", "Lima")
USED = Usage(input_tokens=100, output_tokens=20, cache_read=40)
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
THINKS = {"thinking": {"budget_tokens": 1024}, "max_tokens": 4096}
AGENTS = {
    "writer": {"provider": "claude"},
    "reader": {"provider": "gpt"},
    "planner": {"provider": "claude", **THINKS},
    "reasoner": {"provider": "deep", "thinking": True},
    "resilient": {"provider": "gpt", "model": "broken;status=503", "fallback": ["claude"]},
}
DEEP = {"deep": {"type": "openai", "default_model": "gpt-5.1"}}


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, AGENTS, DEEP, {"keep_alive_s": 0.3}) as each:
        yield each


def client_of(gate: Gateway, token: str | None = None) -> anthropic.AsyncAnthropic:
    key = token or gate.token
    return anthropic.AsyncAnthropic(base_url=gate.served.url, api_key=key, max_retries=0)


async def ask(gate: Gateway, *, is_stream: bool = False, **asked: Any) -> Any:
    given = {"model": "agent:writer", "max_tokens": 64, "messages": HELLO, **asked}
    async with client_of(gate) as client:
        if not is_stream:
            return await client.messages.create(**given)
        async with client.messages.stream(**given) as stream:
            return await stream.get_final_message()


async def raw(gate: Gateway, token: str | None = None, **asked: Any) -> Any:
    """The answer to a body as it is, with a status and headers."""
    body = {"model": "agent:writer", "max_tokens": 64, "messages": HELLO, **asked}
    return await gate.served.ask("POST", MESSAGES, token or gate.token, json=body)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", LANES)
async def test_an_answer_has_text_usage_and_the_name_asked_for(
    gate: Gateway, model: str, is_stream: bool
) -> None:
    gate.stub.script(Reply(text="Hi there.", usage=USED))
    answer = await ask(gate, model=model, is_stream=is_stream)
    (block,) = answer.content
    assert (block.type, block.text) == ("text", "Hi there.")
    assert (answer.model, answer.stop_reason) == (model, "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (60, 20)
    assert answer.usage.cache_read_input_tokens == 40


@pytest.mark.parametrize("model", LANES)
async def test_the_headers_tell_the_call_and_who_answered(gate: Gateway, model: str) -> None:
    answer = await raw(gate, model=model)
    provider = {"agent:writer": "claude", "agent:reader": "gpt"}[model]
    assert answer.headers["x-orchestify-provider"] == provider
    assert answer.headers["request-id"] == answer.headers["x-orchestify-call-id"]
    assert float(answer.headers["x-orchestify-cost-usd"]) > 0
    assert gate.rows("agent, provider") == [(model[6:], provider)]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", [*LANES, "agent:planner", "agent:reasoner"])
async def test_three_turns_of_tools_go_on_and_keep_their_thinking(
    gate: Gateway, model: str, is_stream: bool
) -> None:
    is_thinker = model in ("agent:planner", "agent:reasoner")
    for number, city in enumerate(CITIES):
        call = ToolCall(f"call_{number}", "get_weather", {"city": city})
        gate.stub.script(Reply(thinking=f"On {city}." if is_thinker else None, tool_calls=(call,)))
    gate.stub.script(Reply(text="All are sunny."))
    messages = list(HELLO)
    asked: dict[str, Any] = {"model": model, "tools": [WEATHER], "is_stream": is_stream}
    for city in CITIES:
        answer = await ask(gate, messages=messages, **asked)
        (use,) = [block for block in answer.content if block.type == "tool_use"]
        assert (answer.stop_reason, use.name, use.input) == (
            "tool_use",
            "get_weather",
            {"city": city},
        )
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
        messages += [
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [result]},
        ]
    last = await ask(gate, messages=messages, **asked)
    assert last.content[-1].text == "All are sunny."
    assert json.dumps(gate.sent).count("sunny") == 3
    thoughts = [f"On {city}." in json.dumps(gate.sent) for city in CITIES]
    assert thoughts == [is_thinker] * 3


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_forced_tool_takes_thinking_from_an_agent(gate: Gateway, is_stream: bool) -> None:
    choice = {"type": "tool", "name": "get_weather"}
    answer = await ask(
        gate, model="agent:planner", tools=[WEATHER], tool_choice=choice, is_stream=is_stream
    )
    assert answer.stop_reason == "tool_use"
    assert "thinking" not in gate.sent


async def test_an_agent_thinks_as_it_is_configured(gate: Gateway) -> None:
    answer = await ask(gate, model="agent:planner", max_tokens=500, extra_body={"temperature": 0.5})
    assert gate.sent["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert gate.sent["max_tokens"] == 1524
    assert "temperature" not in gate.sent
    assert answer.content[0].type == "thinking"


async def test_parallel_calls_of_another_protocol_are_blocks_in_a_row(gate: Gateway) -> None:
    calls = tuple(ToolCall(f"call_{c}", "get_weather", {"city": c}) for c in CITIES)
    gate.stub.script(Reply(tool_calls=calls))
    answer = await ask(gate, model="agent:reader", tools=[WEATHER], is_stream=True)
    assert [block.input for block in answer.content] == [{"city": city} for city in CITIES]


@pytest.mark.parametrize("model", LANES)
async def test_system_prompt_stop_and_image_reach_the_provider(gate: Gateway, model: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    said = [{"type": "text", "text": "what is this?"}, {"type": "image", "source": source}]
    await ask(
        gate,
        model=model,
        system=[{"type": "text", "text": "Be brief."}],
        messages=[{"role": "user", "content": said}],
        stop_sequences=["END"],
    )
    sent = json.dumps(gate.sent)
    assert [word in sent for word in ("Be brief.", "what is this?", "iVBORw0KGgo=", "END")] == (
        [True] * 4
    )


async def test_json_of_a_schema_is_asked_for_in_the_targets_words(gate: Gateway) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    form = {"format": {"type": "json_schema", "schema": schema}}
    answer = await ask(gate, model="agent:reader", output_config=form)
    assert json.loads(answer.content[0].text).keys() == {"name"}
    assert gate.sent["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_agent_that_falls_back_answers_in_the_protocol(
    gate: Gateway, is_stream: bool
) -> None:
    answer = await ask(gate, model="agent:resilient", is_stream=is_stream)
    assert (answer.model, answer.stop_reason) == ("agent:resilient", "end_turn")
    assert answer.content[0].text.startswith("claude-sonnet-4-5 read")


async def test_what_another_protocol_cannot_be_told_is_named(gate: Gateway) -> None:
    answer = await raw(gate, model="agent:reader", top_k=5, metadata={"user_id": "u"})
    assert answer.headers["x-orchestify-warnings"] == "metadata_dropped,top_k_dropped"
    refused = await raw(gate, model="agent:reader", container="c1")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert refused.json()["error"]["message"].startswith("container: ")


async def test_the_last_event_tells_cost_and_warnings(gate: Gateway) -> None:
    answer = await raw(gate, model="agent:reader", stream=True)
    (last,) = [line for line in answer.text.splitlines() if '"message_delta"' in line]
    told = json.loads(last.removeprefix("data: "))["orchestify"]
    assert (told["provider"], told["model"], told["warnings"]) == ("gpt", "gpt-4o", [])
    assert told["cost_usd"] > 0


# what passes through


OWN = {"speed": "fast", "mcp_servers": [{"type": "url", "url": "https://x.example", "name": "x"}]}
UNKNOWN: Any = [{"role": "user", "content": [{"type": "hologram", "data": "x"}]}]


async def own_provider(gate: Gateway) -> str:
    """Give a tenant a provider with its own key, and return its token."""
    admin = gate.served.token("owner", "admin")
    config = {"base_url": gate.stub.anthropic_url, "default_model": "claude-sonnet-4-5"}
    body = {"name": "mine", "provider_type": "anthropic", "api_key": "sk-own", "config": config}
    made = await gate.served.ask("POST", PROVIDERS, admin, json=body)
    assert made.status_code == 201, made.text
    return gate.served.token("owner", "call")


@pytest.mark.parametrize("is_stream", [False, True])
async def test_all_passes_through_with_the_tenants_own_key(gate: Gateway, is_stream: bool) -> None:
    token = await own_provider(gate)
    headers = {"anthropic-beta": "brand-new-2030-01-01", "anthropic-version": "2023-06-01"}
    body = {"model": "mine/claude-sonnet-4-5", "max_tokens": 64, "messages": UNKNOWN, **OWN}
    async with gate.served.client(token, **headers) as client:
        answer = await client.post(MESSAGES, json={**body, "stream": is_stream})
    stream = {"stream": True} if is_stream else {}
    assert answer.status_code == 200, answer.text
    assert gate.sent == {**body, "model": "claude-sonnet-4-5", **stream}
    assert gate.stub.requests[-1].headers["anthropic-beta"] == "brand-new-2030-01-01"
    await until(lambda: gate.rows("outcome, input_tokens > 0") == [("ok", 1)])


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"speed": "fast"}, "speed"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"mcp_servers": OWN["mcp_servers"]}, "mcp_servers"),
        ({"container": "c1"}, "container"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"messages": UNKNOWN}, "messages[0].content[0].type"),
        (
            {"system": [{"type": "text", "text": "x", "cache_control": {"ttl": "1h"}}]},
            "system[0].cache_control.ttl",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "document", "source": {"type": "file", "file_id": "f"}}
                        ],
                    }
                ]
            },
            "messages[0].content[0].source.file_id",
        ),
    ],
)
async def test_what_costs_more_does_not_go_with_the_operators_key(
    gate: Gateway, asked: dict[str, Any], place: str
) -> None:
    answer = await raw(gate, **asked)
    assert (answer.status_code, len(gate.stub.requests)) == (400, 0)
    assert answer.json()["error"]["message"].startswith(f"{place}: does not go with the operator")


async def test_the_operator_widens_what_goes_with_their_key(tmp_path: Path) -> None:
    allowed = {
        "allowed_fields": ("speed",),
        "allowed_betas": ("fast-mode",),
        "allowed_tools": ("web_search_",),
    }
    tool = {"type": "web_search_20250305", "name": "web_search"}
    async with gateway(tmp_path, AGENTS, DEEP, allowed) as gate, client_of(gate) as client:
        answer = await client.beta.messages.with_raw_response.create(
            model="agent:writer",
            max_tokens=64,
            messages=HELLO,
            tools=[tool],  # type: ignore[list-item]
            betas=["fast-mode-2026-02-01", "unknown-2030-01-01"],
            extra_body={"speed": "fast"},
        )
    assert answer.headers["x-orchestify-warnings"] == "beta_dropped"
    assert gate.stub.requests[-1].headers["anthropic-beta"] == "fast-mode-2026-02-01"
    assert (gate.sent["speed"], gate.sent["tools"]) == ("fast", [tool])


async def test_unknown_blocks_of_an_answer_come_through(gate: Gateway) -> None:
    thought = Reply(thinking="Hm.", text="Hi.")
    gate.stub.script(thought, thought)
    whole = await ask(gate, model="agent:planner")
    streamed = await ask(gate, model="agent:planner", is_stream=True)
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert [block.signature for block in whole.content[:1]] == [
        block.signature for block in streamed.content[:1]
    ]
    assert whole.content[0].signature


CLAUDE_CODE: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "read the file"}]},
        {"role": "system", "content": "Available agents: none"},
    ],
    "system": [
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}
    ],
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": "somebody"},
    "max_tokens": 32_000,
    "tools": [WEATHER],
}


@pytest.mark.parametrize("model", [*LANES, "agent:planner", "agent:reasoner"])
async def test_what_claude_code_asks_is_answered_on_every_lane(gate: Gateway, model: str) -> None:
    answer = await raw(gate, model=model, stream=True, **CLAUDE_CODE)
    assert answer.status_code == 200, answer.text
    assert "event: message_stop" in answer.text
    assert "Available agents: none" in json.dumps(gate.sent)


async def test_a_model_that_cannot_think_is_asked_without_and_says_so(gate: Gateway) -> None:
    answer = await raw(gate, model="agent:reader", thinking={"type": "adaptive"})
    assert answer.headers["x-orchestify-warnings"] == "thinking_dropped"


# counting


@pytest.mark.parametrize(
    ("model", "source"), [("agent:writer", "reported"), ("gpt-4o", "estimated")]
)
async def test_tokens_are_counted(gate: Gateway, model: str, source: str) -> None:
    async with client_of(gate) as client:
        answer = await client.messages.with_raw_response.count_tokens(
            model=model, messages=HELLO, system="Be brief.", tools=[WEATHER]
        )
    assert (await answer.parse()).input_tokens > 10
    assert answer.headers["x-orchestify-count"] == source
    assert gate.rows("id") == []


# errors


async def test_errors_are_in_the_protocols_form(gate: Gateway) -> None:
    async with client_of(gate) as client:
        with pytest.raises(anthropic.NotFoundError) as missing:
            await client.messages.create(model="none", max_tokens=9, messages=HELLO)
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(model="agent:writer", max_tokens=0, messages=HELLO)
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.count_tokens(model="none", messages=HELLO)
    async with client_of(gate, "ork_wrong_wrong") as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.create(model="agent:writer", max_tokens=9, messages=HELLO)
    assert missing.value.type == "not_found_error"


@pytest.mark.parametrize(
    ("status", "raised"), [(429, anthropic.RateLimitError), (529, anthropic.InternalServerError)]
)
@pytest.mark.parametrize("model", LANES)
async def test_a_providers_failure_has_its_class(
    gate: Gateway, model: str, status: int, raised: type[Exception]
) -> None:
    gate.stub.script(Reply(status=status))
    with pytest.raises(raised):
        await ask(gate, model=model)


@pytest.mark.parametrize("model", LANES)
async def test_a_cut_stream_ends_with_an_error_event(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(text="one two three four", cut_after=2))
    answer = await raw(gate, model=model, stream=True)
    name, data = answer.text.strip().split("\n\n")[-1].split("\n")
    assert (name, json.loads(data.removeprefix("data: "))["type"]) == ("event: error", "error")
    assert "message_stop" not in answer.text


@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/nowhere"])
async def test_what_http_refuses_is_in_the_protocols_form(gate: Gateway, path: str) -> None:
    answer = await gate.served.ask("GET", path, gate.token)
    assert (answer.status_code in (404, 405), answer.json()["type"]) == (True, "error")


@pytest.mark.parametrize("model", LANES)
async def test_a_silent_stream_has_pings(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(text="late", slow_headers_s=0.8))
    answer = await raw(gate, model=model, stream=True)
    assert answer.text.startswith('event: ping\ndata: {"type": "ping"}\n\n')
    gate.stub.script(Reply(text="late", slow_headers_s=0.8))
    assert (await ask(gate, model=model, is_stream=True)).content[0].text == "late"


async def test_models_are_listed_for_both_clients(gate: Gateway) -> None:
    async with client_of(gate) as client:
        listed = [model.id async for model in client.models.list()]
    assert "agent:planner" in listed
    assert [model.id async for model in gate.client.models.list()] == listed


# other origins


async def test_pages_of_an_origin_may_call_where_it_is_allowed(tmp_path: Path) -> None:
    origin = {"Origin": "https://app.example"}
    async with gateway(tmp_path, settings={"cors_origins": ("https://app.example",)}) as gate:
        asks = {**origin, "Access-Control-Request-Method": "POST"}
        asks["Access-Control-Request-Headers"] = "authorization,content-type"
        async with gate.served.client() as client:
            allowed = await client.options(MESSAGES, headers=asks)
            strange = await client.options(
                MESSAGES, headers={**asks, "Origin": "https://no.example"}
            )
            rest = await client.options("/api/v1/tokens", headers=asks)
            asks["Access-Control-Request-Method"] = "DELETE"
            forgotten = await client.options("/v1/responses/resp_1", headers=asks)
        async with gate.served.client(gate.token, **origin) as client:
            answer = await client.get("/v1/models")
            refused = await client.post(MESSAGES, json={})
    assert (allowed.status_code, strange.status_code, rest.status_code) == (200, 400, 405)
    assert forgotten.status_code == 200
    told = [each.headers.get("access-control-allow-origin") for each in (allowed, answer, refused)]
    assert told == ["https://app.example"] * 3
    assert "access-control-allow-origin" not in strange.headers


async def test_no_origin_is_allowed_unless_it_is_said(gate: Gateway) -> None:
    async with gate.served.client(gate.token, Origin="https://app.example") as client:
        answer = await client.get("/v1/models")
    assert "access-control-allow-origin" not in answer.headers


BROKEN = ['{"path": "/tmp/x", "recursive": tr', "[1, 2]", "x"]


def broken(arguments: str, **more: Any) -> Reply:
    return Reply(tool_calls=(ToolCall("call_1", "get_weather", raw_arguments=arguments),), **more)


@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_arguments_that_are_no_object_call_no_tool(
    gate: Gateway, is_stream: bool, arguments: str
) -> None:
    gate.stub.script(broken(arguments))
    answer = await raw(gate, model="agent:reader", tools=[WEATHER], stream=is_stream)
    assert answer.status_code == (200 if is_stream else 502)
    last = answer.text.strip().rpartition("data: ")[2]
    error = json.loads(last)["error"]
    assert (error["type"], error["message"]) == (
        "api_error",
        "gpt/gpt-4o: the arguments of the model's call of get_weather are no JSON object; "
        "ask again",
    )
    assert "message_stop" not in answer.text


@pytest.mark.parametrize("is_stream", [False, True])
async def test_arguments_cut_off_by_the_limit_of_tokens_end_with_its_reason(
    gate: Gateway, is_stream: bool
) -> None:
    gate.stub.script(broken(BROKEN[0], text="Let me look.", finish_reason="length"))
    answer = await ask(gate, model="agent:reader", tools=[WEATHER], is_stream=is_stream)
    assert answer.stop_reason == "max_tokens"
    assert answer.content[0].text == "Let me look."


async def test_a_whole_answer_leaves_out_a_call_that_is_cut_off(gate: Gateway) -> None:
    gate.stub.script(broken(BROKEN[0], finish_reason="length"))
    answer = await raw(gate, model="agent:reader", tools=[WEATHER])
    assert (answer.status_code, answer.json()["content"]) == (200, [])
    assert answer.headers["x-orchestify-warnings"] == "tool_calls_dropped"
