"""What the vault's tests share: encryption keys, vaults, and the service's tables with keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from orchestify.database.sql import Database, database_url
from orchestify.errors import VaultError
from orchestify.server.storage.tables import agent_llm_configs, llm_providers, metadata, tenants
from orchestify.vault import Cipher, Vault, open_vault
from orchestify.vault.database_store import vault_database
from tests.ledgers import postgres_schema

OLD = "j8BFwQoQyG1a35yBh4fJ4SdSH3GJwQwbomTaLtc-Zm0="
NEW = "awUYdnsTSfEbysD9lcFozCsIjOJdKqRQq9k8NfxiHII="
FOREIGN = "5uykYUot3Y-kIIE9WCdShadOkPoiaJejwinJsMpTQz0="

KINDS = ["file", "sqlite", "postgres"]
MOMENT = datetime(2026, 3, 14, 12, tzinfo=UTC)


def environ(*keys: str) -> dict[str, str]:
    """The environment with these encryption keys, newest first."""
    return {"ORCHESTIFY_ENCRYPTION_KEYS": ",".join(keys)}


@contextmanager
def place(kind: str, folder: Path) -> Iterator[str]:
    """Where a vault of a kind may be, with nothing there; skips without PostgreSQL."""
    with ExitStack() as stack:
        if kind == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield {"file": f"{folder}/vault.json", "sqlite": f"sqlite:///{folder}/vault.db"}[kind]


@contextmanager
def vault_at(where: str, *keys: str) -> Iterator[Vault]:
    """The vault there, with these encryption keys, newest first."""
    with closing(open_vault(where, environ=environ(*keys))) as vault:
        yield vault


def names(vault: Vault) -> list[str]:
    return [each.name for each in vault.list()]


def secrets(vault: Vault, *which: str) -> dict[str, str]:
    return {name: vault.get(name).get_secret_value() for name in which}


def fingerprint(key: str, secret: str) -> str:
    """What Python's own hmac says a fingerprint is; `key` as raw bytes in hexadecimal."""
    message = b"orchestify secret:" + secret.encode()
    return hmac.new(bytes.fromhex(key), message, hashlib.sha256).hexdigest()[:12]


@contextmanager
def database_at(where: str) -> Iterator[Database]:
    """The database there, as the vault uses it."""
    database = vault_database(database_url(where, Path(), error=VaultError))
    try:
        yield database
    finally:
        database.dispose()


def make_service(where: str) -> None:
    """Make the service's tables."""
    with database_at(where) as database:
        database.run(metadata.create_all)


def add_service(where: str, key: str, provider_key: str, agent_key: str) -> None:
    """Add to the service's tables a provider and an agent with keys, and a provider without."""
    cipher = Cipher.from_env(environ(key))

    def add(connection: Connection) -> None:
        connection.execute(insert(tenants).values(id="acme", revision=1, created_at=MOMENT))
        for row in (_provider("p1", cipher, provider_key), _provider("p2", cipher, None)):
            connection.execute(insert(llm_providers).values(row))
        agent = _agent("a1", cipher, agent_key)
        connection.execute(insert(agent_llm_configs).values(agent))

    with database_at(where) as database:
        database.run(add)


def service_rows(where: str) -> dict[str, tuple[str | None, str | None]]:
    """Ciphertext and fingerprint of each of the service's rows, by id."""

    def read(connection: Connection) -> dict[str, tuple[str | None, str | None]]:
        providers, agents = llm_providers.c, agent_llm_configs.c
        found = [
            *connection.execute(
                select(providers.id, providers.encrypted_api_key, providers.key_fingerprint)
            ),
            *connection.execute(
                select(agents.id, agents.api_key_encrypted, agents.key_fingerprint)
            ),
        ]
        return {row[0]: (row[1], row[2]) for row in found}

    with database_at(where) as database:
        return database.run(read, read_only=True)


def service_secrets(where: str, *keys: str) -> dict[str, str]:
    """The keys of the service's rows that have one, by id."""
    cipher = Cipher.from_env(environ(*keys))
    rows = service_rows(where)
    return {
        name: cipher.decrypt(text).get_secret_value() for name, (text, _) in rows.items() if text
    }


def _provider(name: str, cipher: Cipher, key: str | None) -> dict[str, Any]:
    return {
        "id": name,
        "tenant_id": "acme",
        "name": name,
        "provider_type": "openai",
        "encrypted_api_key": cipher.encrypt(key) if key else None,
        "key_fingerprint": cipher.fingerprint_of(key) if key else None,
        "config": {},
        "is_active": True,
        "is_default": False,
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }


def _agent(name: str, cipher: Cipher, key: str) -> dict[str, Any]:
    return {
        "id": name,
        "tenant_id": "acme",
        "agent_id": name,
        "api_key_encrypted": cipher.encrypt(key),
        "key_fingerprint": cipher.fingerprint_of(key),
        "config": {},
        "enabled": True,
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }
