"""The service's tables: tenants, their providers and agents, tokens, and the audit log.

They stand beside the ledger's, in one database. Migrations make them; see `migrations`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestify.ledger.sql.schema import UtcTime

metadata = MetaData()

Json = JSON().with_variant(JSONB(), "postgresql")

tenants = Table(
    "tenants",
    metadata,
    Column("id", String(63), primary_key=True),
    # grows with every change of a provider or an agent
    Column("revision", BigInteger, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)


def _row_table(name: str, name_column: str, active_column: str, *columns: Column[Any]) -> Table:
    """Return the table of a kind of rows; a name is unique among a tenant's rows that stand."""
    table = Table(
        name,
        metadata,
        # a UUID of version 7: they sort by their making
        Column("id", String(36), primary_key=True),
        Column("tenant_id", String(63), ForeignKey("tenants.id"), nullable=False),
        Column(name_column, String(63), nullable=False),
        *columns,
        Column("key_fingerprint", String(64)),
        Column("config", Json, nullable=False),
        Column(active_column, Boolean, nullable=False),
        Column("created_at", UtcTime, nullable=False),
        Column("updated_at", UtcTime, nullable=False),
        # NULL while the row stands; its key is gone with it
        Column("removed_at", UtcTime),
    )
    stands = table.c.removed_at.is_(None)
    Index(f"{name}_tenant", table.c.tenant_id, table.c.id)
    Index(
        f"{name}_{name_column.removesuffix('_id')}",
        table.c.tenant_id,
        table.c[name_column],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
    return table


llm_providers = _row_table(
    "llm_providers",
    "name",
    "is_active",
    Column("provider_type", String(50), nullable=False),
    Column("encrypted_api_key", Text),
    Column("is_default", Boolean, nullable=False),
)

agent_llm_configs = _row_table(
    "agent_llm_configs",
    "agent_id",
    "enabled",
    # a provider's name; NULL for the tenant's default
    Column("provider", String(200)),
    Column("model_name", String(200)),
    Column("temperature", Double),
    Column("max_tokens", Integer),
    Column("top_p", Double),
    Column("api_key_encrypted", Text),
    Column("fallback_provider", String(200)),
    Column("fallback_model", String(200)),
    Column("cost_per_1k_input_tokens", Double),
    Column("cost_per_1k_output_tokens", Double),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant_id", String(63), ForeignKey("tenants.id"), nullable=False),
    Column("name", String(200), nullable=False),
    # of SHA-256, in hexadecimal digits
    Column("secret_hash", String(64), nullable=False),
    # with a blank between
    Column("scopes", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("last_used_at", UtcTime),
)
Index("api_tokens_tenant", api_tokens.c.tenant_id, api_tokens.c.id)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at", UtcTime, nullable=False),
    # NULL where nobody knows it, as of a refused token; no reference: the log outlives all
    Column("tenant_id", String(63)),
    Column("actor", String(200), nullable=False),
    Column("action", String(100), nullable=False),
    Column("target", String(300), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("remote", String(100), nullable=False),
    Column("detail", Json, nullable=False),
)
Index("audit_log_tenant", audit_log.c.tenant_id, audit_log.c.id)
