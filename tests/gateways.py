"""What the gateway's tests share: a service on loopback over a stub server, and OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from orchestify.testing import StubServer
from tests.ledgers import sqlite_rows
from tests.servers import Served, serving

KEY = "sk-the-providers-key-0123456789"
CHAT = "/v1/chat/completions"
PRICE = {"input_usd_per_mtok": 100, "output_usd_per_mtok": 1000}
HELLO: Any = [{"role": "user", "content": "hello there"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALL_WEATHER: Any = {"type": "function", "function": {"name": "get_weather"}}


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, the stub server behind it, and OpenAI's client with a token of tenant `acme`."""

    served: Served
    stub: StubServer
    client: openai.AsyncOpenAI
    token: str
    folder: Path

    @property
    def sent(self) -> Any:
        """The body of the last request that reached the stub server."""
        return self.stub.requests[-1].body

    def rows(self, columns: str) -> list[tuple[Any, ...]]:
        """What the ledger has of all attempts, in order."""
        query = f"SELECT {columns} FROM usage_records ORDER BY id"  # noqa: S608 - the test's own
        return sqlite_rows(self.folder / ".orchestify/service.db", query)


def providers(stub: StubServer, **more: dict[str, Any]) -> dict[str, Any]:
    """Return one provider of each direct lane, and others that lead to the stub server too."""
    own = {"api_key": KEY, "price": PRICE}
    found = {
        "gpt": {"type": "openai", "default_model": "gpt-4o", **own},
        "claude": {"type": "anthropic", "default_model": "claude-sonnet-4-5", **own},
        **more,
    }
    urls = {"openai": stub.openai_url, "anthropic": stub.anthropic_url}
    return {
        name: {"api_key": KEY, "base_url": urls[each["type"]], **each}
        for name, each in found.items()
    }


@asynccontextmanager
async def gateway(
    folder: Path,
    agents: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **top: Any,
) -> AsyncIterator[Gateway]:
    """Serve the operator's two providers, `more` of them, and agents; calls are tried once."""
    async with AsyncExitStack() as stack:
        stub = await stack.enter_async_context(StubServer())
        retry = {"max_attempts": 1}
        config = {"providers": providers(stub, **(more or {})), "agents": agents or {}}
        path = folder / "operator.yaml"
        path.write_text(json.dumps({"retry": retry, **config, **top}))
        served = await stack.enter_async_context(
            serving(folder, config_path=path.relative_to(folder), **(settings or {}))
        )
        token = served.token("acme", "call")
        client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=token, max_retries=0)
        await stack.enter_async_context(client)
        yield Gateway(served, stub, client, token, folder)
