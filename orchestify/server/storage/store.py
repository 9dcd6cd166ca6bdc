"""The store: tenants' providers and agents in the service's database.

Every method is one transaction, to be called in a thread. A change is audited in its own
transaction, raises the tenant's revision, and is refused where the tenant's configuration could
not run with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection

from orchestify.core.addresses import AddressRule
from orchestify.core.config import Config
from orchestify.core.providers import ProviderConfig
from orchestify.database.sql import Database
from orchestify.errors import ConfigError, ConflictError
from orchestify.server.rows.key_places import moved_keys
from orchestify.server.rows.stored import (
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
from orchestify.server.storage.kinds import AGENTS, PROVIDERS, Kind, RowT
from orchestify.server.storage.sealing import Seal, given_key
from orchestify.server.storage.stored_keys import KeyCheck
from orchestify.vault.cipher import Cipher


class Store:
    """Reads and changes the rows of tenants; `base` is the operator's configuration beneath them.

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
        self._seal = Seal(cipher, are_lost=are_lost)

    def providers(
        self,
        tenant: str,
        *,
        limit: int = 100,
        after: str | None = None,
        active: bool | None = None,
        removed: bool = False,
    ) -> Page[ProviderRow]:
        """Return a page of the tenant's providers, also those that are off, or even `removed`.

        `active` asks for those that are on, or for the others.
        """
        return self._page(PROVIDERS, tenant, limit, after, active, removed=removed)

    def inherited(self, tenant: str) -> dict[str, ProviderConfig]:
        """Return the operator's providers that are on and that no row of the tenant replaces."""
        own = self.database.run(lambda each: queries.names(each, PROVIDERS, tenant), read_only=True)
        theirs = self.base.providers.providers.items()
        return {name: each for name, each in theirs if name not in own and each.is_enabled}

    def provider(self, tenant: str, id_: str) -> ProviderRow:
        """Return one provider.

        Raises:
            NotFoundError: the tenant has none of that id.
        """
        return self._one(PROVIDERS, tenant, id_)

    def add_provider(self, tenant: str, new: NewProvider, actor: Actor) -> ProviderRow:
        """Store a provider.

        Raises:
            ConfigError: the tenant's configuration could not run with it; all that is wrong.
            ConflictError: the tenant has one of that name, or as many as it may have.
            VaultError: it has a key, and no encryption key is configured.
        """
        values = _fields(new) | {"name": new.name or new.provider_type}
        return self._add(PROVIDERS, tenant, values, actor)

    def update_provider(
        self, tenant: str, id_: str, changes: Mapping[str, Any], actor: Actor
    ) -> ProviderRow:
        """Change fields of `NewProvider`; `api_key` None removes the key.

        A removed provider comes back where `is_active` is set. Raises what adding does, and:

        Raises:
            NotFoundError: the tenant has none of that id.
        """
        return self._update(PROVIDERS, tenant, id_, changes, actor)

    def remove_provider(self, tenant: str, id_: str, actor: Actor) -> ProviderRow:
        """Switch a provider off for good and destroy its key; its name is free again.

        Raises:
            NotFoundError: the tenant has none of that id.
            ConflictError: an agent uses it.
            ConfigError: what is left could not run.
        """
        return self._remove(PROVIDERS, tenant, id_, actor)

    def agents(
        self,
        tenant: str,
        *,
        limit: int = 100,
        after: str | None = None,
        active: bool | None = None,
        removed: bool = False,
    ) -> Page[AgentRow]:
        """Return a page of the tenant's agents; see `providers`."""
        return self._page(AGENTS, tenant, limit, after, active, removed=removed)

    def agent(self, tenant: str, id_: str) -> AgentRow:
        """Return one agent by its row's id.

        Raises:
            NotFoundError: the tenant has none of that id.
        """
        return self._one(AGENTS, tenant, id_)

    def add_agent(self, tenant: str, new: NewAgent, actor: Actor) -> AgentRow:
        """Store an agent; raises what `add_provider` does."""
        return self._add(AGENTS, tenant, _fields(new), actor)

    def update_agent(
        self, tenant: str, id_: str, changes: Mapping[str, Any], actor: Actor
    ) -> AgentRow:
        """Change fields of `NewAgent`; see `update_provider`."""
        return self._update(AGENTS, tenant, id_, changes, actor)

    def remove_agent(self, tenant: str, id_: str, actor: Actor) -> AgentRow:
        """Switch an agent off for good and destroy its key; see `remove_provider`."""
        return self._remove(AGENTS, tenant, id_, actor)

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
        return self._seal.open(encrypted)

    def check_keys(self) -> KeyCheck:
        """Look whether the stored keys can be opened, those of all tenants."""
        return self.database.run(self._seal.check, read_only=True)

    def _page(
        self,
        kind: Kind[RowT],
        tenant: str,
        limit: int,
        after: str | None,
        active: bool | None,
        *,
        removed: bool,
    ) -> Page[RowT]:
        def work(connection: Connection) -> Page[RowT]:
            return queries.page(connection, kind, tenant, limit, after, active, removed=removed)

        return self.database.run(work, read_only=True)

    def _one(self, kind: Kind[RowT], tenant: str, id_: str) -> RowT:
        return self.database.run(lambda each: queries.one(each, kind, tenant, id_), read_only=True)

    def _add(self, kind: Kind[RowT], tenant: str, values: Mapping[str, Any], actor: Actor) -> RowT:
        row, key = kind.new(tenant, values), given_key(values)
        row = self._seal.sealed(kind, row, key)

        def work(connection: Connection) -> RowT:
            before = queries.locked(connection, tenant)
            self._seal.require_fit(connection, before, row, key)
            queries.check_room(connection, kind, row)
            self._check(before, kind.with_row(before, row), kind, row, key)
            queries.insert_row(connection, kind, row)
            self._note(connection, actor, kind, "add", row, values)
            return row

        return self.database.run(work)

    def _update(
        self, kind: Kind[RowT], tenant: str, id_: str, changes: Mapping[str, Any], actor: Actor
    ) -> RowT:
        key = given_key(changes)

        def work(connection: Connection) -> RowT:
            before = queries.locked(connection, tenant)
            old = queries.one(connection, kind, tenant, id_)
            row = kind.changed(old, changes)
            if "api_key" in changes:
                row = self._seal.sealed(kind, row, key)
            self._seal.require_fit(connection, before, row, key)
            queries.check_room(connection, kind, row)
            self._check(before, kind.with_row(before, row), kind, row, key)
            queries.update_row(connection, kind, row)
            self._note(connection, actor, kind, "update", row, changes)
            return row

        return self.database.run(work)

    def _remove(self, kind: Kind[RowT], tenant: str, id_: str, actor: Actor) -> RowT:
        def work(connection: Connection) -> RowT:
            before = queries.locked(connection, tenant)
            row = kind.removed(queries.one(connection, kind, tenant, id_))
            after = kind.with_row(before, row)
            try:
                self._check(before, after)
            except ConfigError:
                users = users_of(kind.name(row), after) if kind.word == "provider" else []
                if not users:
                    raise
                raise ConflictError(_in_use(users)) from None
            queries.update_row(connection, kind, row)
            queries.forget_removed(connection, kind, tenant)
            self._note(connection, actor, kind, "remove", row, {})
            return row

        return self.database.run(work)

    def _check(
        self,
        before: TenantRows,
        after: TenantRows,
        kind: Kind[RowT] | None = None,
        row: RowT | None = None,
        key: SecretStr | None = None,
    ) -> None:
        """Refuse rows with a problem that was not there before, or that move a stored key.

        Stored keys stay closed: whether they can be opened is not this change's matter.

        Raises:
            ConfigError: all the new problems.
        """
        fresh = None if kind is None or row is None or key is None else kind.encrypted(row)

        def open_key(encrypted: str) -> SecretStr:
            return key if key is not None and encrypted == fresh else SecretStr("stored")

        problems = problems_of(lambda: config_of(self.base, after, self.rule, open_key))
        if problems:
            known = set(problems_of(lambda: config_of(self.base, before, self.rule, open_key)))
            problems = [each for each in problems if each not in known]
        problems = problems or moved_keys(self.base, before, after)
        if problems and kind is not None and row is not None:
            problems = kind.asked(row, problems)
        if problems:
            raise ConfigError(problems)

    def _note(
        self,
        connection: Connection,
        actor: Actor,
        kind: Kind[RowT],
        action: str,
        row: RowT,
        given: Mapping[str, Any],
    ) -> None:
        write_audit(
            connection,
            actor,
            f"{kind.word}.{action}",
            f"{kind.name(row)} {row.id}",
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


def _fields(new: NewProvider | NewAgent) -> dict[str, Any]:
    return {name: value for name, value in asdict(new).items() if value is not None}
