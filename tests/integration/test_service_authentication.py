"""A database that is late, and a tenant that waits for it: who comes in meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestify.server.access.tokens import TokenRow, Tokens
from orchestify.server.storage.audit import SYSTEM
from tests.ledgers import until
from tests.servers import PROVIDERS, Served, holds, serving

MODELS = "/v1/models"
OLLAMA = {"provider_type": "ollama", "config": {"default_model": "llama3"}}


class LateTokens(Tokens):
    """Answers as late as it is told to."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = 0

    def find(self, token_id: str) -> TokenRow | None:
        self.asked += 1
        self.may_answer.wait(20)
        return super().find(token_id)


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as each:
        yield each


async def test_a_late_lookup_lets_nobody_in_by_what_was_known(served: Served) -> None:
    row, token = served.service.tokens.create("acme", ["admin"], actor=SYSTEM)
    text = token.get_secret_value()
    late = served.service.authenticator.tokens = LateTokens(served.service.database)
    assert (await served.ask("GET", PROVIDERS, text)).status_code == 200
    late.may_answer.clear()
    served.service.tokens.revoke(row.id, actor=SYSTEM)
    await asyncio.sleep(1.1)
    asked = late.asked
    refused = await asyncio.gather(*[served.ask("GET", PROVIDERS, text) for _ in range(5)])
    late.may_answer.set()
    assert [each.status_code for each in refused] == [503] * 5
    assert late.asked == asked + 1

    async def is_revoked() -> bool:
        return (await served.ask("GET", PROVIDERS, text)).status_code == 401

    await holds(is_revoked)


async def test_a_silent_database_counts_as_away_after_a_time(served: Served) -> None:
    text = served.token("acme")
    late = served.service.authenticator.tokens = LateTokens(served.service.database)
    authenticator, now = served.service.authenticator, [0.0]
    authenticator.clock = lambda: now[0]
    assert (await served.ask("GET", PROVIDERS, text)).status_code == 200
    late.may_answer.clear()
    now[0] = 1.5
    asked = late.asked
    waiting = asyncio.create_task(served.ask("GET", PROVIDERS, text))
    await until(lambda: late.asked > asked)
    now[0] = 10.0
    believed = await served.ask("GET", PROVIDERS, text)
    assert [believed.status_code, (await waiting).status_code] == [200, 200]
    late.may_answer.set()


class SilentTokens(LateTokens):
    """Answers no question at all until it is told to, as behind a frozen database."""

    answered = False

    def exist(self) -> bool:
        self.may_answer.wait(20)
        self.answered = True
        return super().exist()


async def test_a_frozen_database_holds_up_no_token_in_use_for_a_second(served: Served) -> None:
    text = served.token("acme")
    assert (await served.ask("GET", MODELS, text)).status_code == 200
    silent = served.service.authenticator.tokens = SilentTokens(served.service.database)
    silent.may_answer.clear()
    await asyncio.sleep(1.1)
    answers = await asyncio.gather(*[served.ask("GET", MODELS, text) for _ in range(3)])
    assert not silent.answered
    silent.may_answer.set()
    assert [each.status_code for each in answers] == [200] * 3


class SilentDatabase:
    """Answers nothing until it is told to."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        self.answered = False

    def run(self, *_: Any, **__: Any) -> None:
        self.asked += 1
        self.may_answer.wait(20)
        self.answered = True


async def test_readiness_is_told_within_a_second_whatever_the_database_does(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = served.token("acme")
    assert (await served.ask("GET", MODELS, text)).status_code == 200
    silent = SilentDatabase()
    monkeypatch.setattr(served.service, "database", silent)
    answers = [await served.ask("GET", "/readyz") for _ in range(2)]
    assert not silent.answered
    silent.may_answer.set()
    assert [each.json()["status"] for each in answers] == ["degraded", "degraded"]
    assert silent.asked == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_told_to_those_who_ask_with_head(served: Served, path: str) -> None:
    answer = await served.ask("HEAD", path)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_good_token_is_good_while_it_is_looked_up_again(served: Served) -> None:
    text = served.token("acme")
    late = served.service.authenticator.tokens = LateTokens(served.service.database)
    assert (await served.ask("GET", PROVIDERS, text)).status_code == 200
    async with served.client("nonsense") as client:
        for _ in range(1_000):  # a place comes back each second
            flooded = await client.get(PROVIDERS)
            if flooded.status_code == 429:
                break
    await asyncio.sleep(1.1)
    late.may_answer.clear()
    both = [asyncio.create_task(served.ask("GET", PROVIDERS, text)) for _ in range(2)]
    await asyncio.sleep(0.2)
    late.may_answer.set()
    assert flooded.status_code == 429
    assert [(await each).status_code for each in both] == [200, 200]


async def test_a_tenants_waiting_writes_hold_up_neither_tokens_nor_other_tenants(
    served: Served, tmp_path: Path
) -> None:
    writer, other = served.token("acme"), served.token("globex")
    with closing(sqlite3.connect(tmp_path / ".orchestify/service.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        writes = [
            asyncio.create_task(
                served.ask("POST", PROVIDERS, writer, json={**OLLAMA, "name": each})
            )
            for each in ("a", "b", "c", "d", "e", "f", "g", "h")
        ]
        await asyncio.sleep(0.3)
        async with asyncio.timeout(30):
            read = await served.ask("GET", PROVIDERS, other)
        running = [each.name for each in threading.enumerate() if each.name == "orchestify-writes"]
        connection.rollback()
    answers = [(await each).status_code for each in writes]
    assert read.status_code == 200
    assert len(running) == 1
    assert answers == [201] * 8
