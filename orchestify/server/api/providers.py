"""`/api/v1/llm-providers`: a tenant's providers."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orchestify.core.chains import configured_models
from orchestify.core.providers import ProviderConfig
from orchestify.errors import ConflictError
from orchestify.server.api.fields import given
from orchestify.server.api.provider_schemas import (
    AddProviderRequest,
    InheritedProvider,
    ProviderPage,
    ProviderResponse,
    TestProviderRequest,
    TestProviderResponse,
    UpdateProviderRequest,
)
from orchestify.server.api.routing import (
    After,
    Asking,
    GuardedRoute,
    Limit,
    Removed,
    RowId,
    Running,
    actor_of,
    creates,
    link_next,
    needs,
    needs_body,
)
from orchestify.server.api.trial import try_out
from orchestify.server.api.usage import Format, Selection, answer, gives
from orchestify.server.api.usage_schemas import ProviderUsageResponse
from orchestify.server.rows.stored import NewProvider, ProviderRow

router = APIRouter(prefix="/api/v1/llm-providers", tags=["providers"], route_class=GuardedRoute)


@router.post("", **creates("provider", 409))
async def add_provider(
    body: AddProviderRequest,
    request: Request,
    response: Response,
    principal: Asking,
    service: Running,
) -> ProviderResponse:
    """Add a provider; its key is stored encrypted and never shown again."""
    new = NewProvider(**given(body))
    actor = actor_of(request, principal)
    row = await service.change(principal.tenant_id, service.store.add_provider, new, actor)
    response.headers["Location"] = f"{router.prefix}/{row.id}"
    return _shown(row)


@router.get("", **needs("read"))
async def list_providers(
    request: Request,
    response: Response,
    principal: Asking,
    service: Running,
    limit: Limit = 50,
    after: After = None,
    active: Annotated[bool | None, Query(description="Only those that are on, or off")] = None,
    removed: Removed = False,
) -> ProviderPage:
    """List the tenant's providers in the order they were added, and the operator's that it has.

    A provider of the tenant's own takes the place of the operator's of the same name.
    """
    page = await service.look_up(
        principal.tenant_id,
        service.store.providers,
        limit=limit,
        after=after,
        active=active,
        removed=removed,
    )
    tenant = principal.tenant_id
    theirs = await service.look_up(tenant, service.store.inherited)
    models = configured_models(service.base)
    inherited = [_inherited(name, each, models) for name, each in theirs.items()]
    link_next(request, response, page.next)
    items = [_shown(row) for row in page.rows]
    return ProviderPage(items=items, next=page.next, inherited=inherited)


@router.get("/{id}", **needs("read", 404))
async def get_provider(row_id: RowId, principal: Asking, service: Running) -> ProviderResponse:
    """Return one provider."""
    return _shown(await service.look_up(principal.tenant_id, service.store.provider, row_id))


@router.put("/{id}", **needs_body("write", 404, 409))
async def update_provider(
    row_id: RowId,
    body: UpdateProviderRequest,
    request: Request,
    principal: Asking,
    service: Running,
) -> ProviderResponse:
    """Change what is written in the request, and leave the rest."""
    tenant, actor = principal.tenant_id, actor_of(request, principal)
    row = await service.change(tenant, service.store.update_provider, row_id, given(body), actor)
    return _shown(row)


@router.delete("/{id}", status_code=204, **needs("write", 404, 409))
async def remove_provider(
    row_id: RowId, request: Request, principal: Asking, service: Running
) -> None:
    """Deactivate a provider for good and destroy its key; what it used stays in the reports."""
    tenant, actor = principal.tenant_id, actor_of(request, principal)
    await service.change(tenant, service.store.remove_provider, row_id, actor)


@router.post("/{id}/test", **needs_body("write", 404, 409))
async def try_provider(
    row_id: RowId,
    request: Request,
    principal: Asking,
    service: Running,
    body: TestProviderRequest | None = None,
) -> TestProviderResponse:
    """Ask a provider for its models, a free request, or make one short call that is booked."""
    asked = body or TestProviderRequest()
    if asked.prompt:
        await service.door.demand(request, principal, "call")
    row = await service.look_up(principal.tenant_id, service.store.provider, row_id)
    if not row.is_active:
        raise ConflictError(f"the provider {row.name} is off; switch it on to test it")
    async with service.calling(principal.tenant_id) as registry:
        find = (
            partial(registry.get, row.name)
            if asked.model is None
            else partial(registry.find, f"{row.name}/{asked.model}")
        )
        return await try_out(find, prompt=asked.prompt)


@router.get("/{id}/usage", **gives(ProviderUsageResponse, 404))
async def get_provider_usage(
    row_id: RowId,
    principal: Asking,
    service: Running,
    selection: Selection,
    kind: Format = "json",
) -> Response:
    """Return what one provider used; by day and model where nothing else is asked for."""
    row = await service.look_up(principal.tenant_id, service.store.provider, row_id)
    narrowed = selection.within("provider", row.name, ("day", "model"))
    return await answer(service, principal.tenant_id, narrowed, kind)


def _inherited(
    name: str, config: ProviderConfig, models: Collection[tuple[str, str]]
) -> InheritedProvider:
    return InheritedProvider(
        name=name,
        type=config.type,
        default_model=config.default_model,
        models=sorted({model for at, model in models if at == name}),
    )


def _shown(row: ProviderRow) -> ProviderResponse:
    return ProviderResponse(
        has_key=row.encrypted_api_key is not None,
        **{name: getattr(row, name) for name in _AS_STORED},
    )


_AS_STORED = [name for name in ProviderResponse.model_fields if name != "has_key"]
