"""The endpoints that providers and agents share: add, list, get, change, remove, test, usage.

A resource says what differs, `row_router` makes its endpoints.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from orchestify.errors import ConflictError, OrchestifyError
from orchestify.health.monitor import CHECK_TIMEOUT_S
from orchestify.providers.base import LLMProvider
from orchestify.server.api.fields import RequestBody, ResponseBody, given
from orchestify.server.api.routing import (
    After,
    CurrentPrincipal,
    CurrentService,
    GuardedRoute,
    Limit,
    Removed,
    RowId,
    actor_of,
    creates,
    link_next,
    needs,
    needs_body,
)
from orchestify.server.api.usage import Format, Selection, UsageResponse, answer, gives
from orchestify.server.service import Service
from orchestify.server.storage.row_kinds import RowKind, RowT
from orchestify.server.storage.store import RowStore, Store
from orchestify.server.tenants.tenant_providers import TenantProviders

F = TypeVar("F", bound=Callable[..., Any])

_PROMPT = "Answer with one word: is the sky blue?"
_MAX_TOKENS = 256  # a model that thinks needs room for that, too


class TestAgentRequest(RequestBody):
    """How to test: by a free request, or with a short call that costs what it costs."""

    __test__ = False  # no test case, though it is called like one

    prompt: bool = Field(
        default=False,
        description="Make one real, short call; it is booked, and needs the scope `call` too",
    )


class TestProviderResponse(ResponseBody):
    """What a test found: `skipped` where there is no free request to test with."""

    __test__ = False  # as above

    result: Literal["ok", "failed", "skipped"]
    message: str = Field(examples=["12 models listed"])
    latency_s: float = Field(examples=[0.21])


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResource(Generic[RowT]):
    """What differs between the endpoints of providers and those of agents.

    `path` is their prefix. `descriptions` has a text for each endpoint. `provider_of` finds what
    a test calls, `page_fields` returns what a page has beside the rows.
    """

    kind: RowKind[RowT]
    path: str
    descriptions: Mapping[str, str]
    add_body: type[RequestBody]
    update_body: type[RequestBody]
    test_body: type[TestAgentRequest]
    response: type[ResponseBody]
    page: type[ResponseBody]
    usage: type[UsageResponse]
    rows: Callable[[Store], RowStore[RowT]]
    new_row: Callable[..., Any]
    provider_of: Callable[[TenantProviders, RowT, Any], LLMProvider]
    page_fields: Callable[[Service, str], Awaitable[Mapping[str, Any]]] | None = None

    def shown(self, row: RowT) -> ResponseBody:
        """Return the answer that shows a row, without its key."""
        names = self.response.model_fields.keys() - {"has_key"}
        values = {name: getattr(row, name) for name in names}
        values["has_key"] = self.kind.encrypted(row) is not None
        return self.response(**values)


def row_router(resource: RowResource[RowT]) -> APIRouter:
    """Return the endpoints of a resource."""
    noun = resource.kind.noun
    router = APIRouter(prefix=resource.path, tags=[f"{noun}s"], route_class=GuardedRoute)
    _add_reading(router, resource)
    _add_changing(router, resource)
    _add_removing(router, resource)
    _add_testing(router, resource)
    _add_usage(router, resource)
    return router


def _takes(body: Any) -> Callable[[F], F]:
    """Have FastAPI read a body of this class: a resource's classes are not known to annotations."""

    def typed(endpoint: F) -> F:
        endpoint.__annotations__["body"] = body
        return endpoint

    return typed


def _add_reading(router: APIRouter, resource: RowResource[RowT]) -> None:
    noun, texts = resource.kind.noun, resource.descriptions

    @router.get(
        "",
        name=f"list_{noun}s",
        description=texts["list"],
        response_model=resource.page,
        **needs("read"),
    )
    async def list_(
        request: Request,
        response: Response,
        principal: CurrentPrincipal,
        service: CurrentService,
        limit: Limit = 50,
        after: After = None,
        active: Annotated[bool | None, Query(description="Only those that are on, or off")] = None,
        removed: Removed = False,
    ) -> ResponseBody:
        tenant, rows = principal.tenant_id, resource.rows(service.store)
        page = await service.look_up(
            tenant, rows.page, limit=limit, after=after, active=active, removed=removed
        )
        more = {} if resource.page_fields is None else await resource.page_fields(service, tenant)
        link_next(request, response, page.next)
        values = {"items": [resource.shown(row) for row in page.rows], "next": page.next, **more}
        return resource.page(**values)

    @router.get(
        "/{id}",
        name=f"get_{noun}",
        description=texts["get"],
        response_model=resource.response,
        **needs("read", 404),
    )
    async def get(
        row_id: RowId, principal: CurrentPrincipal, service: CurrentService
    ) -> ResponseBody:
        rows = resource.rows(service.store)
        return resource.shown(await service.look_up(principal.tenant_id, rows.one, row_id))


def _add_changing(router: APIRouter, resource: RowResource[RowT]) -> None:
    noun, texts = resource.kind.noun, resource.descriptions

    @router.post(
        "",
        name=f"add_{noun}",
        description=texts["add"],
        response_model=resource.response,
        **creates(noun, 409),
    )
    @_takes(resource.add_body)
    async def add(
        body: RequestBody,
        request: Request,
        response: Response,
        principal: CurrentPrincipal,
        service: CurrentService,
    ) -> ResponseBody:
        new, actor = resource.new_row(**given(body)), actor_of(request, principal)
        rows = resource.rows(service.store)
        row = await service.change(principal.tenant_id, rows.add, new, actor)
        response.headers["Location"] = f"{resource.path}/{row.id}"
        return resource.shown(row)

    @router.put(
        "/{id}",
        name=f"update_{noun}",
        description=texts["update"],
        response_model=resource.response,
        **needs_body("write", 404, 409),
    )
    @_takes(resource.update_body)
    async def update(
        row_id: RowId,
        body: RequestBody,
        request: Request,
        principal: CurrentPrincipal,
        service: CurrentService,
    ) -> ResponseBody:
        rows, actor = resource.rows(service.store), actor_of(request, principal)
        row = await service.change(principal.tenant_id, rows.update, row_id, given(body), actor)
        return resource.shown(row)


def _add_removing(router: APIRouter, resource: RowResource[RowT]) -> None:
    @router.delete(
        "/{id}",
        name=f"remove_{resource.kind.noun}",
        description=resource.descriptions["remove"],
        status_code=204,
        **needs("write", 404, 409),
    )
    async def remove(
        row_id: RowId, request: Request, principal: CurrentPrincipal, service: CurrentService
    ) -> None:
        tenant, actor = principal.tenant_id, actor_of(request, principal)
        await service.change(tenant, resource.rows(service.store).remove, row_id, actor)


def _add_testing(router: APIRouter, resource: RowResource[RowT]) -> None:
    kind, noun = resource.kind, resource.kind.noun

    @router.post(
        "/{id}/test",
        name=f"try_{noun}",
        description=resource.descriptions["test"],
        **needs_body("write", 404, 409),
    )
    @_takes(resource.test_body | None)
    async def test(
        row_id: RowId,
        request: Request,
        principal: CurrentPrincipal,
        service: CurrentService,
        body: TestAgentRequest | None = None,
    ) -> TestProviderResponse:
        asked = body or resource.test_body()
        if asked.prompt:
            await service.authenticator.require_scope(request, principal, "call")
        rows = resource.rows(service.store)
        row = await service.look_up(principal.tenant_id, rows.one, row_id)
        if not getattr(row, kind.active_column):
            raise ConflictError(f"the {noun} {kind.name(row)} is off; switch it on to test it")
        async with service.calling(principal.tenant_id) as registry:
            return await check_provider(
                lambda: resource.provider_of(registry, row, asked), prompt=asked.prompt
            )


def _add_usage(router: APIRouter, resource: RowResource[RowT]) -> None:
    kind, noun = resource.kind, resource.kind.noun

    @router.get(
        "/{id}/usage",
        name=f"get_{noun}_usage",
        description=resource.descriptions["usage"],
        **gives(resource.usage, 404),
    )
    async def usage(
        row_id: RowId,
        principal: CurrentPrincipal,
        service: CurrentService,
        selection: Selection,
        format_: Format = "json",
    ) -> Response:
        rows = resource.rows(service.store)
        row = await service.look_up(principal.tenant_id, rows.one, row_id)
        narrowed = selection.within(noun, kind.name(row), ("day", "model"))
        return await answer(service, principal.tenant_id, narrowed, format_)


async def check_provider(find: Callable[[], LLMProvider], *, prompt: bool) -> TestProviderResponse:
    """Find a provider and test it; what either raises is the result."""
    started = time.monotonic()
    result: Literal["ok", "failed", "skipped"] = "failed"
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found = await (_call if prompt else _list_models)(find())
    except OrchestifyError as error:
        message = f"{type(error).__name__}: {error}"
    except TimeoutError:
        message = f"no answer within {CHECK_TIMEOUT_S:g} s"
    else:
        result = "skipped" if found is None else "ok"
        message = found or "it has no free request to test with; ask for a call with `prompt`"
    latency_s = round(time.monotonic() - started, 6)
    return TestProviderResponse(result=result, message=message, latency_s=latency_s)


async def _list_models(provider: LLMProvider) -> str | None:
    models = await provider.list_models()
    return None if models is None else f"{len(models)} models listed"


async def _call(provider: LLMProvider) -> str:
    response = await provider.complete(_PROMPT, max_tokens=_MAX_TOKENS, max_attempts=1)
    return f"{response.tokens_output} tokens from {response.model}"
