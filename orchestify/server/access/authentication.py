"""Authentication: which principal a request is from, from its token, and how often it may come.

`require` is what endpoints call; `Authenticator` is behind it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection

from orchestify.errors import AccessError, StoreError
from orchestify.ledger.record import utc_now
from orchestify.resources.thread_pools import ThreadPools
from orchestify.server.access.denied_requests import DeniedRequest, DeniedRequests
from orchestify.server.access.limits import Throttle, network_of
from orchestify.server.access.tokens import (
    SCOPES,
    Principal,
    Scope,
    TokenRow,
    Tokens,
    compare_with_dummy,
    parse_token,
)
from orchestify.server.settings import OPEN_TENANT, ServiceSettings

bearer = HTTPBearer(
    scheme_name="token",
    bearerFormat="ork_<id>_<secret>",
    description="A tenant's token, from `orchestify tokens create`",
    auto_error=False,
)
"""The security scheme in the OpenAPI document; `require` enforces it."""

api_key = APIKeyHeader(
    scheme_name="api key",
    name="x-api-key",
    description="The same token, where Anthropic's clients put it",
    auto_error=False,
)


async def require(request: HTTPConnection, scope: Scope) -> Principal:
    """Return who sends a request, where their token has the scope.

    Raises:
        AccessError: 401 without a token that holds, 403 without the scope, 429 beyond the
            requests of a minute; 401 and 403 are in the audit log.
        StoreError: the database, which knows the tokens, is away.
    """
    authenticator: Authenticator = request.app.state.service.authenticator
    return await authenticator.authenticate(request, scope)


TENANT = "orchestify.tenant"
"""Where a request's scope names its tenant, once it is known, for the access log."""

OUTAGE_S = 300.0
"""How long the database may be away before no remembered token is trusted any more."""

_FRESH_S = 1.0
_PROBE_AFTER_S, _PROBE_S = 0.4, 0.4  # of a late lookup: does the database answer anything?
_LOOKUP_WAIT_S = 2.0  # for a slow database; an older answer admits nobody until it counts as away
_AWAY_AFTER_S = 8.0  # after which it counts as away: two attempts at a connection, and some time
_THREADS = 3
_TENANT_TIMES = 10  # a tenant's requests in a minute, as many times those of one token
_TOKENS_KEPT = 10_000
_OPEN_PRINCIPAL = Principal(OPEN_TENANT, "", frozenset(SCOPES))


@dataclass(slots=True)
class _Lookup:
    """A token's row, being read or read; `previous` is the last row found before, and its time."""

    since: float
    row: asyncio.Task[TokenRow | None]
    previous: tuple[float, TokenRow] | None = None
    is_used: bool = False

    @property
    def answer(self) -> tuple[float, TokenRow] | None:
        """The last answer with a token, and its time; None where none has come."""
        if not self.row.done() or self.has_failed:
            return self.previous
        row = self.row.result()
        return None if row is None else (self.since, row)

    @property
    def has_failed(self) -> bool:
        """Whether the database did not answer."""
        return self.row.done() and (self.row.cancelled() or self.row.exception() is not None)


@dataclass(slots=True)
class Authenticator:
    """Authenticates requests by their token; on loopback, until a token is made, admits all.

    A token's row is trusted for a second, and for five minutes while the database is away: only
    a machine that still reaches the database can revoke a token then. While the database is slow
    and not known to be away, nobody is admitted by an older row. A request whose token was not
    valid before is denied without a lookup where its network has failed too often.
    """

    tokens: Tokens
    denied_requests: DeniedRequests
    settings: ServiceSettings
    clock: Callable[[], float] = time.monotonic
    _threads: ThreadPools = field(
        default_factory=lambda: ThreadPools(_THREADS, "authentication"), init=False
    )
    _token_throttle: Throttle = field(init=False)
    _tenant_throttle: Throttle = field(init=False)
    _failure_throttle: Throttle = field(init=False)
    _lookups: OrderedDict[str, _Lookup] = field(default_factory=OrderedDict, init=False)
    _open_until: float = field(default=float("-inf"), init=False)
    _known_open_at: float = field(default=float("-inf"), init=False)
    _needs_token: bool = field(init=False)
    _is_away: bool = field(default=False, init=False)
    _probe: asyncio.Task[bool] | None = field(default=None, init=False)
    _probe_at: float = field(default=0.0, init=False)
    _use_records: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._needs_token = not self.settings.is_loopback
        per_minute = self.settings.requests_per_minute
        self._token_throttle = Throttle(per_minute, self.clock)
        self._tenant_throttle = Throttle(_TENANT_TIMES * per_minute, self.clock)
        self._failure_throttle = Throttle(self.settings.denied_per_minute, self.clock)

    async def authenticate(self, request: HTTPConnection, scope: Scope) -> Principal:
        """Return who sends a request; see `require`."""
        context = RequestContext(request)
        try:
            principal = await self._identify(context)
            if not principal.may(scope):
                raise _Denied(403, f"the token lacks the scope {scope}", f"no scope {scope}")
        except _Denied as denied:
            await self.denied_requests.record(context.denied_request(denied.reason))
            raise AccessError(str(denied), status=denied.status) from None
        request.scope[TENANT] = principal.tenant_id
        return principal

    async def require_scope(
        self, request: HTTPConnection, principal: Principal, scope: Scope
    ) -> None:
        """Deny a principal that was admitted and lacks another scope; see `require`."""
        if not principal.may(scope):
            context = RequestContext(request)
            context.principal = principal
            await self.denied_requests.record(context.denied_request(f"no scope {scope}"))
            raise AccessError(f"the token lacks the scope {scope}", status=403)

    async def is_open(self) -> bool:
        """Say whether requests without a token are served.

        Raises:
            StoreError: the database could not be read.
        """
        if not self._needs_token and self.clock() >= self._open_until:
            now = self.clock()
            try:
                self._needs_token = await self._threads.run("lookups", self.tokens.exist)
                self._known_open_at = now
            except StoreError:
                if now - self._known_open_at > OUTAGE_S:
                    raise
            self._open_until = now + _FRESH_S
        return not self._needs_token

    def trusts_known_tokens(self) -> bool:
        """Say whether any request would be admitted while the database is away."""
        trusted_since = self.clock() - OUTAGE_S
        if not self._needs_token and self._known_open_at >= trusted_since:
            return True
        answers = (each.answer for each in reversed(self._lookups.values()))
        return any(each is not None and each[0] >= trusted_since for each in answers)

    async def aclose(self) -> None:
        """Wait for the uses of tokens that are being recorded."""
        if self._probe is not None:
            self._probe.cancel()
        if self._use_records:
            await asyncio.wait(self._use_records)

    async def _identify(self, context: RequestContext) -> Principal:
        parsed = parse_token(context.token)
        if parsed is not None:
            self._open_until = float("-inf")  # the first token ends the open mode
        if await self.is_open():
            if not context.is_local:
                raise _Denied(403, _NOT_LOCAL, "a foreign host, origin or proxy in open mode")
            return _OPEN_PRINCIPAL
        return await self._by_token(context, parsed)

    async def _by_token(self, context: RequestContext, parsed: tuple[str, str] | None) -> Principal:
        token_id, secret = parsed or ("", context.token)
        if not self._was_valid(token_id, secret):
            _check_throttle(self._failure_throttle.wait_s(context.network), "refused requests")
        row = await self._token_row(token_id) if parsed else None
        reason = _denial_reason(row, secret, context)
        if row is None or reason:
            self._failure_throttle.take(context.network)
            raise _Denied(401, _NO_TOKEN if not context.token else _BAD_TOKEN, reason)
        principal = context.principal = row.principal
        context.name_tenant(row.tenant_id)
        _check_throttle(self._token_throttle.take(token_id), "requests")
        _check_throttle(self._tenant_throttle.take(row.tenant_id), "requests of this tenant")
        self._record_use_soon(row)
        return principal

    def _was_valid(self, token_id: str, secret: str) -> bool:
        known = self._lookups.get(token_id)
        answer = known.answer if known is not None else None
        return (
            answer is not None
            and answer[1].matches(secret)
            and not answer[1].invalid_reason(utc_now())
        )

    async def _token_row(self, token_id: str) -> TokenRow | None:
        """Return the token as the database has it, or had it within a second.

        Raises:
            StoreError: the database does not answer, and has not for long; or it is late.
        """
        known = self._lookups.get(token_id)
        is_old = known is not None and self.clock() - known.since >= _FRESH_S
        if known is None or (is_old and known.row.done()):
            task = asyncio.create_task(self._threads.run("lookups", self.tokens.find, token_id))
            task.add_done_callback(self._record_outage)
            known = _Lookup(self.clock(), task, known.answer if known else None)
            self._lookups[token_id] = known
        self._lookups.move_to_end(token_id)
        if len(self._lookups) > _TOKENS_KEPT:
            self._lookups.popitem(last=False)
        row = await self._answer(known)
        if row is None:
            self._lookups.pop(token_id, None)
        return row

    async def _answer(self, lookup: _Lookup) -> TokenRow | None:
        if lookup.row.done() and not lookup.has_failed:  # the usual case: nothing to wait for
            return lookup.row.result()
        previous = lookup.previous
        if previous is None or self.clock() - previous[0] > OUTAGE_S:
            return await asyncio.shield(lookup.row)
        is_silent = await self._is_late(lookup, _PROBE_AFTER_S) and await self._is_silent()
        if not is_silent and await self._is_late(lookup, _LOOKUP_WAIT_S):
            is_silent = self.clock() - lookup.since > _AWAY_AFTER_S
        if lookup.row.done() and not lookup.has_failed:
            return lookup.row.result()
        if lookup.has_failed or self._is_away or is_silent:
            return previous[1]
        raise StoreError(f"the database did not say within {_LOOKUP_WAIT_S:g} s if a token holds")

    async def _is_late(self, lookup: _Lookup, limit_s: float) -> bool:
        """Wait for a lookup until it has taken `limit_s`, and say whether it has not ended."""
        left_s = lookup.since + limit_s - self.clock()
        await asyncio.wait({lookup.row}, timeout=max(0.0, left_s))
        return not lookup.row.done()

    async def _is_silent(self) -> bool:
        """Say whether the database answers nothing at all, not just a lookup; in 0.4 s."""
        if self._probe is None or self._probe.done():
            self._probe_at = time.monotonic()
            self._probe = asyncio.create_task(self._threads.run("probe", self.tokens.exist))
            self._probe.add_done_callback(lambda done: done.cancelled() or done.exception())
        left_s = self._probe_at + _PROBE_S - time.monotonic()
        await asyncio.wait({self._probe}, timeout=max(0.0, left_s))
        return not self._probe.done() or self._probe.exception() is not None

    def _record_outage(self, done: asyncio.Task[TokenRow | None]) -> None:
        if not done.cancelled():
            self._is_away = done.exception() is not None

    def _record_use_soon(self, row: TokenRow) -> None:
        known = self._lookups.get(row.id)
        if known is None or known.is_used:
            return
        known.is_used = True
        if not row.is_use_recent(utc_now()):
            task = asyncio.create_task(self._record_use(row), name="orchestify-token-use")
            self._use_records.add(task)
            task.add_done_callback(self._use_records.discard)

    async def _record_use(self, row: TokenRow) -> None:
        try:
            await self._threads.run("uses", self.tokens.record_use, row)
        except StoreError:
            return  # the next use is recorded


class _Denied(Exception):  # noqa: N818 - internal; callers meet AccessError
    """A denial: the status and message of the answer, and the reason in the audit log."""

    def __init__(self, status: int, message: str, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


_NO_TOKEN = "a token is needed; send the header Authorization: Bearer ork_..."  # noqa: S105
_BAD_TOKEN = "the token is not known, was revoked or has expired"  # noqa: S105
_NOT_LOCAL = (
    "without tokens the service answers only to this machine and its own names, through no proxy; "
    "use http://localhost or http://127.0.0.1, or make a token"
)


def _denial_reason(row: TokenRow | None, secret: str, context: RequestContext) -> str:
    """Say why a token does not hold; empty where it does."""
    if row is None:
        compare_with_dummy(secret)
        return "no such token" if context.token else "no token"
    context.tenant = row.tenant_id
    if not row.matches(secret):
        return f"a wrong secret for token {row.id}"
    reason = row.invalid_reason(utc_now())
    return f"token {row.id} {reason}" if reason else ""


def _check_throttle(wait_s: float, what: str) -> None:
    if wait_s > 0:
        raise AccessError(
            f"too many {what} in a minute; come again in {wait_s:.1f} s",
            status=429,
            retry_after_s=wait_s,
        )


class RequestContext:
    """What authentication reads of a request: sender, token, and what the audit log is told."""

    def __init__(self, request: HTTPConnection) -> None:
        self._request = request
        self.remote = request.client.host if request.client else ""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        bearer = value.strip() if scheme.lower() == "bearer" else ""
        self.token = bearer or request.headers.get("x-api-key", "").strip()
        self.principal: Principal | None = None
        self.tenant: str | None = None

    @cached_property
    def network(self) -> str:
        """The sender's network; computed for denied requests only."""
        return network_of(self.remote)

    @property
    def is_local(self) -> bool:
        """Whether this machine sends it; a browser, if one does, for a page of this service itself.

        A name that leads here but is none of this machine's is DNS rebinding. What was forwarded
        comes from elsewhere.
        """
        headers = self._request.headers
        if not _is_loopback(self.remote) or any(map(_is_forwarding, headers)):
            return False
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        own = {f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts}
        return len(hosts) == 1 and _is_own_name(hosts[0]) and own.issuperset(origins)

    def name_tenant(self, tenant: str) -> None:
        """Tell the connection whose answer it is about to send."""
        self._request.scope.setdefault("state", {})["tenant"] = tenant

    def denied_request(self, reason: str) -> DeniedRequest:
        """Return the entry for the audit log."""
        route = self._request.scope.get("route")
        path = getattr(route, "path", self._request.url.path)
        return DeniedRequest(
            actor=self.principal.actor if self.principal else "unknown",
            remote=self.network,
            target=f"{self._request.scope.get('method', '')} {path}",
            reason=reason,
            tenant=self.principal.tenant_id if self.principal else self.tenant,
        )


def _is_forwarding(header: str) -> bool:
    return header in {"forwarded", "via", "x-real-ip"} or header.startswith("x-forwarded-")


def _is_own_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
