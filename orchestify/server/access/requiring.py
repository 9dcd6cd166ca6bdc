"""Who may do what: what endpoints ask before they do anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from orchestify.server.access.principal import Principal, Scope

if TYPE_CHECKING:
    from orchestify.server.service import Service


bearer = HTTPBearer(
    scheme_name="token",
    bearerFormat="ork_<id>_<secret>",
    description="A tenant's token, from `orchestify tokens create`",
    auto_error=False,
)
"""The security scheme in the OpenAPI document; `require` enforces it."""


async def require(request: HTTPConnection, scope: Scope) -> Principal:
    """Return who sends a request, where their token has the scope.

    Raises:
        AccessError: 401 without a token that holds, 403 without the scope, 429 beyond the
            requests of a minute; 401 and 403 are in the audit log.
        StoreError: the database, which knows the tokens, is away.
    """
    service: Service = request.app.state.service
    return await service.door.admit(request, scope)
