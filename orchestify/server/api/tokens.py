"""`/api/v1/tokens` and `/api/v1/audit`: for who administers a tenant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from orchestify.server.access.tokens import Scope
from orchestify.server.api.fields import Moment, RequestBody, ResponseBody, Text
from orchestify.server.api.routing import (
    After,
    CurrentPrincipal,
    CurrentService,
    GuardedRoute,
    Limit,
    RowId,
    actor_of,
    creates,
    link_next,
    needs,
)
from orchestify.server.api.usage import Time, moment_of
from orchestify.server.storage.audit import audit_entries


class CreateTokenRequest(RequestBody):
    """A token to make, for the tenant that asks."""

    scopes: list[Scope] = Field(min_length=1, max_length=8, examples=[["call", "read"]])
    name: Text | None = Field(default=None, examples=["ci"])
    expires_days: int | None = Field(default=None, ge=1, le=36_500, examples=[90])


class TokenResponse(ResponseBody):
    """A token, without its secret; `last_used_at` is true to five minutes."""

    id: str = Field(examples=["3kq0v7c2m1xw9a5d"])
    name: str
    scopes: list[str] = Field(examples=[["call", "read"]])
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None


class NewTokenResponse(TokenResponse):
    """A token that was just made; `token` is shown this once."""

    token: str = Field(examples=["ork_<id>_<secret>"])


class TokenPage(ResponseBody):
    """Tokens in the order they were made; `next` is the `after` of the following page."""

    items: list[TokenResponse]
    next: str | None


class AuditEntryResponse(ResponseBody):
    """Who did what, when, to what, from where, and how it went."""

    id: str
    at: Moment
    actor: str = Field(examples=["token:3kq0v7c2m1xw9a5d"])
    action: str = Field(examples=["provider.add"])
    target: str = Field(examples=["llm_providers/4c0d2f0e-7d5f-4d0b-9d5e-0f6f1c1f5a11"])
    outcome: str = Field(examples=["ok"])
    remote: str = Field(examples=["192.0.2.7"])
    detail: dict[str, Any]


class AuditPage(ResponseBody):
    """The audit log, the newest entry first; `next` is the `after` of the following page."""

    items: list[AuditEntryResponse]
    next: str | None


router = APIRouter(prefix="/api/v1", tags=["tokens and audit"], route_class=GuardedRoute)


@router.post("/tokens", **creates("token", 409, scope="admin"))
async def create_token(
    body: CreateTokenRequest,
    request: Request,
    response: Response,
    principal: CurrentPrincipal,
    service: CurrentService,
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
    principal: CurrentPrincipal,
    service: CurrentService,
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
    row_id: RowId, request: Request, principal: CurrentPrincipal, service: CurrentService
) -> None:
    """Revoke a token for good; within a second no process takes it any more."""
    tenant, actor = principal.tenant_id, actor_of(request, principal)
    await service.writes.run(tenant, service.tokens.revoke, row_id, tenant=tenant, actor=actor)


@router.get("/audit", **needs("admin"))
async def get_audit_log(
    request: Request,
    response: Response,
    principal: CurrentPrincipal,
    service: CurrentService,
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
