"""What is kept of tenants' conversations, where and how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestify.errors import VaultError
from orchestify.server.conversations.memory import MemoryValues
from orchestify.server.conversations.redis import RedisValues
from orchestify.vault.cipher import Cipher, new_encryption_key

if TYPE_CHECKING:
    from orchestify.shared_limits import RedisConnection

KEEP_S = 3600
MOST_CHARS = 256 << 10
"""Of one value, in plain: what is longer is not kept."""

_TENANT_BYTES, _ALL_BYTES = 8 << 20, 128 << 20
_MOST_IN_REDIS = 500  # of a tenant


class KeptConversations:
    """Texts by tenant and key, sealed under the newest encryption key, for an hour.

    They are in Redis where there is one, and in this process's memory while there is none or it
    is away. Without a `cipher` they are sealed under a key that ends with the process, and stay
    in its memory. A text opens only for the tenant and the key that it was kept under.
    """

    def __init__(
        self,
        cipher: Cipher | None = None,
        connection: RedisConnection | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cipher = cipher or Cipher([("this process", new_encryption_key())])
        self._memory = MemoryValues(KEEP_S, _TENANT_BYTES, _ALL_BYTES, clock)
        self._redis = (
            RedisValues(connection, KEEP_S, _MOST_IN_REDIS, clock)
            if connection is not None and cipher is not None
            else None
        )

    def key_of(self, text: str) -> str:
        """Return a name for a text; without the encryption key nobody can try guesses at it."""
        return self._cipher.keyed_digest(text)

    def may_have(self, tenant: str) -> bool:
        """Say whether anything of a tenant may be kept, without looking elsewhere."""
        return self._redis is not None or tenant in self._memory

    async def put(self, tenant: str, key: str, text: str) -> None:
        """Keep a text; what is too long is not kept."""
        if len(text) > MOST_CHARS:
            return
        sealed = self._cipher.encrypt(f"{tenant}\n{key}\n{text}")
        if self._redis is None or not await self._redis.put(tenant, key, sealed):
            self._memory.put(tenant, key, sealed)

    async def get(self, tenant: str, keys: Sequence[str]) -> list[str | None]:
        """Return the texts of some keys, in order; None where there is none."""
        forgotten = 0.0
        found: list[str | None] = [None] * len(keys)
        shared = None if self._redis is None else await self._redis.get(tenant, keys)
        if shared is not None:
            forgotten, found = shared
        return [
            self._opened(tenant, key, value or self._memory.get(tenant, key, forgotten))
            for key, value in zip(keys, found, strict=True)
        ]

    async def forget(self, tenant: str) -> bool:
        """Drop all that is kept of a tenant; False where Redis is away, and has it for now."""
        self._memory.forget(tenant)
        return self._redis is None or await self._redis.forget(tenant)

    def _opened(self, tenant: str, key: str, sealed: str | None) -> str | None:
        """Return what a value holds, None where it is another's or no encryption key opens it."""
        if sealed is None:
            return None
        try:
            text = self._cipher.decrypt(sealed).get_secret_value()
        except VaultError:
            return None
        head = f"{tenant}\n{key}\n"
        return text.removeprefix(head) if text.startswith(head) else None
