"""The door: who a request is from, how often they may come, and what they may do."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from orchestify.errors import AccessError, StoreError
from orchestify.ledger.record import utc_now
from orchestify.resources.thread_pools import ThreadPools
from orchestify.server.access.limits import Pace
from orchestify.server.access.principal import SCOPES, Principal, Scope
from orchestify.server.access.refusals import Refusals
from orchestify.server.access.tokens import TokenRow, Tokens, parse_token, waste_a_comparison
from orchestify.server.access.visit import Visit
from orchestify.server.settings import OPEN_TENANT, ServiceSettings

OUTAGE_S = 300.0
"""How long the database may be away before a token that was good is believed no more."""

_FRESH_S = 1.0
_PATIENCE_S = 2.0  # with a database that is slow; nobody is let in by an older answer for that
_SILENT_S = 8.0  # after which it counts as away: two attempts at a connection, and some time
_THREADS = 2
_TENANT_TIMES = 10  # a tenant's requests in a minute, as many times those of one token
_REMEMBERED = 10_000
_EVERYONE = Principal(OPEN_TENANT, "", frozenset(SCOPES))


@dataclass(slots=True)
class _Lookup:
    """A token as the database had it, and since when that is known.

    `before` is the last answer that came before, and its time.
    """

    since: float
    row: asyncio.Task[TokenRow | None]
    before: tuple[float, TokenRow] | None = None
    is_used: bool = False

    @property
    def answer(self) -> tuple[float, TokenRow] | None:
        """The last answer with a token, and its time; None where none has come."""
        if not self.row.done() or self.has_failed:
            return self.before
        row = self.row.result()
        return None if row is None else (self.since, row)

    @property
    def has_failed(self) -> bool:
        """Whether the database did not answer."""
        return self.row.done() and (self.row.cancelled() or self.row.exception() is not None)


@dataclass(slots=True)
class Door:
    """Admits requests by their token; on loopback, while no token was ever made, all of them.

    What the database says of a token is believed for a second, and while the database is away
    for five minutes: nobody can revoke a token then but by a machine that still reaches it. A
    database that is late, and not known to be away, lets nobody in. A request with a token that
    was not good before is refused unseen where its address has failed too often.
    """

    tokens: Tokens
    refusals: Refusals
    settings: ServiceSettings
    clock: Callable[[], float] = time.monotonic
    _crew: ThreadPools = field(default_factory=lambda: ThreadPools(_THREADS, "door"), init=False)
    _paces: Pace = field(init=False)
    _tenant_paces: Pace = field(init=False)
    _failures: Pace = field(init=False)
    _lookups: OrderedDict[str, _Lookup] = field(default_factory=OrderedDict, init=False)
    _open_until: float = field(default=float("-inf"), init=False)
    _known_open_at: float = field(default=float("-inf"), init=False)
    _is_closed: bool = field(init=False)
    _is_away: bool = field(default=False, init=False)
    _notes: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._is_closed = not self.settings.is_loopback
        per_minute = self.settings.requests_per_minute
        self._paces = Pace(per_minute, self.clock)
        self._tenant_paces = Pace(_TENANT_TIMES * per_minute, self.clock)
        self._failures = Pace(self.settings.refusals_per_minute, self.clock)

    async def admit(self, request: HTTPConnection, scope: Scope) -> Principal:
        """Return who sends a request; see `require`."""
        visit = Visit(request)
        try:
            principal = await self._identify(visit)
            if not principal.may(scope):
                raise _Refused(403, f"the token lacks the scope {scope}", f"no scope {scope}")
        except _Refused as refused:
            await self.refusals.note(visit.refusal(refused.reason))
            raise AccessError(str(refused), status=refused.status) from None
        return principal

    async def demand(self, request: HTTPConnection, principal: Principal, scope: Scope) -> None:
        """Refuse a principal who was let in and lacks another scope; see `require`."""
        if not principal.may(scope):
            visit = Visit(request)
            visit.principal = principal
            await self.refusals.note(visit.refusal(f"no scope {scope}"))
            raise AccessError(f"the token lacks the scope {scope}", status=403)

    async def is_open(self) -> bool:
        """Say whether requests without a token are served.

        Raises:
            StoreError: the database could not be read.
        """
        if not self._is_closed and self.clock() >= self._open_until:
            now = self.clock()
            try:
                self._is_closed = await self._crew.run("lookups", self.tokens.exist)
                self._known_open_at = now
            except StoreError:
                if now - self._known_open_at > OUTAGE_S:
                    raise
            self._open_until = now + _FRESH_S
        return not self._is_closed

    def believes_some(self) -> bool:
        """Say whether somebody would be let in although the database is away."""
        believed_since = self.clock() - OUTAGE_S
        if not self._is_closed and self._known_open_at >= believed_since:
            return True
        answers = (each.answer for each in reversed(self._lookups.values()))
        return any(each is not None and each[0] >= believed_since for each in answers)

    async def aclose(self) -> None:
        """Wait for what is being noted."""
        if self._notes:
            await asyncio.wait(self._notes)

    async def _identify(self, visit: Visit) -> Principal:
        if parse_token(visit.token) is not None:
            self._open_until = float("-inf")  # who has the first token is not everybody any more
        if await self.is_open():
            if not visit.is_local:
                raise _Refused(403, _NOT_LOCAL, "a foreign host, origin or proxy in open mode")
            return _EVERYONE
        return await self._with_token(visit)

    async def _with_token(self, visit: Visit) -> Principal:
        parsed = parse_token(visit.token)
        token_id, secret = parsed or ("", visit.token)
        if not self._was_good(token_id, secret):
            _slow_down(self._failures.wait_s(visit.neighbourhood), "refused requests")
        row = await self._row(token_id) if parsed else None
        reason = _why_not(row, secret, visit)
        if row is None or reason:
            self._failures.take(visit.neighbourhood)
            raise _Refused(401, _NO_TOKEN if not visit.token else _BAD_TOKEN, reason)
        visit.principal = row.principal
        _slow_down(self._paces.take(token_id), "requests")
        _slow_down(self._tenant_paces.take(row.tenant_id), "requests of this tenant")
        self._note_use(row)
        return row.principal

    def _was_good(self, token_id: str, secret: str) -> bool:
        known = self._lookups.get(token_id)
        answer = known.answer if known is not None else None
        return answer is not None and answer[1].fits(secret) and not answer[1].why_not(utc_now())

    async def _row(self, token_id: str) -> TokenRow | None:
        """Return the token as the database has it, or had it within a second.

        Raises:
            StoreError: the database does not answer, and has not for long; or it is late.
        """
        known = self._lookups.get(token_id)
        is_old = known is not None and self.clock() - known.since >= _FRESH_S
        if known is None or (is_old and known.row.done()):
            task = asyncio.create_task(self._crew.run("lookups", self.tokens.find, token_id))
            task.add_done_callback(self._note_lookup)
            known = _Lookup(self.clock(), task, known.answer if known else None)
            self._lookups[token_id] = known
        self._lookups.move_to_end(token_id)
        if len(self._lookups) > _REMEMBERED:
            self._lookups.popitem(last=False)
        row = await self._answer(known)
        if row is None:
            self._lookups.pop(token_id, None)
        return row

    async def _answer(self, lookup: _Lookup) -> TokenRow | None:
        if lookup.row.done() and not lookup.has_failed:  # mostly: there is nothing to wait for
            return lookup.row.result()
        before = lookup.before
        if before is None or self.clock() - before[0] > OUTAGE_S:
            return await asyncio.shield(lookup.row)
        left_s = lookup.since + _PATIENCE_S - self.clock()
        await asyncio.wait({lookup.row}, timeout=max(0.0, left_s))
        if lookup.row.done() and not lookup.has_failed:
            return lookup.row.result()
        is_silent = self.clock() - lookup.since > _SILENT_S
        if lookup.has_failed or self._is_away or is_silent:
            return before[1]
        raise StoreError(f"the database did not say within {_PATIENCE_S:g} s if a token holds")

    def _note_lookup(self, done: asyncio.Task[TokenRow | None]) -> None:
        if not done.cancelled():
            self._is_away = done.exception() is not None

    def _note_use(self, row: TokenRow) -> None:
        known = self._lookups.get(row.id)
        if known is None or known.is_used:
            return
        known.is_used = True
        if not row.is_use_noted(utc_now()):
            task = asyncio.create_task(self._write_use(row), name="orchestify-token-use")
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    async def _write_use(self, row: TokenRow) -> None:
        try:
            await self._crew.run("uses", self.tokens.note_use, row)
        except StoreError:
            return  # the next use is noted


class _Refused(Exception):  # noqa: N818 - a verdict of the door; what others meet is AccessError
    """Who may not pass: what they are told, and the reason that the audit log has."""

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


def _why_not(row: TokenRow | None, secret: str, visit: Visit) -> str:
    """Say why a token does not hold; empty where it does."""
    if row is None:
        waste_a_comparison(secret)
        return "no such token" if visit.token else "no token"
    visit.tenant = row.tenant_id
    if not row.fits(secret):
        return f"a wrong secret for token {row.id}"
    reason = row.why_not(utc_now())
    return f"token {row.id} {reason}" if reason else ""


def _slow_down(wait_s: float, what: str) -> None:
    if wait_s > 0:
        raise AccessError(
            f"too many {what} in a minute; come again in {wait_s:.1f} s",
            status=429,
            retry_after_s=wait_s,
        )
