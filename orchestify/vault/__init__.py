"""Keys at rest: encrypted, in a file of one machine or in a database for several.

Read `vault` first, then `cipher`. `store` is what `file_store` and `database_store` implement,
`rotation` moves everything to the newest encryption key. Other rooms import from here, and
`Cipher` from `cipher`, which costs no more than cryptography.
"""

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
