"""What is kept of tenants' conversations, where and how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from orchestify.errors import VaultError
from orchestify.server.conversations.memory import MemoryValues
from orchestify.server.conversations.redis import RedisValues
from orchestify.vault.cipher import Cipher, new_encryption_key

if TYPE_CHECKING:
    from orchestify.shared_limits import RedisConnection


class Bounds(NamedTuple):
    """How long something is kept, and how much of it.

    `chars` are of one value, in plain: what is longer is not kept. In memory a tenant has
    `tenant_bytes`, and all have `all_bytes`; in Redis a tenant has `values`. `name` is where it is
    kept there.
    """

    name: str
    keep_s: int
    chars: int
    tenant_bytes: int
    all_bytes: int
    values: int


THINKING = Bounds("kept", 3600, 256 << 10, 8 << 20, 128 << 20, 500)
RESPONSES = Bounds("responses", 86_400, 1 << 20, 32 << 20, 256 << 20, 5_000)


class KeptConversations:
    """Texts by tenant and key, sealed under the newest encryption key, for as long as bounds say.

    They are in Redis where there is one, and in this process's memory while there is none or it
    is away. Without a `cipher` they are sealed under a key that ends with the process, and stay
    in its memory. A text opens only for the tenant and the key that it was kept under.
    """

    def __init__(
        self,
        cipher: Cipher | None = None,
        connection: RedisConnection | None = None,
        bounds: Bounds = THINKING,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cipher = cipher or Cipher([("this process", new_encryption_key())])
        self._bounds = bounds
        self._memory = MemoryValues(bounds.keep_s, bounds.tenant_bytes, bounds.all_bytes, clock)
        self._redis = (
            RedisValues(connection, bounds.name, bounds.keep_s, bounds.values, clock)
            if connection is not None and cipher is not None
            else None
        )

    def key_of(self, text: str) -> str:
        """Return a name for a text; without the encryption key nobody can try guesses at it."""
        return self._cipher.keyed_digest(text)

    def may_have(self, tenant: str) -> bool:
        """Say whether anything of a tenant may be kept, without looking elsewhere."""
        return self._redis is not None or tenant in self._memory

    async def put(self, tenant: str, key: str, text: str) -> bool:
        """Keep a text, and say whether it is kept: what is too long is not."""
        if len(text) > self._bounds.chars:
            return False
        sealed = self._cipher.encrypt(f"{tenant}\n{key}\n{text}")
        if self._redis is None or not await self._redis.put(tenant, key, sealed):
            self._memory.put(tenant, key, sealed)
        return True

    async def get(self, tenant: str, keys: Sequence[str]) -> list[str | None]:
        """Return the texts of some keys, in order; None where there is none."""
        forgotten = 0.0
        found: list[str | None] = [None] * len(keys)
        shared = None if self._redis is None else await self._redis.get(tenant, keys)
        if shared is not None:
            forgotten, found = shared
        return [
            self._opened(
                tenant, key, self._memory.get(tenant, key, forgotten) if value is None else value
            )
            for key, value in zip(keys, found, strict=True)
        ]

    async def drop(self, tenant: str, key: str) -> bool:
        """Drop what is kept of one key; False where Redis is away, and has it for now."""
        self._memory.drop(tenant, key)
        return self._redis is None or await self._redis.drop(tenant, key)

    async def forget(self, tenant: str) -> bool:
        """Drop all that is kept of a tenant; False where Redis is away, and has it for now."""
        self._memory.forget(tenant)
        return self._redis is None or await self._redis.forget(tenant)

    def _opened(self, tenant: str, key: str, sealed: str | None) -> str | None:
        """Return what a value holds, None where it is another's or no encryption key opens it."""
        if not sealed:
            return None
        try:
            text = self._cipher.decrypt(sealed).get_secret_value()
        except VaultError:
            return None
        head = f"{tenant}\n{key}\n"
        return text.removeprefix(head) if text.startswith(head) else None
