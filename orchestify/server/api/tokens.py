"""`/api/v1/tokens` and `/api/v1/audit`: for who administers a tenant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from fastapi import APIRouter, Request, Response

from orchestify.server.api.routing import (
    After,
    Asking,
    GuardedRoute,
    Limit,
    RowId,
    Running,
    actor_of,
    creates,
    link_next,
    needs,
)
from orchestify.server.api.token_schemas import (
    AuditEntryResponse,
    AuditPage,
    CreateTokenRequest,
    NewTokenResponse,
    TokenPage,
    TokenResponse,
)
from orchestify.server.api.usage import Time, moment_of
from orchestify.server.storage.audit_reading import audit_entries

router = APIRouter(prefix="/api/v1", tags=["tokens and audit"], route_class=GuardedRoute)


@router.post("/tokens", **creates("token", 409, scope="admin"))
async def create_token(
    body: CreateTokenRequest,
    request: Request,
    response: Response,
    principal: Asking,
    service: Running,
) -> NewTokenResponse:
    """Make a token of the own tenant; it is shown this once."""
    days = body.expires_days
    row, token = await service.writes.run(
        principal.tenant_id,
        service.tokens.create,
        principal.tenant_id,
        body.scopes,
        name=body.name or "",
        expires_at=None if days is None else datetime.now(UTC) + timedelta(days=days),
        actor=actor_of(request, principal),
    )
    response.headers["Location"] = f"{router.prefix}/tokens/{row.id}"
    shown = TokenResponse.model_validate(row).model_dump()
    return NewTokenResponse(**shown, token=token.get_secret_value())


@router.get("/tokens", **needs("admin"))
async def list_tokens(
    request: Request,
    response: Response,
    principal: Asking,
    service: Running,
    limit: Limit = 50,
    after: After = None,
) -> TokenPage:
    """List the tenant's tokens in the order they were made, also those that no longer hold."""
    page = await service.reads.run(
        principal.tenant_id, service.tokens.list, principal.tenant_id, limit=limit, after=after
    )
    link_next(request, response, page.next)
    items = [TokenResponse.model_validate(row) for row in page.rows]
    return TokenPage(items=items, next=page.next)


@router.delete("/tokens/{id}", status_code=204, **needs("admin", 404))
async def revoke_token(
    row_id: RowId, request: Request, principal: Asking, service: Running
) -> None:
    """Revoke a token for good; within a second no process takes it any more."""
    tenant, actor = principal.tenant_id, actor_of(request, principal)
    await service.writes.run(tenant, service.tokens.revoke, row_id, tenant=tenant, actor=actor)


@router.get("/audit", **needs("admin"))
async def get_audit_log(
    request: Request,
    response: Response,
    principal: Asking,
    service: Running,
    since: Time = None,
    limit: Limit = 50,
    after: After = None,
) -> AuditPage:
    """Return the tenant's audit log, the newest entry first."""
    read = partial(
        audit_entries,
        tenant=principal.tenant_id,
        since=None if since is None else moment_of("since", since),
        limit=limit,
        after=after,
    )
    page = await service.reads.run(principal.tenant_id, service.database.run, read, read_only=True)
    link_next(request, response, page.next)
    items = [AuditEntryResponse.model_validate(entry) for entry in page.rows]
    return AuditPage(items=items, next=page.next)
