"""Every endpoint times every scope, no token, and tokens that do not hold or are another's."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fastapi.routing import iter_route_contexts

from orchestify.server.app import create_app
from orchestify.server.storage.audit import SYSTEM
from tests.endpoints import PROMPTS, TABLE, Row
from tests.servers import AGENTS, PROVIDERS, Served, serving

OLLAMA = {"provider_type": "ollama", "config": {"default_model": "llama3"}}
CHAT = {"model": "none", "messages": [{"role": "user", "content": "Hi"}]}


@dataclass(frozen=True, slots=True)
class World:
    """A service with a tenant whose rows others ask for, and everybody's tokens."""

    served: Served
    tokens: dict[str, str | None]

    async def body(self, endpoint: str) -> dict[str, Any] | None:
        """What a request to an endpoint holds that makes or changes something."""
        fresh = f"n{secrets.token_hex(6)}"
        bodies: dict[str, dict[str, Any]] = {
            "POST /api/v1/llm-providers": {**OLLAMA, "name": fresh},
            "PUT /api/v1/llm-providers/{id}": {"is_active": True},
            "POST /api/v1/llm-providers:import": {"records": [{**OLLAMA, "name": fresh}]},
            "POST /api/v1/agent-llm-configs": {"agent_id": fresh, "provider": "local"},
            "PUT /api/v1/agent-llm-configs/{id}": {"enabled": True},
            "POST /api/v1/tokens": {"scopes": ["read"]},
            "POST /v1/chat/completions": CHAT,
            "POST /v1/messages": {**CHAT, "max_tokens": 9},
            "POST /v1/messages/count_tokens": CHAT,
            "POST /v1/responses": {"model": "none", "input": "Hi"},
            "POST /v1/embeddings": {"model": "none", "input": "hello"},
        }
        return bodies.get(endpoint)

    async def path(self, endpoint: str) -> str:
        """Where a request to an endpoint goes; a row of acme's, made for it, is its `{id}`."""
        path = endpoint.partition(" ")[2].replace("{model:path}", "none")
        return path.replace("{id}", await self._row(path)) if "{id}" in path else path

    async def _row(self, path: str) -> str:
        fresh, admin = f"n{secrets.token_hex(6)}", self.tokens["admin"]
        if path.startswith("/api/v1/tokens"):
            row, _ = self.served.service.tokens.create("acme", ["read"], actor=SYSTEM)
            return row.id
        place, body = PROVIDERS, {**OLLAMA, "name": fresh}
        if path.startswith(AGENTS):
            place, body = AGENTS, {"agent_id": fresh, "provider": "local"}
        answer = await self.served.ask("POST", place, admin, json=body)
        return str(answer.json()["id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with serving(
        _folder(tmp_path_factory), requests_per_minute=100_000, denied_per_minute=100_000
    ) as served:
        tokens = served.service.tokens
        over = datetime.now(UTC) - timedelta(seconds=1)
        row, revoked = tokens.create("acme", ["admin"], actor=SYSTEM)
        tokens.revoke(row.id, actor=SYSTEM)
        everybody: dict[str, str | None] = {
            "nobody": None,
            "call": served.token("acme", "call"),
            "read": served.token("acme", "read"),
            "write": served.token("acme", "write"),
            "admin": served.token("acme", "admin"),
            "foreign": served.token("other", "admin"),
            "revoked": revoked.get_secret_value(),
            "expired": served.token("acme", "admin", expires_at=over),
        }
        local = {**OLLAMA, "name": "local"}
        await served.ask("POST", PROVIDERS, everybody["admin"], json=local)
        yield World(served, everybody)


def _folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("authorisation")


def test_every_endpoint_has_its_row(world: World) -> None:
    routes = iter_route_contexts(create_app(world.served.service).routes)
    found = {f"{method} {each.path}" for each in routes for method in each.methods or ()}
    assert found == set(TABLE)


@pytest.mark.parametrize("who", Row._fields)
@pytest.mark.parametrize("endpoint", TABLE)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_endpoint_answers_as_the_table_says(world: World, endpoint: str, who: str) -> None:
    path, body = await world.path(endpoint), await world.body(endpoint)
    method = endpoint.partition(" ")[0]
    answer = await world.served.ask(method, path, world.tokens[who], json=body)
    assert answer.status_code == getattr(TABLE[endpoint], who)


@pytest.mark.parametrize("who", Row._fields)
@pytest.mark.parametrize("endpoint", PROMPTS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_test_that_spends_answers_as_the_table_says(
    world: World, endpoint: str, who: str
) -> None:
    path, token = await world.path(endpoint), world.tokens[who]
    answer = await world.served.ask("POST", path, token, json={"prompt": True})
    assert answer.status_code == getattr(PROMPTS[endpoint], who)


@pytest.mark.parametrize("endpoint", PROMPTS)
@pytest.mark.asyncio(loop_scope="module")
async def test_who_may_write_and_call_may_test_by_a_call(world: World, endpoint: str) -> None:
    path, token = await world.path(endpoint), world.served.token("acme", "write", "call")
    answer = await world.served.ask("POST", path, token, json={"prompt": True})
    assert answer.status_code == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_a_foreign_admin_sees_nothing_of_another_tenant(world: World) -> None:
    foreign = world.tokens["foreign"]
    await world.path("GET /api/v1/llm-providers/{id}")
    rows = [
        *(await world.served.ask("GET", PROVIDERS, foreign)).json()["items"],
        *(await world.served.ask("GET", AGENTS, foreign)).json()["items"],
    ]
    audit = (await world.served.ask("GET", "/api/v1/audit?limit=200", foreign)).text
    mine = (await world.served.ask("GET", PROVIDERS, world.tokens["admin"])).json()["items"]
    ids = {row["id"] for row in mine}
    assert ids
    assert not ids.intersection(row["id"] for row in rows)
    assert not any(row_id in audit for row_id in ids)
