"""What each client does where a provider fails, and what it tells of costs: the README's table.

Each calls a stub server on loopback, which counts the requests, with two retries of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

from benchmarks.peers import KEY, Client, installed, ours
from benchmarks.results import Table
from benchmarks.settings import Settings
from orchestify import OpenAIProvider
from orchestify.testing import StubServer

STREAMS = {
    "a stream whose connection is lost": "stub;chunks=20;cut_after=3",
    "one that ends in the middle as if all were well": "stub;chunks=20;eof_after=3",
}


def measure(_: Settings) -> Iterator[Table]:
    """Try every client with each fault; nothing is timed."""
    yield asyncio.run(_compared())


async def _compared() -> Table:
    async with StubServer() as server:
        retry = {"max_attempts": 3, "first_delay_s": 0.01, "max_delay_s": 0.02}
        given = {"base_url": server.openai_url, "api_key": KEY, "default_model": "stub"}
        async with aclosing(OpenAIProvider("o", {**given, "retry": retry})) as provider:
            peers, notes = installed(server.openai_url.removesuffix("/v1"), retries=2)
            peers.pop("litellm.Router", None)  # it knows only models that it was made with
            made = {"orchestify": ours(provider), **peers}
            rows = {name: await _row(server, client) for name, client in made.items()}
    return Table("Where a provider fails", "", rows, notes)


async def _row(server: StubServer, client: Client) -> dict[str, Any]:
    before = server.account.received
    raised = await _told(lambda: client.call("stub;status=503"))
    requests = server.account.received - before
    row: dict[str, Any] = {"503 for ever: requests": requests, "and then": raised}

    async def cost(model: str) -> Any:
        told = client.cost(await client.call(model))
        return told if isinstance(told, str | None) else f"{float(told):.7f}"

    row["cost of a call"] = await _told(lambda: cost(client.model))
    row["of a model nobody knows"] = await _told(lambda: cost("in-house"))
    return row | {what: await _streamed(client, model) for what, model in STREAMS.items()}


async def _told(made: Callable[[], Awaitable[Any]]) -> str:
    try:
        return str(await made())
    except Exception as error:
        return type(error).__name__


async def _streamed(client: Client, model: str) -> str:
    pieces = 0
    try:
        async for _ in client.stream(model):
            pieces += 1
    except Exception as error:
        return f"{pieces} pieces, then {type(error).__name__}"
    return f"{pieces} pieces, and no error"
