"""Rotation: everything that is encrypted under older keys, put under the newest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestify.errors import VaultError
from orchestify.vault.cipher import Cipher, EncryptionKey
from orchestify.vault.store import Place, Sealed, Store


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did, and what it leaves.

    `changed` ciphertexts were put under `newest`, of `total`. Nothing in this store is under the
    keys in `droppable` any more; where nothing `changed`, one of them may be a new key that stands
    behind the old one. Under those in `needed` something was written meanwhile, by a
    process that has not got the newest key: how often, by key.
    """

    changed: int
    total: int
    newest: EncryptionKey
    droppable: tuple[EncryptionKey, ...]
    needed: Mapping[EncryptionKey, int]

    @property
    def older(self) -> tuple[EncryptionKey, ...]:
        """All but the newest, in no order."""
        return (*self.droppable, *self.needed)


def rotate(store: Store, cipher: Cipher) -> Rotation:
    """Put every ciphertext of a store under the newest key, in one step.

    A rotation that is cut off has changed all or nothing; a second one does the rest. The keys
    that may be dropped are counted afterwards, on what is stored.

    Raises:
        VaultError: no key opens some of the ciphertexts, which are named; nothing was changed.
    """
    changed = store.reseal(lambda texts: _resealed(store.where, cipher, texts))
    texts = store.sealed()
    under = Counter(cipher.key_of(text) for text in texts.values())
    newest, *older = cipher.keys
    return Rotation(
        changed=changed,
        total=len(texts),
        newest=newest,
        droppable=tuple(key for key in older if not under[key]),
        needed={key: under[key] for key in older if under[key]},
    )


def together(rotations: Sequence[Rotation]) -> Rotation:
    """Return what several stores' rotations under the same keys come to: at least one.

    What may be dropped is what none of the stores needs.
    """
    needed: Counter[EncryptionKey] = Counter()
    for each in rotations:
        needed.update(each.needed)
    return Rotation(
        changed=sum(each.changed for each in rotations),
        total=sum(each.total for each in rotations),
        newest=rotations[0].newest,
        droppable=tuple(key for key in rotations[0].older if not needed[key]),
        needed=dict(needed),
    )


def _resealed(where: str, cipher: Cipher, texts: Mapping[Place, str]) -> dict[Place, Sealed]:
    keys = {place: cipher.key_of(text) for place, text in texts.items()}
    closed = [str(place) for place, key in keys.items() if key is None]
    if closed:
        raise VaultError(
            f"no encryption key that is set opens {len(closed)} of {len(texts)} keys in {where}: "
            f"{', '.join(closed)}; nothing was changed; set the encryption key they are under as "
            "well, or remove them"
        )
    return {
        place: Sealed(cipher.rotate(text), cipher.fingerprint_of(cipher.decrypt(text)))
        for place, text in texts.items()
        if keys[place] != cipher.keys[0]
    }
