"""The vault: keys by name, encrypted, in a file or a database."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from orchestify.errors import VaultError
from orchestify.vault.cipher import Cipher, EncryptionKey
from orchestify.vault.file_store import FileStore
from orchestify.vault.rotation import Rotation, rotate
from orchestify.vault.store import VAULT_KEYS, Entry, Store

VARIABLE = "ORCHESTIFY_VAULT"
DEFAULT = Path(".orchestify") / "vault.json"

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key in the vault, without itself.

    `key` is the encryption key that it is under and `fingerprint` tells it from others; both are
    None where none of the encryption keys opens it.
    """

    name: str
    set_at: datetime
    fingerprint: str | None
    key: EncryptionKey | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The vault at one moment; `entries` is None where there is no vault yet.

    The encryption keys are looked for when something is to be decrypted.
    """

    where: str
    entries: Mapping[str, Entry] | None
    cipher: Callable[[], Cipher]

    def find(self, name: str) -> SecretStr | None:
        """Return the key of that name, None where there is none.

        Raises:
            VaultError: there is no encryption key, or none of them opens it.
        """
        entry = (self.entries or {}).get(name)
        if entry is None:
            return None
        try:
            return self.cipher().decrypt(entry.ciphertext)
        except VaultError as error:
            raise VaultError(f"{name!r} in the vault {self.where}: {error}") from None

    def absence(self, name: str) -> str:
        """Say that a name is missing, and what to do."""
        if self.entries is None:
            return f"there is no vault at {self.where}; `orchestify keys set {name}` makes it"
        return f"no key {name!r} in the vault {self.where}; `orchestify keys set {name}` sets it"


class Vault:
    """Keys by name in a store; whoever opened it closes it.

    Names have 1 to 64 letters, digits, dots, dashes and underscores. Every method raises
    `VaultError` where the store cannot be used, or the encryption keys are needed and are missing
    or not valid; nothing has changed then.
    """

    def __init__(self, store: Store, environ: Mapping[str, str] = os.environ) -> None:
        self._store = store
        self._environ = environ
        self._cipher: Cipher | None = None

    @property
    def where(self) -> str:
        """The file or database, for messages."""
        return self._store.where

    def read(self) -> Reading:
        """Return what is in the vault now."""
        return Reading(self.where, self._store.read(), self.cipher)

    def get(self, name: str) -> SecretStr:
        """Return the key of that name.

        Raises:
            VaultError: there is none, or no encryption key opens it.
        """
        reading = self.read()
        found = reading.find(name)
        if found is None:
            raise VaultError(reading.absence(name))
        return found

    def set(self, name: str, secret: SecretStr | str) -> None:
        """Keep a key under a name, in the place of the one that was there.

        Raises:
            VaultError: it cannot be a key or a name, or no encryption key opens what the vault
                holds already: then they are not the vault's.
        """
        self.add({name: secret}, replace=True)

    def add(
        self, secrets: Mapping[str, SecretStr | str], *, replace: bool = False
    ) -> tuple[str, ...]:
        """Keep keys by name, all in one step, and return the names that were set.

        Names that are there already are left, unless `replace`. Raises: as `set` does.
        """
        cipher = self.cipher()
        ciphertexts = {
            _checked_name(name): cipher.encrypt(_checked_key(name, secret))
            for name, secret in secrets.items()
        }

        def add(entries: dict[str, Entry]) -> tuple[str, ...]:
            added = tuple(name for name in ciphertexts if replace or name not in entries)
            self._check_opens(cipher, entries)
            now = datetime.now(UTC)
            entries.update({name: Entry(ciphertexts[name], now) for name in added})
            return added

        return self._store.change(add)

    def list(self) -> tuple[StoredKey, ...]:
        """Return what is in the vault, by name, without the keys."""
        entries = self._store.read() or {}
        cipher = self.cipher()
        return tuple(_stored(cipher, name, entries[name]) for name in sorted(entries))

    def tenants_keys(self) -> dict[EncryptionKey | None, int]:
        """Count the keys of the service's tenants in this database, by what they are under.

        None counts those that no encryption key opens.
        """
        places, cipher = self._store.sealed(), self.cipher()
        texts = [text for place, text in places.items() if place.table != VAULT_KEYS]
        return dict(Counter(cipher.key_of(text) for text in texts))

    def remove(self, name: str) -> None:
        """Destroy a key; needs no encryption key.

        Raises:
            VaultError: there is none of that name.
        """
        if self._store.read() is None:
            raise VaultError(f"there is no vault at {self.where}")

        def remove(entries: dict[str, Entry]) -> None:
            if entries.pop(name, None) is None:
                raise VaultError(f"no such key in the vault {self.where}; `orchestify keys list`")

        self._store.change(remove)

    def rotate(self) -> Rotation:
        """Put everything under the newest encryption key; see `rotation.rotate`."""
        return rotate(self._store, self.cipher())

    def close(self) -> None:
        """Close what is open; a later use opens it again."""
        self._store.close()

    def cipher(self) -> Cipher:
        """Return the cipher over the environment's encryption keys, read once.

        Raises:
            VaultError: there is none, or one is not valid.
        """
        self._cipher = self._cipher or Cipher.from_env(self._environ)
        return self._cipher

    def _check_opens(self, cipher: Cipher, entries: Mapping[str, Entry]) -> None:
        """Refuse to write beside keys that would then be under other encryption keys."""
        closed = [name for name, each in entries.items() if not cipher.key_of(each.ciphertext)]
        if closed:
            raise VaultError(
                f"no encryption key that is set opens {_named(closed)} in the vault {self.where}; "
                "nothing was changed; set the vault's encryption key, or remove them first"
            )


def open_vault(
    where: str | Path | None = None,
    *,
    base_dir: Path = Path(),
    environ: Mapping[str, str] = os.environ,
) -> Vault:
    """Return the vault at a path or a database's URL, `sqlite:///...` or `postgresql://...`.

    Without `where` the variable ORCHESTIFY_VAULT says it, and without that it is the file
    `.orchestify/vault.json` under `base_dir`, the configuration's folder. Relative paths of the
    other two start at the current folder. Encryption keys come from `environ`.

    Raises:
        VaultError: no such kind of database.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    named = str(where) if where else environ.get(VARIABLE)
    if named and "://" in named:
        return Vault(_database_store(named), environ)
    return Vault(FileStore(Path(named) if named else base_dir / DEFAULT), environ)


def find_vaults(
    database: str | None = None,
    *,
    base_dir: Path = Path(),
    environ: Mapping[str, str] = os.environ,
) -> tuple[Vault, ...]:
    """Return every vault that there is: the configuration's file, ORCHESTIFY_VAULT, `database`.

    The last is the service's, which holds its tenants' keys. Where there is none of them, it is
    what `open_vault` opens. Raises: as `open_vault` does.
    """
    file = base_dir / DEFAULT
    named = [str(file) if file.exists() else None, environ.get(VARIABLE), database]
    places = list(dict.fromkeys(filter(None, named))) or [str(file)]
    return tuple(open_vault(place, environ=environ) for place in places)


def is_name(text: str) -> bool:
    """Say whether a text may be a key's name."""
    return _NAME.fullmatch(text) is not None


def _database_store(url: str) -> Store:
    from orchestify.database.sql import database_url  # noqa: PLC0415 - SQLAlchemy is slow to import
    from orchestify.vault.database_store import DatabaseStore  # noqa: PLC0415

    return DatabaseStore.at(database_url(url, Path(), name="the vault's address", error=VaultError))


def _stored(cipher: Cipher, name: str, entry: Entry) -> StoredKey:
    key = cipher.key_of(entry.ciphertext)
    secret = cipher.decrypt(entry.ciphertext) if key else None
    fingerprint = cipher.fingerprint_of(secret) if secret else None
    return StoredKey(name, entry.set_at, fingerprint, key)


def _checked_name(name: str) -> str:
    if not is_name(name):
        raise VaultError("a key's name has 1 to 64 letters, digits, dots, dashes and underscores")
    return name


def _checked_key(name: str, secret: SecretStr | str) -> str:
    """Return a key that a configuration takes, see `core.fields`, and that is no pasted header."""
    key = (secret.get_secret_value() if isinstance(secret, SecretStr) else secret).strip()
    if not key:
        raise VaultError(f"the key for {name!r} is empty; nothing was changed")
    if not key.isascii() or not key.isprintable() or " " in key or key.startswith("vault:"):
        raise VaultError(
            f"the key for {name!r} is none: a key has only printable ASCII characters and no "
            "blanks in it, and does not begin with vault:"
        )
    return key


def _named(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
