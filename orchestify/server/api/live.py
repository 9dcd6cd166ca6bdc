"""`/` and `/api/v1/live`: a tenant's live view, as a page, as JSON and as events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.policy.budget import BudgetState
from orchestify.policy.rate_limit import RateLimitState
from orchestify.server.api.routing import CurrentPrincipal, GuardedRoute, needs
from orchestify.server.live.failures import Failure
from orchestify.server.live.feed import HEADERS, MEDIA_TYPE, Feed
from orchestify.server.live.page import PATH, live_page
from orchestify.server.live.state import Condition, Conditions, LiveState, provider_condition
from orchestify.server.service import Service

FEEDS_KEPT = 1_000
READERS_PER_TENANT = 20

page_router = APIRouter(include_in_schema=False)
router = APIRouter(tags=["usage"], route_class=GuardedRoute)


@page_router.get("/")
async def get_page() -> Response:
    """Return the live view's page; it holds nothing of anybody's, and asks for a token."""
    found = live_page()
    return HTMLResponse(found.text, headers=found.headers)


_live = needs("read")
_live["responses"][200] = {
    "description": "The present state; with `Accept: text/event-stream` each that follows, too",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        MEDIA_TYPE: {"schema": {"type": "string"}, "example": "data: {...}\n\n"},
    },
}


@router.get(f"/{PATH}", response_class=Response, **_live)
async def get_live(
    request: Request,
    principal: CurrentPrincipal,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Return what the tenant spends now, with budgets, forecast, circuits, limits and errors.

    Circuits, limits and errors are those of the process that answers. A stream ends after a
    minute, so that a token is asked for again.
    """
    feeds: TenantFeeds = request.app.state.feeds
    feed = feeds.of(principal.tenant_id)
    if MEDIA_TYPE in accept:
        return StreamingResponse(feed.events(), headers=HEADERS, media_type=MEDIA_TYPE)
    return Response(await feed.state(), headers=HEADERS, media_type="application/json")


class TenantFeeds:
    """A feed for each tenant whose live view is looked at."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._feeds: OrderedDict[str, Feed] = OrderedDict()

    def of(self, tenant: str) -> Feed:
        """Return a tenant's feed."""
        feed = self._feeds.get(tenant)
        if feed is None:
            state = LiveState(TenantSource(self._service, tenant))
            feed = self._feeds[tenant] = Feed(state, most_readers=READERS_PER_TENANT)
            idle = [name for name, each in self._feeds.items() if not each.readers and each != feed]
            for name in idle[: max(0, len(self._feeds) - FEEDS_KEPT)]:
                del self._feeds[name]
        self._feeds.move_to_end(tenant)
        return feed

    def close(self) -> None:
        """End all streams."""
        for feed in self._feeds.values():
            feed.close()


@dataclass(slots=True)
class TenantSource:
    """What a tenant uses, and how its providers are, as this process knows it."""

    service: Service
    tenant: str

    @property
    def ledger(self) -> SqlLedger:
        """The tenant's part of the ledger."""
        return self.service.ledger.for_tenant(self.tenant)

    async def budgets(self) -> Sequence[BudgetState]:
        """Return the tenant's budgets.

        Raises:
            ConfigError: the tenant's rows make no registry.
            StoreError: the database is away.
        """
        async with self.service.tenants.use(self.tenant) as registry:
            return await self.service.reads.run(self.tenant, registry.budgets)

    async def conditions(self) -> Conditions:
        """Return the states of providers, circuits and limits of the registry in use."""
        registry = self.service.tenants.in_use().get(self.tenant)
        if registry is None:
            return Conditions((), (), ())
        health = registry.get_health()
        return Conditions(
            [provider_condition(health[name].as_dict()) for name in registry],
            [
                Condition("/".join(target), state)
                for target, state in sorted(registry.circuits().items())
            ],
            [
                *_limits("", registry.rate_limits()),
                *_limits("agent ", registry.rate_limits("agent")),
            ],
        )

    async def failures(self) -> Sequence[Failure]:
        """Return the tenant's last failures in this process."""
        return self.service.failures.of(self.tenant)


def _limits(kind: str, states: dict[str, RateLimitState]) -> list[Condition]:
    return [_limit(f"{kind}{name}", state) for name, state in states.items()]


def _limit(name: str, state: RateLimitState) -> Condition:
    used = [
        f"{each.used:,} of {each.limit:,} {key.replace('_', ' ')}"
        for key, each in state.usage.items()
    ]
    used += [f"{state.waiting:,} waiting"] if state.waiting else []
    return Condition(name, "full" if state.wait_s > 0 else "free", ", ".join(used))
