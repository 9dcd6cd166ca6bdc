"""What the store asks of the database, on a connection within its transaction."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from orchestify.errors import ConflictError, InvalidParameterError, NotFoundError
from orchestify.ledger.record import utc_now
from orchestify.server.rows.stored_rows import Page, TenantRows
from orchestify.server.storage.row_kinds import AGENTS, PROVIDERS, RowKind, RowT
from orchestify.server.storage.tables import tenants

TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MOST_LISTED = 1_000
_MOST_NAMED = 1_000  # tenants in one question; for more, all are asked for


def check_tenant(tenant: str) -> str:
    """Return the name of a tenant.

    Raises:
        InvalidParameterError: it is none.
    """
    if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
        raise InvalidParameterError(
            "a tenant is called with at most 63 of a-z, 0-9, _ and -, a letter or digit first"
        )
    return tenant


def add_tenant(connection: Connection, tenant: str) -> bool:
    """Make the tenant where it does not exist, and say whether it is new."""
    values = {"id": check_tenant(tenant), "revision": 0, "created_at": utc_now()}
    dialect = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    made = dialect(tenants).values(values).on_conflict_do_nothing().returning(tenants.c.id)
    return connection.scalar(made) is not None


def locked(connection: Connection, tenant: str) -> TenantRows:
    """Begin a change: lock the tenant, raise its revision and return its rows as they stand.

    Changes of one tenant come one after the other, so each sees what the last one left.
    """
    add_tenant(connection, tenant)
    raised = tenants.c.revision + 1
    connection.execute(update(tenants).where(tenants.c.id == tenant).values(revision=raised))
    return snapshot(connection, tenant)


def snapshot(connection: Connection, tenant: str) -> TenantRows:
    """Return the tenant's rows that count; none where nobody has heard of it."""
    found = connection.scalar(
        select(tenants.c.revision).where(tenants.c.id == check_tenant(tenant))
    )
    if found is None:
        return TenantRows(tenant)
    return TenantRows(
        tenant,
        found,
        _present_rows(connection, PROVIDERS, tenant),
        _present_rows(connection, AGENTS, tenant),
    )


def revisions(connection: Connection, among: Collection[str] | None) -> dict[str, int]:
    """Return the revisions of all tenants, or of those named."""
    asked = select(tenants.c.id, tenants.c.revision)
    if among is not None and len(among) <= _MOST_NAMED:
        asked = asked.where(tenants.c.id.in_(among))
    return {row.id: row.revision for row in connection.execute(asked)}


def page(
    connection: Connection,
    kind: RowKind[RowT],
    tenant: str,
    limit: int,
    after: str | None,
    active: bool | None,
    *,
    removed: bool,
) -> Page[RowT]:
    """Return a page of rows, the `removed` ones too or not, in the order they were made."""
    if not 1 <= limit <= MOST_LISTED:
        raise InvalidParameterError(f"limit is a number from 1 to {MOST_LISTED:,}")
    columns = kind.table.c
    asked = select(kind.table).where(columns.tenant_id == check_tenant(tenant))
    if after is not None:
        asked = asked.where(columns.id > after)
    if not removed:
        asked = asked.where(columns.removed_at.is_(None))
    if active is not None:
        asked = asked.where(columns[kind.active_column].is_(active))
    rows = _rows(connection, kind, asked.order_by(columns.id).limit(limit + 1))
    return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def names(
    connection: Connection, kind: RowKind[RowT], tenant: str, *, removed: bool = False
) -> set[str]:
    """Return the names of a tenant's rows that count, and of those `removed` too, or not."""
    columns = kind.table.c
    asked = select(columns[kind.name_column]).where(columns.tenant_id == check_tenant(tenant))
    if not removed:
        asked = asked.where(columns.removed_at.is_(None))
    return set(connection.scalars(asked))


def one(connection: Connection, kind: RowKind[RowT], tenant: str, id_: str) -> RowT:
    """Return a tenant's row.

    Raises:
        NotFoundError: it has none of that id, whoever else may.
    """
    columns = kind.table.c
    asked = select(kind.table).where(columns.tenant_id == check_tenant(tenant))
    rows = _rows(connection, kind, asked.where(columns.id == id_.replace("\0", "")))
    if not rows:
        raise NotFoundError(f"no {kind.noun} has this id")
    return rows[0]


def check_room(connection: Connection, kind: RowKind[RowT], row: RowT) -> None:
    """Refuse a row where its name is taken, or where the tenant has as many as it may have.

    Raises:
        ConflictError: one of these.
    """
    columns, name = kind.table.c, kind.name(row)
    others = (
        columns.tenant_id == row.tenant_id,
        columns.removed_at.is_(None),
        columns.id != row.id,
    )
    count = select(func.count()).select_from(kind.table).where(*others)
    if isinstance(name, str) and connection.scalar(
        count.where(columns[kind.name_column] == name.replace("\0", ""))
    ):
        raise ConflictError(f"there is a {kind.noun} of this name; change or remove it")
    if (connection.scalar(count) or 0) >= kind.max_rows:
        raise ConflictError(f"a tenant has at most {kind.max_rows:,} {kind.noun}s; remove one")


def insert_row(connection: Connection, kind: RowKind[RowT], row: RowT) -> None:
    """Store a new row."""
    _clear_other_defaults(connection, kind, row)
    connection.execute(insert(kind.table).values(_values(row)))


def update_row(connection: Connection, kind: RowKind[RowT], row: RowT) -> None:
    """Store a row's new values."""
    _clear_other_defaults(connection, kind, row)
    columns = kind.table.c
    where = (columns.tenant_id == row.tenant_id, columns.id == row.id)
    connection.execute(update(kind.table).where(*where).values(_values(row)))


def forget_removed(connection: Connection, kind: RowKind[RowT], tenant: str) -> None:
    """Delete the rows that were removed longest ago; as many as a tenant may have are kept."""
    columns = kind.table.c
    gone = (columns.tenant_id == tenant, columns.removed_at.is_not(None))
    kept = select(columns.id).where(*gone).order_by(columns.removed_at.desc(), columns.id)
    oldest = connection.scalars(kept.offset(kind.max_rows)).all()
    if oldest:
        connection.execute(kind.table.delete().where(columns.id.in_(oldest[:1_000])))


def _clear_other_defaults(connection: Connection, kind: RowKind[RowT], row: RowT) -> None:
    """Take the mark of the default from the others, where the row has it."""
    if getattr(row, "is_default", False):
        columns = kind.table.c
        mine = (columns.tenant_id == row.tenant_id, columns.id != row.id, columns.is_default)
        connection.execute(update(kind.table).where(*mine).values(is_default=False))


def _present_rows(connection: Connection, kind: RowKind[RowT], tenant: str) -> tuple[RowT, ...]:
    columns = kind.table.c
    where = (columns.tenant_id == tenant, columns.removed_at.is_(None))
    return _rows(connection, kind, select(kind.table).where(*where).order_by(columns.id))


def _rows(connection: Connection, kind: RowKind[RowT], asked: Select[Any]) -> tuple[RowT, ...]:
    return tuple(kind.row(**row) for row in connection.execute(asked).mappings())


def _values(row: Any) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row)}
