"""Log lines of fields: `name key=value ...` for people, and `record.fields` for programs.

Names in them may be a caller's own: a line stays one line, and holds nothing a terminal obeys.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal

from orchestify.resources.terminal_text import without_controls

MOST_PARTS = 20


def log_fields(
    logger: logging.Logger, level: int, name: str, fields: Mapping[str, object], **extra: object
) -> None:
    """Log a line of fields; `extra` becomes attributes of the record, beside `fields`."""
    if logger.isEnabledFor(level):
        parts = [name, *(f"{key}={_shown(value)}" for key, value in fields.items())]
        line = " ".join(without_controls(" ".join(parts)).split())
        logger.log(level, "%s", line, extra={"fields": {"event": name, **fields}, **extra})


def _shown(value: object) -> object:
    """A value as a line shows it: seconds and shares to three places, money with all of them.

    Of many parts the first.
    """
    if isinstance(value, tuple):
        more = [f"and {len(value) - MOST_PARTS:,} more"] if len(value) > MOST_PARTS else []
        return "; ".join([*map(str, value[:MOST_PARTS]), *more]) or "none"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value:f}" if isinstance(value, Decimal) else value
