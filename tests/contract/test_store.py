"""What the store does in both databases: tenants' rows, their keys, what is refused, the audit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from orchestify.database.sql import Database
from orchestify.errors import (
    ConfigError,
    ConflictError,
    InvalidParameterError,
    NotFoundError,
    VaultError,
)
from orchestify.server.rows.stored_rows import NewAgent
from orchestify.server.storage.row_kinds import PROVIDERS
from orchestify.server.storage.store import Store
from orchestify.vault.cipher import Cipher, new_encryption_key
from tests.tenants import (
    CIPHER,
    DATABASES,
    LOOPBACK,
    TEST,
    agent,
    database_at,
    operators,
    provider,
    service_database,
)

OTHER_CIPHER = Cipher.from_env({"ENCRYPTION_KEY": new_encryption_key()})


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_at(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with service_database(url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database, operators(), CIPHER, LOOPBACK)


def rows_of(database: Database, query: str) -> list[Any]:
    return database.run(lambda each: list(each.execute(text(query)).all()))


def audited(database: Database) -> list[tuple[str, str]]:
    found = rows_of(database, "SELECT action, target FROM audit_log ORDER BY id")
    return [(action, target.partition(" ")[0]) for action, target in found]


class TestProviders:
    def test_what_was_added_is_read_back(self, store: Store) -> None:
        row = store.providers.add(
            "acme",
            provider("deepseek", "sk-1", default_model="m", price={"m": {"request_usd": 1}}),
            TEST,
        )
        assert store.providers.one("acme", row.id) == row
        assert (row.name, row.provider_type, row.is_active) == ("deepseek", "deepseek", True)
        assert row.config == {"default_model": "m", "price": {"m": {"request_usd": 1}}}
        assert row.key_fingerprint == CIPHER.fingerprint_of("sk-1")

    def test_the_key_is_stored_encrypted_only(self, store: Store, database: Database) -> None:
        row = store.providers.add("acme", provider(key="sk-secret"), TEST)
        assert row.encrypted_api_key is not None
        assert "sk-secret" not in str(rows_of(database, "SELECT * FROM llm_providers"))
        assert store.open_key(row.encrypted_api_key).get_secret_value() == "sk-secret"

    def test_what_is_not_written_does_not_change(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="sk-1", max_tokens=7), TEST)
        changed = store.providers.update("acme", row.id, {"is_default": True}, TEST)
        assert (changed.config, changed.is_default) == ({"max_tokens": 7}, True)
        assert changed.encrypted_api_key == row.encrypted_api_key
        assert changed.updated_at > row.updated_at
        assert changed.created_at == row.created_at

    def test_a_key_is_replaced(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="sk-1"), TEST)
        changed = store.providers.update("acme", row.id, {"api_key": SecretStr("sk-2")}, TEST)
        assert store.open_key(changed.encrypted_api_key or "").get_secret_value() == "sk-2"

    def test_a_key_is_taken_away(self, store: Store) -> None:
        row = store.providers.add(
            "acme", provider(key="k", base_url="https://llm.example.com"), TEST
        )
        changed = store.providers.update("acme", row.id, {"api_key": None}, TEST)
        assert (changed.encrypted_api_key, changed.key_fingerprint) == (None, None)

    def test_removal_destroys_the_key_and_frees_the_name(
        self, store: Store, database: Database
    ) -> None:
        row = store.providers.add("acme", provider(key="sk-1", is_default=True), TEST)
        gone = store.providers.remove("acme", row.id, TEST)
        assert (gone.is_active, gone.is_default, gone.encrypted_api_key) == (False, False, None)
        assert gone.key_fingerprint is None
        assert rows_of(database, "SELECT encrypted_api_key FROM llm_providers") == [(None,)]
        assert store.providers.one("acme", row.id).removed_at is not None
        assert store.providers.add("acme", provider(key="sk-2"), TEST).id != row.id

    def test_switching_off_keeps_key_and_name(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="sk-1"), TEST)
        off = store.providers.update("acme", row.id, {"is_active": False}, TEST)
        assert off.encrypted_api_key == row.encrypted_api_key
        with pytest.raises(ConflictError, match="of this name"):
            store.providers.add("acme", provider(key="sk-2"), TEST)
        assert store.providers.update("acme", row.id, {"is_active": True}, TEST).is_active

    def test_a_removed_one_comes_back_where_it_is_switched_on(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="sk-1"), TEST)
        store.providers.remove("acme", row.id, TEST)
        with pytest.raises(ConflictError, match="is_active"):
            store.providers.update("acme", row.id, {"config": {}}, TEST)
        changes = {"is_active": True, "api_key": SecretStr("sk-2")}
        assert store.providers.update("acme", row.id, changes, TEST).removed_at is None

    def test_there_is_one_default(self, store: Store) -> None:
        first = store.providers.add("acme", provider(key="k", is_default=True), TEST)
        store.providers.add("acme", provider("deepseek", "k", is_default=True), TEST)
        assert store.providers.one("acme", first.id).is_default is False

    def test_a_name_is_taken_once_a_tenant(self, store: Store) -> None:
        store.providers.add("acme", provider(key="k"), TEST)
        store.providers.add("other", provider(key="k"), TEST)
        with pytest.raises(ConflictError):
            store.providers.add("acme", provider(key="k"), TEST)

    def test_a_tenant_has_only_so_many(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        few = replace(store.providers, kind=replace(PROVIDERS, max_rows=2))
        for name in ("a", "b"):
            few.add("acme", provider(name=name, key="k"), TEST)
        with pytest.raises(ConflictError, match="at most 2 providers"):
            few.add("acme", provider(name="c", key="k"), TEST)

    def test_what_was_removed_long_ago_is_forgotten(self, store: Store) -> None:
        few = replace(store.providers, kind=replace(PROVIDERS, max_rows=2))
        for _ in range(4):
            row = store.providers.add("acme", provider(key="k"), TEST)
            few.remove("acme", row.id, TEST)
        assert len(store.providers.page("acme", removed=True).rows) == 2


class TestPages:
    def test_pages_come_in_the_order_of_making(self, store: Store) -> None:
        for name in ("c", "a", "b"):
            store.providers.add("acme", provider(key="k", name=name), TEST)
        first = store.providers.page("acme", limit=2)
        assert [each.name for each in first.rows] == ["c", "a"]
        second = store.providers.page("acme", limit=2, after=first.next)
        assert ([each.name for each in second.rows], second.next) == (["b"], None)

    def test_those_that_are_on_or_not_and_even_those_removed(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="k", name="a"), TEST)
        store.providers.add("acme", provider(key="k", name="b", is_active=False), TEST)
        store.providers.add("acme", provider(key="k", name="c"), TEST)
        store.providers.remove("acme", row.id, TEST)
        assert [each.name for each in store.providers.page("acme", active=True).rows] == ["c"]
        assert [each.name for each in store.providers.page("acme", active=False).rows] == ["b"]
        assert [each.name for each in store.providers.page("acme").rows] == ["b", "c"]
        everything = store.providers.page("acme", removed=True)
        assert [each.name for each in everything.rows] == ["a", "b", "c"]

    @pytest.mark.parametrize("limit", [0, -1, 1_001])
    def test_a_page_has_bounds(self, store: Store, limit: int) -> None:
        with pytest.raises(InvalidParameterError):
            store.providers.page("acme", limit=limit)


class TestAgents:
    def test_what_was_added_is_read_back(self, store: Store) -> None:
        given = agent(
            "writer",
            "sk-own",
            provider="house",
            temperature=0.5,
            max_tokens=10,
            fallback_provider="house",
            fallback_model="other",
            config={"metadata": {"a": [1]}},
        )
        row = store.agents.add("acme", given, TEST)
        assert store.agents.one("acme", row.id) == row
        assert (row.agent_id, row.temperature, row.config) == (
            "writer",
            0.5,
            {"metadata": {"a": [1]}},
        )
        assert store.open_key(row.api_key_encrypted or "").get_secret_value() == "sk-own"

    def test_it_is_changed_and_removed(self, store: Store) -> None:
        row = store.agents.add("acme", agent("writer", provider="house"), TEST)
        changed = store.agents.update("acme", row.id, {"temperature": 1.0}, TEST)
        assert (changed.temperature, changed.provider) == (1.0, "house")
        assert store.agents.remove("acme", row.id, TEST).enabled is False
        assert store.snapshot("acme").agents == ()
        assert store.agents.add("acme", agent("writer", provider="house"), TEST)

    def test_a_provider_that_an_agent_uses_stays(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="k", name="mine"), TEST)
        store.agents.add("acme", agent("writer", provider="mine"), TEST)
        store.agents.add("acme", agent("clerk", provider="house", fallback_provider="mine"), TEST)
        with pytest.raises(ConflictError) as caught:
            store.providers.remove("acme", row.id, TEST)
        assert str(caught.value) == (
            "agents writer, clerk use it; change or remove the agents first"
        )
        assert store.providers.one("acme", row.id).is_active


class TestRefusals:
    @pytest.mark.parametrize(
        "given",
        [
            provider("nope"),
            provider("openai"),
            provider(key="k", base_url="ftp://x"),
            provider(key="k", foo="x"),
        ],
    )
    def test_what_could_not_run_is_not_stored(
        self, store: Store, database: Database, given: Any
    ) -> None:
        with pytest.raises(ConfigError):
            store.providers.add("acme", given, TEST)
        assert store.providers.page("acme").rows == ()
        assert store.revisions() == {}
        assert audited(database) == []

    @pytest.mark.parametrize(
        ("given", "place"),
        [
            (provider(key="k", max_tokens=-1), "config.max_tokens: "),
            (provider("nope"), "provider_type: "),
            (provider(), "api_key: missing"),
            (agent("writer", provider="hose"), "provider: no such provider; did you mean 'house'"),
            (agent("writer", fallback_provider="x"), "fallback_provider: no such provider"),
            (
                agent("writer", fallback_provider="house", config={"fallback": ["x"]}),
                "config.fallback.0: no such provider",
            ),
        ],
    )
    def test_a_problem_names_the_field_as_the_request_does(
        self, store: Store, given: Any, place: str
    ) -> None:
        add = store.agents.add if isinstance(given, NewAgent) else store.providers.add
        with pytest.raises(ConfigError) as caught:
            add("acme", given, TEST)
        assert any(each.startswith(place) for each in caught.value.problems)

    def test_a_change_that_could_not_run_changes_nothing(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="k"), TEST)
        with pytest.raises(ConfigError, match="max_tokens"):
            store.providers.update("acme", row.id, {"config": {"max_tokens": -1}}, TEST)
        assert store.providers.one("acme", row.id) == row
        assert store.revisions() == {"acme": 1}

    @pytest.mark.parametrize(
        "changes",
        [
            *({"nmae": "x"}, {"id": "x"}, {"tenant_id": "other"}, {"config": 1}, {"name": None}),
            *({"is_active": "yes"}, {"encrypted_api_key": "x"}, {"removed_at": None}),
        ],
    )
    def test_only_a_rows_own_fields_change(self, store: Store, changes: dict[str, Any]) -> None:
        row = store.providers.add("acme", provider(key="k"), TEST)
        with pytest.raises(ConfigError):
            store.providers.update("acme", row.id, changes, TEST)
        assert store.providers.one("acme", row.id) == row

    @pytest.mark.parametrize("key", ["", " ", "vault:x", "a\nb", "é", "\ud800", "x" * 5_000])
    def test_what_is_no_key_is_refused_and_not_shown(self, store: Store, key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            store.providers.add("acme", provider(key=key), TEST)
        assert "api_key" in str(caught.value)
        assert "x" * 100 not in str(caught.value)

    def test_without_an_encryption_key_no_key_is_stored(self, database: Database) -> None:
        store = Store(database, operators(), None, LOOPBACK)
        with pytest.raises(VaultError, match="ORCHESTIFY_ENCRYPTION_KEYS"):
            store.providers.add("acme", provider(key="k"), TEST)
        row = store.providers.add("acme", provider("ollama"), TEST)
        assert row.encrypted_api_key is None
        assert store.providers.page("acme").rows == (row,)

    def test_beside_keys_that_do_not_open_no_key_is_stored(self, database: Database) -> None:
        store = Store(database, operators(), CIPHER, LOOPBACK)
        wrong = Store(database, operators(), OTHER_CIPHER, LOOPBACK)
        row = store.providers.add("acme", provider(key="k"), TEST)
        for tenant in ("acme", "other"):
            with pytest.raises(VaultError, match="do not open the keys that are stored"):
                wrong.providers.add(tenant, provider(key="k", name="more"), TEST)
        changed = wrong.providers.update("acme", row.id, {"config": {"max_tokens": 9}}, TEST)
        assert changed.encrypted_api_key == row.encrypted_api_key
        assert (wrong.check_keys().none_readable, store.check_keys().unreadable) == (True, 0)

    def test_the_only_key_that_does_not_open_is_replaced(self, database: Database) -> None:
        store = Store(database, operators(), CIPHER, LOOPBACK)
        wrong = Store(database, operators(), OTHER_CIPHER, LOOPBACK)
        row = store.providers.add("acme", provider(key="k"), TEST)
        changed = wrong.providers.update("acme", row.id, {"api_key": SecretStr("new")}, TEST)
        assert wrong.open_key(changed.encrypted_api_key or "").get_secret_value() == "new"

    def test_where_the_old_encryption_key_is_lost_keys_are_stored(self, database: Database) -> None:
        store = Store(database, operators(), CIPHER, LOOPBACK)
        store.providers.add("acme", provider(key="k"), TEST)
        lost = Store(database, operators(), OTHER_CIPHER, LOOPBACK, are_lost=True)
        assert lost.providers.add("acme", provider(key="k", name="more"), TEST).key_fingerprint

    def test_a_tenant_that_is_broken_can_be_mended_step_by_step(self, database: Database) -> None:
        store = Store(database, operators(), CIPHER, LOOPBACK)
        first = store.agents.add("acme", agent("one", provider="house"), TEST)
        store.agents.add("acme", agent("two", provider="house"), TEST)
        moved = Store(database, operators(providers={"new": {"type": "mock"}}), CIPHER, LOOPBACK)
        moved.agents.update("acme", first.id, {"provider": "new"}, TEST)
        with pytest.raises(ConfigError, match="no such provider"):
            moved.agents.add("acme", agent("three", provider="house"), TEST)

    @pytest.mark.parametrize("tenant", ["", "Acme", "a b", "-a", "a" * 64, "a/b", "a\0", "é"])
    def test_a_tenants_name_is_plain(self, store: Store, tenant: str) -> None:
        with pytest.raises(InvalidParameterError):
            store.providers.add(tenant, provider(key="k"), TEST)
        with pytest.raises(InvalidParameterError):
            store.snapshot(tenant)


class TestTenants:
    def test_no_row_of_another_tenant_is_reached(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="k"), TEST)
        own = store.agents.add("acme", agent("writer", provider="house"), TEST)
        for reach in (
            lambda: store.providers.one("other", row.id),
            lambda: store.providers.update("other", row.id, {"is_active": False}, TEST),
            lambda: store.providers.remove("other", row.id, TEST),
            lambda: store.agents.one("other", own.id),
            lambda: store.agents.update("other", own.id, {"enabled": False}, TEST),
            lambda: store.agents.remove("other", own.id, TEST),
        ):
            with pytest.raises(NotFoundError):
                reach()
        assert store.providers.page("other").rows == ()
        assert store.agents.page("other").rows == ()
        assert store.snapshot("other").providers == ()
        assert store.providers.one("acme", row.id) == row

    def test_a_page_does_not_go_on_into_another_tenant(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="k"), TEST)
        store.providers.add("other", provider(key="k"), TEST)
        assert store.providers.page("acme", after=row.id).rows == ()

    def test_each_change_raises_the_tenants_revision_alone(self, store: Store) -> None:
        row = store.providers.add("acme", provider(key="k"), TEST)
        store.providers.add("other", provider(key="k"), TEST)
        store.providers.update("acme", row.id, {"is_default": True}, TEST)
        assert store.revisions() == {"acme": 2, "other": 1}
        assert store.revisions(["other", "nobody"]) == {"other": 1}
        assert store.snapshot("acme").revision == 2

    def test_a_tenant_is_made_once(self, store: Store, database: Database) -> None:
        assert store.add_tenant("acme", TEST)
        assert not store.add_tenant("acme", TEST)
        assert store.revisions() == {"acme": 0}
        assert audited(database) == [("tenant.add", "acme")]

    def test_a_tenant_that_nobody_knows_has_nothing(self, store: Store) -> None:
        assert store.snapshot("nobody").revision == 0

    def test_changes_at_once_come_one_after_the_other(self, store: Store) -> None:
        def add(name: str) -> None:
            store.providers.add("acme", provider(key="k", name=name, is_default=True), TEST)

        threads = [threading.Thread(target=add, args=(f"p{number}",)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        rows = store.snapshot("acme")
        assert (rows.revision, len(rows.providers)) == (8, 8)
        assert sum(each.is_default for each in rows.providers) == 1


class TestAudit:
    def test_every_change_is_there_with_who_and_from_where(
        self, store: Store, database: Database
    ) -> None:
        row = store.providers.add("acme", provider(key="sk-secret"), TEST)
        store.providers.update("acme", row.id, {"config": {"max_tokens": 5}}, TEST)
        store.providers.remove("acme", row.id, TEST)
        own = store.agents.add("acme", agent("writer", provider="house"), TEST)
        store.agents.update("acme", own.id, {"enabled": False}, TEST)
        store.agents.remove("acme", own.id, TEST)
        assert audited(database) == [
            ("provider.add", "openai"),
            ("provider.update", "openai"),
            ("provider.remove", "openai"),
            ("agent.add", "writer"),
            ("agent.update", "writer"),
            ("agent.remove", "writer"),
        ]
        found = rows_of(
            database, "SELECT DISTINCT tenant_id, actor, remote, outcome FROM audit_log"
        )
        assert found == [("acme", "test", "127.0.0.1", "ok")]
        assert "sk-secret" not in str(rows_of(database, "SELECT * FROM audit_log"))
