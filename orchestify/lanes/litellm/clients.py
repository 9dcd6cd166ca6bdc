"""The clients that LiteLLM is given with a call: its own and OpenAI's, over a transport of ours.

Both take a transport of httpx, or a client with one. Ours sends each request once, over sessions
as the direct lanes have them: no redirect, no cookie, a bound on what comes, a provider's own
connections. What goes wrong is told to the call's `Exchange`, whatever LiteLLM makes of it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import aiohttp
import httpx
import openai
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from yarl import URL

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import AnswerBounds
from orchestify.errors import OrchestifyError, RequestTimeoutError
from orchestify.lanes.failures import RefusedError
from orchestify.lanes.http.endpoint import (
    PIECE_BYTES,
    Endpoint,
    Sealed,
    read_body,
    refusal,
)
from orchestify.lanes.http.proxies import are_proxies_http
from orchestify.lanes.http.transport import FAILURES, transport_error
from orchestify.lanes.litellm.backends import ClientKind
from orchestify.lanes.litellm.bounds import LineBounds, check_body
from orchestify.lanes.litellm.exchange import EXCHANGE, Exchange
from orchestify.lanes.litellm.guard import LiteLLMGuard
from orchestify.lanes.parsing import BOUNDS, LARGE, parse_whole
from orchestify.resources.bounded import bounded_setdefault
from orchestify.values import NOTHING

MOST_PLACES = 20  # a provider's own host, and those where LiteLLM gets a token for it

# What aiohttp writes itself, and what no longer holds of a body that it has decoded.
_WRITTEN = frozenset({"accept-encoding", "connection", "content-length", "transfer-encoding"})
_UNDONE = frozenset({"content-encoding", "content-length", "set-cookie", "transfer-encoding"})

# LiteLLM keeps a client for Azure, and gives it to whoever calls in the same words. With a key this
# word has no other effect than to keep ours from a host's own calls.
_APART: Mapping[ClientKind, dict[str, str]] = {"azure": {"client_secret": "orchestify"}}


class ClientSettings(NamedTuple):
    """Where a backend is and as whom it is asked; None where LiteLLM's own settings say."""

    key: str | None
    base_url: str | None
    organization: str | None = None
    api_version: str | None = None


class Transport(httpx.AsyncBaseTransport):
    """Carries the requests of one provider; `aclose` closes nothing, `end` its connections.

    A handler that gives up on a connection closes its transport, and tries again through it.
    """

    def __init__(
        self,
        guard: LiteLLMGuard | None = None,
        rule: AddressRule | None = None,
        bounds: AnswerBounds = BOUNDS,
    ) -> None:
        self._guard = guard
        self._rule = rule
        self._bounds = bounds
        self._endpoints: dict[str, Endpoint] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer, once its status is 2xx.

        Raises:
            RefusedError: another status.
            OrchestifyError: no answer, or one that has more than the bounds allow.
        """
        exchange = EXCHANGE.get() or Exchange()
        if exchange.failure is not None:
            raise exchange.failure  # a second try
        try:
            return await self._carry(request, exchange)
        except (*FAILURES, OrchestifyError) as error:
            exchange.failure = _explained(error, exchange)
        raise exchange.failure

    async def end(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints.values():
            await endpoint.aclose()

    async def _carry(self, request: httpx.Request, exchange: Exchange) -> httpx.Response:
        asked = str(request.url) if self._guard is None else self._guard.directed(request)
        url = URL(asked, encoded=True)
        body = await request.aread()
        exchange.sent = True
        endpoint = self._endpoint(url)
        response = await endpoint.request(
            request.method,
            url,
            body=body or None,
            headers=_headers(request),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=exchange.connect_timeout_s, sock_read=exchange.timeout_s
            ),
        )
        if response.status >= 300:
            raise await refusal(response)
        headers = [each for each in response.headers.items() if each[0].lower() not in _UNDONE]
        if exchange.stream:
            stream = _Stream(response, exchange, self._bounds)
            return httpx.Response(response.status, headers=headers, stream=stream, request=request)
        content = bytes(await read_body(response, self._bounds.max_bytes))
        if len(content) < LARGE:
            check_body(content, self._bounds)
            exchange.take(response.headers, content)
        else:
            parsed = await endpoint.off_loop(_parsed, content, self._bounds)
            exchange.take(response.headers, parsed)
        return httpx.Response(response.status, headers=headers, content=content, request=request)

    def _endpoint(self, url: URL) -> Endpoint:
        place = str(url.origin())
        known = self._endpoints.get(place)
        if known is None:
            made = Endpoint(place, Sealed({}), self._rule, self._bounds.max_header_bytes)
            known = bounded_setdefault(self._endpoints, place, made, limit=MOST_PLACES)
        return known


class Clients:
    """The clients of one provider, made as they are asked for, over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._is_fit = are_proxies_http()
        self._made: dict[tuple[ClientKind, ClientSettings], Mapping[str, Any]] = {}

    def arguments(
        self, kind: ClientKind, settings: ClientSettings, litellm: Any
    ) -> Mapping[str, Any]:
        """Return the arguments of a call that hand a client over.

        None at all where this release, or these settings, make none, or where the environment
        names a proxy that LiteLLM may know how to use and we do not.
        """
        if not self._is_fit:
            return NOTHING
        known = self._made.get((kind, settings))
        if known is not None:
            return known
        try:
            made = {"client": _make(kind, settings, self._transport, litellm)}
        except (TypeError, openai.OpenAIError):
            return NOTHING
        return bounded_setdefault(
            self._made, (kind, settings), made | _APART.get(kind, {}), limit=MOST_PLACES
        )

    async def aclose(self) -> None:
        """Close every connection; they are opened anew where the clients are used again."""
        await self._transport.end()


class _Stream(httpx.AsyncByteStream):
    """The body of an answer as it comes, within the bounds of an answer."""

    def __init__(
        self, response: aiohttp.ClientResponse, exchange: Exchange, bounds: AnswerBounds
    ) -> None:
        self._response, self._exchange, self._bounds = response, exchange, bounds
        exchange.close = response.close

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content, lines = self._response.content, LineBounds(self._bounds)
        try:
            while piece := await content.read(PIECE_BYTES):
                lines.take(piece)
                yield piece
        except FAILURES as error:
            self._exchange.failure = _explained(error, self._exchange)
        finally:
            self._response.close()
        if self._exchange.failure is not None:
            raise self._exchange.failure

    async def aclose(self) -> None:
        self._response.close()


def _make(kind: ClientKind, settings: ClientSettings, transport: Transport, litellm: Any) -> Any:
    """Make a client; what is not given is what LiteLLM would give it."""
    if kind == "handler":
        return AsyncHTTPHandler(transport=transport, follow_redirects=False)
    http = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
    more: dict[str, Any] = {"http_client": http, "max_retries": 0}
    if kind == "azure":
        version = settings.api_version or litellm.api_version or os.environ.get("AZURE_API_VERSION")
        return openai.AsyncAzureOpenAI(
            api_key=settings.key,
            azure_endpoint=settings.base_url or "",
            api_version=version or litellm.AZURE_DEFAULT_API_VERSION,
            **more,
        )
    return openai.AsyncOpenAI(
        api_key=settings.key or litellm.api_key or litellm.openai_key,
        base_url=settings.base_url or litellm.api_base or os.environ.get("OPENAI_API_BASE"),
        organization=settings.organization
        or litellm.organization
        or os.environ.get("OPENAI_ORGANIZATION"),
        **more,
    )


def _parsed(content: bytes, bounds: AnswerBounds) -> Any:
    """Return a large body, parsed; None where it is no JSON. Raises MalformedError."""
    check_body(content, bounds)
    try:
        return parse_whole(content, bounds)
    except ValueError:
        return None


def _headers(request: httpx.Request) -> list[tuple[str, str]]:
    """Return a request's headers without those that aiohttp writes."""
    own = request.url.netloc.decode()
    return [
        (name, value)
        for name, value in request.headers.multi_items()
        if name not in _WRITTEN and (name, value) != ("host", own)
    ]


def _explained(error: BaseException, exchange: Exchange) -> Exception:
    if isinstance(error, RefusedError | OrchestifyError):
        return error
    if isinstance(error, aiohttp.SocketTimeoutError):
        return RequestTimeoutError()
    return transport_error(error, exchange.connect_timeout_s)
