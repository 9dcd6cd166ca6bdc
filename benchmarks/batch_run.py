"""What `orchestify batch run` takes beside a bare gather of the same calls, and its memory.

10,000 requests against a stub server in a process of its own, 20 at once: an agent's `complete`
under `asyncio.gather` and a semaphore, `agent.map`, and the run over files that the command is. In
turns, each in a fresh process; the ratios are of the medians. Then the peak of memory of the run
over files with a tenth of the requests, with all, and with ten times as many.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.processes import stub_server
from benchmarks.results import Cell, Table
from benchmarks.settings import Settings
from orchestify import LLMProvider, ProviderRegistry
from orchestify.batches.run_file import FileRun, FileRunOptions
from orchestify.core.config import parse_config

AT_ONCE = 20
WAYS = ("gather", "map", "batch run")


def measure(settings: Settings) -> Iterator[Table]:
    """Measure each way in turns, then the memory of the run over files."""
    count, turns = settings.sized(10_000, 200), settings.repeated(5)
    with stub_server() as server:
        url = f"{server}/v1"
        runs = [{way: measured(way, count, url) for way in WAYS} for _ in range(turns)]
        rows = {}
        for way in WAYS:
            row: dict[str, Cell] = {}
            for at, what in enumerate(("s", "CPU s")):
                row[what] = median(each[way][at] for each in runs)
                row[f"{what} / gather"] = row[what] / median(each["gather"][at] for each in runs)
            rows[way] = row
        yield Table(f"{count:,} requests", "s", rows)
        peaks = {
            f"{many:,} requests": {"peak": measured("batch run", many, url)[2]}
            for many in (count // 10, count, count * settings.sized(10, 2))
        }
        yield Table("Memory of batch run", "MB", peaks)


async def gather(agent: LLMProvider, requests: Path) -> None:
    """Ask each line, all of them tasks at once behind a semaphore, and keep the answers."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(prompt: str) -> str:
        async with turn:
            return (await agent.complete(prompt)).content

    with requests.open() as prompts:
        await asyncio.gather(*(ask(prompt) for prompt in prompts))


async def over_map(agent: LLMProvider, requests: Path) -> None:
    """Ask each line by `map`, as they come."""
    with requests.open() as prompts:
        async for result in agent.map(prompts, concurrency=AT_ONCE, ordered=False):
            assert result.error is None


async def batch_run(agent: LLMProvider, requests: Path) -> None:
    """Ask each line as the command does, with answers and journal in files."""
    options = FileRunOptions(concurrency=AT_ONCE)
    run = FileRun(requests, requests.with_suffix(".jsonl"), "it", options)
    run.open()
    await run.ask(agent.complete)
    assert run.tally.answered == run.tally.total


async def work(way: str, requests: Path, url: str) -> None:
    """Print the seconds and the CPU seconds that a way takes, and the process's peak in MB."""
    price = {"input_usd_per_mtok": 3, "output_usd_per_mtok": 15}
    provider = {"type": "openai", "base_url": url, "api_key": "key", "default_model": "stub"}
    written = {
        "providers": {"it": {**provider, "price": price}},
        "agents": {"it": {"provider": "it"}},
    }
    async with ProviderRegistry.from_config(parse_config(json.dumps(written))) as registry:
        agent = registry.get_for_agent("it")
        await agent.complete("warm")
        began, cpu = time.perf_counter(), time.process_time()
        await dict(zip(WAYS, (gather, over_map, batch_run), strict=True))[way](agent, requests)
        took = time.perf_counter() - began, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([*took, peak_mb]))


def measured(way: str, count: int, url: str) -> list[float]:
    """Measure in a process of its own, over files of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.txt"
        path.write_text("".join(f"What is {number} and {number}?\n" for number in range(count)))
        command = [sys.executable, "-m", "benchmarks.batch_run", way, str(path), url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
