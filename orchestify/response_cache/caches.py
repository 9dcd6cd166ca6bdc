"""The caches of one registry: one for each setting, in memory, the ledger's database or Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestify.core.policies import ResponseCacheConfig
from orchestify.errors import ConfigError
from orchestify.ledger.base import Ledger
from orchestify.response_cache.cache import ResponseCache
from orchestify.response_cache.store import Bounds, Store

if TYPE_CHECKING:
    from orchestify.shared_limits import RedisConnection
    from orchestify.vault.cipher import Cipher

PREFIX = "orchestify"


def _cipher_if_set() -> Cipher | None:
    from orchestify.vault.cipher import Cipher  # noqa: PLC0415 - brings cryptography: 10 ms

    return Cipher.if_set()


class ResponseCaches:
    """What keeps the answers of one registry, or of one tenant's registries.

    Agents and providers with equal settings share a cache, those with others do not. `at: ledger`
    is the `ledger`'s database, or memory where that has none; `at: redis` is the setting's `url`,
    else `redis`, which the caller closes. `cipher` is asked where texts leave this process.
    `memory` is a store that several registries share. Of those that are `for_strangers` the
    `max_entries` is over all of a tenant's caches, and without `redis` the ledger's database
    stands in. Where a configuration `is_shown` only, nothing is opened.
    """

    def __init__(
        self,
        ledger: Ledger | None = None,
        *,
        redis: RedisConnection | None = None,
        cipher: Callable[[], Cipher | None] = _cipher_if_set,
        memory: Store | None = None,
        for_strangers: bool = False,
        is_shown: bool = False,
        prefix: str = PREFIX,
    ) -> None:
        self._ledger = ledger
        self._redis = redis
        self._cipher = cipher
        self._memory = memory
        self._for_strangers = for_strangers
        self._is_shown = is_shown
        self._prefix = prefix
        self._known: dict[tuple[object, ...], ResponseCache] = {}

    def of(self, config: ResponseCacheConfig | None) -> ResponseCache | None:
        """Return the cache of a setting; None where answers are not kept.

        Raises:
            ConfigError: it is Redis, and nobody says where that is.
            MissingExtraError: it is Redis, whose client is not installed.
            VaultError: an encryption key is set that is none.
        """
        if config is None or not config.enabled or self._is_shown:
            return None
        url = None if config.url is None else config.url.get_secret_value()
        known_as = (config.at, url, config.ttl_s, config.max_entries)
        known = self._known.get(known_as)
        if known is None:
            known = self._known.setdefault(known_as, self._opened(config, url))
        return known

    async def clear(self) -> int:
        """Drop all kept answers; return how many.

        Raises:
            OrchestifyError: a store is away.
        """
        return sum([await cache.clear() for cache in tuple(self._known.values())])

    async def aclose(self) -> None:
        """Wait until what came is kept, and close what was opened here."""
        await asyncio.gather(*(cache.aclose() for cache in tuple(self._known.values())))

    def _opened(self, config: ResponseCacheConfig, url: str | None) -> ResponseCache:
        bounds = Bounds(config.ttl_s, config.max_entries, self._for_strangers)
        store = self._beyond(config, url)
        cipher = None if store is None else self._cipher()
        tenant = "" if self._ledger is None else self._ledger.tenant
        return ResponseCache(store or self._in_memory(), bounds, tenant=tenant, cipher=cipher)

    def _beyond(self, config: ResponseCacheConfig, url: str | None) -> Store | None:
        """Return the store of a setting that is not this process's memory."""
        database = None if self._ledger is None else self._ledger.database
        stands_in = self._for_strangers and url is None and self._redis is None
        if config.at == "redis" and not stands_in:
            return self._in_redis(url)
        if config.at == "memory" or database is None:
            return None
        from orchestify.response_cache.sql_store import SqlStore  # noqa: PLC0415 - slow to import

        return SqlStore(database)

    def _in_memory(self) -> Store:
        from orchestify.response_cache.memory_store import MemoryStore  # noqa: PLC0415 - for few

        self._memory = self._memory or MemoryStore()
        return self._memory

    def _in_redis(self, url: str | None) -> Store:
        from orchestify.response_cache.redis_store import RedisStore  # noqa: PLC0415 - an extra

        given = self._redis
        if url is None:
            if given is None:
                raise ConfigError(
                    "response_cache.url: missing; at: redis needs redis://host:port/number"
                )
            return RedisStore(lambda: given, is_own=False)
        connection_to(url, self._prefix)  # what is wrong with it is said now
        return RedisStore(lambda: connection_to(url, self._prefix), is_own=True)


def connection_to(url: str, prefix: str = PREFIX) -> RedisConnection:
    """Return a connection to a Redis that keeps answers.

    Raises:
        MissingExtraError: its client is not installed.
        InvalidParameterError: the URL cannot be used.
    """
    from orchestify.shared_limits import RedisConnection  # noqa: PLC0415 - an extra

    return RedisConnection(
        url,
        prefix,
        meanwhile="the response cache finds and keeps nothing",
        back="the response cache goes on",
        needs="a response cache in Redis needs its client",
    )
