"""`/api/v1/conversations`: what is kept of a tenant's conversations, to be forgotten."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from orchestify.server.api.errors import RETRY_S
from orchestify.server.api.routing import CurrentPrincipal, CurrentService, GuardedRoute, needs

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"], route_class=GuardedRoute)
_REDIS_AWAY = "redis is away; what it keeps of conversations ends by time"


@router.delete("", status_code=204, **needs("write", 503))
async def forget_conversations(principal: CurrentPrincipal, service: CurrentService) -> None:
    """Forget what is kept of the tenant's conversations: thinking beside tool calls, and responses.

    These would be forgotten within an hour, those within a day. Without Redis each process keeps
    its own, and forgets what it is told itself to forget.
    """
    kept = (service.conversations, service.responses)
    if not all([await each.forget(principal.tenant_id) for each in kept]):
        raise HTTPException(503, _REDIS_AWAY, {"Retry-After": str(RETRY_S)})
