"""The endpoints of OpenAI's protocol in the service's application."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from orchestify.errors import OrchestifyError
from orchestify.server.access.requiring import require
from orchestify.server.gateway.document import CHAT, MODEL, MODELS
from orchestify.server.gateway.errors import told
from orchestify.server.gateway.exchange import ChatExchange
from orchestify.server.gateway.models import listed_models, model_named

if TYPE_CHECKING:
    from orchestify.server.service import Service

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def add_gateway(app: FastAPI, service: Service) -> None:
    """Add `/v1/chat/completions` and `/v1/models` to an application."""

    async def create_chat_completion(request: Request) -> Response:
        """Answer a conversation, whole or as a stream of events, through the call path.

        The model is `agent:NAME`, `PROVIDER/MODEL`, or a model that one provider has. `metadata`
        labels the call in the ledger. An answer's `thinking_blocks` go back in the assistant's
        message beside its tool calls. Providers of type `openai` also get `frequency_penalty`,
        `presence_penalty`, `logit_bias`, `prediction`, `prompt_cache_key`, `safety_identifier`,
        `user` and `verbosity`; all other fields are ignored. A stream's cost is in the last
        chunk's `usage`; what fails after its beginning is told by an event with an `error`,
        and no `[DONE]` follows.
        """
        return ChatExchange(request, service.tenants)

    async def list_models(request: Request) -> Response:
        """List what `model` may name: the tenant's agents, and its providers' models."""
        return await _json(_models(request), lambda rows: {"object": "list", "data": rows})

    async def get_model(request: Request) -> Response:
        """Return one of the models of the list, by its `id`."""
        name = request.path_params["model"]
        return await _json(_models(request), lambda rows: model_named(name, rows))

    async def _models(request: Request) -> list[dict[str, Any]]:
        principal = await require(request, "call")
        async with service.tenants.use(principal.tenant_id) as registry:
            return listed_models(registry)

    router = app.router
    for path, endpoint, method, documented in (
        ("/v1/chat/completions", create_chat_completion, "POST", CHAT),
        ("/v1/models", list_models, "GET", MODELS),
        ("/v1/models/{model:path}", get_model, "GET", MODEL),
    ):
        router.add_api_route(
            path, endpoint, methods=[method], route_class_override=_PlainRoute, **documented
        )


class _PlainRoute(APIRoute):
    """A route that is documented as FastAPI does it, and served without its machinery."""

    def get_route_handler(self) -> Endpoint:
        """Return the endpoint itself: it takes a request and returns a response."""
        endpoint: Endpoint = self.endpoint
        return endpoint


async def _json(
    rows: Coroutine[Any, Any, list[dict[str, Any]]],
    shape: Callable[[list[dict[str, Any]]], dict[str, Any]],
) -> Response:
    """Return rows as JSON in their shape, or the error that one of both raised."""
    try:
        return Response(json.dumps(shape(await rows)), media_type="application/json")
    except OrchestifyError as error:
        status, headers, body = told(error)
        response = Response(body, status)
        response.raw_headers = headers
        return response
