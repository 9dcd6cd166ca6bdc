"""HTTP for a direct lane: one endpoint, its headers, proxy and sessions; requests and bodies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import weakref
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

import aiohttp
from yarl import URL

from orchestify.core.addresses import AddressRule, address_problem, exposure, not_reached
from orchestify.core.provider_types import FIXED_HOSTS
from orchestify.errors import ConfigError, EndpointRefusedError
from orchestify.lanes.classify import REQUEST_ID_HEADERS, failure_from_body
from orchestify.lanes.failures import IdleError, RefusedError, too_long
from orchestify.lanes.http.certificates import trusted
from orchestify.lanes.http.proxies import STRAIGHT, proxy_for
from orchestify.lanes.http.resolving import GuardedResolver, SilentResolver
from orchestify.lanes.large_json import Body
from orchestify.lanes.parsing import LARGE, encodable_text
from orchestify.resources.thread_pools import ThreadPools

MAX_BODY_BYTES = 64 << 20
MAX_ERROR_BYTES = 64 << 10
MAX_HEADER_BYTES = 64 << 10
MAX_HEADERS = 1_000
PIECE_BYTES = 32 << 10
"""How much of a stream is read at a time, and how much more of it aiohttp keeps beside what the
kernel gives at once (256 KiB). What nobody takes yet waits at the provider."""

_READERS = ThreadPools(1, "read")  # of large answers

DRAIN_S = 0.1  # how long a stream's connection may take to become free again


_Sockets: TypeAlias = Callable[[tuple[Any, ...]], socket.socket]
_Kept: TypeAlias = dict[AbstractEventLoop, aiohttp.ClientSession]
_Keeper: TypeAlias = AsyncGenerator[None, None]

# Held until they are closed: aiohttp complains of sessions, asyncio of tasks that are collected.
_KEEPERS: dict[aiohttp.ClientSession, _Keeper] = {}
_CLOSING: set[asyncio.Task[None]] = set()


class Sealed:
    """Headers that no repr shows."""

    __slots__ = ("headers",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = dict(headers)


class Endpoint:
    """One provider's address; it sends requests there and never follows a redirect.

    Sessions and connections are reused within an event loop. The certificate is verified. The
    proxy, and whose certificates are believed, are looked up once, in the environment.

    Under a `rule` each connection is judged by the address it is about to use, unless the rule
    trusts the host. No proxy is used then: the check would only see the proxy's address. Under
    any rule the host's name is looked up in threads of the rule's party alone. A vendor's fixed
    address is under no rule. `party` is for whom the endpoint is: the rule's party, else the
    address itself.

    Raises:
        ConfigError: at construction, where the environment names what cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        sealed: Sealed,
        rule: AddressRule | None = None,
        header_bytes: int = MAX_HEADER_BYTES,
    ) -> None:
        self._base = URL(base_url)
        self.party = base_url if rule is None else rule.party
        if _is_vendors(self._base):
            rule = None
        sockets = _sockets(self._base, rule)
        self._proxy = proxy_for(self._base) if sockets is None else STRAIGHT
        trust = trusted()
        self._urls: dict[str, URL] = {}
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}
        resolver = None if rule is None else _resolver(self._base, rule, sockets)
        self._sessions = Sessions(lambda: _session(sealed, sockets, resolver, trust, header_bytes))

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        connect_timeout_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a JSON body and return the answer, its body unread, once its status is 2xx.

        Raises:
            RefusedError: another status.
            aiohttp.ClientError, OSError: no answer.
        """
        response = await self.request(
            "POST",
            self._urls.get(path) or self._url(path),
            body=body,
            headers=headers,
            timeout=self._timeouts.get(connect_timeout_s) or self._timeout(connect_timeout_s),
        )
        if response.status >= 300:
            raise await refusal(response)
        return response

    async def get(self, path: str, *, timeout_s: float) -> Body:
        """Return the body that a path answers with. Raises as `post` does, and MalformedError."""
        return await self.ask("GET", path, timeout_s=timeout_s)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Body:
        """Return the body that a request is answered with, within `timeout_s`.

        Raises as `post` does, and MalformedError.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        url = self._url(path)
        self._urls.pop(path, None)  # it may be asked for once only
        response = await self.request(method, url, body=body, headers=headers, timeout=timeout)
        if response.status >= 300:
            raise await refusal(response)
        return await read_body(response)

    async def lines(self, path: str, *, silence_s: float) -> AsyncGenerator[bytes, None]:
        """Yield the lines that a path answers with, however many, each as it has come.

        Raises as `post` does; MalformedError where a line is longer than a body may be; where
        nothing more comes for `silence_s`, what aiohttp raises.
        """
        timeout = aiohttp.ClientTimeout(total=None, connect=silence_s, sock_read=silence_s)
        url = self._url(path)
        self._urls.pop(path, None)
        response = await self.request("GET", url, timeout=timeout)
        if response.status >= 300:
            raise await refusal(response)
        begun: list[bytes] = []
        size = 0
        try:
            while piece := await response.content.readany():
                *ended, rest = piece.split(b"\n")
                for line in ended:
                    yield b"".join((*begun, line))
                    begun, size = [], 0
                begun.append(rest)
                size += len(rest)
                if size > MAX_BODY_BYTES:
                    raise too_long(MAX_BODY_BYTES)
            if size:
                yield b"".join(begun)
        finally:
            response.close()

    async def request(
        self,
        method: str,
        url: URL,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own, of several limits
        body: bytes | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request to a URL of this place and return the answer, its body unread.

        Raises:
            aiohttp.ClientError, OSError: no answer.
        """
        session = self._sessions.current or await self._sessions.open()
        return await session.request(
            method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
            proxy=self._proxy.url,
            proxy_headers=self._proxy.headers,
        )

    def off_loop(self, work: Callable[..., Any], /, *arguments: Any) -> Awaitable[Any]:
        """Do work in a thread, behind no work but that of the same party."""
        return _READERS.run(self.party, work, *arguments)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._sessions.aclose()

    def _url(self, path: str) -> URL:
        route, _, query = path.partition("?")
        whole = self._base.path.rstrip("/") + route
        url = self._base.with_path(whole, keep_query=True).update_query(query)
        self._urls[path] = url
        return url

    def _timeout(self, connect_timeout_s: float | None) -> aiohttp.ClientTimeout:
        timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s)
        self._timeouts = {connect_timeout_s: timeout}
        return timeout


def check_base_url(base_url: str, provider_id: str, *, sends_key: bool, allow_http: bool) -> None:
    """Refuse an address that must not be used.

    Raises:
        ConfigError: it is no http(s) address, or a key would go over plain http to a public host.
    """
    what = address_problem(base_url)
    if what is None and sends_key and not allow_http and exposure(base_url) == "public":
        what = "a key would go over plain http to a public host; use https, or set allow_http: true"
    if what:
        raise ConfigError(f"{provider_id}: base_url: {what}")


async def let_go(response: aiohttp.ClientResponse, *, complete: bool) -> None:
    """Close a stream; one that is complete has a moment to end, to keep its connection."""
    try:
        if complete and not response.content.at_eof():
            with contextlib.suppress(aiohttp.ClientError, OSError, IdleError):
                async with asyncio.timeout(DRAIN_S):
                    while await response.content.readany():
                        pass
    finally:
        response.close()


def _session(
    sealed: Sealed,
    sockets: _Sockets | None,
    resolver: GuardedResolver | None,
    trust: ssl.SSLContext | bool,
    header_bytes: int,
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, socket_factory=sockets, resolver=resolver, ssl=trust
        ),
        headers=sealed.headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=header_bytes,
        max_field_size=header_bytes,
        max_headers=MAX_HEADERS,
        read_bufsize=PIECE_BYTES,
    )


def _is_vendors(base: URL) -> bool:
    """Whether an address is a vendor's own and the same for all its customers."""
    return base.scheme == "https" and base.port == 443 and base.raw_host in FIXED_HOSTS


def _sockets(base: URL, rule: AddressRule | None) -> _Sockets | None:
    """Return what makes the sockets to an endpoint, None where any address will do.

    It is asked for every address that is tried, right before the connection, which goes to that
    address and no other: no name is looked up in between.
    """
    host, port = base.raw_host or "", base.port or 0
    refusal = not_reached(base.host_port_subcomponent or host)
    if rule is None or rule.trusts(host, port):
        return None

    def make(wanted: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = wanted
        if not rule.permits(address[0], address[1]):
            raise EndpointRefusedError(refusal)
        return socket.socket(family, kind, protocol)

    return make


def _resolver(base: URL, rule: AddressRule, sockets: _Sockets | None) -> GuardedResolver:
    """Return what looks up an endpoint's name; others' private names are nobody's business."""
    if sockets is None or rule.loopback:
        return GuardedResolver(rule.party)
    return SilentResolver(rule.party, not_reached(base.host_port_subcomponent or ""))


async def refusal(response: aiohttp.ClientResponse) -> RefusedError:
    """Return the error for an answer with another status than 2xx; its body is read."""
    body = await read_body(response, MAX_ERROR_BYTES, cut=True)
    return RefusedError(failure_from_body(response.status, response.headers, body))


async def read_body(
    response: aiohttp.ClientResponse,
    limit: int = MAX_BODY_BYTES,
    *,
    begun: bytes = b"",
    cut: bool = False,
) -> Body:
    """Return a whole body; the connection is free again. With `cut`, what is too long is cut.

    `begun` is what of it was read already. The pieces of a large body are not joined in one step.

    Raises:
        MalformedError: the body is longer than `limit`, in bytes.
    """
    body = bytearray(begun)
    try:
        while piece := await response.content.read(LARGE):
            body += piece
            if len(body) > limit:
                if cut:
                    break
                raise too_long(limit)
    finally:
        response.close()
    del body[limit:]
    return body if len(body) >= LARGE else bytes(body)


def kept_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return, in lower case, the headers that tell rate limits and the request's id."""
    kept = {}
    for name, value in headers.items():
        lower = name.lower()
        if "ratelimit" in lower or lower in REQUEST_ID_HEADERS:
            kept[lower] = value if value.isascii() else encodable_text(value)
    return kept


class Sessions:
    """The open sessions of one lane, by event loop.

    Nobody has to close them. Each has a keeper, an async generator that waits inside the loop;
    a loop that ends closes its async generators (PEP 525; `asyncio.run` does it), and the
    keeper its session. When the lane itself is dropped, or the interpreter exits, what is still
    open is closed from outside.
    """

    def __init__(self, open_session: Callable[[], aiohttp.ClientSession]) -> None:
        self._open_session = open_session
        self._kept: _Kept = {}
        weakref.finalize(self, _close_all, self._kept)

    @property
    def current(self) -> aiohttp.ClientSession | None:
        """The running loop's session, None where none is open."""
        session = self._kept.get(asyncio.get_running_loop())
        return None if session is None or session.closed else session

    async def open(self) -> aiohttp.ClientSession:
        """Open a session for the running loop and return it."""
        loop = asyncio.get_running_loop()
        for other in [other for other in list(self._kept) if other.is_closed()]:
            _close_behind(self._kept.pop(other))
        session = self._open_session()
        keeper = _keep(session, self._kept, loop)
        self._kept[loop] = session
        _KEEPERS[session] = keeper
        await anext(keeper)
        return session

    async def aclose(self) -> None:
        """Close the running loop's session at once, and those of other loops in their own time."""
        session = self._kept.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await _close(session)
        _close_all(self._kept)


async def _keep(session: aiohttp.ClientSession, kept: _Kept, loop: AbstractEventLoop) -> _Keeper:
    try:
        yield
    finally:
        if kept.get(loop) is session:
            del kept[loop]
        try:
            await session.close()
        finally:
            _KEEPERS.pop(session, None)


async def _close(session: aiohttp.ClientSession) -> None:
    keeper = _KEEPERS.get(session)
    if keeper is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closing it already
            await keeper.aclose()


def _close_all(kept: _Kept) -> None:
    for loop, session in list(kept.items()):
        kept.pop(loop, None)
        if loop.is_closed():
            _close_behind(session)
        elif loop.is_running() or _a_loop_runs_here():
            loop.call_soon_threadsafe(_close_in, loop, session)
        else:
            loop.run_until_complete(_close(session))


def _close_in(loop: AbstractEventLoop, session: aiohttp.ClientSession) -> None:
    task = loop.create_task(_close(session))
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)


def _close_behind(session: aiohttp.ClientSession) -> None:
    """Close a session whose loop is closed: nothing waits in it any more."""
    closing = _close(session)
    with contextlib.suppress(StopIteration):
        while closing.send(None) is None:
            pass
    closing.close()


def _a_loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
