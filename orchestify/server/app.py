"""The application: every endpoint, its limits and its document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from orchestify.server.api import (
    agents,
    conversations,
    health,
    live,
    providers,
    response_cache,
    tokens,
    usage,
)
from orchestify.server.api.errors import Problem, answer_errors
from orchestify.server.gateway.routes import add_gateway
from orchestify.server.logs import AccessLog
from orchestify.server.middleware import (
    BodyLimit,
    GatewayCors,
    RequestIds,
    SecurityHeaders,
    Unexpected,
)
from orchestify.server.service import Service
from orchestify.version import version

_ABOUT = """\
LLM providers and agents of a tenant, what they use and cost, and a gateway that speaks OpenAI's
and Anthropic's protocols. Errors are problem details (RFC 9457), but in the gateway, whose errors
are those of the path's protocol.
Lists come in pages: `next` in the body, and the header `Link`, lead to the following one.
"""


def create_app(service: Service) -> FastAPI:
    """Return the application of a service that is open; whoever opened it closes it."""
    app = FastAPI(
        title="orchestify",
        version=version(),
        description=_ABOUT,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.service = service
    app.state.feeds = live.TenantFeeds(service)
    add_gateway(app, service)  # first: a path is looked for in this order
    for module in (providers, agents, usage, tokens, conversations, response_cache):
        app.include_router(module.router)
    app.include_router(live.router)
    app.include_router(live.page_router)
    app.include_router(health.router)
    app.include_router(health.metrics_router)
    answer_errors(app)
    app.add_middleware(BodyLimit, limit_bytes=service.settings.body_limit_bytes)
    app.add_middleware(Unexpected)
    if service.settings.cors_origins:
        app.add_middleware(GatewayCors, origins=service.settings.cors_origins)
    app.add_middleware(RequestIds)
    app.add_middleware(SecurityHeaders)
    if service.settings.access_log:
        app.add_middleware(AccessLog)  # the last one stands outside
    _document(app)
    return app


def _document(app: FastAPI) -> None:
    """Complete the OpenAPI document: problems, and none of FastAPI's own error schemas."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            schemas = document["components"]["schemas"]
            schemas["Problem"] = Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        return make()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
