"""What of a request is not passed on is named, or refused by its place; and what lookups answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from tests.gateways import CALL_WEATHER, CHAT, HELLO, WEATHER, Gateway, gateway

MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
GPT, CLAUDE, OWN = "gpt/gpt-4o", "claude/claude-sonnet-4-5", "own/gpt-4o"
MORE = {"own": {"type": "openai", "api": "responses", "default_model": "gpt-4o"}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOL: Any = {"name": "f", "input_schema": {"type": "object"}}
FUNCTION: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SPACE: Any = {"type": "namespace", "name": "s", "foo": 1, "description": "d", "tools": [FUNCTION]}
SEARCH: Any = {"type": "web_search"}


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, more=MORE) as each:
        yield each


async def post(gate: Gateway, path: str, model: str, **body: Any) -> Any:
    said = {"input": "hi"} if path == RESPONSES else {"messages": HELLO, "max_tokens": 5000}
    asked = {"model": model, **said, **body}
    return await gate.served.ask("POST", path, gate.token, json=asked)


def said(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi", **fields}]}


def shown(**image: Any) -> dict[str, Any]:
    return said(content=[{"type": "image_url", "image_url": {"url": PIXEL, **image}}])


def source(**more: Any) -> dict[str, Any]:
    given = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo=", **more}
    return said(content=[{"type": "image", "source": given}])


def turn(kind: str) -> dict[str, Any]:
    blocks = [{"type": kind}, {"type": "text", "text": "a"}]
    return {"messages": [*HELLO, {"role": "assistant", "content": blocks}, *HELLO]}


JSON_FORM = {"type": "json_object", "foo": 1}
NAMED = [
    (CHAT, CLAUDE, {"seed": 7}, "seed_dropped"),
    (CHAT, CLAUDE, said(name="ann"), "name_dropped"),
    (CHAT, OWN, said(name="ann"), "name_dropped"),
    (CHAT, GPT, said(tool_calls=[]), "tool_calls_dropped"),
    (CHAT, GPT, shown(foo=1), "foo_dropped"),
    (CHAT, GPT, {"stream_options": {"foo": 1}}, "foo_dropped"),
    (CHAT, GPT, {"thinking": {"type": "disabled", "foo": 1}}, "foo_dropped"),
    (CHAT, GPT, {"response_format": JSON_FORM}, "foo_dropped"),
    (CHAT, GPT, {"tools": [WEATHER], "tool_choice": {**CALL_WEATHER, "foo": 1}}, "foo_dropped"),
    (MESSAGES, GPT, {"output_config": {"foo": 1}}, "foo_dropped"),
    (MESSAGES, GPT, {"thinking": {"type": "disabled", "foo": 1}}, "foo_dropped"),
    (MESSAGES, GPT, {"tools": [TOOL], "tool_choice": {"type": "auto", "foo": 1}}, "foo_dropped"),
    (MESSAGES, GPT, source(foo=1), "foo_dropped"),
    (MESSAGES, GPT, turn("server_tool_use"), "server_tool_use_dropped"),
    (MESSAGES, GPT, turn("web_search_tool_result"), "web_search_tool_result_dropped"),
    (RESPONSES, GPT, {"text": {"foo": 1}}, "foo_dropped"),
    (RESPONSES, GPT, {"tools": [SPACE]}, "description_dropped,foo_dropped"),
    (
        *(RESPONSES, GPT, {"tools": [SEARCH, FUNCTION], "tool_choice": SEARCH}),
        "tool_choice_dropped,web_search_dropped",
    ),
    (
        *(RESPONSES, GPT, {"tools": [SEARCH], "tool_choice": "required"}),
        "tool_choice_dropped,web_search_dropped",
    ),
]


@pytest.mark.parametrize(("path", "model", "body", "warnings"), NAMED, ids=str)
async def test_what_is_left_out_is_named(
    gate: Gateway, path: str, model: str, body: dict[str, Any], warnings: str
) -> None:
    answer = await post(gate, path, model, **body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-orchestify-warnings"] == warnings


@pytest.mark.parametrize(
    ("tools", "choice", "left"),
    [
        ([SEARCH], SEARCH, []),
        ([SEARCH], "required", []),
        ([SEARCH, FUNCTION], SEARCH, ["tools"]),
        (
            [SEARCH, FUNCTION],
            {"type": "allowed_tools", "mode": "auto", "tools": [SEARCH]},
            ["tools"],
        ),
        ([SEARCH, FUNCTION], "auto", ["tool_choice", "tools"]),
    ],
    ids=str,
)
async def test_a_search_that_is_left_out_is_not_chosen(
    gate: Gateway, tools: list[Any], choice: Any, left: list[str]
) -> None:
    answer = await post(gate, RESPONSES, OWN, tools=tools, tool_choice=choice)
    assert answer.status_code == 200, answer.text
    assert sorted(gate.sent.keys() & {"tools", "tool_choice"}) == left


OBJECT = {"type": "object"}
REFUSED = [
    (MESSAGES, CLAUDE, {"system": [{"type": "text", "text": "a", "foo": 1}]}, "system[0].foo"),
    (MESSAGES, CLAUDE, {"tools": [{**TOOL, "foo": 1}]}, "tools[0].foo"),
    (MESSAGES, CLAUDE, {"tools": [TOOL], "tool_choice": {"type": "auto", "foo": 1}}, "tool_choice"),
    (MESSAGES, CLAUDE, said(bar=1), "messages[0].bar"),
    (MESSAGES, CLAUDE, {"output_config": {"task_budget": {}}}, "output_config.task_budget"),
    (MESSAGES, GPT, turn("whatever"), "messages[1].content[0].type"),
    (MESSAGES, GPT, turn("image"), "messages[1].content[0].type"),
    (RESPONSES, OWN, {"tools": [{**FUNCTION, "foo": 1}]}, "tools[0].foo"),
    (RESPONSES, OWN, {"reasoning": {"foo": 1}}, "reasoning.foo"),
    (RESPONSES, OWN, {"text": {"foo": 1}}, "text.foo"),
    (RESPONSES, OWN, {"previous_response_id": "resp_x"}, "previous_response_id"),
    (CHAT, GPT, {"stop": {"a": 1}}, "stop"),
    (CHAT, GPT, {"stop": {}}, "stop"),
    (CHAT, GPT, {"max_completion_tokens": 3}, "max_tokens"),
]


@pytest.mark.parametrize(("path", "model", "body", "place"), REFUSED, ids=str)
async def test_what_does_not_go_is_refused_by_its_place(
    gate: Gateway, path: str, model: str, body: dict[str, Any], place: str
) -> None:
    answer = await post(gate, path, model, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(place)
    assert gate.stub.account.received == 0


async def test_the_operator_allows_a_field_of_an_object(tmp_path: Path) -> None:
    allowed = {"allowed_fields": ("output_config.task_budget",)}
    async with gateway(tmp_path, settings=allowed) as gate:
        answer = await post(gate, MESSAGES, CLAUDE, output_config={"task_budget": {"total": 5}})
    assert answer.status_code == 200, answer.text
    assert gate.sent["output_config"] == {"task_budget": {"total": 5}}


async def test_errors_have_openais_own_words_for_what_is_wrong(gate: Gateway) -> None:
    with pytest.raises(openai.BadRequestError) as missing:
        await gate.client.responses.create(model=GPT, input="hi", previous_response_id="resp_x")
    assert (missing.value.code, missing.value.param) == (
        "previous_response_not_found",
        "previous_response_id",
    )
    with pytest.raises(openai.BadRequestError) as no_vectors:
        await gate.client.embeddings.create(model=CLAUDE, input="hi")
    assert no_vectors.value.param == "model"
    with pytest.raises(openai.NotFoundError, match=r"response with id 'resp_x' not found"):
        await gate.client.responses.retrieve("resp_x")
    with pytest.raises(openai.BadRequestError, match="stream: a kept answer is not told"):
        await gate.client.responses.retrieve("resp_x", stream=True)


@pytest.mark.parametrize("name", ["input_tokens", "compact"])
async def test_what_there_is_not_of_responses_is_told_in_words(gate: Gateway, name: str) -> None:
    answer = await gate.served.ask("POST", f"{RESPONSES}/{name}", gate.token, json={})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"this service has no {name} of responses"


async def test_anthropics_client_reads_the_models_in_pages(gate: Gateway) -> None:
    key = gate.token
    async with anthropic.AsyncAnthropic(base_url=gate.served.url, api_key=key) as client:
        whole = await client.models.list()
        first = await client.models.list(limit=1)
        rest = await client.models.list(limit=1, after_id=first.data[0].id)
        before = await client.models.list(limit=1, before_id=whole.data[-1].id)
        paged = [model.id async for model in client.models.list(limit=1)]
        with pytest.raises(anthropic.BadRequestError):
            await client.models.list(limit=0)
        with pytest.raises(anthropic.NotFoundError) as missing:
            await client.models.retrieve("none/none")
    names = [model.id for model in whole.data]
    assert (whole.has_more, first.has_more, len(names)) == (False, True, 3)
    told = [page.data[0].id for page in (first, rest, before)]
    assert (told, paged) == ([names[0], names[1], names[-2]], names)
    assert missing.value.type == "not_found_error"
