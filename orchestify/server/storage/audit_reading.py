"""Reading the audit log, the newest entry first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from orchestify.server.rows.stored import Page
from orchestify.server.storage.tables import audit_log


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
