"""`/healthz`, `/readyz` and `/metrics`: for those who watch the service."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from pydantic import Field

from orchestify.errors import LedgerError
from orchestify.server.api.errors import documented, problem
from orchestify.server.api.fields import ResponseBody
from orchestify.server.api.routing import CurrentPrincipal, CurrentService, GuardedRoute, needs

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"], route_class=GuardedRoute)

_TEXT = {"text/plain": {"schema": {"type": "string"}}}


class Health(ResponseBody):
    """That the process runs."""

    status: Literal["ok"]


class Readiness(ResponseBody):
    """Whether requests can be served; `degraded` serves them, with what `reasons` says."""

    status: Literal["ok", "degraded"]
    reasons: list[str] = Field(examples=[["redis is away: limits hold for each process alone"]])


@router.get("/healthz")
async def get_health() -> Health:
    """Say that the process runs; nothing else is asked."""
    return Health(status="ok")


@router.get("/readyz", response_model=Readiness, responses=documented(503))
async def get_readiness(service: CurrentService) -> Readiness | Response:
    """Say whether requests can be served: the database answers, or has until lately.

    Five minutes after it has gone no token is believed any more, and this is a 503; as it is
    while nothing can be booked.
    """
    try:
        reasons = await service.readiness()
    except LedgerError as error:  # it names no place, and who watches the service needs the words
        return problem(503, str(error))
    return Readiness(status="degraded" if reasons else "ok", reasons=reasons)


for _path, _endpoint in (("/healthz", get_health), ("/readyz", get_readiness)):
    router.add_api_route(
        _path, _endpoint, methods=["HEAD"], response_model=None, include_in_schema=False
    )

_metrics = needs("read")
_metrics["responses"][200] = {"description": "Prometheus' text format", "content": _TEXT}


@metrics_router.get("/metrics", response_class=Response, **_metrics)
async def get_metrics(
    principal: CurrentPrincipal, service: CurrentService, accept: Annotated[str, Header()] = ""
) -> Response:
    """Return the tenant's metrics as Prometheus reads them."""
    body, media_type = await service.exposition(principal.tenant_id, accept)
    return Response(body, media_type=media_type)
