"""What every endpoint has in common: who may use it, its errors, pages."""

from __future__ import annotations

import email.message
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlencode

from fastapi import Depends, Path, Query
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestify.core.problems import did_you_mean
from orchestify.errors import ConfigError
from orchestify.server.access.authentication import bearer, require
from orchestify.server.access.tokens import Principal, Scope
from orchestify.server.api.errors import documented
from orchestify.server.service import Service
from orchestify.server.storage.audit import Actor

_SCOPE = "x-scope"


class GuardedRoute(APIRoute):
    """A route that asks who is there before it reads the body, and takes no unknown parameter."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what serves a request: first the door, then the endpoint."""
        serve = super().get_route_handler()
        scope: Scope = (self.openapi_extra or {})[_SCOPE]
        has_body = self.body_field is not None
        known = frozenset(_query_names(self.dependant))

        async def guarded(request: Request) -> Response:
            request.state.principal = await require(request, scope)
            if has_body and _sends_body(request) and not _is_json(request):
                raise HTTPException(415, "the body's content-type is not application/json")
            unknown = [name for name in request.query_params if name not in known]
            if unknown:
                raise ConfigError([f"query: {_unknown(name, known)}" for name in unknown])
            return await serve(request)

        return guarded


def needs(scope: Scope, *statuses: int) -> dict[str, Any]:
    """Return what a route is declared with: its scope, and the errors it may answer with.

    Every route may answer 401, 403, 422, 429, 500 and 503.
    """
    return {
        "openapi_extra": {_SCOPE: scope},
        "responses": documented(401, 403, *statuses, 422, 429, 500, 503),
        "dependencies": [Depends(bearer)],
    }


def needs_body(scope: Scope, *statuses: int) -> dict[str, Any]:
    """The same for a route that reads a body."""
    return needs(scope, 400, *statuses, 413, 415)


def creates(what: str, *statuses: int, scope: Scope = "write") -> dict[str, Any]:
    """Return what a route is declared with that makes something."""
    declared = needs_body(scope, *statuses)
    where = {"description": f"Where the {what} is", "schema": {"type": "string"}}
    declared["responses"][201] = {
        "description": f"The {what} was made",
        "headers": {"Location": where},
    }
    return {"status_code": 201, **declared}


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _unknown(name: str, known: Collection[str]) -> str:
    return f"unknown parameter{did_you_mean(name, known) or f'; there are: {_listed(known)}'}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _sends_body(request: Request) -> bool:
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _is_json(request: Request) -> bool:
    message = email.message.Message()
    message["content-type"] = request.headers.get("content-type", "")
    return message.get_content_type() == "application/json"


def _principal(request: Request) -> Principal:
    found: Principal = request.state.principal
    return found


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


CurrentPrincipal: TypeAlias = Annotated[Principal, Depends(_principal)]
CurrentService: TypeAlias = Annotated[Service, Depends(_service)]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=200, description="Rows of a page")]
After: TypeAlias = Annotated[
    str | None,
    Query(max_length=200, pattern=r"^[\x21-\x7e]*$", description="`next` of the page before"),
]


Removed: TypeAlias = Annotated[bool, Query(description="Those that were removed, too")]
RowId: TypeAlias = Annotated[
    str, Path(alias="id", max_length=100, pattern=r"^[\x21-\x7e]*$", description="A row's `id`")
]


def actor_of(request: Request, principal: Principal) -> Actor:
    """Return who the audit log says it was."""
    return Actor(principal.actor, request.client.host if request.client else "")


def link_next(request: Request, response: Response, after: str | None) -> None:
    """Say in the header Link where the following page is; none where this is the last."""
    if after is None:
        return
    kept: Sequence[tuple[str, str]] = [
        (name, value) for name, value in request.query_params.multi_items() if name != "after"
    ]
    query = urlencode([*kept, ("after", after)])
    response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
