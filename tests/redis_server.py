"""What tests over Redis share: the server's URL and keys of a test's own, and servers that fail."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from urllib.parse import urlsplit

import pytest
import redis

REDIS = os.environ.get("ORCHESTIFY_TEST_REDIS", "redis://127.0.0.1:6379/0")


@contextmanager
def redis_prefix() -> Iterator[str]:
    """A prefix for keys and channels, whose keys are deleted; skips without Redis."""
    prefix = f"test-{secrets.token_hex(6)}"
    with closing(redis.Redis.from_url(REDIS, socket_connect_timeout=3)) as client:
        try:
            client.ping()
        except redis.ConnectionError:
            if os.environ.get("CI") == "true":
                pytest.fail("CI has no Redis on 127.0.0.1:6379")
            pytest.skip("no Redis on 127.0.0.1:6379")
        try:
            yield prefix
        finally:
            for key in client.scan_iter(f"{prefix}*"):
                client.delete(key)


def redis_keys(prefix: str) -> dict[str, int]:
    """The keys with a prefix, and for each the seconds it has to live (-1: for ever)."""
    with closing(redis.Redis.from_url(REDIS, decode_responses=True)) as client:
        return {key: client.ttl(key) for key in sorted(client.scan_iter(f"{prefix}*"))}


def redis_entries(prefix: str, key: str) -> int:
    """How many entries the windows of a key hold."""
    with closing(redis.Redis.from_url(REDIS, decode_responses=True)) as client:
        return sum(int(client.llen(each)) for each in client.scan_iter(f"{prefix}:{key}/*"))


def redis_text(key: str, text: str) -> None:
    """Put a text where something else is expected."""
    with closing(redis.Redis.from_url(REDIS)) as client:
        client.set(key, text)


def free_port() -> int:
    """A port that refuses connections."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class RedisRelay:
    """A way to the real Redis that can be cut, can hang, and can come back at the same port."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/{urlsplit(REDIS).path.strip('/') or 0}"

    async def restore(self) -> None:
        """Answer, again or for the first time."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def hang(self) -> None:
        """Accept connections and everything that is said, and answer nothing."""
        self._flows.clear()

    async def cut(self) -> None:
        """End all connections and refuse new ones."""
        for pump in self._pumps:
            pump.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        real = urlsplit(REDIS)
        theirs, ours = await asyncio.open_connection(real.hostname, real.port or 6379)
        for pump in (self._pump(reader, ours), self._pump(theirs, writer)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while some := await reader.read(65536):
                await self._flows.wait()
                writer.write(some)
        finally:
            writer.close()


@asynccontextmanager
async def redis_relay() -> AsyncIterator[RedisRelay]:
    """A relay that answers; cut at the end."""
    relay = RedisRelay()
    await relay.restore()
    try:
        yield relay
    finally:
        await relay.cut()
