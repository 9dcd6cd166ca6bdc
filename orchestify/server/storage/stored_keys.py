"""Whether the encryption keys that are set open the keys that are stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from orchestify.server.storage.kinds import AGENTS, PROVIDERS
from orchestify.vault.cipher import Cipher

MOST_LOOKED_AT = 5_000
"""Of each table, the newest first: opening one costs 25 µs."""


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """How many stored keys were looked at, and how many of them no encryption key opens."""

    looked_at: int = 0
    closed: int = 0

    @property
    def none_opens(self) -> bool:
        """Whether there are keys, and not one of them opens."""
        return 0 < self.looked_at == self.closed

    def __str__(self) -> str:
        return (
            f"{self.closed:,} of {self.looked_at:,} stored keys cannot be opened with the "
            "encryption keys that are set; what they belong to is off"
        )


def check_keys(
    connection: Connection, cipher: Cipher | None, most: int = MOST_LOOKED_AT, *, but: str = ""
) -> KeyCheck:
    """Look at the newest stored keys, `most` of each table, `but` the row of this id."""
    texts = list(_ciphertexts(connection, most, but))
    closed = [text for text in texts if cipher is None or cipher.key_of(text) is None]
    return KeyCheck(len(texts), len(closed))


def _ciphertexts(connection: Connection, most: int, but: str) -> Iterator[str]:
    for kind in (PROVIDERS, AGENTS):
        columns = kind.table.c
        keyed = columns[kind.keyed]
        asked = select(keyed).where(keyed.is_not(None), columns.id != but)
        yield from connection.scalars(asked.order_by(columns.id.desc()).limit(most))
