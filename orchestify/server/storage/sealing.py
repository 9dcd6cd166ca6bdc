"""Keys of rows: sealed under the encryption keys that are set, opened, and kept of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection

from orchestify.errors import ConfigError, VaultError
from orchestify.server.rows.stored import TenantRows
from orchestify.server.storage.kinds import Kind, RowT
from orchestify.server.storage.stored_keys import KeyCheck, check_keys
from orchestify.vault.cipher import Cipher

NO_CIPHER = (
    "no encryption key is configured, so no provider's key can be stored or read; "
    "set ORCHESTIFY_ENCRYPTION_KEYS (orchestify keys generate prints one)"
)
CLOSED = (
    "the encryption keys that are set do not open the keys that are stored, so none is stored "
    "beside them; nothing was changed; the operator sets the right ORCHESTIFY_ENCRYPTION_KEYS, "
    "or what has a key that cannot be opened is removed first"
)
MOST_KEY = 4_096
"""Characters of a provider's key; the longest known, of service accounts, are half as long."""

_NEWEST = 20  # stored keys, of all tenants, that are tried before another is stored


class Seal:
    """Seals and opens keys with a cipher; without one, rows have no keys.

    No key is stored beside keys that the cipher does not open, unless they `are_lost`.
    """

    def __init__(self, cipher: Cipher | None, *, are_lost: bool = False) -> None:
        self._cipher = cipher
        self._are_lost = are_lost

    def open(self, encrypted: str) -> SecretStr:
        """Return a stored key.

        Raises:
            VaultError: no encryption key is configured, or none fits.
        """
        return self._required().decrypt(encrypted)

    def sealed(self, kind: Kind[RowT], row: RowT, key: SecretStr | None) -> RowT:
        """Return the row with this key, encrypted, or with none.

        Raises:
            VaultError: no encryption key is configured.
        """
        if key is None:
            return kind.with_key(row, None, None)
        cipher = self._required()
        return kind.with_key(row, cipher.encrypt(key), cipher.fingerprint_of(key))

    def check(self, connection: Connection) -> KeyCheck:
        """Look whether the stored keys can be opened, those of all tenants."""
        return check_keys(connection, self._cipher)

    def require_fit(
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
        is_closed = any(text and self._required().key_of(text) is None for text in others)
        if is_closed or check_keys(connection, self._cipher, _NEWEST, but=row.id).none_opens:
            raise VaultError(CLOSED)

    def _required(self) -> Cipher:
        if self._cipher is None:
            raise VaultError(NO_CIPHER)
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
    if len(key) > MOST_KEY or not key.isascii():
        raise ConfigError(f"api_key: expected at most {MOST_KEY:,} ASCII characters")
    return SecretStr(key)
