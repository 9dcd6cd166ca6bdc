"""The store: tenants' providers and agents in the service's database.

Every method is one transaction, to be called in a thread. A change is audited in its own
transaction, raises the tenant's revision, and is refused where the tenant's configuration could
not run with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from pydantic import SecretStr
from sqlalchemy import Connection

from orchestify.core.addresses import AddressRule
from orchestify.core.config import Config
from orchestify.core.providers import ProviderConfig
from orchestify.database.sql import Database
from orchestify.errors import ConfigError, ConflictError
from orchestify.server.rows.key_destinations import moved_keys
from orchestify.server.rows.stored_rows import (
    AgentRow,
    NewAgent,
    NewProvider,
    Page,
    ProviderRow,
    TenantRows,
)
from orchestify.server.rows.tenant_config import config_of, problems_of, users_of
from orchestify.server.storage import queries
from orchestify.server.storage.audit import Actor, write_audit
from orchestify.server.storage.row_keys import KeyCheck, RowKeys, given_key
from orchestify.server.storage.row_kinds import AGENTS, PROVIDERS, RowKind, RowT
from orchestify.vault.cipher import Cipher


class Store:
    """Tenants' rows, `providers` and `agents`; `base` is the operator's configuration below them.

    Without a `cipher` rows have no keys. `rule` says which addresses a base_url may lead to. No
    key is stored beside keys that the cipher does not open, unless they `are_lost`.
    """

    def __init__(
        self,
        database: Database,
        base: Config,
        cipher: Cipher | None = None,
        rule: AddressRule | None = None,
        *,
        are_lost: bool = False,
    ) -> None:
        self.database = database
        self.base = base
        self.rule = rule or AddressRule()
        self.keys = RowKeys(cipher, are_lost=are_lost)
        shared = (database, base, self.rule, self.keys)
        self.providers: RowStore[ProviderRow] = RowStore(PROVIDERS, *shared)
        self.agents: RowStore[AgentRow] = RowStore(AGENTS, *shared)

    def take(self, base: Config) -> None:
        """Go on over another configuration of the operator's."""
        self.base = base
        self.providers = replace(self.providers, base=base)
        self.agents = replace(self.agents, base=base)

    def inherited(self, tenant: str) -> dict[str, ProviderConfig]:
        """Return the operator's providers that are on and that no row of the tenant replaces."""
        own = self.database.run(lambda each: queries.names(each, PROVIDERS, tenant), read_only=True)
        theirs = self.base.providers.providers.items()
        return {name: each for name, each in theirs if name not in own and each.is_enabled}

    def add_tenant(self, tenant: str, actor: Actor) -> bool:
        """Make a tenant, and say whether it is new.

        Raises:
            InvalidParameterError: no name of a tenant.
        """

        def work(connection: Connection) -> bool:
            is_new = queries.add_tenant(connection, tenant)
            if is_new:
                write_audit(connection, actor, "tenant.add", tenant, tenant=tenant)
            return is_new

        return self.database.run(work)

    def revisions(self, among: Collection[str] | None = None) -> dict[str, int]:
        """Return the revision of each tenant, or of those `among` that exist."""
        return self.database.run(lambda each: queries.revisions(each, among), read_only=True)

    def snapshot(self, tenant: str) -> TenantRows:
        """Return the tenant's rows that count, and the revision they make."""
        return self.database.run(lambda each: queries.snapshot(each, tenant), read_only=True)

    def open_key(self, encrypted: str) -> SecretStr:
        """Return a stored key in clear.

        Raises:
            VaultError: no encryption key is configured, or none fits.
        """
        return self.keys.decrypt(encrypted)

    def check_keys(self) -> KeyCheck:
        """Check whether the stored keys of all tenants can be decrypted."""
        return self.database.run(self.keys.check, read_only=True)


@dataclass(frozen=True, slots=True)
class RowStore(Generic[RowT]):
    """The rows of one kind, of all tenants; see `Store`."""

    kind: RowKind[RowT]
    database: Database
    base: Config
    rule: AddressRule
    keys: RowKeys

    def page(
        self,
        tenant: str,
        *,
        limit: int = 100,
        after: str | None = None,
        active: bool | None = None,
        removed: bool = False,
    ) -> Page[RowT]:
        """Return a page of the tenant's rows, also those that are off, or even `removed`.

        `active` asks for those that are on, or for the others.
        """

        def work(connection: Connection) -> Page[RowT]:
            return queries.page(
                connection, self.kind, tenant, limit, after, active, removed=removed
            )

        return self.database.run(work, read_only=True)

    def one(self, tenant: str, id_: str) -> RowT:
        """Return one row.

        Raises:
            NotFoundError: the tenant has none of that id.
        """
        return self.database.run(
            lambda each: queries.one(each, self.kind, tenant, id_), read_only=True
        )

    def add(self, tenant: str, new: NewProvider | NewAgent, actor: Actor) -> RowT:
        """Store a row.

        Raises:
            ConfigError: the tenant's configuration could not run with it; all that is wrong.
            ConflictError: the tenant has one of that name, or as many as it may have.
            VaultError: it has a key, and no encryption key is configured.
        """
        values = self.kind.values_of(new)
        row, key = self.kind.new(tenant, values), given_key(values)
        row = self.keys.encrypted(self.kind, row, key)

        def work(connection: Connection) -> RowT:
            before = queries.locked(connection, tenant)
            self._check_change(connection, before, row, key)
            queries.insert_row(connection, self.kind, row)
            self._audit(connection, actor, "add", row, values)
            return row

        return self.database.run(work)

    def update(self, tenant: str, id_: str, changes: Mapping[str, Any], actor: Actor) -> RowT:
        """Change fields of `NewProvider` or `NewAgent`; `api_key` None removes the key.

        A removed row comes back where it is switched on. Raises what `add` does, and:

        Raises:
            NotFoundError: the tenant has none of that id.
        """
        key = given_key(changes)

        def work(connection: Connection) -> RowT:
            before = queries.locked(connection, tenant)
            old = queries.one(connection, self.kind, tenant, id_)
            row = self.kind.changed(old, changes)
            if "api_key" in changes:
                row = self.keys.encrypted(self.kind, row, key)
            self._check_change(connection, before, row, key)
            queries.update_row(connection, self.kind, row)
            self._audit(connection, actor, "update", row, changes)
            return row

        return self.database.run(work)

    def remove(self, tenant: str, id_: str, actor: Actor) -> RowT:
        """Switch a row off for good and destroy its key; its name is free again.

        Raises:
            NotFoundError: the tenant has none of that id.
            ConflictError: it is a provider, and an agent uses it.
            ConfigError: what is left could not run.
        """

        def work(connection: Connection) -> RowT:
            before = queries.locked(connection, tenant)
            row = self.kind.removed(queries.one(connection, self.kind, tenant, id_))
            after = self.kind.with_row(before, row)
            problems = self.new_problems(before, after)
            if problems:
                is_provider = isinstance(row, ProviderRow)
                users = users_of(self.kind.name(row), after) if is_provider else []
                raise ConflictError(_in_use(users)) if users else ConfigError(problems)
            queries.update_row(connection, self.kind, row)
            queries.forget_removed(connection, self.kind, tenant)
            self._audit(connection, actor, "remove", row, {})
            return row

        return self.database.run(work)

    def _check_change(
        self, connection: Connection, before: TenantRows, row: RowT, key: SecretStr | None
    ) -> None:
        """Refuse a row that cannot stand among the tenant's others."""
        self.keys.check_same_encryption(connection, before, row, key)
        queries.check_room(connection, self.kind, row)
        fresh = {} if key is None else {str(self.kind.encrypted(row)): key}
        problems = self.new_problems(before, self.kind.with_row(before, row), fresh)
        if problems:
            raise ConfigError(self.kind.in_request_terms(row, problems))

    def new_problems(
        self, before: TenantRows, after: TenantRows, fresh: Mapping[str, SecretStr] | None = None
    ) -> list[str]:
        """Return the problems that were not there before, or the stored keys that would move.

        `fresh` are the keys that are given, by what they are encrypted as. Stored keys stay
        encrypted: whether they can be decrypted is not this change's matter.
        """

        def open_key(encrypted: str) -> SecretStr:
            return (fresh or {}).get(encrypted, SecretStr("stored"))

        problems = problems_of(lambda: config_of(self.base, after, self.rule, open_key))
        if problems:
            known = set(problems_of(lambda: config_of(self.base, before, self.rule, open_key)))
            problems = [each for each in problems if each not in known]
        return problems or moved_keys(self.base, before, after)

    def _audit(
        self,
        connection: Connection,
        actor: Actor,
        action: str,
        row: RowT,
        given: Mapping[str, Any],
    ) -> None:
        write_audit(
            connection,
            actor,
            f"{self.kind.noun}.{action}",
            f"{self.kind.name(row)} {row.id}",
            tenant=row.tenant_id,
            detail={"fields": sorted(given), "key": row.key_fingerprint},
        )


def _in_use(users: Sequence[str]) -> str:
    more = f" and {len(users) - 3:,} more" if len(users) > 3 else ""
    many = "s" if len(users) > 1 else ""
    return (
        f"agent{many} {', '.join(users[:3])}{more} use{'' if many else 's'} it; change or remove "
        f"the agent{many} first"
    )
