from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.report import parse_time

NOW = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30m", datetime(2026, 3, 14, 14, 39, 26, tzinfo=UTC)),
        ("24h", datetime(2026, 3, 13, 15, 9, 26, tzinfo=UTC)),
        ("0d", datetime(2026, 3, 14, tzinfo=UTC)),
        ("7d", datetime(2026, 3, 7, tzinfo=UTC)),
        ("2w", datetime(2026, 2, 28, tzinfo=UTC)),
        (" 7d ", datetime(2026, 3, 7, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:30", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        ("2026-01-31T12:30:00+02:00", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
    ],
)
def test_text_names_a_moment_in_utc(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7 days", "-1d", "yesterday", "31.1.2026", "999999w"]
)
def test_other_text_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="write 30m, 24h, 7d or 2w"):
        parse_time(text, NOW)
