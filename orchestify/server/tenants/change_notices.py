"""Notices of changed tenants, within one process or between several over Redis (extra `redis`)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Protocol

from orchestify.errors import InvalidParameterError
from orchestify.resources.extras import missing_extra


class ChangeNotices(Protocol):
    """Takes the name of a changed tenant to the other processes, as fast as it can.

    A notice may be lost: the registries look at the database from time to time anyway.
    """

    async def publish(self, tenant_id: str) -> None:
        """Tell that the tenant changed; never raises where nobody can be told."""

    async def listen(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change` with each tenant that is told of, until the task is cancelled.

        `*` stands for every tenant: notices may have been missed.
        """

    async def aclose(self) -> None:
        """Close what is open."""


class LocalNotices:
    """The notices of one process: they reach all who listen to this object."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []

    async def publish(self, tenant_id: str) -> None:
        """Tell every listener here."""
        for on_change in tuple(self._listeners):
            on_change(tenant_id)

    async def listen(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change` with each tenant that is told of, until the task is cancelled."""
        self._listeners.append(on_change)
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.remove(on_change)

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


logger = logging.getLogger("orchestify.notices")

ALL = "*"  # told where notices may have been missed: any tenant may have changed
TIMEOUT_S = 0.5  # telling the others, the way there included
FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0
QUIET_S = 10.0  # then the connection is tried, for it may have died without a word


class RedisNotices:
    """Tells the other processes of the service which tenant changed; `ChangeNotices` over Redis.

    Telling never fails and takes at most `TIMEOUT_S`: a notice may be lost, and the registries
    look at the database anyway. A process hears its own notices too. On one event loop.
    """

    def __init__(self, url: str, prefix: str = "orchestify", *, quiet_s: float = QUIET_S) -> None:
        """Prepare; nothing is sent yet.

        Raises:
            MissingExtraError: the extra `redis` is not installed.
            InvalidParameterError: `url` is not one of Redis.
        """
        self._redis = _client(url)
        self._channel = f"{prefix}:tenants"
        self._quiet_s = quiet_s
        self._is_told = True  # so that a failure is logged once
        self._is_heard = True

    async def publish(self, tenant_id: str) -> None:
        """Tell that the tenant changed; where Redis is away, say so in the log once."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._redis.publish(self._channel, tenant_id)
        except Exception as error:  # a door: nothing about Redis may fail a write
            if self._is_told:
                logger.warning(
                    "redis does not answer (%s): other processes are not told of changed tenants "
                    "and find them in the database",
                    type(error).__name__,
                )
            self._is_told = False
        else:
            if not self._is_told:
                logger.info("redis answers again: other processes are told of changed tenants")
            self._is_told = True

    async def listen(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change` with each tenant that is told of, until the task is cancelled.

        It comes back by itself when Redis was away, and then calls `on_change("*")`.
        """
        failures = subscriptions = 0
        while True:
            try:
                async with aclosing(self._heard()) as heard:
                    async for tenant_id in heard:
                        if not self._is_heard:
                            logger.info("redis answers again: changed tenants are heard of")
                        failures, self._is_heard = 0, True
                        subscriptions += tenant_id == ALL
                        if tenant_id != ALL or subscriptions > 1:
                            on_change(tenant_id)
            except Exception as error:  # a door: whatever it is, it is tried again
                if self._is_heard:
                    logger.warning(
                        "redis does not answer (%s): changed tenants are not heard of, but found "
                        "in the database",
                        type(error).__name__,
                    )
                self._is_heard = False
            longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures, 10))
            failures += 1
            await asyncio.sleep(random.uniform(longest_s / 2, longest_s))  # noqa: S311

    async def aclose(self) -> None:
        """Close the connections; cancel whoever listens before."""
        await self._redis.aclose()

    async def _heard(self) -> AsyncGenerator[str]:
        """Yield tenants as they are told of, and ALL at each subscription; raise at a silence."""
        async with self._redis.pubsub() as channel:
            async with asyncio.timeout(TIMEOUT_S):
                await channel.subscribe(self._channel)
            is_tried = False
            while True:
                message = await channel.get_message(timeout=self._quiet_s)
                if message is None:
                    if is_tried:
                        raise TimeoutError
                    await channel.ping()
                elif message["type"] == "subscribe":
                    yield ALL
                elif message["type"] == "message":
                    yield message["data"]
                is_tried = message is None


def _client(url: str) -> Any:
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise missing_extra("notices between machines need Redis's client", "redis") from error
    try:
        return Redis.from_url(
            url,
            decode_responses=True,
            protocol=2,  # where a ping among the messages is a message too
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise InvalidParameterError(
            "the URL of Redis cannot be used: expected redis://host:port/number"
        ) from error
