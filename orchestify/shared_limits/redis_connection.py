"""The connection to Redis: bounded in time, never raising, and it tells when Redis is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from orchestify.errors import InvalidParameterError
from orchestify.policy.breaker import BreakerSettings, CircuitBreaker
from orchestify.resources.extras import missing_extra
from orchestify.values import CircuitState

logger = logging.getLogger("orchestify.shared_limits")

State: TypeAlias = Literal["shared", "local"]
T = TypeVar("T")

TIMEOUT_S = 0.25  # a question's whole way: a free connection, connecting, the answer
CONNECTIONS = 32
FAILURES, FAILURES_WITHIN_S = 2, 5.0  # then nothing is asked
ASK_AGAIN_S, LONGEST_S = 1.0, 5.0


class RedisConnection:
    """Moving windows in Redis, shared by every limiter of a process; on one event loop.

    It answers None where Redis does not: at once while its circuit is open, else within
    `TIMEOUT_S`. Windows are kept by the library `limits`, chosen over throttled-py because its
    moving window alone stays within the limit in every window (1.00 of it, where the counters
    and GCRA of both let up to 1.7 to 2.0 through after a lull), for the same CPU a hit.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "orchestify",
        *,
        meanwhile: str = "rate limits go on here, at this machine's share",
        back: str = "rate limits are shared",
        needs: str = "shared rate limits need Redis's client",
    ) -> None:
        """Prepare; nothing is sent before the first question.

        `meanwhile` and `back` say in the log what goes on while Redis is away, and once it is back,
        `needs` what wants the extra.

        Raises:
            MissingExtraError: the extra `redis` is not installed.
            InvalidParameterError: `url` is not one of Redis.
        """
        self._where = _host_and_port(url)
        self._meanwhile, self._back = meanwhile, back
        self.prefix = prefix
        self._storage, self._pool, self._redis = _open(url, prefix, needs)
        self._away = ""  # the class of the error that Redis went away with
        self._error = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._circuit = CircuitBreaker(
            BreakerSettings(
                failures=FAILURES,
                window_s=FAILURES_WITHIN_S,
                open_s=ASK_AGAIN_S,
                max_open_s=LONGEST_S,
            ),
            on_change=self._on_circuit_change,
        )

    @property
    def state(self) -> State:
        """`shared`, or `local` while Redis is away."""
        return "local" if self._away else "shared"

    async def check(self) -> State:
        """Ask Redis anything, unless it was found away just now, and return the state."""
        await self._ask(lambda: self._storage.get("check"))
        return self.state

    async def take(self, key: str, limit: int, window_s: int, amount: int) -> bool | None:
        """Take `amount` out of a window; whether there was room, None where Redis is away."""
        return await self._ask(lambda: self._storage.acquire_entry(key, limit, window_s, amount))

    async def opens_in_s(self, key: str, limit: int, window_s: int) -> float | None:
        """Seconds until the oldest of a window leaves it; None where Redis is away."""
        window = await self._ask(lambda: self._storage.get_moving_window(key, limit, window_s))
        if window is None:
            return None
        begin, used = window
        return max(0.0, begin + window_s - time.time()) if used else 0.0

    async def run(self, script: str, keys: Sequence[str], *arguments: bytes | str | float) -> Any:
        """Return what a Lua script says, which is atomic; None where Redis is away."""
        return await self._ask(lambda: self._redis.eval(script, len(keys), *keys, *arguments))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run beside the calls; `aclose` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Wait for what is being sent, and close the connections."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.aclose()

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        permit = self._circuit.admit()
        if permit is None:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await question()
        except Exception as error:  # a door: nothing about Redis may fail a call
            self._error = type(error).__name__
            permit.failed()
            return None
        except BaseException:
            permit.released()
            raise
        permit.succeeded()
        return answer

    def _on_circuit_change(self, _: CircuitState, new: CircuitState) -> None:
        """Say once that Redis has gone, and once that it is back."""
        if new == "open" and not self._away:
            self._away = self._error
            logger.warning(
                "redis at %s does not answer (%s): %s", self._where, self._away, self._meanwhile
            )
        elif new == "closed":
            self._away = ""
            logger.info("redis at %s answers again: %s", self._where, self._back)


def _open(url: str, prefix: str, needs: str) -> tuple[Any, Any, Any]:
    """Return the storage of windows, the pool of connections that it uses, and a client of it."""
    try:
        from limits.aio.storage import RedisStorage  # noqa: PLC0415 - an extra
        from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise missing_extra(needs, "redis") from error
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=None,  # `_ask` bounds the whole way
            retry=Retry(NoBackoff(), 0),
        )
        storage = RedisStorage(
            "async+redis://",  # the pool knows the way
            implementation="redispy",
            key_prefix=prefix,
            connection_pool=pool,  # type: ignore[arg-type] # documented, typed as plain options
        )
    except ValueError as error:
        raise _unusable() from error
    return storage, pool, Redis(connection_pool=pool)


def _host_and_port(url: str) -> str:
    """The host and port of a URL, without its user and password."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise _unusable() from error
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise _unusable()
    return f"{parts.hostname}{port}" if parts.hostname else parts.path or "localhost"


def _unusable() -> InvalidParameterError:
    return InvalidParameterError(
        "the URL of Redis cannot be used: expected redis://host:port/number"
    )
