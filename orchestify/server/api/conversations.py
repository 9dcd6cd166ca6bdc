"""`/api/v1/conversations`: what is kept of a tenant's conversations, to be forgotten."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from orchestify.server.api.errors import RETRY_S
from orchestify.server.api.routing import CurrentPrincipal, CurrentService, GuardedRoute, needs

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"], route_class=GuardedRoute)
_REDIS_AWAY = "redis is away; what it keeps of conversations ends within an hour"


@router.delete("", status_code=204, **needs("write", 503))
async def forget_conversations(principal: CurrentPrincipal, service: CurrentService) -> None:
    """Forget what is kept of the tenant's conversations: thinking beside tool calls.

    It would be forgotten within an hour. Without Redis each process keeps its own, and forgets
    what it is told itself to forget.
    """
    if not await service.conversations.forget(principal.tenant_id):
        raise HTTPException(503, _REDIS_AWAY, {"Retry-After": str(RETRY_S)})
