"""A vault in a database, for several machines; rotation covers the service's tables there too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import (
    URL,
    Column,
    ColumnClause,
    Connection,
    DateTime,
    MetaData,
    String,
    Table,
    TableClause,
    Text,
    column,
    delete,
    func,
    insert,
    inspect,
    select,
    table,
    text,
    update,
)

from orchestify.database.sql import Database, shown_url
from orchestify.errors import VaultError
from orchestify.vault.store import VAULT_KEYS, Entry, Place, Sealed

T = TypeVar("T")

_MIGRATION_LOCK = 7_203_051_118_943  # any number, the same in every version

metadata = MetaData()

vault_keys = Table(
    VAULT_KEYS,
    metadata,
    Column("name", String(64), primary_key=True),
    Column("ciphertext", Text, nullable=False),
    # in UTC; SQLite keeps it without a zone
    Column("set_at", DateTime(timezone=True), nullable=False),
)

_SERVICE = {"llm_providers": "encrypted_api_key", "agent_llm_configs": "api_key_encrypted"}
"""The service's tables with keys and their columns; beside each stands `key_fingerprint`."""


def migrate(connection: Connection) -> None:
    """Make the vault's table where it is missing; for `Database(migrate=...)`."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    metadata.create_all(connection)


def vault_database(url: URL) -> Database:
    """Return the database at `url`, with the vault's table from its first use on."""
    return Database(url, "power", migrate=migrate, name="the vault's database", error=VaultError)


class DatabaseStore:
    """The entries in the table `vault_keys`; a writer locks it until its transaction's end.

    Rotation replaces the ciphertexts of the service's tables in the same transaction, where they
    stand in the same database.
    """

    def __init__(self, database: Database, where: str, path: Path | None = None) -> None:
        self.where = where
        self._database = database
        self._path = path

    @classmethod
    def at(cls, url: URL) -> DatabaseStore:
        """Return the store in the database at `url`."""
        where = shown_url(url)
        path = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
        return cls(vault_database(url), where, path)

    def read(self) -> dict[str, Entry] | None:
        """Return the entries by name; None where the SQLite file is not there."""
        if self._path is not None and not self._path.exists():
            return None
        return self._database.run(_entries, read_only=True)

    def change(self, work: Callable[[dict[str, Entry]], T]) -> T:
        """Give `work` the entries to change in place, and keep what it made of them."""

        def change(connection: Connection) -> T:
            _lock(connection, [VAULT_KEYS])
            before = _entries(connection)
            entries = dict(before)
            result = work(entries)
            _keep(connection, before, entries)
            return result

        return self._database.run(change)

    def sealed(self) -> dict[Place, str]:
        """Return every ciphertext by its place, those of the service's tables too."""
        if self._path is not None and not self._path.exists():
            return {}
        return self._database.run(
            lambda connection: _sealed(connection, _service_tables(connection)), read_only=True
        )

    def reseal(self, work: Callable[[Mapping[Place, str]], Mapping[Place, Sealed]]) -> int:
        """Replace ciphertexts by what `work` makes of them, in one transaction."""

        def reseal(connection: Connection) -> int:
            tables = _service_tables(connection)
            _lock(connection, [VAULT_KEYS, *tables])
            changed = work(_sealed(connection, tables))
            _replace(connection, changed)
            return len(changed)

        if self._path is not None and not self._path.exists():
            return 0
        return self._database.run(reseal)

    def close(self) -> None:
        """Close the connections."""
        self._database.dispose()


def _lock(connection: Connection, tables: Iterable[str]) -> None:
    """Keep other writers out; readers stay. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(tables)
        connection.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _entries(connection: Connection) -> dict[str, Entry]:
    rows = connection.execute(select(vault_keys).order_by(vault_keys.c.name))
    return {row.name: Entry(row.ciphertext, _utc(row.set_at)) for row in rows}


def _keep(
    connection: Connection, before: Mapping[str, Entry], entries: Mapping[str, Entry]
) -> None:
    for name in before.keys() - entries.keys():
        connection.execute(delete(vault_keys).where(vault_keys.c.name == name))
    for name, entry in entries.items():
        values = {"ciphertext": entry.ciphertext, "set_at": entry.set_at.astimezone(UTC)}
        if name not in before:
            connection.execute(insert(vault_keys).values(name=name, **values))
        elif entry != before[name]:
            connection.execute(update(vault_keys).where(vault_keys.c.name == name).values(**values))


def _service_tables(connection: Connection) -> list[str]:
    inspector = inspect(connection)
    return [name for name in _SERVICE if inspector.has_table(name)]


def _sealed(connection: Connection, tables: Iterable[str]) -> dict[Place, str]:
    sealed = {
        Place(VAULT_KEYS, name): entry.ciphertext for name, entry in _entries(connection).items()
    }
    for name in tables:
        _, key, ciphertext = _service_table(name)
        rows = connection.execute(select(key, ciphertext).where(ciphertext.is_not(None)))
        sealed |= {Place(name, row[0]): row[1] for row in rows}
    return sealed


def _replace(connection: Connection, changed: Mapping[Place, Sealed]) -> None:
    for place, (ciphertext, fingerprint) in changed.items():
        if place.table == VAULT_KEYS:
            own = vault_keys.c.name == place.id
            connection.execute(update(vault_keys).where(own).values(ciphertext=ciphertext))
            continue
        its, key, its_ciphertext = _service_table(place.table)
        values = {its_ciphertext.name: ciphertext, "key_fingerprint": fingerprint}
        connection.execute(update(its).where(key == place.id).values(values))


def _service_table(name: str) -> tuple[TableClause, ColumnClause[str], ColumnClause[str]]:
    """Return one of the service's tables, its key's column and that of its ciphertexts."""
    key: ColumnClause[str] = column("id", String)
    ciphertext: ColumnClause[str] = column(_SERVICE[name], Text)
    fingerprint: ColumnClause[str] = column("key_fingerprint", String)
    return table(name, key, ciphertext, fingerprint), key, ciphertext


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
