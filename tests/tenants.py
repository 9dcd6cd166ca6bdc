"""What the service's tests share: a database, an operator's configuration, registries."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from orchestify.core.addresses import AddressRule
from orchestify.core.config import Config, parse_config
from orchestify.database.sql import Database, database_url
from orchestify.errors import StoreError
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.ledger.sql.schema import ledger_database
from orchestify.server.rows.stored_rows import NewAgent, NewProvider
from orchestify.server.storage.audit import Actor
from orchestify.server.storage.migrations import migrate
from orchestify.server.storage.store import Store
from orchestify.server.tenants.registry import TenantRegistry
from orchestify.vault.cipher import Cipher
from tests.ledgers import postgres_schema

ENCRYPTION_KEY = "awUYdnsTSfEbysD9lcFozCsIjOJdKqRQq9k8NfxiHII="
CIPHER = Cipher.from_env({"ENCRYPTION_KEY": ENCRYPTION_KEY})
LOOPBACK = AddressRule(loopback=True)
TEST = Actor("test", "127.0.0.1")
DATABASES = ["sqlite", "postgres"]


@contextmanager
def database_at(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database; skips without PostgreSQL."""
    with ExitStack() as stack:
        if kind == "postgres":
            yield stack.enter_context(postgres_schema())
        else:
            yield f"sqlite:///{folder}/service.db"


@contextmanager
def service_database(url: str) -> Iterator[Database]:
    """The service's database at a URL, closed afterwards."""
    where = database_url(url, Path(), name="--database", error=StoreError)
    found = Database(where, migrate=migrate, name="the service's database", error=StoreError)
    try:
        yield found
    finally:
        found.dispose()


def operators(**top: Any) -> Config:
    """An operator's configuration; one provider, `house`, where none is given."""
    house = {"type": "mock", "default_model": "house-model"}
    return parse_config(json.dumps({"providers": {"house": house}, **top}), environ={})


def provider(provider_type: str = "openai", key: str | None = None, **fields: Any) -> NewProvider:
    """A provider to add; what is no field of it goes into its `config`."""
    own = {name: fields.pop(name) for name in ("name", "is_active", "is_default") if name in fields}
    secret = None if key is None else SecretStr(key)
    return NewProvider(provider_type=provider_type, api_key=secret, config=fields, **own)


def agent(agent_id: str, key: str | None = None, **fields: Any) -> NewAgent:
    """An agent to add."""
    secret = None if key is None else SecretStr(key)
    return NewAgent(agent_id=agent_id, api_key=secret, **fields)


@dataclass(frozen=True)
class Tenanted:
    """A store, its ledger and the tenants' registries over one database."""

    store: Store
    ledger: SqlLedger
    tenants: TenantRegistry


@asynccontextmanager
async def tenanted(
    url: str, base: Config, *, cipher: Cipher | None = CIPHER, **keywords: Any
) -> AsyncIterator[Tenanted]:
    """A service's parts without its HTTP; a change is asked for when a test says so."""
    with service_database(url) as database:
        store = Store(database, base, cipher, LOOPBACK)
        ledger = SqlLedger(ledger_database(database_url(url, Path())))
        tenants = TenantRegistry(store, ledger, **{"poll_s": 3600.0, **keywords})
        try:
            yield Tenanted(store, ledger, tenants)
        finally:
            await tenants.aclose()
            await ledger.aclose()
