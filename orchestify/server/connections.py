"""Connections to the service: how many, and how long one may take to send a request.

Whoever opens connections and says little on them would hold descriptors until there are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestify.server.access.limits import network_of

HEADERS_S = 20.0
"""How long a request's line and headers may take, from the connection or the first byte on."""

BODY_S = 120.0
"""How long its body may take."""

FEW_FILES = 4_096
"""Descriptors with which a process has fewer connections than a service may need."""

_MOST_FILES = 1 << 20  # more are none of its use, and some systems say "without limit"
_MOST_CONNECTIONS = 20_000

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

log = logging.getLogger("orchestify.server")


class Connections:
    """The connections of a server: at most `most`, and half of them from one address.

    `trusted` addresses, of reverse proxies, may have them all.
    """

    def __init__(self, most: int, trusted: tuple[str, ...] = ()) -> None:
        self._most = most
        self._trusted = tuple(_networks(trusted))
        self._of: Counter[str] = Counter()
        self._open = 0

    def admit(self, remote: str) -> bool:
        """Count a connection, and say whether it may stay."""
        where = network_of(remote)
        most = self._most if self._trusts(remote) else max(1, self._most // 2)
        if self._open >= self._most or self._of[where] >= most:
            return False
        self._open += 1
        self._of[where] += 1
        return True

    def release(self, remote: str) -> None:
        """Take back a connection that was counted."""
        where = network_of(remote)
        self._open -= 1
        self._of[where] -= 1
        if not self._of[where]:
            del self._of[where]

    def _trusts(self, remote: str) -> bool:
        if not self._trusted:
            return False
        with contextlib.suppress(ValueError):
            return any(ipaddress.ip_address(remote) in each for each in self._trusted)
        return False


class TimedProtocol(HttpToolsProtocol):
    """HTTP on one connection, which is closed when it sends no whole request in time."""

    admission: Connections
    headers_s = HEADERS_S
    body_s = BODY_S
    _deadline: asyncio.TimerHandle | None = None
    _remote: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or break the connection off where there are too many."""
        super().connection_made(transport)
        remote = self.client[0] if self.client else ""
        if self.admission.admit(remote):
            self._remote = remote
            self._wait(self.headers_s)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._end_wait()
        if self._remote is not None:
            self.admission.release(self._remote)
            self._remote = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; the first of a request sets the time for its headers."""
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._wait(self.headers_s)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Go on to the body, which has a time of its own."""
        self._wait(self.body_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Go on to the answer, which may take any time."""
        self._end_wait()
        super().on_message_complete()

    def _wait(self, limit_s: float) -> None:
        self._end_wait()
        self._deadline = self.loop.call_later(limit_s, self.transport.abort)

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def protocol_of(
    admitted: Connections, *, headers_within_s: float = HEADERS_S, body_within_s: float = BODY_S
) -> type[TimedProtocol]:
    """Return the protocol of a server, whose connections are counted together."""

    class Counted(TimedProtocol):
        admission = admitted
        headers_s = headers_within_s
        body_s = body_within_s

    return Counted


def raise_descriptors() -> None:
    """Raise the process's limit of descriptors as far as it may; log it where they are few."""
    try:
        import resource  # noqa: PLC0415 - not everywhere
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # the kernel may have a limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if descriptors() < FEW_FILES:
        log.warning(
            "this process may open %d files, enough for %d connections; raise `ulimit -n` to %d",
            *(descriptors(), most_connections(descriptors()), FEW_FILES),
        )


def descriptors() -> int:
    """Return how many descriptors this process may have."""
    try:
        import resource  # noqa: PLC0415 - as above
    except ImportError:
        return _MOST_FILES
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if soft == resource.RLIM_INFINITY else soft


def most_connections(files: int) -> int:
    """Return how many connections leave as many descriptors for calls, and some for the rest."""
    return min(_MOST_CONNECTIONS, max(16, (files - 64) // 2))


def _networks(addresses: Iterable[str]) -> Iterator[_Network]:
    for each in addresses:
        with contextlib.suppress(ValueError):  # a name; nobody connects from one
            yield ipaddress.ip_network(each, strict=False)
