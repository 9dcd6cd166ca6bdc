"""What the service's tests share: a service on loopback, tenants' tokens, and clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet

from orchestify.server.running import address, listen, server_of
from orchestify.server.service import Service
from orchestify.server.settings import ServiceSettings
from orchestify.server.storage.audit import SYSTEM

ENCRYPTION_KEYS = {"ORCHESTIFY_ENCRYPTION_KEYS": Fernet.generate_key().decode()}
PROVIDERS, AGENTS = "/api/v1/llm-providers", "/api/v1/agent-llm-configs"


@dataclass(frozen=True, slots=True)
class Served:
    """A service that listens on loopback, and where."""

    service: Service
    url: str

    def token(self, tenant: str, *scopes: str, expires_at: datetime | None = None) -> str:
        """Make a token of a tenant."""
        _, token = self.service.tokens.create(
            tenant, scopes or ("admin",), expires_at=expires_at, actor=SYSTEM
        )
        return token.get_secret_value()

    def client(self, token: str | None = None, **headers: str) -> httpx.AsyncClient:
        """Return a client that sends this token."""
        with_token = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return httpx.AsyncClient(
            base_url=self.url, headers={**with_token, **headers}, timeout=20, trust_env=False
        )

    async def ask(
        self, method: str, path: str, token: str | None = None, **request: Any
    ) -> httpx.Response:
        """Send one request."""
        async with self.client(token) as client:
            return await client.request(method, path, **request)


@asynccontextmanager
async def serving(
    base_dir: Path, *, environ: Mapping[str, str] = ENCRYPTION_KEYS, **settings: Any
) -> AsyncIterator[Served]:
    """Serve on a free port of loopback, on SQLite in a folder where nothing else is said."""
    given = ServiceSettings(**{"base_dir": base_dir, "port": 0, "grace_s": 5, **settings})
    async with await Service.open(given, environ) as service:
        sockets, started = listen(given.host, given.port), asyncio.Event()
        server = server_of(service, started.set)
        task = asyncio.create_task(server.serve(sockets))
        await started.wait()
        try:
            yield Served(service, address(given.host, sockets[0]))
        finally:
            server.should_exit = True
            await task


@contextmanager
def serving_in_thread(base_dir: Path, **settings: Any) -> Iterator[Served]:
    """Serve from a thread with a loop of its own, for tests that have none."""
    started: Future[tuple[Served, Callable[[], None]]] = Future()

    async def serve() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with serving(base_dir, **settings) as served:
                started.set_result((served, lambda: loop.call_soon_threadsafe(ended.set)))
                await ended.wait()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, serve())
        served, end = started.result(30)
        try:
            yield served
        finally:
            end()
            running.result(30)


async def holds(condition: Callable[[], Awaitable[bool]], within_s: float = 30.0) -> None:
    """Return when a condition holds; fail when it does not in time."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - nobody tells when it does
            await asyncio.sleep(0.02)
