"""Looking up the names of endpoints that strangers wrote, so that theirs hold up nobody else's."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from orchestify.errors import EndpointRefusedError
from orchestify.resources.thread_pools import ThreadPools

LOOKUP_S = 10.0
"""How long a name may take."""

FAILED_S = 5.0
"""For how long a name that was not found, or not in time, is not looked up again."""

_AT_ONCE = 2
_CREW = ThreadPools(_AT_ONCE, "lookup")
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

Lookup: TypeAlias = Callable[..., list[tuple[Any, ...]]]
"""`socket.getaddrinfo`, or what stands in for it."""


class GuardedResolver(AbstractResolver):
    """Looks up the one name of an endpoint, in its party's own threads.

    The event loop's threads, which look up all other names, never wait for a name server that a
    stranger chose. A party has two lookups at a time; more wait, and their time runs.
    """

    def __init__(
        self, party: str, lookup: Lookup = socket.getaddrinfo, *, within_s: float = LOOKUP_S
    ) -> None:
        self._party = party
        self._lookup = lookup
        self._within_s = within_s
        self._failed_at = float("-inf")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            OSError: it has none, or there was no answer in time; or a moment ago.
        """
        if time.monotonic() - self._failed_at < FAILED_S:
            raise OSError("the name was not found a moment ago")
        try:
            async with asyncio.timeout(self._within_s):
                found = await _CREW.run(
                    self._party,
                    self._lookup,
                    *(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG),
                )
        except TimeoutError:
            self._failed_at = time.monotonic()
            raise OSError(f"the name was not found within {self._within_s:g} s") from None
        except OSError:
            self._failed_at = time.monotonic()
            raise
        return [_result(host, port, each) for each in found]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


class SilentResolver(GuardedResolver):
    """Says of a name that is not found what is said of one that leads where it may not."""

    def __init__(self, party: str, refusal: str, lookup: Lookup = socket.getaddrinfo) -> None:
        super().__init__(party, lookup)
        self._refusal = refusal

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            EndpointRefusedError: it has none, or there was no answer in time.
        """
        try:
            return await super().resolve(host, port, family)
        except OSError:
            raise EndpointRefusedError(self._refusal) from None


def _result(host: str, port: int, found: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, address = found
    return ResolveResult(
        hostname=host,
        host=str(address[0]),
        port=port,
        family=family,
        proto=protocol,
        flags=_NUMERIC,
    )
