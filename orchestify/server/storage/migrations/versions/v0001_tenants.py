"""Tenants, their providers and agents, tokens, the audit log, and usage by provider and day."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_STANDS = sa.text("removed_at IS NULL")

# Usage of each day, provider and model, all agents together. What nobody could price has no cost:
# `total_cost` is NULL where nothing is priced, and lacks `unpriced_count` calls otherwise.
_USAGE = """
CREATE VIEW llm_provider_usage AS
SELECT
    tenant AS tenant_id,
    provider AS provider_name,
    {day} AS date,
    model,
    CAST(SUM(input_tokens) AS BIGINT) AS prompt_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS completion_tokens,
    CASE
        WHEN SUM(cost_picousd) = 0 AND SUM(unpriced_calls) > 0 THEN NULL
        ELSE SUM(cost_picousd) / 1e12
    END AS total_cost,
    CAST(SUM(attempts) AS BIGINT) AS request_count,
    CAST(SUM(failed) AS BIGINT) AS error_count,
    CAST(SUM(unpriced_calls) AS BIGINT) AS unpriced_count
FROM usage_days
WHERE label = ''
GROUP BY tenant, provider, day, model
"""
_SQLITE_APPEND_ONLY = (
    """CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END""",
    """CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END""",
    # INSERT OR REPLACE would delete without the trigger above
    """CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
    WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END""",
)
_POSTGRESQL_APPEND_ONLY = (
    """CREATE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$""",
    """CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only()""",
)


def upgrade() -> None:
    """Make everything."""
    _tenants()
    _providers()
    _agents()
    _tokens()
    _audit()
    _usage()


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(36), primary_key=True)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant_id", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False)


def _times() -> list[sa.Column[datetime]]:
    return [
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("removed_at", _TIME),
    ]


def _tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )


def _providers() -> None:
    op.create_table(
        "llm_providers",
        _id(),
        _tenant(),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("provider_type", sa.String(50), nullable=False),
        sa.Column("encrypted_api_key", sa.Text),
        sa.Column("key_fingerprint", sa.String(64)),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        *_times(),
    )
    op.create_index("llm_providers_tenant", "llm_providers", ["tenant_id", "id"])
    _unique("llm_providers_name", "llm_providers", "name")


def _agents() -> None:
    op.create_table(
        "agent_llm_configs",
        _id(),
        _tenant(),
        sa.Column("agent_id", sa.String(63), nullable=False),
        sa.Column("provider", sa.String(200)),
        sa.Column("model_name", sa.String(200)),
        sa.Column("temperature", sa.Double),
        sa.Column("max_tokens", sa.Integer),
        sa.Column("top_p", sa.Double),
        sa.Column("api_key_encrypted", sa.Text),
        sa.Column("key_fingerprint", sa.String(64)),
        sa.Column("fallback_provider", sa.String(200)),
        sa.Column("fallback_model", sa.String(200)),
        sa.Column("cost_per_1k_input_tokens", sa.Double),
        sa.Column("cost_per_1k_output_tokens", sa.Double),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        *_times(),
    )
    op.create_index("agent_llm_configs_tenant", "agent_llm_configs", ["tenant_id", "id"])
    _unique("agent_llm_configs_agent", "agent_llm_configs", "agent_id")


def _unique(name: str, table: str, column: str) -> None:
    """Let a name stand once a tenant, among the rows that are not removed."""
    op.create_index(
        name,
        table,
        ["tenant_id", column],
        unique=True,
        sqlite_where=_STANDS,
        postgresql_where=_STANDS,
    )


def _tokens() -> None:
    op.create_table(
        "api_tokens",
        _id(),
        _tenant(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("last_used_at", _TIME),
    )
    op.create_index("api_tokens_tenant", "api_tokens", ["tenant_id", "id"])


def _audit() -> None:
    op.create_table(
        "audit_log",
        _id(),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("tenant_id", sa.String(63)),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("target", sa.String(300), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("remote", sa.String(100), nullable=False),
        sa.Column("detail", _JSON, nullable=False),
    )
    op.create_index("audit_log_tenant", "audit_log", ["tenant_id", "id"])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE_APPEND_ONLY if is_sqlite else _POSTGRESQL_APPEND_ONLY:
        op.execute(statement)


def _usage() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute(_USAGE.format(day="day" if is_sqlite else "CAST(day AS DATE)"))
