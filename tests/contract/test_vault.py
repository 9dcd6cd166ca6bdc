"""What every vault does, in a file, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestify.errors import VaultError
from orchestify.vault import Vault
from tests.vaults import FOREIGN, KINDS, NEW, OLD, names, place, secrets, vault_at


@pytest.fixture(params=KINDS, name="where")
def where_(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with place(request.param, tmp_path) as where:
        yield where


@pytest.fixture(name="vault")
def vault_(where: str) -> Iterator[Vault]:
    with vault_at(where, OLD) as vault:
        yield vault


@pytest.fixture(name="filled")
def filled_(where: str, vault: Vault) -> str:
    """A vault with two keys under the old encryption key; where it is."""
    vault.add({"claude_main": "sk-1", "gpt": "sk-2"})
    return where


def refusal(where: str, *keys: str, name: str = "claude_main") -> str:
    with vault_at(where, *keys) as vault, pytest.raises(VaultError) as caught:
        vault.get(name)
    return str(caught.value)


def test_a_key_comes_back_as_it_was_set(where: str, vault: Vault) -> None:
    vault.set("claude_main", SecretStr("sk-1"))
    with vault_at(where, OLD) as again:
        assert again.get("claude_main") == SecretStr("sk-1")


def test_a_key_that_is_set_again_is_replaced(vault: Vault) -> None:
    vault.set("gpt", "sk-1")
    vault.set("gpt", "sk-2")
    assert secrets(vault, "gpt") == {"gpt": "sk-2"}
    assert names(vault) == ["gpt"]


def test_what_is_there_already_is_left_by_add(vault: Vault) -> None:
    vault.set("b", "sk-1")
    assert vault.add({"a": "sk-2", "b": "sk-3"}) == ("a",)
    assert secrets(vault, "a", "b") == {"a": "sk-2", "b": "sk-1"}


def test_a_missing_name_says_how_to_set_it(filled: str) -> None:
    message = refusal(filled, OLD, name="other")
    assert message.startswith("no key 'other' in the vault ")
    assert message.endswith("; `orchestify keys set other` sets it")


def test_an_empty_vault_lists_nothing(vault: Vault) -> None:
    assert vault.list() == ()


def test_a_list_is_by_name_and_holds_no_key(filled: str, vault: Vault) -> None:
    vault.set("azure", "sk-3")
    rows = vault.list()
    assert [row.name for row in rows] == ["azure", "claude_main", "gpt"]
    assert [row.key for row in rows] == [vault.cipher().keys[0]] * 3
    assert rows[1].fingerprint == vault.cipher().fingerprint_of("sk-1")
    assert abs(datetime.now(UTC) - rows[0].set_at) < timedelta(minutes=1)
    assert "sk-" not in repr(rows)


def test_a_removed_key_is_gone(filled: str, vault: Vault) -> None:
    vault.remove("gpt")
    assert names(vault) == ["claude_main"]
    with pytest.raises(VaultError, match=r"^no such key in the vault .*; `orchestify keys list`$"):
        vault.remove("gpt")


def test_removing_needs_no_encryption_key(filled: str) -> None:
    with vault_at(filled) as keyless:
        keyless.remove("gpt")
    with vault_at(filled, OLD) as vault:
        assert names(vault) == ["claude_main"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "a" * 65, "a\n"])
def test_a_name_is_a_plain_word(vault: Vault, name: str) -> None:
    with pytest.raises(VaultError, match=r"^a key's name has 1 to 64 letters, digits, dots"):
        vault.set(name, "sk-1")
    assert vault.list() == ()


@pytest.mark.parametrize("key", ["", " \n", "two\nlines", "schlüssel", "vault:x"])
def test_what_no_configuration_would_take_is_not_kept(vault: Vault, key: str) -> None:
    with pytest.raises(VaultError, match=r"^the key for 'good' is (empty; nothing was cha|none: )"):
        vault.add({"fine": "sk-1", "good": key})
    assert vault.list() == ()


class TestWithoutTheRightEncryptionKey:
    def test_a_missing_one_is_told(self, filled: str) -> None:
        message = refusal(filled)
        assert message.startswith("'claude_main' in the vault ")
        assert ": no encryption key is set; put it into ORCHESTIFY_ENCRYPTION_KEYS " in message

    def test_a_wrong_one_is_told(self, filled: str) -> None:
        assert refusal(filled, FOREIGN).endswith(": no encryption key that is set opens it")

    def test_nothing_is_put_beside_what_it_does_not_open(self, filled: str) -> None:
        with vault_at(filled, FOREIGN) as wrong, pytest.raises(VaultError) as caught:
            wrong.set("gpt", "sk-9")
        assert str(caught.value).startswith(
            "no encryption key that is set opens 'claude_main', 'gpt' in the vault "
        )
        with vault_at(filled, OLD) as vault:
            assert secrets(vault, "claude_main", "gpt") == {"claude_main": "sk-1", "gpt": "sk-2"}

    def test_what_is_there_is_listed_by_name_alone(self, filled: str) -> None:
        with vault_at(filled, FOREIGN) as wrong:
            assert [(row.name, row.fingerprint, row.key) for row in wrong.list()] == [
                ("claude_main", None, None),
                ("gpt", None, None),
            ]


class TestRotation:
    def test_everything_is_put_under_the_newest_key(self, filled: str) -> None:
        with vault_at(filled, NEW, OLD) as vault:
            rotation = vault.rotate()
        with vault_at(filled, NEW) as vault:
            assert secrets(vault, "claude_main", "gpt") == {"claude_main": "sk-1", "gpt": "sk-2"}
        assert (rotation.changed, rotation.total) == (2, 2)

    def test_the_old_keys_may_be_dropped_then(self, filled: str) -> None:
        with vault_at(filled, NEW, OLD, FOREIGN) as vault:
            newest, *older = vault.cipher().keys
            rotation = vault.rotate()
        assert rotation.newest == newest
        assert rotation.droppable == tuple(older)
        assert rotation.needed == {}

    def test_a_second_one_changes_nothing(self, filled: str) -> None:
        with vault_at(filled, NEW, OLD) as vault:
            vault.rotate()
            again = vault.rotate()
        assert (again.changed, again.total, len(again.droppable)) == (0, 2, 1)

    def test_moments_and_names_stay(self, filled: str) -> None:
        with vault_at(filled, NEW, OLD) as vault:
            before = [(row.name, row.set_at) for row in vault.list()]
            vault.rotate()
            assert [(row.name, row.set_at) for row in vault.list()] == before

    def test_of_nothing_changes_nothing(self, vault: Vault) -> None:
        rotation = vault.rotate()
        assert (rotation.changed, rotation.total) == (0, 0)

    def test_what_no_key_opens_stops_it_and_is_named(self, filled: str) -> None:
        with vault_at(filled, NEW) as vault, pytest.raises(VaultError) as caught:
            vault.rotate()
        assert "opens 2 of 2 keys in " in str(caught.value)
        assert ": claude_main, gpt; nothing was changed; " in str(caught.value)
        with vault_at(filled, OLD) as vault:
            assert names(vault) == ["claude_main", "gpt"]


def test_writers_at_once_lose_nothing_of_each_other(where: str, vault: Vault) -> None:
    vault.set("first", "sk-0")

    def write(number: int) -> None:
        with vault_at(where, OLD) as own:
            own.set(f"key-{number}", f"sk-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    assert names(vault) == sorted(["first", *(f"key-{number}" for number in range(16))])
    assert secrets(vault, "first", "key-15") == {"first": "sk-0", "key-15": "sk-15"}


def test_a_rotation_while_others_write_loses_nothing(where: str, vault: Vault) -> None:
    vault.set("first", "sk-0")

    def write(number: int) -> None:
        with vault_at(where, NEW, OLD) as own:
            own.set(f"key-{number}", f"sk-{number}")
            own.rotate()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    with vault_at(where, NEW) as renewed:
        assert secrets(renewed, "first", "key-7") == {"first": "sk-0", "key-7": "sk-7"}
        assert len(renewed.list()) == 9
