"""Whose certificates are believed: the system's, or what the environment names in their place."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from orchestify.errors import ConfigError

_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def trusted(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext | bool:
    """Return what verifies an endpoint's certificate; True stands for the system's authorities.

    `SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` replace them, all
    of those that are set together, as with OpenSSL, requests and curl.

    Raises:
        ConfigError: one of them names nothing that can be read.
    """
    named = tuple((name, environ[name]) for name in _VARIABLES if environ.get(name))
    return _context(named) if named else True


@lru_cache(maxsize=8)
def _context(named: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it verifies certificate and name
    context.set_alpn_protocols(["http/1.1"])
    for name, place in named:
        what = "capath" if Path(place).is_dir() else "cafile"
        try:
            context.load_verify_locations(**{what: place})
        except ssl.SSLError:
            raise ConfigError(f"{name} in the environment: it holds no certificates") from None
        except OSError as error:
            reason = (error.strerror or "cannot be read").lower()
            raise ConfigError(f"{name} in the environment: {reason}") from None
    return context
