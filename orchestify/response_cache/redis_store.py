"""Kept answers in Redis, for all processes that share it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from orchestify.errors import OrchestifyError
from orchestify.response_cache.store import Bounds, Found, Place

if TYPE_CHECKING:
    from orchestify.shared_limits import RedisConnection

AWAY = "redis is away"
SCANNED = 500  # keys that one step of `clear` looks at

_FIND = """
local kept = redis.call('GET', KEYS[1])
if kept then return kept end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
_KEEP = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], KEYS[1])
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
local over = redis.call('ZCARD', KEYS[3]) - ARGV[4]
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[3], over)
  for place = 1, #oldest, 2 do redis.call('UNLINK', oldest[place]) end
end
if redis.call('GET', KEYS[2]) == ARGV[5] then redis.call('DEL', KEYS[2]) end
return 1
"""
_GIVE_UP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
_CLEAR = """
local step = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local values = 0
for _, key in ipairs(step[2]) do
  redis.call('UNLINK', key)
  if string.find(key, ':value:', 1, true) then values = values + 1 end
end
return {step[1], values}
"""


class RedisStore:
    """Texts with their time to live, and beside them an index of each cache by age.

    `connect` opens the connection of an event loop, at its first use there.
    """

    def __init__(
        self,
        connect: Callable[[], RedisConnection],
        *,
        is_own: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`is_own` says that the connections are closed with the store."""
        self._connect = connect
        self._is_own = is_own
        self._clock = clock
        self._connections: WeakKeyDictionary[asyncio.AbstractEventLoop, RedisConnection] = (
            WeakKeyDictionary()
        )

    async def find(self, place: Place, owner: str, lease_s: float) -> Found:
        """Return what is kept, or note that the owner asks."""
        keys = [self._at(place, f"value:{place.key}"), self._at(place, f"lease:{place.key}")]
        found = await self._run(_FIND, keys, owner, _ms(lease_s))
        return Found(None, bool(found)) if isinstance(found, int) else Found(found.decode())

    async def keep(self, place: Place, owner: str, text: str, bounds: Bounds) -> None:
        """Keep a text; the oldest of its cache make room."""
        index = self._at(place._replace(cache="all") if bounds.is_over_all else place, "index")
        keys = [self._at(place, f"{name}:{place.key}") for name in ("value", "lease")] + [index]
        arguments = (text, _ms(bounds.ttl_s), self._clock(), bounds.max_entries, owner)
        await self._run(_KEEP, keys, *arguments)

    async def give_up(self, place: Place, owner: str) -> None:
        """End the owner's note."""
        await self._run(_GIVE_UP, [self._at(place, f"lease:{place.key}")], owner)

    async def clear(self, tenant: str | None) -> int:
        """Drop all texts of a tenant, or of all, some keys at a time."""
        whose = "*" if tenant is None else re.sub(r"([][*?\\^])", r"\\\1", tenant)
        pattern = f"{self._connection.prefix}:answers:{{{whose}}}:*"
        cursor, dropped = b"0", 0
        while True:
            cursor, values = await self._run(_CLEAR, [], cursor, pattern, SCANNED)
            dropped += int(values)
            if cursor == b"0":
                return dropped

    async def aclose(self) -> None:
        """Close the connection of this event loop."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if self._is_own and connection is not None:
            await connection.aclose()

    @property
    def _connection(self) -> RedisConnection:
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            connection = self._connections[loop] = self._connect()
        return connection

    async def _run(self, script: str, keys: list[str], *arguments: bytes | str | float) -> Any:
        answer = await self._connection.run(script, keys, *arguments)
        if answer is None:
            raise OrchestifyError(AWAY)
        return answer

    def _at(self, place: Place, name: str) -> str:
        return f"{self._connection.prefix}:answers:{{{place.tenant}}}:{place.cache}:{name}"


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
