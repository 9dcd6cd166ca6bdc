"""Who asks: the tenant, the token and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Scope: TypeAlias = Literal["call", "read", "write", "admin"]

SCOPES: tuple[Scope, ...] = ("call", "read", "write", "admin")
"""`call` models through the gateway, `read` rows and usage, `write` rows; `admin` has them all."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request is from; `token_id` is empty while the service runs open."""

    tenant_id: str
    token_id: str
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        """Say whether its token has a scope; `admin` includes all."""
        return scope in self.scopes or "admin" in self.scopes

    @property
    def actor(self) -> str:
        """What the audit log calls it."""
        return f"token:{self.token_id}" if self.token_id else "open"
