"""Callers of several `orchestify serve` processes, and what the ledger has of their calls."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from orchestify.server.access.tokens import Tokens
from orchestify.server.storage.audit import SYSTEM
from tests.ledgers import postgres_rows
from tests.services import Machine
from tests.tenants import service_database


@dataclass(frozen=True)
class Answer:
    """What a machine answered; `body` is empty where it sent none."""

    status: int
    body: Any
    headers: Any = None

    @property
    def code(self) -> str:
        """The `code` of an error in OpenAI's form."""
        return str(self.body["error"]["code"])


@dataclass(frozen=True)
class Caller:
    """Asks the machines with a tenant's token."""

    session: aiohttp.ClientSession
    token: str

    async def ask(self, machine: Machine, method: str, path: str, **given: Any) -> Answer:
        """Send one request.

        Raises:
            aiohttp.ClientError: the machine has gone.
        """
        headers = {"Authorization": f"Bearer {self.token}"}
        sent = self.session.request(method, machine.url + path, headers=headers, **given)
        async with sent as answer:
            text = await answer.text()
            return Answer(answer.status, json.loads(text) if text else None, answer.headers)

    async def chat(self, machine: Machine, model: str, **fields: Any) -> Answer:
        """Ask a model at the gateway."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
        return await self.ask(machine, "POST", "/v1/chat/completions", json=body)


@asynccontextmanager
async def caller(database: str, tenant: str) -> AsyncIterator[Caller]:
    """One who has a token of a tenant that may do everything."""
    with service_database(database) as opened:
        _, token = Tokens(opened).create(tenant, ("admin",), actor=SYSTEM)
    connector = aiohttp.TCPConnector(limit=0)
    limit = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
        yield Caller(session, token.get_secret_value())


_numbers = itertools.count(1)


@dataclass
class Load:
    """Numbered calls of the machines, and what each machine answered.

    A call's number is the ledger's label `n`, and what the stub server finds under `user`.
    """

    machines: list[Machine]
    caller: Caller
    answers: dict[str, dict[str, Answer]] = field(default_factory=dict)

    def of(self, machine: Machine) -> dict[str, Answer]:
        """A machine's answers, by the number of the call."""
        return self.answers.setdefault(machine.url, {})

    def statuses(self) -> list[Counter[int]]:
        """How often each machine answered with which status."""
        return [
            Counter(answer.status for answer in self.of(each).values()) for each in self.machines
        ]

    def codes(self) -> set[str]:
        """The codes of all errors."""
        answers = (each for of in self.answers.values() for each in of.values())
        return {each.code for each in answers if each.status != 200}

    async def call(self, machine: Machine, model: str) -> Answer:
        """Make one call.

        Raises:
            aiohttp.ClientError: the machine has gone.
        """
        number = str(next(_numbers))
        answer = await self.caller.chat(machine, model, metadata={"n": number}, user=number)
        self.of(machine)[number] = answer
        return answer

    async def each(self, model: str) -> list[Answer]:
        """Call each machine once, at the same time."""
        return await asyncio.gather(*(self.call(each, model) for each in self.machines))

    async def run(self, model: str, is_over: Callable[[Answer], bool], *, workers: int) -> None:
        """Have workers at each machine call one after the other until it is over for them."""
        await asyncio.gather(
            *(self._work(each, model, is_over) for each in self.machines for _ in range(workers))
        )

    async def _work(self, machine: Machine, model: str, is_over: Callable[[Answer], bool]) -> None:
        """Make calls until it is over, or the machine has gone."""
        with suppress(aiohttp.ClientError):
            answer = await self.call(machine, model)
            while not is_over(answer):
                await asyncio.sleep(0.1 if answer.status == 429 else 0)
                answer = await self.call(machine, model)


async def within(limit_s: float, holds: Callable[[], Awaitable[bool]]) -> float:
    """Return after how many seconds it held; fail when it does not in time."""
    began = time.monotonic()
    while not await holds():
        if time.monotonic() - began > limit_s:
            pytest.fail(f"it did not come about within {limit_s} s")
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def is_settled(database: str) -> bool:
    """Whether no call is under way, as far as the database knows."""
    query = (
        "SELECT (SELECT count(*) FROM usage_records WHERE outcome = 'open') + "
        "(SELECT count(*) FROM budget_holds)"
    )
    return (await asyncio.to_thread(postgres_rows, database, query)) == [(0,)]


def recorded(database: str) -> dict[str, str]:
    """The outcomes of all attempts by the number of their call, each of which has one record."""
    rows = postgres_rows(database, "SELECT labels ->> 'n', outcome FROM usage_records")
    sums = postgres_rows(database, "SELECT sum(attempts) FROM usage_days WHERE label = ''")
    outcomes = dict(rows)
    assert len(outcomes) == len(rows)
    assert sums == [(len(rows),)]
    return outcomes
