from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestify.errors import VaultError
from orchestify.vault import Place, Sealed, Vault, open_vault
from orchestify.vault.file_store import FileStore
from tests.vaults import NEW, OLD, environ, names, secrets, vault_at


@pytest.fixture(name="path")
def path_(tmp_path: Path) -> Path:
    """A vault's file with one key."""
    path = tmp_path / "vault.json"
    with vault_at(str(path), OLD) as vault:
        vault.set("claude_main", "sk-1")
    return path


def refusal(path: Path) -> str:
    with vault_at(str(path), OLD) as vault, pytest.raises(VaultError) as caught:
        vault.get("claude_main")
    return str(caught.value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "vault.json"
    with umask(0), vault_at(str(path), OLD) as vault:
        vault.set("a", "sk-1")
    assert [mode(each) for each in sorted(tmp_path.iterdir())] == [0o600, 0o600]


def test_it_stays_so_after_a_change_and_a_rotation(path: Path) -> None:
    with umask(0), vault_at(str(path), NEW, OLD) as vault:
        vault.set("b", "sk-2")
        vault.rotate()
    assert mode(path) == 0o600


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_use_is_refused(path: Path, wrong: int) -> None:
    path.chmod(wrong)
    assert refusal(path) == (
        f"{path} may be used by others than its owner (mode {wrong:o}); run: chmod 600 {path}"
    )
    with vault_at(str(path), OLD) as vault, pytest.raises(VaultError, match="chmod 600"):
        vault.set("b", "sk-2")


def test_it_holds_names_moments_and_ciphertexts(path: Path) -> None:
    document = json.loads(path.read_text())
    assert document.keys() == {"version", "keys"}
    assert document["version"] == 1
    assert document["keys"].keys() == {"claude_main"}
    assert document["keys"]["claude_main"].keys() == {"ciphertext", "set_at"}


def test_a_newer_file_is_refused(path: Path) -> None:
    path.write_text('{"version": 2}')
    assert refusal(path) == f"{path} is of version 2, this orchestify knows 1; upgrade it"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 1, "keys": []}',
        '{"version": 1, "keys": {"a": {"ciphertext": 1, "set_at": "2026-03-14"}}}',
        '{"version": 1, "keys": {"a": {"ciphertext": "x", "set_at": "noon"}}}',
        "\udcff",
    ],
)
def test_a_broken_file_is_told_and_left(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert refusal(path) == (f"{path} is not a vault: its JSON is broken; restore it from a backup")
    with vault_at(str(path), OLD) as vault, pytest.raises(VaultError, match="is not a vault"):
        vault.set("a", "sk-2")
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} cannot be read: is a directory"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" / "vault.json"
    with vault_at(str(where), OLD) as vault, pytest.raises(VaultError) as caught:
        vault.set("a", "sk-1")
    assert str(caught.value) == f"{where} cannot be written: file exists"


def test_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    with vault_at(str(link), OLD) as vault:
        vault.set("b", "sk-2")
    assert link.is_symlink()
    with vault_at(str(path), OLD) as vault:
        assert names(vault) == ["b", "claude_main"]


def test_what_a_killed_writer_left_is_replaced(path: Path) -> None:
    left = path.with_name("vault.json.new")
    left.write_text("{")
    with vault_at(str(path), OLD) as vault:
        vault.set("b", "sk-2")
        assert names(vault) == ["b", "claude_main"]
    assert not left.exists()


def test_a_writer_waits_for_another_only_so_long(path: Path) -> None:
    vault = Vault(FileStore(path, busy_s=0.05), environ(OLD))
    with path.with_name("vault.json.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(VaultError, match=r"held by another process that writes, for more than"):
            vault.set("b", "sk-2")
        assert secrets(vault, "claude_main") == {"claude_main": "sk-1"}


def test_the_file_is_beside_the_configuration_unless_said_otherwise(tmp_path: Path) -> None:
    there = environ(OLD)
    elsewhere = {**there, "ORCHESTIFY_VAULT": f"{tmp_path}/other.json"}
    config = tmp_path / "config"
    assert open_vault(base_dir=config, environ=there).where == f"{config}/.orchestify/vault.json"
    assert open_vault(base_dir=config, environ=elsewhere).where == f"{tmp_path}/other.json"
    assert open_vault("mine.json", base_dir=config, environ=elsewhere).where == "mine.json"


def test_an_address_is_of_a_database_that_is_known() -> None:
    with pytest.raises(VaultError) as caught:
        open_vault("mysql://host/vault")
    assert str(caught.value) == (
        "the vault's address is neither sqlite:///path/to/file.db nor "
        "postgresql://user@host/database"
    )


def test_a_key_that_was_used_after_the_rotation_is_still_needed(path: Path) -> None:
    rotation = Vault(_Overtaken(path), environ(NEW, OLD)).rotate()
    newest, old = Vault(FileStore(path), environ(NEW, OLD)).cipher().keys
    assert rotation.newest == newest
    assert rotation.droppable == ()
    assert rotation.needed == {old: 1}


class _Overtaken(FileStore):
    """A store in which, after every rotation, a process that prefers the old key writes."""

    def reseal(self, work: Callable[[Mapping[Place, str]], Mapping[Place, Sealed]]) -> int:
        changed = super().reseal(work)
        Vault(FileStore(self._path), environ(OLD, NEW)).set("late", "sk-3")
        return changed
