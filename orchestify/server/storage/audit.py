"""The audit log: who changed what, when and from where; and what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, insert

from orchestify.ledger.record import new_id, utc_now
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
