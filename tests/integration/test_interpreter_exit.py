"""Scripts that close nothing: they end without a traceback, and what they used is booked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestify.testing import StubServer

HEAD = """
import asyncio, builtins, logging, os, sys, threading
from orchestify import ProviderRegistry

logging.basicConfig(level=logging.WARNING)
registry = ProviderRegistry.from_config({
    "providers": {"a": {
        "type": "openai", "base_url": os.environ["STUB"], "api_key": "k", "default_model": "stub",
        "price": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1},
    }},
    "ledger": {"url": "sqlite:///usage.db"},
    "budgets": [{"name": "day", "limit_usd": 5, "period": "day"}],
})
provider = registry.get("a")
"""
ENDINGS = {
    "after a synchronous call": "provider.complete_sync('hi')",
    "after a loop of its own": "asyncio.run(provider.complete('hi'))",
    "with a synchronous stream open": """
stream = provider.stream_sync("hi", model="stub;chunks=200;chunk_delay_s=0.05")
next(iter(stream))
""",
    "with a stream open that outlives its module, as a notebook's": """
stream = provider.stream("hi", model="stub;chunks=200;chunk_delay_s=0.05")
loop = asyncio.new_event_loop()
loop.run_until_complete(anext(stream))
builtins.kept = stream, registry, loop
""",
    "while a thread waits for an answer": """
call = threading.Thread(
    target=provider.complete_sync, args=("hi", "stub;delay_s=30"), daemon=True
)
call.start()
while not registry.get_usage_summary()["total"]["attempts"]:
    call.join(0.02)
""",
    "by sys.exit within a loop": """
async def main():
    await provider.complete("hi")
    sys.exit(0)

asyncio.run(main())
""",
}


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_script_that_closes_nothing_ends_quietly_and_is_booked(
    ending: str, server: StubServer, tmp_path: Path
) -> None:
    ran = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", HEAD + ENDINGS[ending]],
        env={**os.environ, "STUB": server.openai_url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    with sqlite3.connect(tmp_path / "usage.db") as ledger:
        outcomes = ledger.execute("select outcome <> 'open' from usage_records").fetchall()
    assert outcomes == [(1,)]
