"""HTTP for a direct lane: one endpoint, its headers, its proxy; requests, bodies, streams."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import aiohttp
from yarl import URL

from orchestify.core.addresses import AddressRule, address_problem, exposure, not_reached
from orchestify.core.provider_types import FIXED_HOSTS
from orchestify.errors import ConfigError, EndpointRefusedError
from orchestify.lanes.classify import failure_from_body
from orchestify.lanes.failures import IdleError, MalformedError, RefusedError
from orchestify.lanes.http.certificates import trusted
from orchestify.lanes.http.proxies import STRAIGHT, proxy_for
from orchestify.lanes.http.resolving import GuardedResolver, SilentResolver
from orchestify.lanes.http.sessions import Sessions

MAX_BODY_BYTES = 64 << 20
MAX_ERROR_BYTES = 64 << 10
MAX_HEADER_BYTES = 64 << 10
MAX_HEADERS = 1_000
PIECE_BYTES = 32 << 10
"""How much of a stream is read at a time, and how much more of it aiohttp keeps beside what the
kernel gives at once (256 KiB). What nobody takes yet waits at the provider."""

DRAIN_S = 0.1  # how long a stream's connection may take to become free again


_Sockets: TypeAlias = Callable[[tuple[Any, ...]], socket.socket]


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
            self._url(path),
            body=body,
            headers=headers,
            timeout=self._timeout(connect_timeout_s),
        )
        if response.status >= 300:
            raise await refusal(response)
        return response

    async def get(self, path: str, *, timeout_s: float) -> bytes:
        """Return the body that a path answers with. Raises as `post` does, and MalformedError."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        response = await self.request("GET", self._url(path), timeout=timeout)
        if response.status >= 300:
            raise await refusal(response)
        return await read_body(response)

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

    async def aclose(self) -> None:
        """Close every connection."""
        await self._sessions.aclose()

    def _url(self, path: str) -> URL:
        known = self._urls.get(path)
        if known is None:
            route, _, query = path.partition("?")
            whole = self._base.path.rstrip("/") + route
            known = self._base.with_path(whole, keep_query=True).update_query(query)
            self._urls[path] = known
        return known

    def _timeout(self, connect_timeout_s: float | None) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(connect_timeout_s)
        if known is None:
            known = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s)
            self._timeouts = {connect_timeout_s: known}
        return known


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
) -> bytes:
    """Return a whole body; the connection is free again. With `cut`, what is too long is cut.

    `begun` is what of it was read already.

    Raises:
        MalformedError: the body is longer than `limit`, in bytes.
    """
    pieces = [begun]
    size = len(begun)
    try:
        while piece := await response.content.readany():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                if cut:
                    break
                raise MalformedError(f"the answer is longer than {limit >> 20} MiB")
    finally:
        response.close()
    return b"".join(pieces)[:limit]
