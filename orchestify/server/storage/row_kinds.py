"""The two kinds of rows a tenant has, providers and agents: their columns and what they share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Table

from orchestify.core.problems import did_you_mean, dotted
from orchestify.errors import ConfigError, ConflictError
from orchestify.ledger.record import new_id, utc_now
from orchestify.server.rows.stored_rows import (
    AgentRow,
    NewAgent,
    NewProvider,
    ProviderRow,
    TenantRows,
)
from orchestify.server.storage.tables import agent_llm_configs, llm_providers

RowT = TypeVar("RowT", ProviderRow, AgentRow)

_FLAG, _TEXT = (bool, "true or false"), (str, "text")
_TYPES: Mapping[str, tuple[type, str]] = {
    **dict.fromkeys(("is_active", "is_default", "enabled"), _FLAG),
    **dict.fromkeys(("name", "provider_type", "agent_id"), _TEXT),
    "config": (dict, "a mapping of keys to values"),
}
_FALLBACK = re.compile(r"^fallback\.([0-9]+)")


@dataclass(frozen=True, slots=True)
class RowKind(Generic[RowT]):
    """One kind of row.

    `name_column`, `key_column` and `active_column` hold its name, its key and whether it is on; a
    row without a name takes the value of `name_default`.
    `rows_field` is the field of `TenantRows` that holds the rows. A tenant has at most `max_rows`
    of them, and keeps as many removed ones, the latest.
    """

    noun: str
    table: Table
    row: type[RowT]
    new_row: type[NewProvider | NewAgent]
    name_column: str
    name_default: str
    key_column: str
    active_column: str
    rows_field: str
    max_rows: int

    def name(self, row: RowT) -> str:
        """Return what the tenant calls the row."""
        name: str = getattr(row, self.name_column)
        return name

    def encrypted(self, row: RowT) -> str | None:
        """Return the row's key, encrypted."""
        key: str | None = getattr(row, self.key_column)
        return key

    def values_of(self, new: NewProvider | NewAgent) -> dict[str, Any]:
        """Return the fields that a new row has, its name among them."""
        given = {name: value for name, value in asdict(new).items() if value is not None}
        return {**given, self.name_column: given.get(self.name_column) or given[self.name_default]}

    def new(self, tenant: str, values: Mapping[str, Any]) -> RowT:
        """Return a new row of a tenant with these fields, without its key.

        Raises:
            ConfigError: a field does not exist or is of another type.
        """
        given = self._checked(values)
        columns = {each.name: None for each in fields(self.row)} | _defaults(self.new_row) | given
        del columns["api_key"]
        now = utc_now()
        times = {"created_at": now, "updated_at": now}
        return self.row(**columns | times | {"id": str(UUID(new_id())), "tenant_id": tenant})

    def changed(self, row: RowT, changes: Mapping[str, Any]) -> RowT:
        """Return the row with other values; a removed one comes back where it is switched on.

        Raises:
            ConfigError: a field does not exist or is of another type.
            ConflictError: the row is removed and stays so.
        """
        given = self._checked(changes)
        given.pop("api_key", None)
        if row.removed_at is not None and not given.get(self.active_column):
            raise ConflictError(
                f"this {self.noun} is removed; set {self.active_column} to true to bring it back"
            )
        return replace(row, **given, updated_at=utc_now(), removed_at=None)

    def removed(self, row: RowT) -> RowT:
        """Return the row switched off for good, without its key."""
        now = utc_now()
        off: dict[str, Any] = {
            self.active_column: False,
            self.key_column: None,
            "key_fingerprint": None,
        }
        if self.active_column == "is_active":
            off["is_default"] = False
        return replace(row, **off, updated_at=now, removed_at=row.removed_at or now)

    def with_key(self, row: RowT, encrypted: str | None, fingerprint: str | None) -> RowT:
        """Return the row with another key, or with none."""
        key: dict[str, Any] = {self.key_column: encrypted, "key_fingerprint": fingerprint}
        return replace(row, **key)

    def with_row(self, rows: TenantRows, row: RowT) -> TenantRows:
        """Return the tenant's rows with this one in its place, or without it where it is removed.

        A new default provider takes the place of the old.
        """
        kept: list[Any] = [each for each in getattr(rows, self.rows_field) if each.id != row.id]
        if getattr(row, "is_default", False):
            kept = [replace(each, is_default=False) for each in kept]
        if row.removed_at is None:
            kept = sorted([*kept, row], key=lambda each: str(each.id))
        changed: dict[str, Any] = {self.rows_field: tuple(kept)}
        return replace(rows, **changed)

    def in_request_terms(self, row: RowT, problems: Iterable[str]) -> list[str]:
        """Return problems with the row's own fields called as a request calls them.

        `providers.main.max_tokens` is `config.max_tokens` there, a column stands by itself.
        """
        own = dotted((self.rows_field, self.name(row)))
        columns = {each.name for each in fields(self.new_row)}
        has_fallback = getattr(row, "fallback_provider", None) is not None

        def in_request_terms(line: str) -> str:
            if line.startswith(f"{own}: "):
                return f"config{line.removeprefix(own)}"
            if not line.startswith(f"{own}."):
                return line
            line = line.removeprefix(f"{own}.")
            line = _FALLBACK.sub(_without_column, line) if has_fallback else line
            return line if re.split(r"[.:]", line)[0] in columns else f"config.{line}"

        return [in_request_terms(each) for each in problems]

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        known = [each.name for each in fields(self.new_row)]
        problems = [
            f"{name}: unknown key{did_you_mean(name, known)}"
            for name in values
            if name not in known
        ]
        problems += [
            f"{name}: expected {what}"
            for name, (kind, what) in _TYPES.items()
            if name in values and not isinstance(values[name], kind)
        ]
        if problems:
            raise ConfigError(problems)
        return dict(values)


def _without_column(found: re.Match[str]) -> str:
    """The column's target is the first of the chain; the config's come after it."""
    at = int(found[1])
    return f"fallback.{at - 1}" if at else "fallback_provider"


def _defaults(new_row: type[NewProvider | NewAgent]) -> dict[str, Any]:
    empty = NewProvider(provider_type="") if new_row is NewProvider else NewAgent(agent_id="")
    return {each.name: getattr(empty, each.name) for each in fields(empty)}


PROVIDERS: RowKind[ProviderRow] = RowKind(
    noun="provider",
    table=llm_providers,
    row=ProviderRow,
    new_row=NewProvider,
    name_column="name",
    name_default="provider_type",
    key_column="encrypted_api_key",
    active_column="is_active",
    rows_field="providers",
    max_rows=1_000,
)
AGENTS: RowKind[AgentRow] = RowKind(
    noun="agent",
    table=agent_llm_configs,
    row=AgentRow,
    new_row=NewAgent,
    name_column="agent_id",
    name_default="agent_id",
    key_column="api_key_encrypted",
    active_column="enabled",
    rows_field="agents",
    max_rows=10_000,
)
