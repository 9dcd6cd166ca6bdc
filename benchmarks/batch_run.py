"""What `orchestify batch run` takes beside a bare gather of the same calls, and its memory.

    python benchmarks/batch_run.py [REQUESTS [TURNS]]

10,000 requests and 5 turns where nothing is said, against a stub server in a process of its own,
20 at once: an agent's `complete` under `asyncio.gather` and a semaphore, `agent.map`, and the run
over files that the command is. In turns, each in a fresh process; the ratios are of the medians.
Then the peak of memory of the run over files with a tenth of the requests, with all, and with ten
times as many.
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
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from orchestify import LLMProvider, ProviderRegistry
from orchestify.batches.run_file import FileRun, FileRunOptions
from orchestify.core.config import parse_config
from orchestify.testing import StubServer

AT_ONCE = 20
WAYS = ("gather", "map", "batch run")


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


async def measure(way: str, requests: Path, url: str) -> None:
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
        command = [sys.executable, __file__, "--measure", way, str(path), url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


@contextmanager
def stub_server() -> Iterator[str]:
    """Run the stub server in a process of its own, and give its address for OpenAI's clients."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip() if server.stdout else ""
        finally:
            server.terminate()


async def serve() -> None:
    """Serve until the process is ended."""
    async with StubServer(history=1) as server:
        print(server.openai_url, flush=True)
        await asyncio.Event().wait()


def main(count: int, turns: int) -> None:
    """Print both tables."""
    table = Table("way", "s", "to gather", "CPU s", "to gather", title=f"{count:,} requests")
    memory = Table("requests", "peak MB", title="memory of batch run")
    with stub_server() as url:
        runs = [{way: measured(way, count, url) for way in WAYS} for _ in range(turns)]
        for way in WAYS:
            figures = [
                [
                    median(each[way][at] for each in runs),
                    median(each["gather"][at] for each in runs),
                ]
                for at in (0, 1)
            ]
            table.add_row(way, *(f"{x:.2f}" for s, bare in figures for x in (s, s / bare)))
        for many in (count // 10, count, count * 10):
            memory.add_row(f"{many:,}", f"{measured('batch run', many, url)[2]:.1f}")
    Console().print(table, memory)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve())
    elif sys.argv[1:2] == ["--measure"]:
        asyncio.run(measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
    else:
        main(int((sys.argv[1:2] or ["10000"])[0]), int((sys.argv[2:3] or ["5"])[0]))
