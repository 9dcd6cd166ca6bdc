"""Signatures of webhooks, as the Standard Webhooks specification has them.

Source: github.com/standard-webhooks/standard-webhooks, "Signature scheme".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_SECRET_BYTES = range(24, 65)  # the specification's bounds


def secret_bytes(secret: str) -> bytes:
    """Return the key of a secret: `whsec_` and 24 to 64 bytes in base64; the prefix may lack.

    Raises:
        ValueError: it is no such secret.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _SECRET_BYTES:
        raise ValueError("expected whsec_ and 24 to 64 bytes in base64")
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: HMAC-SHA256 over id, time and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
