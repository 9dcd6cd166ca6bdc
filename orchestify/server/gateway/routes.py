"""The endpoints of OpenAI's protocols and Anthropic's in the service's application."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestify.errors import OrchestifyError
from orchestify.server.access.authentication import require
from orchestify.server.gateway.chat.exchange import ChatExchange
from orchestify.server.gateway.embeddings.exchange import embeddings
from orchestify.server.gateway.embeddings.openapi import EMBEDDINGS
from orchestify.server.gateway.errors import error_response, form_at
from orchestify.server.gateway.json_fields import wrong
from orchestify.server.gateway.messages.exchange import MessagesExchange, count_tokens
from orchestify.server.gateway.messages.openapi import COUNT_TOKENS, MESSAGES
from orchestify.server.gateway.openapi import CHAT, MODEL, MODELS
from orchestify.server.gateway.responses.exchange import (
    ResponsesExchange,
    delete_response,
    get_response,
    not_offered,
)
from orchestify.server.gateway.responses.openapi import DELETE_RESPONSE, RESPONSE, RESPONSES
from orchestify.server.tenants.tenant_providers import AGENT, TenantProviders

if TYPE_CHECKING:
    from orchestify.server.service import Service

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]

Declared = tuple[str, Endpoint, str, dict[str, Any]]
"""A path, what serves it, its method, and what it is documented with."""


def add_gateway(app: FastAPI, service: Service) -> None:
    """Add what is below `/v1/` to an application; its first middleware serves the calls."""
    calls = _calls(service)
    for path, endpoint, method, documented in (*calls, *_lookups(service)):
        app.router.add_api_route(
            path, endpoint, methods=[method], route_class_override=_PlainRoute, **documented
        )
    routes = {route.path: route for route in app.router.routes if isinstance(route, _PlainRoute)}
    app.add_middleware(Calls, routes={path: routes[path] for path, *_ in calls})


def _calls(service: Service) -> tuple[Declared, ...]:
    """Return the endpoints of calls."""

    async def create_chat_completion(request: Request) -> Response:
        """Answer a conversation, whole or as a stream of events, through the call path.

        The model is `agent:NAME`, an alias, `PROVIDER/MODEL`, or a model that one provider has.
        `metadata` labels the call in the ledger. An answer's `thinking_blocks` go back in the
        assistant's message beside its tool calls; where a client leaves them out, they are put back
        from what is kept for an hour. Where they are gone, that turn is asked without thinking, and
        `x-orchestify-warnings`, or a stream's last chunk, says `thinking_dropped`. Providers of
        type `openai` also get `frequency_penalty`, `presence_penalty`, `logit_bias`, `prediction`,
        `prompt_cache_key`, `safety_identifier`, `user` and `verbosity`, which are left out for
        others, and named there; with the tenant's own key they get any field. Other fields go where
        the provider takes them, and are refused elsewhere. A stream's cost is in the last chunk's
        `usage`; what fails after its beginning is told by an event with an `error`, and no `[DONE]`
        follows. Claude's refusals are known at their end alone: streamed, they come as content, and
        whole as the last chunk's `refusal`. A call waits for its turn at a used-up rate limit, and
        for the answer, as long as its agent or provider is configured to (600 s where nothing is
        said), or as the header `x-orchestify-timeout-s` says; where its turn comes later than that,
        it is a 429 at once.
        """
        return ChatExchange(request, service)

    async def create_message(request: Request) -> Response:
        """Answer a conversation in Anthropic's protocol, whole or as a stream of events.

        The model is named as for `/v1/chat/completions`, and any agent answers. Where the
        target speaks the protocol and the tenant's own key pays, everything passes through as it
        is; with the operator's key, fields, betas and tools of a list that the operator widens.
        What other targets cannot be told is refused, but for `metadata`, `top_k`,
        `context_management`, `service_tier` and `cache_control`, which are left out and named in
        `x-orchestify-warnings`. A stream that would be silent sends pings.
        """
        return MessagesExchange(request, service)

    async def count_message_tokens(request: Request) -> Response:
        """Count a request's input tokens; `x-orchestify-count` says `estimated` where we guess."""
        return await count_tokens(request, service)

    async def create_response(request: Request) -> Response:
        """Answer a conversation in OpenAI's Responses, whole or as a stream of events.

        The model is named as for `/v1/chat/completions`, and any agent answers. Unless `store` is
        false, the answer and its conversation are kept for 24 hours, encrypted, so that
        `previous_response_id` and `item_reference` find them. Where the target speaks the protocol
        (`api: responses`) and the tenant's own key pays, everything else passes through as it is;
        with the operator's key, the fields, items and tools of a list. What other targets cannot
        be told is refused, but for fields without which an answer is an answer, and a search of
        the web, which are left out and named in `x-orchestify-warnings`.
        """
        return ResponsesExchange(request, service)

    async def create_embeddings(request: Request) -> Response:
        """Return a vector for each input, in order, through the call path.

        The model is named as for `/v1/chat/completions`; Anthropic has none. An input may be given
        as tokens, to providers of type `openai` and to OpenAI and Azure through LiteLLM. More
        inputs than one request of the provider takes go in several, all to the same target. `user`
        goes to providers of type `openai`; for others it is left out, and named in
        `x-orchestify-warnings`.
        """
        return await embeddings(request, service)

    return (
        ("/v1/chat/completions", create_chat_completion, "POST", CHAT),
        ("/v1/messages", create_message, "POST", MESSAGES),
        ("/v1/messages/count_tokens", count_message_tokens, "POST", COUNT_TOKENS),
        ("/v1/responses", create_response, "POST", RESPONSES),
        ("/v1/embeddings", create_embeddings, "POST", EMBEDDINGS),
    )


def _lookups(service: Service) -> tuple[Declared, ...]:
    """Return the endpoints of answers that are kept, and of models."""

    async def retrieve_response(request: Request) -> Response:
        """Return an answer that is kept."""
        return await get_response(request, service)

    async def forget_response(request: Request) -> Response:
        """Drop an answer that is kept; those that go on from it keep what was said."""
        return await delete_response(request, service)

    async def list_models(request: Request) -> Response:
        """List what `model` may name: the tenant's agents, and its providers' models.

        All of it, or a page where the query says `limit`, `after_id` or `before_id`.
        """
        query = request.query_params
        return await _json(service, request, lambda registry: page_of(registry, query))

    async def get_model(request: Request) -> Response:
        """Return what `model` may name, by the name that a call gives, of the list or not.

        The name may hold slashes, and one may stand at its end.
        """
        name = request.path_params["model"].removesuffix("/")
        if not name:
            return await list_models(request)
        return await _json(service, request, lambda registry: model_named(name, registry))

    hidden = {"include_in_schema": False}
    return (
        ("/v1/responses/input_tokens", not_offered, "POST", hidden),
        ("/v1/responses/compact", not_offered, "POST", hidden),
        ("/v1/responses/{response}", retrieve_response, "GET", RESPONSE),
        ("/v1/responses/{response}", forget_response, "DELETE", DELETE_RESPONSE),
        ("/v1/models", list_models, "GET", MODELS),
        ("/v1/models/{model:path}", get_model, "GET", MODEL),
    )


class Calls:
    """Serves calls where they are known by their path; what else comes goes to the router.

    A call answers its own errors, and needs nothing of what the router prepares.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[str, APIRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        is_call = scope["type"] == "http" and scope["method"] == "POST"
        route = self._routes.get(scope["path"]) if is_call else None
        if route is None:
            await self._app(scope, receive, send)
        else:
            scope["route"] = route
            await route.app(scope, receive, send)


class _PlainRoute(APIRoute):
    """A route that is documented as FastAPI does it, and served without its machinery."""

    def __init__(self, path: str, endpoint: Endpoint, **declared: Any) -> None:
        super().__init__(path, endpoint, **declared)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = app


async def _json(
    service: Service, request: Request, read: Callable[[TenantProviders], dict[str, Any]]
) -> Response:
    """Return what is read from the caller's registry, or the error that was met."""
    try:
        principal = await require(request, "call")
        async with service.tenants.use(principal.tenant_id) as registry:
            return Response(json.dumps(read(registry)), media_type="application/json")
    except OrchestifyError as error:
        return error_response(error, form_at(request.url.path, request.headers))


_LARGEST_PAGE = 1000  # Anthropic's
_NO_DAY = "1970-01-01T00:00:00Z"
OWNER = "orchestify"
"""Whose an agent is; a model is its provider's."""


def listed_models(registry: TenantProviders) -> dict[str, Any]:
    """Return the list of a tenant's agents in their order, then its models, by provider."""
    agents = [_model(f"{AGENT}{name}", OWNER) for name in registry.list_agents()]
    models = registry.listed_models()
    rows = agents + [_model(f"{provider}/{model}", provider) for provider, model in models]
    return _list(rows, has_more=False)


def page_of(registry: TenantProviders, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the list, or the page of it that a query of Anthropic's asks for.

    Source: Anthropic, "API reference: List models".

    Raises:
        InvalidParameterError: the query names no model of the list, or no number.
    """
    rows = listed_models(registry)["data"]
    names = [row["id"] for row in rows]
    for name in ("after_id", "before_id"):
        if name in query and query[name] not in names:
            raise wrong(name, "is no model of the list")
    text = query.get("limit", "1")
    limit = int(text) if re.fullmatch("[0-9]{1,4}", text) else 0
    if not 0 < limit <= _LARGEST_PAGE:
        raise wrong("limit", f"expected a number from 1 to {_LARGEST_PAGE}")
    start = names.index(query["after_id"]) + 1 if "after_id" in query else 0
    end = names.index(query["before_id"]) if "before_id" in query else len(rows)
    found = rows[start:end]
    if "limit" not in query:
        return _list(found, has_more=False)
    page = found[-limit:] if "before_id" in query else found[:limit]
    return _list(page, has_more=len(page) < len(found))


def _list(rows: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {}
    return {"object": "list", "data": rows, "has_more": has_more, **ends}


def model_named(name: str, registry: TenantProviders) -> dict[str, Any]:
    """Return what a call finds by a name.

    Raises:
        ModelNotFoundError: there is none.
    """
    found = registry.find(name)
    return _model(name, OWNER if name.startswith(AGENT) else found.provider_id)


def _model(name: str, owner: str) -> dict[str, Any]:
    openai = {"object": "model", "created": 0, "owned_by": owner}
    return {"id": name, **openai, "type": "model", "display_name": name, "created_at": _NO_DAY}
