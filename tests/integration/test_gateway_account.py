"""What the ledger has of calls through the gateway, and what one tenant knows of another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from orchestify.testing import Reply
from orchestify.values import Usage
from tests.gateways import CHAT, HELLO, KEY, Gateway, gateway
from tests.ledgers import until
from tests.servers import PROVIDERS


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, {"planner": {"provider": "gpt"}}) as each:
        yield each


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_is_booked_with_tenant_agent_labels_and_cost(
    gate: Gateway, is_stream: bool
) -> None:
    gate.stub.script(Reply(usage=Usage(input_tokens=100, output_tokens=20)))
    body = {
        "model": "agent:planner",
        "messages": HELLO,
        "stream": is_stream,
        "metadata": {"run": "r1", "task": "t7"},
    }
    answer = await gate.served.ask("POST", CHAT, gate.token, json=body)
    await until(lambda: gate.rows("outcome") == [("ok",)])
    (row,) = gate.rows("tenant, agent, provider, model, cost_usd, labels, call_id")
    assert row[:5] == ("acme", "planner", "gpt", "gpt-4o", 0.03)
    assert json.loads(row[5]) == {"run": "r1", "task": "t7"}
    assert row[6] == answer.headers["x-orchestify-call-id"]


@pytest.mark.parametrize("cost", ["1e5000000", "1e999990", "-1", 1e300])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_cost_beyond_belief_is_not_booked_and_the_price_holds(
    gate: Gateway, cost: object, is_stream: bool
) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "cost": cost}
    gate.stub.script(Reply(usage=usage))
    body = {"model": "agent:planner", "messages": HELLO, "stream": is_stream}
    answer = await gate.served.ask("POST", CHAT, gate.token, json=body)
    await until(lambda: gate.rows("outcome") == [("ok",)])
    assert answer.status_code == 200
    assert gate.rows("cost_usd, cost_source, usage_invalid") == [(0.03, "config", "cost")]


async def test_labels_of_one_request_are_not_those_of_the_next(gate: Gateway) -> None:
    body = {"model": "gpt-4o", "messages": HELLO}
    async with gate.served.client(gate.token) as client:
        await client.post(CHAT, json={**body, "metadata": {"run": "r1"}})
        await client.post(CHAT, json=body)
    await until(lambda: gate.rows("outcome") == [("ok",), ("ok",)])
    assert gate.rows("labels") == [('{"run": "r1"}',), ("{}",)]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("reply", [Reply(slow_headers_s=30), Reply(delay_s=30)], ids=str)
async def test_a_client_that_goes_before_the_answer_ends_the_call(
    gate: Gateway, reply: Reply, is_stream: bool
) -> None:
    gate.stub.script(reply)
    body = {"model": "gpt-4o", "messages": HELLO, "stream": is_stream}
    async with gate.served.client(gate.token) as client:
        task = asyncio.create_task(client.post(CHAT, json=body))
        await until(lambda: gate.stub.active == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await gate.stub.wait_idle()
    assert [request.outcome for request in gate.stub.requests] == ["client_left"]
    await until(lambda: gate.rows("outcome") == [("cancelled",)])


async def test_a_client_that_leaves_a_stream_ends_it_and_pays_for_what_came(gate: Gateway) -> None:
    gate.stub.script(Reply(text="one two three", stall_after=2))
    body = {"model": "gpt-4o", "messages": HELLO, "stream": True}
    seen = b""
    async with (
        gate.served.client(gate.token) as client,
        client.stream("POST", CHAT, json=body) as answer,
    ):
        async for piece in answer.aiter_raw():
            seen += piece
            if b"two" in seen:
                break
    await gate.stub.wait_idle()
    assert [request.outcome for request in gate.stub.requests] == ["client_left"]
    await until(lambda: gate.rows("outcome, usage_source") == [("cancelled", "estimated")])
    ((output, cost_usd),) = gate.rows("output_tokens, cost_usd")
    assert output > 0
    assert cost_usd > 0


async def test_the_connection_serves_on_after_answers_and_errors(gate: Gateway) -> None:
    body: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO}
    gate.stub.script(Reply(), Reply(status=500), Reply(text="a b", cut_after=1), Reply())
    async with gate.served.client(gate.token) as client:
        statuses = [
            (await client.post(CHAT, json=each)).status_code
            for each in (body, body, {**body, "stream": True}, {**body, "stream": True}, {})
        ]
    assert statuses == [200, 502, 200, 200, 400]


async def test_a_client_that_goes_while_it_sends_leaves_nothing(gate: Gateway) -> None:
    host = httpx.URL(gate.served.url)
    _, writer = await asyncio.open_connection(host.host, host.port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {gate.token}\r\n"
    writer.write(f"{head}content-length: 1000\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    answer = await gate.served.ask("GET", "/v1/models", gate.token)
    assert answer.status_code == 200
    assert gate.rows("outcome") == []


async def test_tenants_do_not_see_each_others_models_and_rows(gate: Gateway) -> None:
    for tenant in ("acme", "globex"):
        row = {
            "provider_type": "openai",
            "name": f"{tenant}-own",
            "api_key": KEY,
            "config": {"base_url": gate.stub.openai_url, "default_model": f"{tenant}-model"},
        }
        admin = gate.served.token(tenant)
        added = await gate.served.ask("POST", PROVIDERS, admin, json=row)
        assert added.status_code == 201
    listed = (await gate.served.ask("GET", "/v1/models", gate.token)).json()["data"]
    ids = {row["id"] for row in listed}
    assert "acme-own/acme-model" in ids
    assert not any("globex" in each for each in ids)
    for model in ("globex-model", "globex-own/globex-model"):
        body = {"model": model, "messages": HELLO}
        foreign = await gate.served.ask("POST", CHAT, gate.token, json=body)
        assert foreign.status_code == 404
    own = {"model": "acme-model", "messages": HELLO}
    assert (await gate.served.ask("POST", CHAT, gate.token, json=own)).status_code == 200
    await until(lambda: gate.rows("outcome") == [("ok",)])
    assert gate.rows("tenant, provider") == [("acme", "acme-own")]


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("gpt-4o", "gpt"),
        ("gpt/gpt-4o", "gpt"),
        ("gpt/vendor/model", "gpt"),
        ("gpt//models/llama", "gpt"),
        ("claude-x", "claude"),
    ],
)
async def test_a_model_is_told_by_any_name_that_a_call_may_give(
    tmp_path: Path, name: str, owner: str, end: str
) -> None:
    models = {"claude-*": {"provider": "claude", "model": "claude-sonnet-4-5"}}
    async with gateway(tmp_path, models=models) as gate:
        answer = await gate.served.ask("GET", f"/v1/models/{name}{end}", gate.token)
        called = await gate.served.ask(
            "POST", CHAT, gate.token, json={"model": name, "messages": HELLO}
        )
    assert (answer.json()["id"], answer.json()["owned_by"]) == (name, owner)
    assert called.headers["x-orchestify-provider"] == owner
    assert called.json()["model"] == name


async def test_the_list_is_found_with_a_slash_at_its_end(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        plain = await gate.served.ask("GET", "/v1/models", gate.token)
        slashed = await gate.served.ask("GET", "/v1/models/", gate.token)
    assert plain.json() == slashed.json()
