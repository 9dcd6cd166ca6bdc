"""A ledger with known figures, for the tests of reports."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from orchestify.ledger.opening import open_ledger
from orchestify.values import Usage
from tests.ledgers import answered, opened

HOSTILE = "<script>alert(1)</script>"

CACHED = Usage(input_tokens=1000, output_tokens=200, cache_read=400)
ESTIMATED = Usage(input_tokens=500, output_tokens=100, source="estimated")


async def write_ledger(path: Path) -> str:
    """Book four calls and a failure on two days into a new SQLite file; return its URL."""
    url = f"sqlite:///{path}"
    ledger = open_ledger(url, base_dir=path.parent)
    first, second = (datetime(2026, 3, day, 12, tzinfo=UTC) for day in (14, 15))
    sonnet = opened(started_at=first, labels={"run": "r1"})
    again = opened(started_at=second, labels={"run": "r2"})
    guess = opened(started_at=second, provider="openai", model="gpt-5.1", agent=HOSTILE)
    local = opened(started_at=second, provider="local", model="ollama/llama3", agent="")
    lost = opened(started_at=second)
    for record in (sonnet, again, guess, local, lost):
        await ledger.open(record)
    ledger.complete(answered(sonnet, usage=CACHED, cost_usd=Decimal("0.75")))
    ledger.complete(answered(again, usage=CACHED, cost_usd=Decimal("1.125000000001")))
    ledger.complete(answered(guess, usage=ESTIMATED, cost_usd=Decimal("0.0000042")))
    ledger.complete(answered(local, cost_usd=None, cost_source="none"))
    ledger.complete(answered(lost, outcome="failed", usage=Usage(source="unknown"), cost_usd=None))
    await ledger.aclose()
    return url
