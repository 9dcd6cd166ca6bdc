"""The recorded exchanges with real providers: where they are, and what they hold.

They are found at `ORCHESTIFY_RECORDED`, else beside the checkout. Tests that need them are
skipped where they are absent, but fail under continuous integration.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

FOLDER = Path(
    os.environ.get("ORCHESTIFY_RECORDED")
    or Path(__file__).resolve().parents[2] / "shared" / "recorded"
)


@dataclass(frozen=True)
class Exchange:
    """One recorded exchange; `expect` is what its recorders read from it."""

    id: str
    provider: str
    kind: str
    model: str | None
    status: int
    is_stream: bool
    expect: dict[str, Any] = field(repr=False)
    request: dict[str, Any] = field(repr=False)
    response: dict[str, Any] = field(repr=False)

    @property
    def body(self) -> bytes:
        """The answer's bytes as they came."""
        if "body_b64" in self.response:
            return base64.b64decode(self.response["body_b64"])
        return str(self.response.get("stream_text", self.response.get("body", ""))).encode()


def need_recorded() -> None:
    """Skip the test where the recordings are absent, or fail it under continuous integration."""
    if (FOLDER / "interactions").is_dir():
        return
    reason = f"no recorded exchanges at {FOLDER}; set ORCHESTIFY_RECORDED"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def exchanges() -> tuple[Exchange, ...]:
    """Return every recorded exchange, ordered by path; none where the recordings are absent."""
    paths = sorted((FOLDER / "interactions").rglob("*.json"))
    return tuple(_exchange(json.loads(path.read_text(encoding="utf-8"))) for path in paths)


def replay_module() -> Any:
    """Load the server that answers as the providers did: `await serve(root, port)`."""
    spec = importlib.util.spec_from_file_location("recorded_replay", FOLDER / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _exchange(raw: dict[str, Any]) -> Exchange:
    return Exchange(
        id=raw["id"],
        provider=raw["provider"],
        kind=raw["kind"],
        model=raw["model"],
        status=raw["response"]["status"],
        is_stream=raw["stream"] == "sse",
        expect=raw["expect"],
        request=raw["request"],
        response=raw["response"],
    )


@dataclass
class Upstream:
    """A server that answers as one exchange was answered, and keeps what it was asked."""

    url: str = ""
    exchange: Exchange | None = None
    asked: list[Any] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        assert self.exchange is not None
        self.asked.append(await request.json())
        kind = "text/event-stream" if self.exchange.is_stream else "application/json"
        return web.Response(body=self.exchange.body, content_type=kind)


@asynccontextmanager
async def upstream(path: str) -> AsyncIterator[Upstream]:
    serves, app = Upstream(), web.Application()
    app.router.add_post(path, serves.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        serves.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield serves
    finally:
        await runner.cleanup()


def parts_of(body: str, *, is_stream: bool) -> list[dict[str, Any]]:
    """What a body holds: its events, or the answer."""
    if not is_stream:
        return [json.loads(body)]
    data = [line[5:].strip() for line in body.splitlines() if line.startswith("data:")]
    return [json.loads(each) for each in data if each != "[DONE]"]
