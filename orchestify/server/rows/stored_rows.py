"""Rows as the store takes and returns them: stored rows, new rows, pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import SecretStr

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A tenant's provider as it is stored.

    `key_fingerprint` tells keys apart and is None where there is none; the key itself stays
    encrypted. A row with `removed_at` no longer counts, and its key is gone.
    """

    id: str
    tenant_id: str
    name: str
    provider_type: str
    config: Mapping[str, Any]
    is_active: bool
    is_default: bool
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None = None
    key_fingerprint: str | None = None
    encrypted_api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AgentRow:
    """A tenant's agent as it is stored; see `ProviderRow` for the key and `removed_at`."""

    id: str
    tenant_id: str
    agent_id: str
    provider: str | None
    model_name: str | None
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    fallback_provider: str | None
    fallback_model: str | None
    cost_per_1k_input_tokens: float | None
    cost_per_1k_output_tokens: float | None
    config: Mapping[str, Any]
    enabled: bool
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None = None
    key_fingerprint: str | None = None
    api_key_encrypted: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProvider:
    """A provider to add; without a name it is called after its type.

    To change one, the store takes a mapping of these fields: those that are there change, and
    `api_key` None removes the key.
    """

    provider_type: str
    name: str | None = None
    api_key: SecretStr | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    is_active: bool = True
    is_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """An agent to add; to change one, the store takes a mapping of these fields.

    `config` holds what the YAML's agent has beyond them. The costs are in USD, of the agent's
    model at its provider, and are given both or not at all.
    """

    agent_id: str
    provider: str | None = None
    model_name: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    api_key: SecretStr | None = None
    fallback_provider: str | None = None
    fallback_model: str | None = None
    cost_per_1k_input_tokens: float | None = None
    cost_per_1k_output_tokens: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows in the order they were made; `next` is the `after` of the following page, or None."""

    rows: tuple[Row, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class TenantRows:
    """All rows of a tenant that count, as one transaction saw them, and the revision they make."""

    tenant_id: str
    revision: int = 0
    providers: tuple[ProviderRow, ...] = ()
    agents: tuple[AgentRow, ...] = ()
