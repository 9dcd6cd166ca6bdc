"""`/api/v1/agent-llm-configs`: a tenant's agents."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orchestify.errors import ConflictError
from orchestify.server.api.agent_schemas import (
    AddAgentRequest,
    AgentPage,
    AgentResponse,
    AgentUsageResponse,
    UpdateAgentRequest,
)
from orchestify.server.api.fields import given
from orchestify.server.api.provider_schemas import TestAgentRequest, TestProviderResponse
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
from orchestify.server.rows.stored import AgentRow, NewAgent

router = APIRouter(prefix="/api/v1/agent-llm-configs", tags=["agents"], route_class=GuardedRoute)


@router.post("", **creates("agent", 409))
async def add_agent(
    body: AddAgentRequest,
    request: Request,
    response: Response,
    principal: Asking,
    service: Running,
) -> AgentResponse:
    """Add an agent; a key of its own is stored encrypted and never shown again."""
    new = NewAgent(**given(body))
    actor = actor_of(request, principal)
    row = await service.change(principal.tenant_id, service.store.add_agent, new, actor)
    response.headers["Location"] = f"{router.prefix}/{row.id}"
    return _shown(row)


@router.get("", **needs("read"))
async def list_agents(
    request: Request,
    response: Response,
    principal: Asking,
    service: Running,
    limit: Limit = 50,
    after: After = None,
    active: Annotated[bool | None, Query(description="Only those that are on, or off")] = None,
    removed: Removed = False,
) -> AgentPage:
    """List the agents in the order they were added."""
    page = await service.look_up(
        principal.tenant_id,
        service.store.agents,
        limit=limit,
        after=after,
        active=active,
        removed=removed,
    )
    link_next(request, response, page.next)
    return AgentPage(items=[_shown(row) for row in page.rows], next=page.next)


@router.get("/{id}", **needs("read", 404))
async def get_agent(row_id: RowId, principal: Asking, service: Running) -> AgentResponse:
    """Return one agent."""
    return _shown(await service.look_up(principal.tenant_id, service.store.agent, row_id))


@router.put("/{id}", **needs_body("write", 404, 409))
async def update_agent(
    row_id: RowId,
    body: UpdateAgentRequest,
    request: Request,
    principal: Asking,
    service: Running,
) -> AgentResponse:
    """Change what is written in the request, and leave the rest."""
    tenant, actor = principal.tenant_id, actor_of(request, principal)
    row = await service.change(tenant, service.store.update_agent, row_id, given(body), actor)
    return _shown(row)


@router.delete("/{id}", status_code=204, **needs("write", 404, 409))
async def remove_agent(
    row_id: RowId, request: Request, principal: Asking, service: Running
) -> None:
    """Switch an agent off for good and destroy its key; what it used stays in the reports."""
    tenant, actor = principal.tenant_id, actor_of(request, principal)
    await service.change(tenant, service.store.remove_agent, row_id, actor)


@router.post("/{id}/test", **needs_body("write", 404, 409))
async def try_agent(
    row_id: RowId,
    request: Request,
    principal: Asking,
    service: Running,
    body: TestAgentRequest | None = None,
) -> TestProviderResponse:
    """Ask the agent's provider for its models, or make one short call as the agent."""
    asked = body or TestAgentRequest()
    if asked.prompt:
        await service.door.demand(request, principal, "call")
    row = await service.look_up(principal.tenant_id, service.store.agent, row_id)
    if not row.enabled:
        raise ConflictError(f"the agent {row.agent_id} is off; switch it on to test it")
    async with service.calling(principal.tenant_id) as registry:
        find = partial(registry.get_for_agent, row.agent_id)
        return await try_out(find, prompt=asked.prompt)


@router.get("/{id}/usage", **gives(AgentUsageResponse, 404))
async def get_agent_usage(
    row_id: RowId,
    principal: Asking,
    service: Running,
    selection: Selection,
    kind: Format = "json",
) -> Response:
    """Return what one agent used; by day and model where nothing else is asked for."""
    row = await service.look_up(principal.tenant_id, service.store.agent, row_id)
    narrowed = selection.within("agent", row.agent_id, ("day", "model"))
    return await answer(service, principal.tenant_id, narrowed, kind)


def _shown(row: AgentRow) -> AgentResponse:
    return AgentResponse(
        has_key=row.api_key_encrypted is not None,
        **{name: getattr(row, name) for name in _AS_STORED},
    )


_AS_STORED = [name for name in AgentResponse.model_fields if name != "has_key"]
