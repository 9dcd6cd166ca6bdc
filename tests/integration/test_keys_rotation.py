"""`orchestify keys rotate` and `list` over every vault there is: no key is dropped too early."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestify.cli import cli
from orchestify.vault import Cipher
from tests.vaults import (
    FOREIGN,
    NEW,
    OLD,
    add_service,
    environ,
    make_service,
    place,
    secrets,
    service_secrets,
    vault_at,
)

KEY = "sk-made-up-0123456789"
VAULT = "config/.orchestify/vault.json"
TENANTS = {"p1": "sk-tenant", "a1": "sk-agent"}
NEWEST, OLDER = Cipher.from_env(environ(NEW, OLD)).keys
MAY_BE_DROPPED = "may be dropped, for nothing here is under them (older backups still are):"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working one, and no database or vault in the environment."""
    for name in ("ORCHESTIFY_VAULT", "ORCHESTIFY_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys(*arguments: str, under: tuple[str, ...] = (NEW, OLD)) -> Result:
    return CliRunner(env=environ(*under)).invoke(cli, ["keys", *arguments])


def fill_file(key: str = OLD) -> None:
    with vault_at(VAULT, key) as vault:
        vault.set("gpt", KEY)


def fill_service(where: str, key: str = OLD) -> None:
    make_service(where)
    add_service(where, key, *TENANTS.values())


@pytest.fixture
def service(folder: Path) -> str:
    """The service's database where `serve` alone has it, with two keys of tenants."""
    (folder / ".orchestify").mkdir()
    where = f"sqlite:///{folder}/.orchestify/service.db"
    fill_service(where)
    return where


def test_the_files_vault_and_the_services_database_are_both_rotated(service: str) -> None:
    fill_file()
    result = keys("rotate")
    assert result.stdout.splitlines() == [
        f"re-encrypted 1 of 1 key in {VAULT}",
        f"re-encrypted 2 of 2 keys in {service}",
        f"the newest encryption key is {NEWEST}",
        MAY_BE_DROPPED,
        f"  {OLDER}",
    ]
    assert service_secrets(service, NEW) == TENANTS
    with vault_at(VAULT, NEW) as vault:
        assert secrets(vault, "gpt") == {"gpt": KEY}


def test_without_a_file_the_services_database_is_rotated(service: str) -> None:
    assert keys("rotate").stdout.startswith(f"re-encrypted 2 of 2 keys in {service}\n")
    assert service_secrets(service, NEW) == TENANTS


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_database_and_the_vault_that_variables_name_are_rotated(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place(kind, folder) as where:
        fill_service(where)
        fill_file()
        monkeypatch.setenv("ORCHESTIFY_DATABASE", where)
        monkeypatch.setenv("ORCHESTIFY_VAULT", "mine.json")
        with vault_at("mine.json", OLD) as vault:
            vault.set("claude", KEY)
        said = keys("rotate").stdout
        assert said.count("re-encrypted ") == 3
        assert MAY_BE_DROPPED in said
        assert service_secrets(where, NEW) == TENANTS
        with vault_at("mine.json", NEW) as vault:
            assert secrets(vault, "claude") == {"claude": KEY}


def test_a_store_that_cannot_be_rotated_lets_nothing_be_dropped(folder: Path) -> None:
    fill_file()
    (folder / ".orchestify").mkdir()
    fill_service(f"sqlite:///{folder}/.orchestify/service.db", FOREIGN)
    result = keys("rotate")
    assert result.exit_code == 1
    assert result.stdout == f"re-encrypted 1 of 1 key in {VAULT}\n"
    assert "opens 2 of 2 keys in sqlite:///" in result.stderr


def test_of_one_vault_alone_it_does_not_say_what_may_be_dropped(service: str) -> None:
    fill_file()
    said = keys("rotate", "--vault", VAULT).stdout
    assert f"needed by nothing in {VAULT}; other vaults were not looked at:\n  {OLDER}" in said
    assert "may be dropped, for" not in said
    assert service_secrets(service, OLD) == TENANTS


@pytest.mark.parametrize("order", [(OLD, NEW), (NEW, FOREIGN, OLD)], ids=["wrong", "again"])
def test_where_nothing_changed_an_unused_key_may_be_the_new_one(order: tuple[str, ...]) -> None:
    fill_file(order[0])
    said = keys("rotate", under=order).stdout
    unused = Cipher.from_env(environ(*order)).keys[1]
    assert said.startswith(f"re-encrypted 0 of 1 key in {VAULT}\n")
    assert f"key 2 ({unused.fingerprint}) is used by nothing here; if it is the new one" in said
    assert "may be dropped" not in said


def test_the_list_has_every_vault_and_counts_the_tenants_keys(service: str) -> None:
    fill_file(NEW)
    shown, listed = keys("list").stdout, json.loads(keys("list", "--json").stdout)
    assert f"Keys in {VAULT}" in shown
    assert f"2 keys of tenants in {service}: under key 2 ({OLDER.fingerprint})" in shown
    assert [each["where"] for each in listed] == [VAULT, service]
    assert [each["name"] for each in listed[0]["keys"]] == ["gpt"]
    assert listed[1]["tenants_keys"][0]["count"] == 2


def test_a_sqlite_file_given_as_a_path_is_told_apart_from_a_broken_vault(service: str) -> None:
    result = keys("list", "--vault", ".orchestify/service.db")
    assert result.exit_code == 1
    assert "is a database of SQLite; write it as sqlite:///.orchestify/service.db" in result.stderr
