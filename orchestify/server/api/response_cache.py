"""`/api/v1/response-cache`: the answers kept for a tenant's equal requests, to be dropped."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from orchestify.errors import ConfigError, OrchestifyError
from orchestify.server.api.errors import RETRY_S
from orchestify.server.api.routing import CurrentPrincipal, CurrentService, GuardedRoute, needs

router = APIRouter(
    prefix="/api/v1/response-cache", tags=["response cache"], route_class=GuardedRoute
)


@router.delete("", status_code=204, **needs("write", 503))
async def clear_response_cache(principal: CurrentPrincipal, service: CurrentService) -> None:
    """Drop the answers that `response_cache` keeps for the tenant, wherever that is.

    Those in the memory of another process end by their time.
    """
    async with service.tenants.use(principal.tenant_id) as registry:
        try:
            await registry.clear_response_cache()
        except ConfigError:
            raise
        except OrchestifyError as error:
            raise HTTPException(503, str(error), {"Retry-After": str(RETRY_S)}) from None
