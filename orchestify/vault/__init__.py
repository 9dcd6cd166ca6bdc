"""Keys at rest: encrypted, in a file of one machine or in a database for several."""

from orchestify.vault.cipher import Cipher, EncryptionKey, new_encryption_key
from orchestify.vault.rotation import Rotation, rotate, together
from orchestify.vault.store import Entry, Place, Sealed, Store
from orchestify.vault.vault import Reading, StoredKey, Vault, find_vaults, is_name, open_vault

__all__ = [
    "Cipher",
    "EncryptionKey",
    "Entry",
    "Place",
    "Reading",
    "Rotation",
    "Sealed",
    "Store",
    "StoredKey",
    "Vault",
    "find_vaults",
    "is_name",
    "new_encryption_key",
    "open_vault",
    "rotate",
    "together",
]
