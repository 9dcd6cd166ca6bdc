"""OpenAI's own client against the gateway's Responses, with agents on all direct lanes."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from orchestify.testing import Reply
from orchestify.values import ToolCall, Usage
from tests.gateways import Gateway, gateway
from tests.ledgers import until
from tests.servers import PROVIDERS

RESPONSES = "/v1/responses"
LANES = ["agent:writer", "agent:reader", "agent:native"]
CITIES = ("Rome", "Oslo", "Lima")
USED = Usage(input_tokens=100, output_tokens=20, cache_read=40, reasoning=5)
PARAMETERS: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}
THINKS = {"thinking": {"budget_tokens": 1024}, "max_tokens": 4096}
AGENTS = {
    "writer": {"provider": "claude"},
    "reader": {"provider": "gpt"},
    "native": {"provider": "own"},
    "planner": {"provider": "claude", **THINKS},
    "reasoner": {"provider": "deep", "thinking": True},
    "thinker": {"provider": "own", "model": "gpt-5.1", "thinking": "high"},
    "resilient": {"provider": "own", "model": "broken;status=503", "fallback": ["claude"]},
}
MORE = {
    "deep": {"type": "openai", "default_model": "gpt-5.1"},
    "own": {"type": "openai", "api": "responses", "default_model": "gpt-4o"},
}


class City(BaseModel):
    name: str


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, AGENTS, MORE, {"keep_alive_s": 0.3}) as each:
        yield each


async def ask(gate: Gateway, *, is_stream: bool = False, **asked: Any) -> Any:
    given = {"model": "agent:writer", "input": "hello there", **asked}
    if not is_stream:
        return await gate.client.responses.create(**given)
    async with gate.client.responses.stream(**given) as stream:
        return await stream.get_final_response()


async def raw(gate: Gateway, token: str | None = None, **asked: Any) -> Any:
    """The answer to a body as it is, with a status and headers."""
    body = {"model": "agent:writer", "input": "hello there", **asked}
    return await gate.served.ask("POST", RESPONSES, token or gate.token, json=body)


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def calls_of(city: str, number: int = 0) -> tuple[ToolCall, ...]:
    return (ToolCall(f"call_{number}", "get_weather", {"city": city}),)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", LANES)
async def test_an_answer_has_text_usage_and_the_name_asked_for(
    gate: Gateway, model: str, is_stream: bool
) -> None:
    gate.stub.script(Reply(text="Hi there.", usage=USED))
    answer = await ask(gate, model=model, is_stream=is_stream, instructions="Be brief.")
    assert (answer.output_text, answer.model, answer.status) == ("Hi there.", model, "completed")
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (100, 20, 120)
    assert usage.input_tokens_details.cached_tokens == 40
    assert usage.output_tokens_details.reasoning_tokens == 5
    assert answer.id == f"resp_{gate.rows('call_id')[0][0]}"
    assert "Be brief." in json.dumps(gate.sent)


@pytest.mark.parametrize("model", LANES)
async def test_the_headers_tell_the_call_and_who_answered(gate: Gateway, model: str) -> None:
    answer = await raw(gate, model=model, metadata={"team": "blue"})
    provider = {"agent:writer": "claude", "agent:reader": "gpt", "agent:native": "own"}[model]
    assert answer.headers["x-orchestify-provider"] == provider
    assert answer.json()["id"] == f"resp_{answer.headers['x-orchestify-call-id']}"
    assert gate.rows("agent, provider") == [(model[6:], provider)]


@pytest.mark.parametrize("how", ["items", "previous", "stateless"])
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", [*LANES, "agent:planner", "agent:reasoner", "agent:thinker"])
async def test_three_turns_of_tools_go_on_and_keep_their_thinking(
    gate: Gateway, model: str, is_stream: bool, how: str
) -> None:
    is_thinker = model in ("agent:planner", "agent:reasoner", "agent:thinker")
    for number, city in enumerate(CITIES):
        thought = f"On {city}." if is_thinker else None
        gate.stub.script(Reply(thinking=thought, tool_calls=calls_of(city, number)))
    gate.stub.script(Reply(text="All are sunny."))
    asked: dict[str, Any] = {"model": model, "tools": [WEATHER], "is_stream": is_stream}
    asked |= {"store": False} if how == "stateless" else {}
    said: list[Any] = [{"role": "user", "content": "the weather?"}]
    for city in CITIES:
        answer = await ask(gate, input=said, **asked)
        (call,) = [item for item in answer.output if item.type == "function_call"]
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": city})
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        if how == "previous":
            said, asked["previous_response_id"] = [result], answer.id
        else:
            told = [item.model_dump(exclude_none=True) for item in answer.output]
            said += [{k: v for k, v in item.items() if k != "parsed_arguments"} for item in told]
            said.append(result)
    last = await ask(gate, input=said, **asked)
    assert last.output_text == "All are sunny."
    sent = json.dumps(gate.sent)
    assert sent.count("sunny") == 3
    assert [f"On {city}." in sent for city in CITIES] == [is_thinker] * 3


@pytest.mark.parametrize("is_stream", [False, True])
async def test_claudes_thinking_goes_back_although_the_client_leaves_reasoning_out(
    gate: Gateway, is_stream: bool
) -> None:
    gate.stub.script(Reply(thinking="Hm.", tool_calls=calls_of("Rome")))
    asked: dict[str, Any] = {"model": "agent:planner", "tools": [WEATHER], "store": False}
    answer = await ask(gate, is_stream=is_stream, **asked)
    (call,) = [item for item in answer.output if item.type == "function_call"]
    said = [
        {"role": "user", "content": "hello there"},
        {k: getattr(call, k) for k in ("type", "call_id", "name", "arguments")},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    await ask(gate, input=said, **asked)
    blocks = [block["type"] for block in gate.sent["messages"][1]["content"]]
    assert blocks == ["thinking", "tool_use"]


@pytest.mark.parametrize("model", LANES)
async def test_items_are_found_by_their_ids(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(tool_calls=calls_of("Rome")), Reply(text="Sunny."))
    first = await ask(gate, model=model, tools=[WEATHER])
    (call,) = first.output
    said: list[Any] = [
        {"role": "user", "content": "hello there"},
        {"type": "item_reference", "id": call.id},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    assert (await ask(gate, model=model, tools=[WEATHER], input=said)).output_text == "Sunny."
    unknown = await raw(gate, model=model, input=[{"type": "item_reference", "id": "msg_none"}])
    assert unknown.json()["error"]["param"] == "input[0].id"


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", LANES)
async def test_an_answer_has_the_form_asked_for(gate: Gateway, model: str, is_stream: bool) -> None:
    asked: Any = {"model": model, "input": "which city?", "text_format": City}
    if is_stream:
        async with gate.client.responses.stream(**asked) as stream:
            answer: Any = await stream.get_final_response()
    else:
        answer = await gate.client.responses.parse(**asked)
    assert answer.output_parsed == City(name="stub")


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", LANES)
async def test_a_refusal_is_a_part_of_its_own(gate: Gateway, model: str, is_stream: bool) -> None:
    gate.stub.script(Reply(refusal="I will not."))
    answer = await ask(gate, model=model, is_stream=is_stream)
    (part,) = answer.output[0].content
    told = part.refusal if part.type == "refusal" else part.text
    assert told == "I will not."
    assert is_stream or part.type == "refusal"  # Claude's is known at its end alone


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", LANES)
async def test_an_answer_at_its_limit_is_incomplete(
    gate: Gateway, model: str, is_stream: bool
) -> None:
    gate.stub.words = 90
    text = await raw(gate, model=model, stream=is_stream, max_output_tokens=16)
    last = events_of(text.text)[-1]["response"] if is_stream else text.json()
    assert (last["status"], last["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )


@pytest.mark.parametrize("model", [*LANES, "agent:planner"])
async def test_a_streams_events_make_the_response_at_its_end(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(text="one two", tool_calls=(*calls_of("Rome"), *calls_of("Oslo", 1))))
    answer = await raw(gate, model=model, stream=True, tools=[WEATHER], input="the weather?")
    events = events_of(answer.text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = {e["output_index"]: e["item"] for e in events if e["type"].endswith("item.done")}
    assert [done[index] for index in sorted(done)] == events[-1]["response"]["output"]
    texts = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    assert "".join(texts) == "one two"
    assert {e["item"]["id"] for e in events if e["type"].endswith("item.added")} == {
        item["id"] for item in done.values()
    }


async def test_custom_tools_and_namespaces_are_functions_elsewhere(gate: Gateway) -> None:
    patch = ToolCall("call_1", "patch", {"input": "*** a\n+b"})
    close = ToolCall("call_2", "agents__close", {"target": "x"})
    function = {"type": "function", "name": "close", "parameters": {"type": "object"}}
    tools: Any = [
        {"type": "custom", "name": "patch", "description": "Patches"},
        {"type": "namespace", "name": "agents", "description": "Agents", "tools": [function]},
    ]
    for is_stream in (False, True):
        gate.stub.script(Reply(tool_calls=(patch, close)), Reply(text="Done."))
        answer = await raw(gate, tools=tools, stream=is_stream)
        made = events_of(answer.text)[-1]["response"] if is_stream else answer.json()
        custom, inner = made["output"]
        assert (custom["type"], custom["input"]) == ("custom_tool_call", "*** a\n+b")
        assert (inner["name"], inner["namespace"]) == ("close", "agents")
        results = [
            {"type": "custom_tool_call_output", "call_id": "call_1", "output": "ok"},
            {"type": "function_call_output", "call_id": "call_2", "output": "ok"},
        ]
        said = [{"role": "user", "content": "go"}, custom, inner, *results]
        assert (await raw(gate, input=said, tools=tools)).status_code == 200
        names = [block["name"] for block in gate.sent["messages"][1]["content"]]
        assert names == ["patch", "agents__close"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_agent_that_falls_back_answers_in_the_protocol(
    gate: Gateway, is_stream: bool
) -> None:
    answer = await ask(gate, model="agent:resilient", is_stream=is_stream)
    assert answer.model == "agent:resilient"
    assert answer.output_text.startswith("claude-sonnet-4-5 read")


async def test_a_forced_tool_takes_thinking_from_an_agent(gate: Gateway) -> None:
    choice: Any = {"type": "function", "name": "get_weather"}
    answer = await ask(gate, model="agent:planner", tools=[WEATHER], tool_choice=choice)
    assert answer.output[-1].type == "function_call"
    assert "thinking" not in gate.sent


async def test_a_model_that_cannot_think_is_asked_without_and_says_so(gate: Gateway) -> None:
    for model in ("agent:reader", "agent:native"):
        answer = await raw(gate, model=model, reasoning={"effort": "high", "summary": "auto"})
        assert "thinking_dropped" in answer.headers["x-orchestify-warnings"]


async def test_what_another_protocol_cannot_be_told_is_named(gate: Gateway) -> None:
    search = {"type": "web_search"}
    answer = await raw(gate, truncation="auto", tools=[search], prompt_cache_key="k")
    assert answer.headers["x-orchestify-warnings"] == (
        "prompt_cache_key_dropped,truncation_dropped,web_search_dropped"
    )
    for asked, place in (
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"brand_new": True}, "brand_new"),
        ({"input": [{"type": "computer_call", "id": "x"}]}, "input[0].type"),
    ):
        refused = await raw(gate, **asked)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, place)


async def test_what_an_item_or_a_tool_says_beyond_other_protocols_is_named(gate: Gateway) -> None:
    part = {"type": "input_text", "text": "hello", "prompt_cache_breakpoint": {"mode": "explicit"}}
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    answer = await raw(
        gate,
        input=[{"role": "user", "content": [part]}],
        tools=[{"type": "custom", "name": "patch", "format": grammar, "defer_loading": False}],
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        reasoning={"summary": "auto", "context": "all_turns"},
        metadata={"long": "x" * 300},
    )
    assert answer.headers["x-orchestify-warnings"].split(",") == [
        "metadata_cut",
        "context_dropped",
        "format_dropped",
        "include_dropped",
        "prompt_cache_breakpoint_dropped",
    ]


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("agent:writer", {"type": "document", "title": "a.pdf"}),
        ("agent:reader", {"type": "file"}),
        ("agent:native", {"type": "input_file", "filename": "a.pdf"}),
    ],
)
async def test_a_file_is_a_file_in_the_targets_words(
    gate: Gateway, model: str, sent: dict[str, str]
) -> None:
    data = "data:application/pdf;base64,JVBERi0xLjQK"
    part = {"type": "input_file", "filename": "a.pdf", "file_data": data}
    answer = await raw(gate, model=model, input=[{"role": "user", "content": [part]}])
    assert answer.status_code == 200, answer.text
    said = gate.sent.get("messages") or gate.sent["input"]
    assert sent.items() <= said[0]["content"][0].items()


async def test_a_file_that_is_no_data_url_is_named(gate: Gateway) -> None:
    part = {"type": "input_file", "filename": "a.pdf", "file_data": "JVBERi0xLjQK"}
    refused = await raw(gate, input=[{"role": "user", "content": [part]}])
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "input[0].content[0].file_data"


@pytest.mark.parametrize("model", LANES)
async def test_background_is_refused(gate: Gateway, model: str) -> None:
    assert (await raw(gate, model=model, background=True)).status_code == 400


# what passes through


async def own_provider(gate: Gateway) -> str:
    """Give a tenant a provider with its own key, and return its token."""
    admin = gate.served.token("owner", "admin")
    config = {"base_url": gate.stub.openai_url, "default_model": "gpt-5.1", "api": "responses"}
    body = {"name": "mine", "provider_type": "openai", "api_key": "sk-own", "config": config}
    made = await gate.served.ask("POST", PROVIDERS, admin, json=body)
    assert made.status_code == 201, made.text
    return gate.served.token("owner", "call")


@pytest.mark.parametrize("is_stream", [False, True])
async def test_all_passes_through_with_the_tenants_own_key(gate: Gateway, is_stream: bool) -> None:
    token = await own_provider(gate)
    body: dict[str, Any] = {
        "model": "mine/gpt-5.1",
        "input": [{"type": "hologram", "data": "x"}, {"role": "user", "content": "hi"}],
        "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
        "service_tier": "priority",
        "brand_new": {"on": True},
        "store": False,
    }
    stream = {"stream": True} if is_stream else {}
    answer = await raw(gate, token, **body, **stream)
    assert answer.status_code == 200, answer.text
    assert gate.sent == {**body, "model": "gpt-5.1", **stream}
    await until(lambda: gate.rows("outcome, input_tokens > 0") == [("ok", 1)])


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"service_tier": "priority"}, "service_tier"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_url": "https://x.example"}]}, "tools[0].type"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"input": [{"type": "hologram"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
    ],
)
async def test_what_costs_more_does_not_go_with_the_operators_key(
    gate: Gateway, asked: dict[str, Any], place: str
) -> None:
    answer = await raw(gate, model="agent:native", **asked)
    assert (answer.status_code, len(gate.stub.requests)) == (400, 0)
    assert answer.json()["error"]["message"].startswith(f"{place}: does not go with the operator")


async def test_the_operators_account_keeps_nothing(gate: Gateway) -> None:
    answer = await raw(gate, model="agent:thinker", store=True)
    assert (gate.sent["store"], gate.sent["include"]) == (False, ["reasoning.encrypted_content"])
    assert answer.json()["store"] is True
    assert (await gate.client.responses.retrieve(answer.json()["id"])).store is True


async def test_the_operator_widens_what_goes_with_their_key(tmp_path: Path) -> None:
    allowed = {"allowed_fields": ("service_tier",), "allowed_tools": ("web_search",)}
    search = {"type": "web_search"}
    async with gateway(tmp_path, AGENTS, MORE, allowed) as gate:
        await raw(gate, model="agent:native", service_tier="priority", tools=[search])
        assert (gate.sent["service_tier"], gate.sent["tools"]) == ("priority", [search])
    async with gateway(tmp_path, AGENTS, MORE) as gate:
        answer = await raw(gate, model="agent:native", tools=[search])
        assert "tools" not in gate.sent
        assert "web_search_dropped" in answer.headers["x-orchestify-warnings"]


async def test_auto_takes_responses_for_models_that_have_only_these(tmp_path: Path) -> None:
    both = {**MORE, "both": {"type": "openai", "api": "auto", "default_model": "gpt-4o"}}
    async with gateway(tmp_path, AGENTS, both) as gate:
        await raw(gate, model="both/gpt-4o")
        await raw(gate, model="both/gpt-5-pro")
        paths = [request.path for request in gate.stub.requests]
    assert paths == ["/v1/chat/completions", "/v1/responses"]


# what is kept


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", LANES)
async def test_a_response_is_kept_until_it_is_deleted(
    gate: Gateway, model: str, is_stream: bool
) -> None:
    answer = await ask(gate, model=model, is_stream=is_stream)
    kept = await gate.client.responses.retrieve(answer.id)
    assert (kept.output_text, kept.id) == (answer.output_text, answer.id)
    await gate.client.responses.delete(answer.id)
    for again in (gate.client.responses.retrieve, gate.client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            await again(answer.id)
    gone = await raw(gate, model=model, previous_response_id=answer.id)
    assert gone.json()["error"]["param"] == "previous_response_id"


async def test_a_conversation_goes_on_from_its_id_without_its_instructions(gate: Gateway) -> None:
    first = await ask(gate, instructions="Be brief.", input="one")
    second = await ask(gate, previous_response_id=first.id, input="two")
    await gate.client.responses.delete(first.id)
    await ask(gate, previous_response_id=second.id, input="three")
    said = [message["content"][0]["text"] for message in gate.sent["messages"]]
    answers = [first.output_text, second.output_text]
    assert said == ["one", answers[0], "two", answers[1], "three"]
    assert "system" not in gate.sent


async def test_what_is_not_to_be_stored_is_not_kept(gate: Gateway) -> None:
    answer = await ask(gate, store=False)
    assert answer.store is False
    with pytest.raises(openai.NotFoundError):
        await gate.client.responses.retrieve(answer.id)


async def test_another_tenant_finds_nothing(gate: Gateway) -> None:
    answer = await ask(gate)
    url, stranger = f"{gate.served.url}/v1", gate.served.token("other", "call")
    async with openai.AsyncOpenAI(base_url=url, api_key=stranger, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(answer.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete(answer.id)
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(
                model="agent:writer", input="go on", previous_response_id=answer.id
            )
    assert (await gate.client.responses.retrieve(answer.id)).id == answer.id


async def test_forgetting_a_tenants_conversations_forgets_its_responses(gate: Gateway) -> None:
    answer = await ask(gate)
    writer = gate.served.token("acme", "write")
    gone = await gate.served.ask("DELETE", "/api/v1/conversations", writer)
    assert gone.status_code == 204
    with pytest.raises(openai.NotFoundError):
        await gate.client.responses.retrieve(answer.id)


async def test_what_is_too_large_to_keep_is_said_to_be(gate: Gateway) -> None:
    asked, told = (base64.b64encode(secrets.token_bytes(500_000)).decode() for _ in range(2))
    gate.stub.script(Reply(text=told), Reply(text=told))
    for is_stream in (False, True):
        answer = await raw(gate, input=asked, stream=is_stream)
        made = events_of(answer.text)[-1] if is_stream else {"response": answer.json()}
        assert made["response"]["store"] is False
        words = made.get("orchestify", {}).get("warnings") or answer.headers.get(
            "x-orchestify-warnings"
        )
        assert "response_not_kept" in words


# errors


async def test_errors_have_their_classes(gate: Gateway) -> None:
    with pytest.raises(openai.NotFoundError):
        await ask(gate, model="none")
    with pytest.raises(openai.BadRequestError):
        await ask(gate, max_output_tokens=0)
    gate.stub.script(Reply(status=429))
    with pytest.raises(openai.RateLimitError):
        await ask(gate)


@pytest.mark.parametrize("model", LANES)
async def test_a_cut_stream_ends_with_an_error_event(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(text="one two three four", cut_after=2))
    answer = await raw(gate, model=model, stream=True)
    last = events_of(answer.text)[-1]
    assert (last["type"], last["code"]) == ("error", "stream_interrupted")
    assert last["sequence_number"] == len(events_of(answer.text)) - 1
    gate.stub.script(Reply(text="one two three four", cut_after=2))
    with pytest.raises(openai.APIError, match="the connection was lost"):
        await ask(gate, model=model, is_stream=True)


@pytest.mark.parametrize("model", LANES)
async def test_a_silent_stream_has_comments(gate: Gateway, model: str) -> None:
    gate.stub.script(Reply(text="late", slow_headers_s=0.8))
    answer = await raw(gate, model=model, stream=True)
    assert answer.text.startswith(": keep-alive\n\n")
    assert events_of(answer.text)[-1]["response"]["output"][0]["content"][0]["text"] == "late"
