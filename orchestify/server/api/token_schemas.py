"""What the endpoints of tokens and of the audit log take and give."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestify.server.access.principal import Scope
from orchestify.server.api.fields import Answer, Moment, Request, Text


class CreateTokenRequest(Request):
    """A token to make, for the tenant that asks."""

    scopes: list[Scope] = Field(min_length=1, max_length=8, examples=[["call", "read"]])
    name: Text | None = Field(default=None, examples=["ci"])
    expires_days: int | None = Field(default=None, ge=1, le=36_500, examples=[90])


class TokenResponse(Answer):
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


class TokenPage(Answer):
    """Tokens in the order they were made; `next` is the `after` of the following page."""

    items: list[TokenResponse]
    next: str | None


class AuditEntryResponse(Answer):
    """Who did what, when, to what, from where, and how it went."""

    id: str
    at: Moment
    actor: str = Field(examples=["token:3kq0v7c2m1xw9a5d"])
    action: str = Field(examples=["provider.add"])
    target: str = Field(examples=["llm_providers/4c0d2f0e-7d5f-4d0b-9d5e-0f6f1c1f5a11"])
    outcome: str = Field(examples=["ok"])
    remote: str = Field(examples=["192.0.2.7"])
    detail: dict[str, Any]


class AuditPage(Answer):
    """The audit log, the newest entry first; `next` is the `after` of the following page."""

    items: list[AuditEntryResponse]
    next: str | None
