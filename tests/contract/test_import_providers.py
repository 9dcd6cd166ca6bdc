"""Importing providers in both databases: all or none, each once, every problem at its record."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from orchestify.database.sql import Database
from orchestify.errors import ConfigError, VaultError
from orchestify.server.rows.provider_records import ProviderRecord
from orchestify.server.storage.importing import import_providers
from orchestify.server.storage.store import Store
from orchestify.vault.cipher import Cipher, new_encryption_key
from tests.tenants import (
    CIPHER,
    DATABASES,
    LOOPBACK,
    TEST,
    database_at,
    operators,
    provider,
    service_database,
)

KEY = "sk-made-up-key-0123456789"
RECORD = {"tenant_id": "acme", "provider_type": "openai", "encrypted_api_key": CIPHER.encrypt(KEY)}
SEED_004 = {
    "id": "9f0c7a52-5d36-4c3a-9d20-0a4e3a1d3a11",
    "tenant_id": "0b7c2f4e-2a61-4a44-8d9a-6f2b8f9c1d22",
    "provider_type": "anthropic",
    "encrypted_api_key": CIPHER.encrypt(KEY),
    "config": {"default_model": "claude-sonnet-4-6"},
    "is_active": True,
    "is_default": True,
    "created_at": "2025-01-01T00:00:00",
    "updated_at": "2025-01-02T00:00:00",
}


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with database_at(request.param, tmp_path) as url, service_database(url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database, operators(), CIPHER, LOOPBACK)


def records(*given: dict[str, Any]) -> list[ProviderRecord]:
    return [ProviderRecord.model_validate(each) for each in given]


def problems_of(store: Store, *given: dict[str, Any], tenant: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        import_providers(store, records(*given), TEST, tenant=tenant)
    assert KEY not in str(caught.value)
    return list(caught.value.problems)


def everything(database: Database) -> list[Any]:
    """All that a change would change: rows, revisions, the audit log."""
    queries = ("llm_providers ORDER BY id", "tenants ORDER BY id", "audit_log ORDER BY id")
    return [
        database.run(lambda each, q=query: list(each.execute(text(f"SELECT * FROM {q}"))))  # noqa: S608
        for query in queries
    ]


def test_a_record_of_the_seeds_table_is_a_provider_with_its_key(store: Store) -> None:
    (found,) = import_providers(store, records(SEED_004), TEST)
    (row,) = store.providers.page(SEED_004["tenant_id"]).rows
    assert (found.tenant, found.name, found.result) == (row.tenant_id, "anthropic", "added")
    assert (row.name, row.is_active, row.is_default) == ("anthropic", True, True)
    assert row.config == {"default_model": "claude-sonnet-4-6"}
    assert row.encrypted_api_key is not None
    assert store.open_key(row.encrypted_api_key).get_secret_value() == KEY
    assert row.key_fingerprint == CIPHER.fingerprint_of(KEY)


def test_a_second_import_changes_nothing(store: Store, database: Database) -> None:
    given = records(SEED_004, RECORD, {**RECORD, "name": "second"})
    import_providers(store, given, TEST)
    before = everything(database)
    again = import_providers(store, given, TEST)
    assert [each.result for each in again] == ["kept"] * 3
    assert everything(database) == before


def test_what_the_tenant_changed_or_removed_stays_so(store: Store) -> None:
    given = records(RECORD, {**RECORD, "name": "second"})
    import_providers(store, given, TEST)
    ids = {row.name: row.id for row in store.providers.page("acme").rows}
    store.providers.update("acme", ids["openai"], {"config": {"default_model": "mine"}}, TEST)
    store.providers.remove("acme", ids["second"], TEST)
    again = import_providers(store, [*given, *records({**RECORD, "name": "third"})], TEST)
    assert [each.result for each in again] == ["kept", "kept", "added"]
    rows = {row.name: row for row in store.providers.page("acme").rows}
    assert set(rows) == {"openai", "third"}
    assert rows["openai"].config == {"default_model": "mine"}


def test_each_problem_is_told_with_its_record_and_nothing_is_stored(
    store: Store, database: Database
) -> None:
    before = everything(database)
    found = problems_of(
        store,
        RECORD,
        {**RECORD, "name": "b", "config": {"modle": 1}},
        {**RECORD, "name": "c", "encrypted_api_key": "gAAAA-not-ours"},
        {**RECORD, "name": "d", "provider_type": "opnai"},
        {**RECORD, "tenant_id": "No Tenant"},
        {"provider_type": "openai"},
        {**RECORD, "name": "e", "api_key": KEY},
        {**RECORD, "name": "f", "encrypted_api_key": CIPHER.encrypt("two\nlines")},
        RECORD,
        {**RECORD, "name": "../g"},
        {**RECORD, "name": "h", "config": {"base_url": "http://169.254.169.254/"}},
    )
    assert [line.partition(": ")[0] for line in found] == [
        "records.2.encrypted_api_key",
        "records.4.tenant_id",
        "records.5.tenant_id",
        "records.6.encrypted_api_key",
        "records.8.name",
        "records.7.api_key",
        "records.1.config.modle",
        "records.3.provider_type",
        "records.9.name",
        "records.10.config.base_url",
    ]
    assert found[0].endswith("no encryption key that is set opens it")
    assert found[4].endswith("records.0 is of the same tenant and name")
    assert everything(database) == before


def test_a_tenant_whose_records_are_well_gets_none_where_anothers_are_not(
    store: Store, database: Database
) -> None:
    before = everything(database)
    other = {**RECORD, "tenant_id": "zeta", "config": {"modle": 1}}
    assert problems_of(store, RECORD, other) == ["records.1.config.modle: " + UNKNOWN_KEY]
    assert everything(database) == before


UNKNOWN_KEY = "unknown key; did you mean 'models'?"


def test_only_the_operator_has_keys_decrypted(store: Store) -> None:
    (found,) = problems_of(store, {**RECORD, "tenant_id": None}, tenant="mallory")
    assert found.startswith("records.0.encrypted_api_key: an encrypted key is taken from the op")


def test_a_tenant_imports_for_itself_only(store: Store) -> None:
    clear = {"provider_type": "openai", "api_key": KEY}
    (found,) = problems_of(store, {**clear, "tenant_id": "acme"}, tenant="mallory")
    assert found == "records.0.tenant_id: expected the token's own tenant, or none"
    (added,) = import_providers(store, records(clear), TEST, tenant="mallory")
    assert (added.tenant, added.result) == ("mallory", "added")


@pytest.mark.parametrize("key", [" ", "vault:x", "a\nb", "é", "\ud800", "x" * 5_000])
def test_what_is_no_key_is_refused_and_not_shown(store: Store, key: str) -> None:
    (found,) = problems_of(store, {"provider_type": "openai", "api_key": key}, tenant="acme")
    assert found.startswith("records.0.api_key: ")
    assert "x" * 100 not in found


def test_a_tenant_has_one_default(store: Store) -> None:
    store.providers.add("acme", provider("groq", KEY, is_default=True), TEST)
    default = {**RECORD, "is_default": True}
    (found,) = problems_of(store, default, {**default, "name": "second"})
    assert found == "records.1.is_default: records.0 is the tenant's default"
    import_providers(store, records(default), TEST)
    rows = store.providers.page("acme").rows
    assert [row.name for row in rows if row.is_default] == ["openai"]


def test_what_needs_no_key_has_an_empty_one_in_the_table(store: Store) -> None:
    local = {"tenant_id": "acme", "provider_type": "ollama", "encrypted_api_key": ""}
    import_providers(store, records(local), TEST)
    (row,) = store.providers.page("acme").rows
    assert (row.name, row.encrypted_api_key) == ("ollama", None)


def test_a_tenant_has_at_most_as_many_as_it_may(store: Store) -> None:
    local = {"tenant_id": "acme", "provider_type": "ollama"}
    many = [{**local, "name": f"n{number}"} for number in range(1001)]
    assert problems_of(store, *many) == ["tenant acme: a tenant has at most 1,000 providers"]
    assert len(import_providers(store, records(*many[:1000]), TEST)) == 1000


def test_no_key_is_imported_beside_keys_of_another_encryption(database: Database) -> None:
    other = Cipher.from_env({"ENCRYPTION_KEY": new_encryption_key()})
    Store(database, operators(), other).providers.add("acme", provider("groq", KEY), TEST)
    store = Store(database, operators(), CIPHER)
    with pytest.raises(VaultError, match="do not open the keys that are stored"):
        import_providers(store, records(RECORD), TEST)


def test_each_provider_is_in_the_audit_log_without_its_key(
    store: Store, database: Database
) -> None:
    import_providers(store, records(RECORD), TEST)
    (entry,) = everything(database)[2]
    assert (entry.action, entry.tenant_id) == ("provider.import", "acme")
    assert KEY not in str(entry)


def test_two_imports_at_once_add_each_provider_once(store: Store) -> None:
    given = records(*({**RECORD, "name": f"n{number}"} for number in range(20)))
    results: list[str] = []

    def run() -> None:
        results.extend(each.result for each in import_providers(store, given, TEST))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.providers.page("acme").rows) == 20
    assert (results.count("added"), results.count("kept")) == (20, 60)
