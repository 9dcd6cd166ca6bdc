"""Connections to the service: their number, the bounds of a request's head, unread answers.

Whoever opens connections and says little on them would hold descriptors until there are none;
whoever sends headers without end, or asks and does not read, would hold memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestify.server.access.limits import network_of

HEADERS_S = 20.0
"""How long a request's line and headers may take, from the connection or the first byte on."""

BODY_S = 120.0
"""How long its body may take."""

HEAD_BYTES = 64 << 10
"""How large a request's line and headers may be together."""

URL_BYTES = 8 << 10
"""How long the request line's address may be."""

MOST_PIPELINED = 16
"""How many requests may wait on a connection for the answers to those before them."""

UNREAD_TENANT_BYTES, UNREAD_BYTES = 32 << 20, 256 << 20
"""How much of answers may wait to be read: of one tenant's clients, and of all."""

UNREAD_S = 60.0
"""How long a client may take not one byte of its answer."""

_HELD_BYTES = 384 << 10
"""What a stream that waits holds beside its connection's buffer: what was read from the provider
and is not sent yet, as bytes and as events. It counts among what all hold; of one tenant it is
bounded by the number of its calls."""

_STALLED_S = 1.0  # without a byte, a client is among those that are dropped where memory lacks
_REFUSED_S = 1.0  # for a refused client to read why

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

    @property
    def count(self) -> int:
        """How many are open."""
        return self._open

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


class UnreadAnswers:
    """What waits in the connections' buffers for clients to read it.

    Where a tenant's clients, or all, let more wait than `tenant_bytes` and `all_bytes`, those
    that took nothing for the longest time are dropped, until the rest fits. Among all, each counts
    `held_bytes` more.
    """

    def __init__(
        self,
        tenant_bytes: int = UNREAD_TENANT_BYTES,
        all_bytes: int = UNREAD_BYTES,
        clock: Callable[[], float] = time.monotonic,
        held_bytes: int = _HELD_BYTES,
    ) -> None:
        self.clock = clock
        self._held_bytes = held_bytes
        self._tenant_bytes = tenant_bytes
        self._all_bytes = all_bytes
        self._waiting: dict[object, _Unread] = {}

    def update(self, connection: object, tenant: str, size: int, drop: Callable[[], None]) -> float:
        """Take a connection's unread bytes; return for how many seconds it took none of them."""
        known, now = self._waiting.get(connection), self.clock()
        if known is None or size < known.size:
            known = self._waiting[connection] = _Unread(tenant, size, now, drop)
        known.size = size
        self._make_room(now)
        return now - known.since

    def release(self, connection: object) -> None:
        """Take back a connection that reads again, or is gone."""
        self._waiting.pop(connection, None)

    def _make_room(self, now: float) -> None:
        longest = sorted(self._waiting.items(), key=lambda item: item[1].since)
        sizes = Counter[str]()
        for each in self._waiting.values():
            sizes[each.tenant] += each.size
        total = sizes.total() + self._held_bytes * len(self._waiting)
        for connection, each in longest:
            is_over = sizes[each.tenant] > self._tenant_bytes or total > self._all_bytes
            if is_over and now - each.since >= _STALLED_S:
                sizes[each.tenant] -= each.size
                total -= each.size + self._held_bytes
                del self._waiting[connection]
                each.drop()


@dataclass(slots=True)
class _Unread:
    tenant: str
    size: int
    since: float
    drop: Callable[[], None]


class BoundedProtocol(HttpToolsProtocol):
    """HTTP on one connection, which bounds what a client may send slowly, largely, or not read."""

    admission: Connections
    unread: UnreadAnswers
    headers_s = HEADERS_S
    body_s = BODY_S
    unread_s = UNREAD_S
    _deadline: asyncio.TimerHandle | None = None
    _unread_check: asyncio.TimerHandle | None = None
    _remote: str | None = None
    _head_bytes = 0
    _is_in_head = _is_in_body = False
    _is_refused = False

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
        self._end_unread()
        if self._remote is not None:
            self.admission.release(self._remote)
            self._remote = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; what has not come of a request's headers, or of its body, has a time."""
        if self._is_refused:
            return
        is_head = self._is_in_head or self._is_idle
        super().data_received(data)
        if self._is_in_head and is_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431)
        if self._deadline is None and (self._is_in_body or self._is_idle):
            self._wait(self.body_s if self._is_in_body else self.headers_s)

    def on_message_begin(self) -> None:
        """Begin a request's head; of one that is refused, what else was read is passed over."""
        if self._is_refused:
            return
        self._head_bytes, self._is_in_head = 0, True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        if self._is_refused:
            return
        super().on_url(url)
        if len(self.url) > URL_BYTES:
            self._refuse(414)

    def on_headers_complete(self) -> None:
        """Go on to the body, which has a time of its own."""
        if self._is_refused:
            return
        self._is_in_head, self._is_in_body = False, True
        self._end_wait()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES:
            self._refuse(431)
        elif len(self.pipeline) >= MOST_PIPELINED:
            self._is_refused = True
            self.transport.abort()
        if not self._is_refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Go on to the answer, which may take any time while it is read."""
        if not self._is_refused:
            self._is_in_body = False
            self._end_wait()
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Watch a client that does not read as fast as its answer comes."""
        super().pause_writing()
        if self._unread_check is None:
            self._check_unread()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._end_unread()

    def _check_unread(self) -> None:
        state = (self.scope or {}).get("state") or {}
        size = self.transport.get_write_buffer_size()
        self._unread_check = self.loop.call_later(_STALLED_S, self._check_unread)
        idle_s = self.unread.update(self, state.get("tenant", ""), size, self.transport.abort)
        if idle_s >= self.unread_s:
            self.transport.abort()

    def _end_unread(self) -> None:
        if self._unread_check is not None:
            self._unread_check.cancel()
            self._unread_check = None
            self.unread.release(self)

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, status: int) -> None:
        """Answer that a request's head is too large, and close; what still comes is not kept."""
        if self._is_refused:
            return
        self._is_refused = True
        text = _TOO_LARGE[status]
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: text/plain"
        length = f"content-length: {len(text)}\r\nconnection: close"
        self.transport.write(f"{head}\r\n{length}\r\n\r\n{text}".encode())
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._wait(_REFUSED_S)

    def _wait(self, limit_s: float) -> None:
        self._end_wait()
        self._deadline = self.loop.call_later(limit_s, self.transport.abort)

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


_TOO_LARGE = {
    414: f"the address is longer than {URL_BYTES:,} bytes",
    431: f"the headers are larger than {HEAD_BYTES:,} bytes",
}


def protocol_of(
    admitted: Connections,
    *,
    headers_within_s: float = HEADERS_S,
    body_within_s: float = BODY_S,
    unread_within_s: float = UNREAD_S,
) -> type[BoundedProtocol]:
    """Return the protocol of a server, whose connections are counted together."""

    class Counted(BoundedProtocol):
        admission = admitted
        unread = UnreadAnswers()
        headers_s = headers_within_s
        body_s = body_within_s
        unread_s = unread_within_s

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
