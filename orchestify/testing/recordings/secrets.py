"""Keys struck out of what a file holds."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.redaction import KEY_LIKE, secrets_of
from orchestify.testing.recordings.plain import Plain, map_texts
from orchestify.testing.recordings.requests import STRUCK

_SHORTEST = 8  # what is shorter is no key, and stands in words
_REQUEST_ID = re.compile(r"\breq[_-][\w-]{6,}")


class Secrets:
    """The keys of the providers that are recorded; they, and what looks like a key, are struck."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def learn(self, config: ProviderConfig) -> None:
        """Know the keys and headers of a provider's configuration."""
        keys = [each.get_secret_value() for each in config.keys]
        self._known |= {each for each in (*secrets_of(config), *keys) if len(each) >= _SHORTEST}

    def struck(self, value: Plain) -> Plain:
        """Return a plain value without keys and ids of requests."""
        longest_first = sorted(self._known, key=len, reverse=True)
        return map_texts(value, lambda text: _struck(text, longest_first))


def _struck(text: str, known: Iterable[str]) -> str:
    for each in known:
        text = text.replace(each, STRUCK)
    return _REQUEST_ID.sub(STRUCK, KEY_LIKE.sub(STRUCK, text))
