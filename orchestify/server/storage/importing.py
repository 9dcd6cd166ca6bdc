"""Importing providers of several tenants at once: all of them or none, and each of them once.

What a tenant has, or had and removed, stays as it is: a record of its name is passed over, so a
second import changes nothing, whatever the tenant has changed since.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from pydantic import SecretStr
from sqlalchemy import Connection

from orchestify.core.problems import dotted
from orchestify.errors import ConfigError, InvalidParameterError, VaultError
from orchestify.server.rows.provider_records import ProviderRecord
from orchestify.server.rows.stored_rows import ProviderRow, TenantRows
from orchestify.server.storage import queries
from orchestify.server.storage.audit import Actor, write_audit
from orchestify.server.storage.row_keys import given_key
from orchestify.server.storage.row_kinds import PROVIDERS
from orchestify.server.storage.store import Store

Outcome: TypeAlias = Literal["added", "kept"]

_CIPHERTEXT = (
    "an encrypted key is taken from the operator's file only (orchestify serve --import); "
    "send the api_key"
)


@dataclass(frozen=True, slots=True)
class ImportedProvider:
    """What became of a record: `kept` where the tenant has, or had, a provider of its name."""

    tenant: str
    name: str
    result: Outcome


def import_providers(
    store: Store,
    records: Sequence[ProviderRecord],
    actor: Actor,
    *,
    tenant: str | None = None,
) -> list[ImportedProvider]:
    """Store the records' providers in one transaction, and return what became of each, in order.

    With `tenant` all are that tenant's, and keys come in clear; without, each record names its
    own, and its key may be encrypted under an encryption key that is set. Called in a thread.

    Raises:
        ConfigError: what is wrong with each record, or with what a tenant would then have;
            nothing was stored.
        VaultError: a key is given, and no encryption key is set, or not the one in use.
    """
    batches, problems = _by_tenant(store, records, tenant)

    def work(connection: Connection) -> list[ImportedProvider]:
        found = list(problems)
        for name in sorted(batches):  # the same order everywhere, so that no two wait in a circle
            found += batches[name].store_on(connection, store, actor)
        if found:
            raise ConfigError(found)
        added = {(each.tenant, row.name) for each in batches.values() for row in each.rows}
        return [
            ImportedProvider(whose, name, "added" if (whose, name) in added else "kept")
            for each in records
            for whose, name in [(tenant or each.tenant_id or "", each.known_as)]
        ]

    return store.database.run(work)


@dataclass(slots=True)
class _Batch:
    """A tenant's records by place, with their keys; `rows` are those that it had to add."""

    tenant: str
    records: dict[str, tuple[ProviderRecord, SecretStr | None]] = field(default_factory=dict)
    rows: list[ProviderRow] = field(default_factory=list)

    def store_on(self, connection: Connection, store: Store, actor: Actor) -> list[str]:
        """Add what is missing, and return what is wrong with it; a problem undoes all."""
        self.rows = []  # a transaction may be tried again
        known = queries.names(connection, PROVIDERS, self.tenant, removed=True)
        if all(record.known_as in known for record, _ in self.records.values()):
            return []
        before = queries.locked(connection, self.tenant)
        known = queries.names(connection, PROVIDERS, self.tenant, removed=True)
        places, keys, problems = self._missing_rows(store, known)
        self.rows = list(places.values())
        problems += self._problems(connection, store, before, places, keys)
        if problems:
            return problems
        for row in self.rows:
            queries.insert_row(connection, PROVIDERS, row)
            write_audit(
                connection,
                actor,
                "provider.import",
                f"{row.name} {row.id}",
                tenant=self.tenant,
                detail={"key": row.key_fingerprint},
            )
        return []

    def _missing_rows(
        self, store: Store, known: Container[str]
    ) -> tuple[dict[str, ProviderRow], dict[str, SecretStr], list[str]]:
        """Return the rows of the names that are not `known`, by their records' places.

        And their keys, by what they are encrypted as; and what is wrong with other records.
        """
        rows: dict[str, ProviderRow] = {}
        keys: dict[str, SecretStr] = {}
        problems: list[str] = []
        for place, (record, given) in self.records.items():
            if record.known_as in known:
                continue
            try:
                values = PROVIDERS.values_of(record.new_provider(given))
                key = given_key(values)
                row = store.keys.encrypted(PROVIDERS, PROVIDERS.new(self.tenant, values), key)
            except ConfigError as error:
                problems += [f"{place}.{each}" for each in error.problems]
                continue
            rows[place] = row
            if key is not None and row.encrypted_api_key is not None:
                keys[row.encrypted_api_key] = key
        return rows, keys, problems

    def _problems(
        self,
        connection: Connection,
        store: Store,
        before: TenantRows,
        places: dict[str, ProviderRow],
        keys: dict[str, SecretStr],
    ) -> Iterator[str]:
        keyed = next((row for row in self.rows if row.encrypted_api_key is not None), None)
        if keyed is not None:
            key = keys[str(keyed.encrypted_api_key)]
            store.keys.check_same_encryption(connection, before, keyed, key)
        after = _with_rows(before, self.rows)
        if len(after.providers) > PROVIDERS.max_rows:
            yield f"tenant {self.tenant}: a tenant has at most {PROVIDERS.max_rows:,} providers"
            return
        for line in store.providers.new_problems(before, after, keys):
            yield _at_its_record(line, places)


def _by_tenant(
    store: Store, records: Sequence[ProviderRecord], tenant: str | None
) -> tuple[dict[str, _Batch], list[str]]:
    """Return the records by tenant, and what is wrong with each by itself."""
    batches: dict[str, _Batch] = {}
    problems: list[str] = []
    places: dict[tuple[str, str], str] = {}
    defaults: dict[str, str] = {}
    for index, record in enumerate(records):
        place = f"records.{index}"
        try:
            whose = queries.check_tenant(_tenant_of(record, tenant))
            key = _key_of(store, record, is_operators=tenant is None)
        except InvalidParameterError as error:
            problems.append(f"{place}.tenant_id: {error}")
            continue
        except VaultError as error:
            problems.append(f"{place}.encrypted_api_key: {error}")
            continue
        except ConfigError as error:
            problems += [f"{place}.{each}" for each in error.problems]
            continue
        first = places.setdefault((whose, record.known_as), place)
        if first != place:
            problems.append(f"{place}.name: {first} is of the same tenant and name")
        if record.is_default and defaults.setdefault(whose, place) != place:
            problems.append(f"{place}.is_default: {defaults[whose]} is the tenant's default")
        batches.setdefault(whose, _Batch(whose)).records[place] = (record, key)
    return batches, problems


def _tenant_of(record: ProviderRecord, tenant: str | None) -> str:
    if tenant is None:
        if record.tenant_id is None:
            raise InvalidParameterError("missing")
        return record.tenant_id
    if record.tenant_id not in {None, tenant}:
        raise InvalidParameterError("expected the token's own tenant, or none")
    return tenant


def _key_of(store: Store, record: ProviderRecord, *, is_operators: bool) -> SecretStr | None:
    """Return a record's key in clear.

    Nobody but the operator has one decrypted: it would open, for whoever has got hold of a
    ciphertext of another's, what is in it.
    """
    if record.encrypted_api_key is None:
        return record.api_key
    if record.api_key is not None:
        raise ConfigError("encrypted_api_key: expected it or api_key, not both")
    if not is_operators:
        raise ConfigError(f"encrypted_api_key: {_CIPHERTEXT}")
    return store.open_key(record.encrypted_api_key.get_secret_value())


def _with_rows(before: TenantRows, rows: Sequence[ProviderRow]) -> TenantRows:
    kept = before.providers
    if any(row.is_default for row in rows):
        kept = tuple(replace(each, is_default=False) for each in kept)
    return replace(before, providers=(*kept, *rows))


def _at_its_record(line: str, places: dict[str, ProviderRow]) -> str:
    """Return a problem with the place of the record that it is of, where it is of one."""
    for place, row in places.items():
        own = dotted(("providers", row.name))
        if line.startswith((f"{own}.", f"{own}: ")):
            (said,) = PROVIDERS.in_request_terms(row, [line])
            return f"{place}.{said}"
    return line
