"""One budget, four processes, all their calls at once: orchestify beside LiteLLM's Router.

    python benchmarks/budget_router.py [--calls 1000] [--postgres postgresql://user@host/scratch]
                                       [--redis 127.0.0.1:6379] [--json results.json]

A stub server on loopback answers after 50 ms and counts what it bills, which is what "spent"
means here: each call may cost 0.01 USD (its `max_tokens`) and costs 0.004 to 0.01. The limit lets
about a third of the calls through. `waited` is orchestify's: a call that may fit once others have
settled waits. LiteLLM's Router has a provider budget; its processes share it only with `--redis`
(`pip install redis`, and an empty server), else each has one of its own, so that the line
of one process is the fair one. A PostgreSQL that is given is written to: give a scratch one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestify.testing import Reply, StubRequest, StubServer
from orchestify.values import Usage

KEY = "sk-benchmark"
LONGEST_S = 120.0  # then a process is killed, and its calls count as failed
WORST_TOKENS = 1000
USD_PER_TOKEN = 1e-5
PROMPT = [{"role": "user", "content": "What is the weather like?"}]


@dataclass
class Line:
    """What became of the calls of all processes of one kind; money in USD."""

    what: str
    processes: int
    calls: int
    limit_usd: float
    spent_usd: float
    overspent_usd: float
    unspent_usd: float
    answered: int
    refused: int
    failed: int
    took_s: float


def measure(what: str, worker: list[str], processes: int, calls: int, limit_usd: float) -> Line:
    """Let the processes make their calls at once, and ask the server what it has billed."""
    with StubServer.in_thread() as server:
        server.respond = _reply
        command = [sys.executable, __file__, "--worker", server.url, str(calls), str(limit_usd)]
        pipe = subprocess.PIPE
        workers = [
            subprocess.Popen([*command, *worker], stdin=pipe, stdout=pipe, text=True)
            for _ in range(processes)
        ]
        for each in workers:
            _said(each)
        began = time.perf_counter()
        for each in workers:
            _tell(each)
        timers = [threading.Timer(LONGEST_S, each.kill) for each in workers]
        for timer in timers:
            timer.start()
        ends = sum((Counter(json.loads(_said(each) or "{}")) for each in workers), Counter[str]())
        took_s = time.perf_counter() - began
        for each, timer in zip(workers, timers, strict=True):
            each.communicate()
            timer.cancel()
        spent_usd = server.account.billed.output_tokens * USD_PER_TOKEN
    return Line(
        what,
        processes,
        processes * calls,
        limit_usd,
        round(spent_usd, 6),
        round(max(0.0, spent_usd - limit_usd), 6),
        round(max(0.0, limit_usd - spent_usd), 6),
        ends["answered"],
        ends["refused"],
        processes * calls - ends["answered"] - ends["refused"],
        round(took_s, 2),
    )


def _reply(request: StubRequest) -> Reply:
    tokens = 400 + 100 * (request.index % 7)
    return Reply(text="fine", usage=Usage(input_tokens=10, output_tokens=tokens), delay_s=0.05)


def _said(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline()


def _tell(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


async def orchestify_calls(url: str, calls: int, limit_usd: float, ledger: str) -> Counter[str]:
    """Make the calls through an agent, under one hard budget."""
    from orchestify import ProviderRegistry
    from orchestify.core.config import parse_config
    from orchestify.errors import BudgetExceededError, OrchestifyError

    price = {"input_usd_per_mtok": 0, "output_usd_per_mtok": USD_PER_TOKEN * 1e6}
    config = {
        "providers": {
            "stub": {
                "type": "openai",
                "api_key": KEY,
                "base_url": f"{url}/v1",
                "default_model": "gpt-4o",
                "price": price,
            }
        },
        "retry": {"max_attempts": 1},
        "budgets": [{"name": "all", "limit_usd": limit_usd, "period": "month"}],
    }
    if ledger != "memory":
        config["ledger"] = {"url": ledger}
    async with ProviderRegistry.from_config(parse_config(json.dumps(config))) as registry:
        provider = registry.get("stub")
        ends: Counter[str] = Counter()

        async def call() -> None:
            try:
                await provider.complete(PROMPT, max_tokens=WORST_TOKENS)
            except BudgetExceededError:
                ends["refused"] += 1
            except OrchestifyError:
                ends["failed"] += 1
            else:
                ends["answered"] += 1

        await _go()
        await asyncio.gather(*(call() for _ in range(calls)))
    return ends


async def router_calls(url: str, calls: int, limit_usd: float, redis: str) -> Counter[str]:
    """Make the calls through LiteLLM's Router, under its provider budget."""
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    import litellm

    litellm.suppress_debug_info = True
    host, _, port = redis.partition(":")
    shared = {} if redis == "alone" else {"redis_host": host, "redis_port": int(port)}
    router = litellm.Router(
        model_list=[
            {
                "model_name": "stub",
                "litellm_params": {
                    "model": "openai/gpt-4o",
                    "api_key": KEY,
                    "api_base": f"{url}/v1",
                    "input_cost_per_token": 0.0,
                    "output_cost_per_token": USD_PER_TOKEN,
                },
            }
        ],
        provider_budget_config={"openai": {"budget_limit": limit_usd, "time_period": "1d"}},
        num_retries=0,
        disable_cooldowns=True,
        **shared,
    )
    ends: Counter[str] = Counter()

    async def call() -> None:
        try:
            await router.acompletion("stub", PROMPT, max_tokens=WORST_TOKENS)
        except Exception as error:  # its budget raises whatever it likes
            ends["refused" if "budget" in str(error).lower() else "failed"] += 1
        else:
            ends["answered"] += 1

    await _go()
    await asyncio.gather(*(call() for _ in range(calls)))
    return ends


async def _go() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def work(url: str, calls: str, limit_usd: str, kind: str, where: str) -> None:
    """Be one of the processes."""
    make = orchestify_calls if kind == "orchestify" else router_calls
    ends = asyncio.run(make(url, int(calls), float(limit_usd), where))
    print(json.dumps(ends), flush=True)


def main() -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1000, help="calls of each process")
    parser.add_argument("--postgres", help="URL of a scratch database")
    parser.add_argument("--redis", help="host:port that LiteLLM's Routers share")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    calls, limit_usd = given.calls, round(0.0101 * given.calls, 6)
    with tempfile.TemporaryDirectory() as folder:
        sqlite = f"sqlite:///{folder}/usage.db"
        wanted = [("orchestify, SQLite", ["orchestify", sqlite], 4)]
        if given.postgres:
            wanted.append(("orchestify, PostgreSQL", ["orchestify", given.postgres], 4))
        wanted.append(("orchestify, memory", ["orchestify", "memory"], 1))
        if given.redis:
            wanted.append(("LiteLLM Router, Redis", ["router", given.redis], 4))
        wanted.append(("LiteLLM Router, each its own", ["router", "alone"], 4))
        wanted.append(("LiteLLM Router, one process", ["router", "alone"], 1))
        lines = [
            measure(what, worker, processes, calls * 4 // processes, limit_usd)
            for what, worker, processes in wanted
        ]
    figures = [asdict(line) for line in lines]
    table = Table(*figures[0])
    for line in figures:
        table.add_row(*map(str, line.values()))
    Console(width=160).print(table)
    text = json.dumps(figures)
    sys.stdout.write(text + "\n")
    if given.json:
        given.json.write_text(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
    else:
        main()
