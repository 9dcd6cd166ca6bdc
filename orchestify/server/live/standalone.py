"""The live view of a ledger alone: what `orchestify usage serve` serves."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from orchestify.errors import AccessError
from orchestify.ledger.record import utc_now
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.policy.budget import BudgetState
from orchestify.server.live.failures import KEPT, Failure
from orchestify.server.live.feed import HEADERS, MEDIA_TYPE, Feed
from orchestify.server.live.page import PATH, live_page
from orchestify.server.live.state import Conditions, provider_condition

_HEALTH = timedelta(hours=1)  # what is older says nothing of now
_HEALTH_S = 60.0

_SECURITY = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(slots=True)
class LedgerSource:
    """A ledger that other processes write; `read_budgets` reads a configuration's budgets.

    Circuits and limits are known to those processes alone.
    """

    ledger: SqlLedger
    read_budgets: Callable[[], Sequence[BudgetState]]
    now: Callable[[], datetime] = utc_now
    _conditions: Conditions = field(default_factory=Conditions)
    _read_at: datetime | None = None

    async def budgets(self) -> Sequence[BudgetState]:
        """Return the budgets as the database has them."""
        return await asyncio.to_thread(self.read_budgets)

    async def conditions(self) -> Conditions:
        """Return the providers' health as it was last written, read anew every minute."""
        now = self.now()
        if self._read_at is None or (now - self._read_at).total_seconds() >= _HEALTH_S:
            written = await self.ledger.health_history(since=now - _HEALTH)
            latest = {str(each["provider"]): each for each in written}
            self._conditions = Conditions([provider_condition(each) for each in latest.values()])
            self._read_at = now
        return self._conditions

    async def failures(self) -> Sequence[Failure]:
        """Return what failed among the latest attempts."""
        found = await self.ledger.recent_failures(KEPT)
        return [Failure(at.isoformat(timespec="seconds"), *rest) for at, *rest in found]


def live_app(feed: Feed, token: str) -> Starlette:
    """Return an application with the page at `/`, and its states for whoever has the token."""

    async def page(_: Request) -> Response:
        found = live_page()
        return HTMLResponse(found.text, headers={**_SECURITY, **found.headers})

    async def states(request: Request) -> Response:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        is_known = hmac.compare_digest(sent.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not is_known:
            return _problem(401, "the token that was printed with the address is needed")
        headers = {**_SECURITY, **HEADERS}
        try:
            if MEDIA_TYPE in request.headers.get("accept", ""):
                return StreamingResponse(feed.events(), headers=headers, media_type=MEDIA_TYPE)
        except AccessError as error:
            return _problem(429, str(error))
        return Response(await feed.state(), headers=headers, media_type="application/json")

    return Starlette(routes=[Route("/", page), Route(f"/{PATH}", states)])


def _problem(status: int, detail: str) -> Response:
    return JSONResponse({"status": status, "detail": detail}, status, headers=_SECURITY)
