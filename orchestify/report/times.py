"""Points in time as people write them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from orchestify.errors import InvalidParameterError
from orchestify.ledger.base import as_utc

_AGO = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now: datetime) -> datetime:
    """Return the moment that `text` names, in UTC.

    `30m` and `24h` are so long before `now`, to the second. `7d` and `2w` are the midnight
    that began that day, so that reports count whole days; `0d` is today's. Else a date
    (`2026-01-31`, its midnight) or a time in ISO 8601; without a zone it is UTC.

    Raises:
        InvalidParameterError: it is none of these.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is None:
            return as_utc(datetime.fromisoformat(text.strip()))
        moment = as_utc(now) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    except (ValueError, OverflowError):
        raise InvalidParameterError(
            f"{text!r} is no time; write 30m, 24h, 7d or 2w (ago), a date as 2026-01-31, "
            "or a time as 2026-01-31T12:00"
        ) from None
    if ago[2] in "mh":
        return moment.replace(microsecond=0)
    return datetime.combine(moment, time(), UTC)
