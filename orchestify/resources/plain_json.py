"""JSON of values of ours, whose mappings may be read-only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.json import Encoder


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


ENCODER = Encoder(enc_hook=_plain)
"""Writes dataclasses and mappings; raises TypeError, ValueError or RecursionError for the rest."""
