"""Encryption of keys at rest: MultiFernet over the encryption keys of the environment.

Fernet is AES-128 in CBC mode, authenticated with HMAC-SHA256: its key of 32 bytes is half a
signing key and half an AES-128 key. Source: github.com/fernet/spec.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from orchestify.errors import VaultError

VARIABLES = ("ORCHESTIFY_ENCRYPTION_KEYS", "ENCRYPTION_KEY", "LLM_ENCRYPTION_KEY")
"""The variables that hold encryption keys, in the order in which they are read."""

_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")  # 32 bytes; Fernet itself skips what is no base64
_ANY_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=?")
_SEPARATOR = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """An encryption key without itself.

    `places` are the variables that hold it, as `ORCHESTIFY_ENCRYPTION_KEYS, key 2`.
    """

    fingerprint: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.places)} ({self.fingerprint})"

    @property
    def short(self) -> str:
        """It as `key 2 (6b44aae3)`; with its variable only where that is not the first of all."""
        return f"{self.places[0].removeprefix(f'{VARIABLES[0]}, ')} ({self.fingerprint})"


class Cipher:
    """Encrypts under the newest encryption key, and decrypts under any.

    `keys` are Fernet keys with their places, newest first.
    """

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        places: dict[str, list[str]] = {}
        for place, key in keys:
            places.setdefault(_checked(place, key), []).append(place)
        if not places:
            raise VaultError(
                f"no encryption key is set; put it into {VARIABLES[0]} "
                "(`orchestify keys generate` makes one for a new vault)"
            )
        self._fernets = {key: Fernet(key) for key in places}
        self._all = MultiFernet(self._fernets.values())
        self._newest = next(iter(places))
        self._keys = {key: EncryptionKey(_mark(key), tuple(at)) for key, at in places.items()}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the encryption keys of `VARIABLES`; in each, newest first, by commas or blanks.

        Raises:
            VaultError: there is none, or one is not 32 bytes in urlsafe base64.
        """
        return cls(list(_keys_in(environ)))

    @classmethod
    def if_set(cls, environ: Mapping[str, str] = os.environ) -> Self | None:
        """Do as `from_env` does, and return None where no encryption key is set at all."""
        is_set = any(environ.get(name, "").strip() for name in VARIABLES)
        return cls.from_env(environ) if is_set else None

    @property
    def keys(self) -> tuple[EncryptionKey, ...]:
        """The encryption keys, newest first."""
        return tuple(self._keys.values())

    def fingerprints(self) -> list[str]:
        """Return the encryption keys' fingerprints, newest first."""
        return [key.fingerprint for key in self.keys]

    def encrypt(self, secret: SecretStr | str) -> str:
        """Return the ciphertext, under the newest key."""
        return self._all.encrypt(_plain(secret).encode()).decode()

    def decrypt(self, text: str) -> SecretStr:
        """Return what a ciphertext holds.

        Raises:
            VaultError: none of the keys opens it.
        """
        try:
            return SecretStr(self._all.decrypt(text.encode()).decode())
        except (InvalidToken, ValueError):
            raise VaultError("no encryption key that is set opens it") from None

    def rotate(self, text: str) -> str:
        """Return the same under the newest key; it keeps its time.

        Raises:
            VaultError: none of the keys opens it.
        """
        try:
            return self._all.rotate(text.encode()).decode()
        except (InvalidToken, ValueError):
            raise VaultError("no encryption key that is set opens it") from None

    def key_of(self, text: str) -> EncryptionKey | None:
        """Return the key that opens a ciphertext, None where none does."""
        for key, fernet in self._fernets.items():
            try:
                fernet.decrypt(text.encode())
            except (InvalidToken, ValueError):
                continue
            return self._keys[key]
        return None

    def is_newest(self, text: str) -> bool:
        """Say whether a ciphertext is under the newest key."""
        return self.key_of(text) == self.keys[0]

    def fingerprint_of(self, secret: SecretStr | str) -> str:
        """Return 12 digits that tell secrets apart.

        They are of HMAC-SHA256 under the newest encryption key: who does not have it cannot try
        guesses against them. So they are others once that key is another.
        """
        message = b"orchestify secret:" + _plain(secret).encode()
        return hmac.new(_raw(self._newest), message, hashlib.sha256).hexdigest()[:12]

    def keyed_digest(self, text: str) -> str:
        """Return 64 digits that tell texts apart, with the properties of `fingerprint_of`."""
        message = b"orchestify text:" + text.encode("utf-8", "surrogatepass")
        return hmac.new(_raw(self._newest), message, hashlib.sha256).hexdigest()


def new_encryption_key() -> str:
    """Return a new Fernet key."""
    return Fernet.generate_key().decode()


def _keys_in(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the keys with their places; the names that other layers use may hold something else.

    `ENCRYPTION_KEY` is a name that a host may have taken for a key of another kind. Other layers
    write a key in either alphabet of base64, with or without `=` at its end.
    """
    ours, *others = VARIABLES
    for variable in (ours, *others):
        keys = filter(None, _SEPARATOR.split(environ.get(variable, "")))
        for position, given in enumerate(keys, 1):
            key = given if variable == ours else _urlsafe(given)
            if variable == ours or _KEY.fullmatch(key) or not environ.get(ours, "").strip():
                yield f"{variable}, key {position}", key


def _urlsafe(key: str) -> str:
    """Return 32 bytes of any base64 as Fernet writes them, and all else as it is."""
    if not _ANY_BASE64.fullmatch(key):
        return key
    return key.translate(_TO_URLSAFE).rstrip("=") + "="


_TO_URLSAFE = str.maketrans("+/", "-_")


def _checked(place: str, key: str) -> str:
    if not _KEY.fullmatch(key):
        raise VaultError(
            f"{place}, is not 32 bytes in urlsafe base64; `orchestify keys generate` makes one"
        )
    return base64.urlsafe_b64encode(_raw(key)).decode()  # the last digit has bits to spare


def _raw(key: str) -> bytes:
    return base64.urlsafe_b64decode(key)


def _mark(key: str) -> str:
    """Return an encryption key's fingerprint, the same on every machine."""
    return hashlib.sha256(b"orchestify encryption key:" + _raw(key)).hexdigest()[:8]


def _plain(secret: SecretStr | str) -> str:
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret
