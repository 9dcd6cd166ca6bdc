"""The live view under load: the page's first paint, and the CPU of its server and of the browser.

    python benchmarks/live_view.py [--calls 10000] [--seconds 20]

One process books so many calls a minute (what it got to is printed) into a SQLite ledger of four
providers and ten agents, `orchestify usage serve` shows it, and Chromium (/usr/bin/chromium) looks
on; then with 20 more readers, and with nothing booked. CPU is per cent of one core: the server's
from /proc, the page's as Chromium counts what its tasks take. Paints are the browser's own, medians
of ten openings.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))

from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import Record, new_id, utc_now
from orchestify.values import Usage
from tests.browser import Tab, chromium, tab

TICKS = os.sysconf("SC_CLK_TCK")
PAINTED = "performance.getEntriesByName('first-contentful-paint')"
LIVE = "document.getElementById('status').textContent === 'live'"
OPENINGS, READERS = 10, 20


async def book(url: str, per_minute: int) -> None:
    """Book calls at an even pace, for ever; or 60 days of a few calls where that is 0."""
    ledger = open_ledger(url, base_dir=Path())
    if not per_minute:
        for number in range(60 * 20):
            await _call(ledger, number, number // 20)
        await ledger.aclose()
        return
    began, number = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * per_minute / 60)
        while number < due:
            await _call(ledger, number, 0)
            number += 1
        await asyncio.sleep(0.02)


async def _call(ledger: object, number: int, days_ago: int) -> None:
    record = Record(
        id=new_id(),
        call_id=new_id(),
        started_at=utc_now() - timedelta(days=days_ago),
        provider=f"provider_{number % 4}",
        agent=f"agent_{number % 10}",
        model=f"model_{number % 4}",
        cost_at_most_usd=Decimal("0.1"),
    )
    await ledger.open(record)  # type: ignore[attr-defined]
    record.outcome = "failed" if number % 100 == 0 else "ok"
    record.error = "ServerError" if number % 100 == 0 else ""
    record.usage = Usage(input_tokens=900, output_tokens=120)
    record.cost_usd, record.latency_s = Decimal("0.0045"), 1.5
    ledger.complete(record)  # type: ignore[attr-defined]


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of this Python, ended at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has taken."""
    found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(found[11]) + int(found[12])) / TICKS


def booked(folder: Path) -> int:
    """Return how many calls are in the ledger."""
    with closing(sqlite3.connect(folder / "usage.db")) as file:
        return int(file.execute("SELECT count(*) FROM usage_records").fetchone()[0])


async def page_s(shown: Tab) -> float:
    """Return the seconds that the page's tasks have taken."""
    metrics = (await shown.run("Performance.getMetrics"))["metrics"]
    return next(each["value"] for each in metrics if each["name"] == "TaskDuration")


async def read(place: str, token: str) -> None:
    """Read the events as a page does, for ever."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            async with session.get(f"{place}api/v1/live") as answer:
                async for _ in answer.content.iter_any():
                    pass


async def shares(shown: Tab, pid: int, seconds: float) -> str:
    """Return the CPU of both, in per cent of a core, over so many seconds."""
    began, server, page = time.monotonic(), cpu_s(pid), await page_s(shown)
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    server, page = cpu_s(pid) - server, await page_s(shown) - page
    return f"{100 * server / took:>7.1f} % {100 * page / took:>7.1f} %"


async def main(calls: int, seconds: float) -> None:
    """Measure, and print."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = f"sqlite:///{folder}/usage.db"
        await book(url, 0)
        serving = ["-m", "orchestify", "usage", "serve", "--ledger", url]
        server = await stack.enter_async_context(running(*serving))
        assert server.stdout is not None
        said = (await server.stdout.readline()).decode()
        address = said.split("is at ")[1].split()[0]
        place, _, token = address.partition("#token=")
        browser = stack.enter_context(chromium(folder / "profile"))
        paints, firsts = [], []
        for _ in range(OPENINGS):
            async with tab(browser) as shown:
                began = time.monotonic()
                await shown.visit(address)
                await shown.holds(LIVE)
                firsts.append(time.monotonic() - began)
                await shown.holds(f"{PAINTED}.length > 0")
                paints.append(await shown.value(f"{PAINTED}[0].startTime"))
        print(f"first paint {statistics.median(paints):.0f} ms")
        print(f"figures there after {1000 * statistics.median(firsts):.0f} ms")
        shown = await stack.enter_async_context(tab(browser))
        await shown.visit(address)
        await shown.holds(LIVE)
        await shown.run("Performance.enable")
        print(f"{'':<44}{'server':>9} {'page':>9}")
        print(f"{'nothing booked, one reader':<44}{await shares(shown, server.pid, seconds)}")
        booking = [__file__, "--book", url, "--calls", str(calls)]
        await stack.enter_async_context(running(*booking))
        await asyncio.sleep(3)
        began, before = time.monotonic(), booked(folder)
        await asyncio.sleep(seconds)
        rate = 60 * (booked(folder) - before) / (time.monotonic() - began)
        label = f"{rate:,.0f} calls a minute, "
        print(f"{label + 'one reader':<44}{await shares(shown, server.pid, seconds)}")
        readers = [asyncio.create_task(read(place, token)) for _ in range(READERS)]
        await asyncio.sleep(1)
        more = f"{label}{READERS + 1} readers"
        print(f"{more:<44}{await shares(shown, server.pid, seconds)}")
        for each in readers:
            each.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--book")
    given = parser.parse_args()
    if given.book:
        asyncio.run(book(given.book, given.calls))
    else:
        asyncio.run(main(given.calls, given.seconds))
