"""Kept answers in the service: the gateway's protocols, and tenants who share nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestify.testing import Reply, StubServer
from tests.gateways import CHAT, HELLO, Gateway, gateway
from tests.ledgers import sqlite_rows, until
from tests.servers import AGENTS
from tests.tenants import TEST, agent, operators, provider, tenanted

ON = {"response_cache": True}
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"model": "agent:reader", "messages": HELLO},
    "/v1/messages": {"model": "agent:writer", "messages": HELLO, "max_tokens": 64},
    "/v1/responses": {"model": "agent:responder", "input": "hello there"},
}
WRITER = {"writer": {"provider": "claude"}, "reader": {"provider": "gpt"}}
RESPONDER = {"responder": {"provider": "answers"}}


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    more = {"answers": {"type": "openai", "default_model": "gpt-5.1", "api": "responses"}}
    async with gateway(tmp_path, WRITER | RESPONDER, more, **ON) as each:
        yield each


async def ask(gate: Gateway, path: str, token: str = "", **more: Any) -> Any:
    headers = {"x-orchestify-cache": more.pop("cache")} if "cache" in more else {}
    body = {**ASKED[path], **more}
    return await gate.served.ask("POST", path, token or gate.token, json=body, headers=headers)


@pytest.mark.parametrize("path", ASKED)
async def test_the_gateway_says_that_an_answer_was_kept(gate: Gateway, path: str) -> None:
    first, second = await ask(gate, path), await ask(gate, path)
    assert (first.status_code, second.status_code) == (200, 200)
    assert gate.stub.account.received == 1
    assert "x-orchestify-cache" not in first.headers
    assert second.headers["x-orchestify-cache"] == "hit"
    assert second.headers["x-orchestify-attempts"] == "0"
    assert second.headers["x-orchestify-cost-usd"] == "0"


@pytest.mark.parametrize("path", ASKED)
async def test_a_stream_is_replayed_in_its_protocol(gate: Gateway, path: str) -> None:
    gate.stub.script(Reply(text="one two three"))
    first, second = await ask(gate, path, stream=True), await ask(gate, path, stream=True)
    assert gate.stub.account.received == 1
    assert second.headers["x-orchestify-cache"] == "hit"
    kinds = [kinds_in(each.text) for each in (first, second)]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) > 4


@pytest.mark.parametrize("word", ["off", "refresh"])
async def test_a_client_may_ask_for_a_new_answer(gate: Gateway, word: str) -> None:
    for choice in ({}, {"cache": word}):
        assert "x-orchestify-cache" not in (await ask(gate, CHAT, **choice)).headers
    wrong = await ask(gate, CHAT, cache="maybe")
    assert (wrong.status_code, gate.stub.account.received) == (400, 2)
    assert "expected off or refresh" in wrong.text


async def test_two_tenants_with_one_provider_share_no_answer(gate: Gateway) -> None:
    other = gate.served.token("other", "call")
    for token in (gate.token, other, other):
        await ask(gate, CHAT, token)
    assert gate.stub.account.received == 2
    expected = [("acme", "ok"), ("other", "ok"), ("other", "cached")]
    await until(lambda: gate.rows("tenant, outcome") == expected)


async def test_a_tenant_may_keep_answers_in_the_database_and_they_are_sealed(
    gate: Gateway,
) -> None:
    gate.stub.script(Reply(text="a secret word"))
    admin = gate.served.token("acme", "admin")
    body = {
        "agent_id": "own",
        "provider": "gpt",
        "config": {"response_cache": {"at": "ledger", "ttl_s": 600}},
    }
    made = await gate.served.ask("POST", AGENTS, admin, json=body)
    assert made.status_code == 201
    for _ in range(2):
        last = await ask(gate, CHAT, model="agent:own")
    assert last.headers["x-orchestify-cache"] == "hit"
    kept = sqlite_rows(
        gate.folder / ".orchestify/service.db", "SELECT tenant, answer FROM kept_answers"
    )
    assert [(tenant, answer[:5]) for tenant, answer in kept] == [("acme", "gAAAA")]


async def test_a_tenant_may_drop_its_own(gate: Gateway) -> None:
    other = gate.served.token("other", "call")
    for token in (gate.token, other):
        await ask(gate, CHAT, token)
    writer = gate.served.token("acme", "write")
    dropped = await gate.served.ask("DELETE", "/api/v1/response-cache", writer)
    again = [await ask(gate, CHAT, token) for token in (gate.token, other)]
    assert dropped.status_code == 204
    assert [each.headers.get("x-orchestify-cache") for each in again] == [None, "hit"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"at": "redis", "url": "redis://127.0.0.1:6379/0"}, "the service has a Redis of its own"),
        ({"max_entries": 1_000_000}, "at most 10,000"),
        ({"ttl_s": 10_000_000}, "at most 604,800"),
    ],
)
async def test_a_tenant_has_bounds(gate: Gateway, given: dict[str, Any], said: str) -> None:
    admin = gate.served.token("acme", "admin")
    body = {"agent_id": "own", "provider": "gpt", "config": {"response_cache": given}}
    refused = await gate.served.ask("POST", AGENTS, admin, json=body)
    assert refused.status_code == 422
    assert said in refused.text


async def test_without_a_redis_a_tenants_redis_is_the_database(tmp_path: Path) -> None:
    async with StubServer() as stub:
        own = provider(
            key="sk-acmes-own-key",
            name="own",
            base_url=stub.openai_url,
            default_model="m",
            response_cache={"at": "redis"},
        )
        url = f"sqlite:///{tmp_path}/service.db"
        async with tenanted(url, operators()) as made:
            made.store.providers.add("acme", own, TEST)
            made.store.agents.add("acme", agent("writer", provider="own"), TEST)
            async with made.tenants.use("acme") as registry:
                writer = registry.get_for_agent("writer")
                await writer.complete("hello")
                assert (await writer.complete("hello")).is_cached
    rows = sqlite_rows(tmp_path / "service.db", "SELECT tenant FROM kept_answers")
    assert rows == [("acme",)]


def kinds_in(text: str) -> list[str]:
    """The kinds of a stream's events, in order: of the protocol's, or that it is a chunk."""
    lines = text.splitlines()
    named = [line for line in lines if line.startswith("event: ")]
    return named or [line[:12] for line in lines if line.startswith("data: ")]
