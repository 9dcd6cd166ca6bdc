"""Sealed values in Redis, for all processes that share it; nothing but ciphertext goes there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestify.shared_limits import RedisConnection

_PUT = """
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[4], KEYS[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
local over = redis.call('ZCARD', KEYS[1]) - ARGV[5]
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[1], over)
  for place = 1, #oldest, 2 do redis.call('UNLINK', oldest[place]) end
end
return 1
"""
_GET = "return redis.call('MGET', unpack(KEYS))"
_FORGET = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('UNLINK', key) end
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class RedisValues:
    """Values by tenant and key for `keep_s`, of each tenant the `most` newest.

    Beside them stands when the tenant's were last forgotten, and in place of one that was dropped
    an empty text, so that a process drops what it kept itself while Redis was away.
    """

    connection: RedisConnection
    name: str
    keep_s: int
    most: int
    clock: Callable[[], float] = time.time

    async def put(self, tenant: str, key: str, value: str) -> bool:
        """Keep a value; say whether Redis has it."""
        now = self.clock()
        keys = [self._at(tenant, "index"), self._at(tenant, f"value:{key}")]
        arguments = (value, self.keep_s, now, now + self.keep_s, self.most)
        return await self.connection.run(_PUT, keys, *arguments) is not None

    async def get(self, tenant: str, keys: Sequence[str]) -> tuple[float, list[str | None]] | None:
        """Return when the tenant's values were forgotten, and those of the keys; or None: away."""
        places = [self._at(tenant, "forgotten"), *(self._at(tenant, f"value:{k}") for k in keys)]
        found = await self.connection.run(_GET, places)
        if found is None:
            return None
        forgotten, *values = found
        return float(forgotten or 0), [None if each is None else each.decode() for each in values]

    async def drop(self, tenant: str, key: str) -> bool:
        """Drop the value of one key; say whether Redis did."""
        return await self.put(tenant, key, "")

    async def forget(self, tenant: str) -> bool:
        """Drop all of a tenant's values; say whether Redis did."""
        keys = [self._at(tenant, "index"), self._at(tenant, "forgotten")]
        return await self.connection.run(_FORGET, keys, self.clock(), self.keep_s) is not None

    def _at(self, tenant: str, what: str) -> str:
        return f"{self.connection.prefix}:{self.name}:{{{tenant}}}:{what}"
