"""The audit log: who changed what, when and from where, and which requests were denied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, insert, select

from orchestify.ledger.record import new_id, utc_now
from orchestify.server.rows.stored_rows import Page
from orchestify.server.storage.tables import audit_log

Outcome: TypeAlias = Literal["ok", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a token's name and id, or whoever runs a command; `remote` is from where."""

    name: str
    remote: str = ""


SYSTEM = Actor("system")


def write_audit(
    connection: Connection,
    actor: Actor,
    action: str,
    target: str,
    *,
    tenant: str | None,
    outcome: Outcome = "ok",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry, in the caller's transaction: it stands if and only if the change does.

    `action` is as `provider.add`, `target` names what it was done to. `detail` is ready for JSON
    and holds no key. Texts longer than their column are cut.
    """
    columns = audit_log.c
    connection.execute(
        insert(audit_log).values(
            id=new_id(),
            at=utc_now(),
            tenant_id=_cut(tenant, columns.tenant_id) if tenant is not None else None,
            actor=_cut(actor.name, columns.actor),
            action=_cut(action, columns.action),
            target=_cut(target, columns.target),
            outcome=outcome,
            remote=_cut(actor.remote, columns.remote),
            detail=dict(detail or {}),
        )
    )


def _cut(text: str, column: Any) -> str:
    """Return what fits the column and every database: PostgreSQL takes no NUL."""
    return text.replace("\0", "")[: column.type.length]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when, to what, from where, and how it went."""

    id: str
    at: datetime
    tenant_id: str | None
    actor: str
    action: str
    target: str
    outcome: str
    remote: str
    detail: Mapping[str, Any]


def audit_entries(
    connection: Connection,
    tenant: str | None = None,
    *,
    since: datetime | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Page[AuditEntry]:
    """Return entries, of one tenant or of all; `after` is the last id of the page before."""
    query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit + 1)
    if tenant is not None:
        query = query.where(audit_log.c.tenant_id == tenant)
    if since is not None:
        query = query.where(audit_log.c.at >= since)
    if after is not None:
        query = query.where(audit_log.c.id < after)
    rows = [AuditEntry(**each) for each in connection.execute(query).mappings()]
    return Page(tuple(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)
