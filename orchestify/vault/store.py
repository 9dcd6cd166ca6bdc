"""What a vault's store gives and takes: ciphertexts, and never what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")

VAULT_KEYS = "vault_keys"


@dataclass(frozen=True, slots=True)
class Entry:
    """A named key, encrypted; `set_at` is when it was given, whatever the encryption key."""

    ciphertext: str = field(repr=False)
    set_at: datetime


class Place(NamedTuple):
    """Where a ciphertext stands: a name of the vault, or a row of another table."""

    table: str
    id: str

    def __str__(self) -> str:
        return self.id if self.table == VAULT_KEYS else f"{self.table} {self.id}"


class Sealed(NamedTuple):
    """A ciphertext, and the fingerprint of what it holds."""

    ciphertext: str
    fingerprint: str


class Store(Protocol):
    """Where a vault keeps its entries. Every change is in force whole or not at all.

    What cannot be read or written is a `VaultError`.
    """

    where: str
    """The file or database, for messages."""

    def read(self) -> dict[str, Entry] | None:
        """Return the entries by name; None where there is no vault yet."""
        ...

    def change(self, work: Callable[[dict[str, Entry]], T]) -> T:
        """Give `work` the entries to change in place, keep what it made of them.

        Nobody else changes them meanwhile. `work` may run twice; where it raises, nothing changes.
        """
        ...

    def sealed(self) -> dict[Place, str]:
        """Return every ciphertext by its place, those of other tables too."""
        ...

    def reseal(self, work: Callable[[Mapping[Place, str]], Mapping[Place, Sealed]]) -> int:
        """Replace ciphertexts by what `work` makes of them, all in one step; return how many."""
        ...

    def close(self) -> None:
        """Close what is open; a later use opens it again."""
        ...
