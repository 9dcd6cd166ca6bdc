"""API keys in rows: encrypted, decrypted, and checked against the encryption keys that are set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, select

from orchestify.errors import ConfigError, VaultError
from orchestify.server.rows.stored_rows import TenantRows
from orchestify.server.storage.row_kinds import AGENTS, PROVIDERS, RowKind, RowT
from orchestify.vault.cipher import Cipher

NO_ENCRYPTION_KEY = (
    "no encryption key is configured, so no provider's key can be stored or read; "
    "set ORCHESTIFY_ENCRYPTION_KEYS (orchestify keys generate prints one)"
)
OTHER_ENCRYPTION_KEY = (
    "the encryption keys that are set do not open the keys that are stored, so none is stored "
    "beside them; nothing was changed; the operator sets the right ORCHESTIFY_ENCRYPTION_KEYS, "
    "or what has a key that cannot be opened is removed first"
)
MOST_KEY = 4_096
"""Characters of a provider's key; the longest known, of service accounts, are half as long."""

_NEWEST = 20  # stored keys, of all tenants, that are tried before another is stored


class RowKeys:
    """Encrypts and decrypts rows' keys with a cipher; without one, rows have no keys.

    No key is stored beside keys that the cipher does not open, unless they `are_lost`.
    """

    def __init__(self, cipher: Cipher | None, *, are_lost: bool = False) -> None:
        self._cipher = cipher
        self._are_lost = are_lost

    def decrypt(self, encrypted: str) -> SecretStr:
        """Return a stored key.

        Raises:
            VaultError: no encryption key is configured, or none fits.
        """
        return self._required().decrypt(encrypted)

    def encrypted(self, kind: RowKind[RowT], row: RowT, key: SecretStr | None) -> RowT:
        """Return the row with this key, encrypted, or with none.

        Raises:
            VaultError: no encryption key is configured.
        """
        if key is None:
            return kind.with_key(row, None, None)
        cipher = self._required()
        return kind.with_key(row, cipher.encrypt(key), cipher.fingerprint_of(key))

    def check(self, connection: Connection) -> KeyCheck:
        """Check whether the stored keys of all tenants can be decrypted."""
        return check_keys(connection, self._cipher)

    def check_same_encryption(
        self, connection: Connection, before: TenantRows, row: RowT, key: SecretStr | None
    ) -> None:
        """Refuse to store a key beside others that would then be under other encryption keys.

        Raises:
            VaultError: the tenant's other keys do not all open, or none of the newest does.
        """
        if key is None or self._are_lost:
            return
        others = [
            *(each.encrypted_api_key for each in before.providers if each.id != row.id),
            *(each.api_key_encrypted for each in before.agents if each.id != row.id),
        ]
        is_unreadable = any(text and self._required().key_of(text) is None for text in others)
        if is_unreadable or check_keys(connection, self._cipher, _NEWEST, but=row.id).none_readable:
            raise VaultError(OTHER_ENCRYPTION_KEY)

    def _required(self) -> Cipher:
        if self._cipher is None:
            raise VaultError(NO_ENCRYPTION_KEY)
        return self._cipher


def given_key(values: Mapping[str, Any]) -> SecretStr | None:
    """Return the key that is given, None where none is.

    Raises:
        ConfigError: it cannot be one.
    """
    given: SecretStr | None = values.get("api_key")
    if given is None:
        return None
    key = given.get_secret_value().strip()
    if len(key) > MOST_KEY or not key.isascii() or not key.isprintable():
        raise ConfigError(f"api_key: expected at most {MOST_KEY:,} printable ASCII characters")
    return SecretStr(key)


MAX_CHECKED = 5_000
"""Of each table, the newest first: opening one costs 25 µs."""


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """How many stored keys were looked at, and how many of them no encryption key opens."""

    checked: int = 0
    unreadable: int = 0

    @property
    def none_readable(self) -> bool:
        """Whether there are keys, and not one of them opens."""
        return 0 < self.checked == self.unreadable

    def __str__(self) -> str:
        return (
            f"{self.unreadable:,} of {self.checked:,} stored keys cannot be opened with the "
            "encryption keys that are set; what they belong to is off"
        )


def check_keys(
    connection: Connection, cipher: Cipher | None, most: int = MAX_CHECKED, *, but: str = ""
) -> KeyCheck:
    """Check the newest stored keys, `most` of each table, `but` the row of this id."""
    texts = list(_ciphertexts(connection, most, but))
    unreadable = [text for text in texts if cipher is None or cipher.key_of(text) is None]
    return KeyCheck(len(texts), len(unreadable))


def _ciphertexts(connection: Connection, most: int, but: str) -> Iterator[str]:
    for kind in (PROVIDERS, AGENTS):
        columns = kind.table.c
        keyed = columns[kind.key_column]
        asked = select(keyed).where(keyed.is_not(None), columns.id != but)
        yield from connection.scalars(asked.order_by(columns.id.desc()).limit(most))
