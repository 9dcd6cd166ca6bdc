"""The vault beside the service's tables; and no key in clear, wherever the vault is kept."""

from __future__ import annotations

import base64
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from orchestify.errors import VaultError
from orchestify.vault import Cipher, rotate
from orchestify.vault.database_store import DatabaseStore
from tests.vaults import (
    FOREIGN,
    NEW,
    OLD,
    add_service,
    database_at,
    environ,
    make_service,
    names,
    place,
    secrets,
    service_rows,
    service_secrets,
    vault_at,
)

CLAUDE = "sk-ant-made-up-5f0c1d7e9b"
GPT = "sk-proj-made-up-a83be41f60"
PROVIDER = "sk-tenant-made-up-77d0e2c915"
AGENT = "sk-agent-made-up-1c4b9a3f08"
ALL = (CLAUDE, GPT, PROVIDER, AGENT)
BOTH = Cipher.from_env(environ(NEW, OLD))


@pytest.fixture(params=["sqlite", "postgres"], name="where")
def where_(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with the service's tables, two keys in the vault, all under the old key."""
    with place(request.param, tmp_path) as where:
        make_service(where)
        fill(where)
        add_service(where, OLD, PROVIDER, AGENT)
        yield where


def fill(where: str) -> None:
    with vault_at(where, OLD) as vault:
        vault.add({"claude_main": CLAUDE, "gpt": GPT})


def rotated(where: str) -> None:
    with vault_at(where, NEW, OLD) as vault:
        vault.rotate()


class TestRotationOfTheService:
    def test_its_rows_are_put_under_the_newest_key(self, where: str) -> None:
        with vault_at(where, NEW, OLD) as vault:
            rotation = vault.rotate()
        assert (rotation.changed, rotation.total, len(rotation.droppable)) == (4, 4, 1)
        assert service_secrets(where, NEW) == {"p1": PROVIDER, "a1": AGENT}

    def test_their_fingerprints_follow(self, where: str) -> None:
        rotated(where)
        fingerprints = {name: row[1] for name, row in service_rows(where).items()}
        assert fingerprints == {
            "p1": BOTH.fingerprint_of(PROVIDER),
            "p2": None,
            "a1": BOTH.fingerprint_of(AGENT),
        }

    def test_a_row_that_no_key_opens_stops_it_all(self, where: str) -> None:
        before = service_rows(where)
        with vault_at(where, NEW) as vault, pytest.raises(VaultError) as caught:
            vault.rotate()
        assert "claude_main, gpt, llm_providers p1, agent_llm_configs a1;" in str(caught.value)
        assert service_rows(where) == before

    def test_it_is_done_with_the_services_own_database_too(self, where: str) -> None:
        with database_at(where) as database:
            rotation = rotate(DatabaseStore(database, "the service's database"), BOTH)
        assert (rotation.changed, rotation.total) == (4, 4)

    def test_a_wrong_password_is_not_told(self) -> None:
        address = "postgresql://nobody:my-password@127.0.0.1:1/none?sslmode=disable"
        with vault_at(address, OLD) as vault, pytest.raises(VaultError) as caught:
            vault.list()
        assert "the vault's database postgresql://nobody:***@127.0.0.1:1/none" in str(caught.value)
        assert "my-password" not in f"{caught.value} {vault.where}"


def test_a_vault_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/vault.db"
    with vault_at(where, OLD) as vault, pytest.raises(VaultError) as caught:
        vault.get("gpt")
    assert str(caught.value) == (
        f"there is no vault at sqlite:///{tmp_path}/vault.db; `orchestify keys set gpt` makes it"
    )
    assert vault.list() == ()
    assert list(tmp_path.iterdir()) == []


class TestNoKeyIsInClear:
    """Searched byte by byte, as itself and in base64 at each offset."""

    def test_in_a_vaults_file_and_its_neighbours(self, tmp_path: Path) -> None:
        where = str(tmp_path / "vault.json")
        fill(where)
        rotated(where)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["vault.json", "vault.json.lock"]
        assert found_in(files(tmp_path)) == []

    def test_in_a_sqlite_file_its_log_and_its_backups(self, tmp_path: Path) -> None:
        where = f"sqlite:///{tmp_path}/vault.db"
        with vault_at(where, OLD) as kept_open:
            make_service(where)
            kept_open.add({"claude_main": CLAUDE, "gpt": GPT})
            add_service(where, OLD, PROVIDER, AGENT)
            rotated(where)
            kept_open.remove("gpt")
            back_up(tmp_path / "vault.db", tmp_path / "copy.db", tmp_path / "vacuumed.db")
            found = {path.name for path in tmp_path.iterdir()}
            assert {"vault.db", "vault.db-wal", "copy.db", "vacuumed.db"} <= found
            assert found_in(files(tmp_path)) == []

    def test_in_postgresql_and_its_dumps(self, tmp_path: Path) -> None:
        with place("postgres", tmp_path) as where:
            make_service(where)
            fill(where)
            add_service(where, OLD, PROVIDER, AGENT)
            before = [*copies(where), *dump(where)]
            rotated(where)
            after = [*copies(where), *dump(where)]
        assert b"claude_main" in before[0]
        assert found_in([*before, *after]) == []

    def test_the_search_finds_what_is_in_clear(self) -> None:
        in_base64 = base64.b64encode(b"x" + CLAUDE.encode() + b"yz")
        assert found_in([b"{" + GPT.encode() + b"}"]) == [GPT]
        assert found_in([in_base64]) == [CLAUDE]


def test_a_backup_is_a_vault(tmp_path: Path) -> None:
    fill(f"sqlite:///{tmp_path}/vault.db")
    back_up(tmp_path / "vault.db", tmp_path / "copy.db", tmp_path / "vacuumed.db")
    with vault_at(f"sqlite:///{tmp_path}/copy.db", OLD) as copy:
        assert secrets(copy, *names(copy)) == {"claude_main": CLAUDE, "gpt": GPT}


def test_a_vault_of_others_is_left_as_it_is(where: str) -> None:
    before = service_rows(where)
    with vault_at(where, FOREIGN) as wrong, pytest.raises(VaultError, match="opens 4 of 4 keys"):
        wrong.rotate()
    with vault_at(where, FOREIGN) as wrong, pytest.raises(VaultError, match="opens 'claude_main',"):
        wrong.set("new", "sk-9")
    assert service_rows(where) == before
    with vault_at(where, OLD) as vault:
        assert secrets(vault, *names(vault)) == {"claude_main": CLAUDE, "gpt": GPT}


def back_up(path: Path, copy: Path, vacuumed: Path) -> None:
    """Copy a database by SQLite's backup, and by VACUUM INTO."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        source.execute("VACUUM INTO ?", (str(vacuumed),))


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


def copies(where: str) -> list[bytes]:
    """The tables as COPY writes them."""
    tables = ("vault_keys", "llm_providers", "agent_llm_configs")
    with psycopg.connect(where) as connection:
        return [_copied(connection, table) for table in tables]


def _copied(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as rows:
        return b"".join(bytes(row) for row in rows)


def dump(where: str) -> list[bytes]:
    """What pg_dump writes of the schema, where there is a pg_dump."""
    program = shutil.which("pg_dump")
    parts = urlsplit(where)
    schema = parse_qs(parts.query)["options"][0].partition("search_path=")[2]
    url = parts._replace(query="").geturl()
    if program is None:
        return []
    done = subprocess.run([program, url, "-n", schema], capture_output=True, check=False)  # noqa: S603
    return [done.stdout] if done.returncode == 0 else []


def found_in(contents: list[bytes]) -> list[str]:
    """The keys that stand in one of the contents."""
    return [
        key
        for key in ALL
        if any(form in content for content in contents for form in forms(key.encode()))
    ]


def forms(key: bytes) -> list[bytes]:
    """A key as itself, and the middle of its base64 at each of the three offsets."""
    shifted = [base64.b64encode(b"\0" * offset + key)[4:-4] for offset in range(3)]
    return [key, key.decode().encode("utf-16-le"), key.hex().encode(), *shifted]
