"""One budget, four processes, all their calls at once: orchestify beside LiteLLM's Router.

A stub server on loopback answers after 50 ms and counts what it bills, which is what "spent"
means here: each call may cost 0.01 USD (its `max_tokens`) and costs 0.004 to 0.01. The limit lets
about a third of the calls through. `took` is mostly orchestify's waiting: a call that may fit once
others have settled waits. LiteLLM's Router has a provider budget; its processes share it only over
Redis, else each has one of its own, so that the line of one process is the fair one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.results import Cell, Table
from benchmarks.settings import Settings
from orchestify.testing import Reply, StubRequest, StubServer
from orchestify.values import Usage

KEY = "sk-benchmark"
LONGEST_S = 120.0  # then a process is killed, and its calls count as failed
WORST_TOKENS = 1000
USD_PER_TOKEN = 1e-5
PROMPT = [{"role": "user", "content": "What is the weather like?"}]


def measure(settings: Settings) -> Iterator[Table]:
    """Let processes spend one budget, by orchestify and by the Router; money in USD."""
    calls, notes = settings.sized(1000, 60), []
    limit_usd = round(0.0101 * calls, 6)
    with tempfile.TemporaryDirectory() as folder:
        kinds = [("orchestify, SQLite", ["orchestify", f"sqlite:///{folder}/usage.db"], 4)]
        if settings.postgres:
            kinds.append(("orchestify, PostgreSQL", ["orchestify", settings.postgres], 4))
        else:
            notes.append("PostgreSQL left out: give a scratch database with --postgres")
        kinds.append(("orchestify, memory", ["orchestify", "memory"], 1))
        if settings.redis:
            kinds.append(("LiteLLM Router, Redis", ["router", settings.redis], 4))
        else:
            notes.append("Routers that share their budget left out: give an empty Redis by --redis")
        if not settings.quick:  # four imports of litellm
            kinds.append(("LiteLLM Router, each its own", ["router", "alone"], 4))
        kinds.append(("LiteLLM Router, one process", ["router", "alone"], 1))
        rows = {
            what: spent(worker, processes, calls * 4 // processes, limit_usd)
            for what, worker, processes in kinds
        }
    yield Table(f"{calls * 4:,} calls at once, a limit of {limit_usd} USD", "", rows, tuple(notes))


def spent(worker: list[str], processes: int, calls: int, limit_usd: float) -> dict[str, Cell]:
    """Let the processes make their calls at once, and ask the server what it has billed."""
    with StubServer.in_thread() as server:
        server.respond = _reply
        command = [sys.executable, "-m", "benchmarks.budget_router"]
        command += [server.url, str(calls), str(limit_usd)]
        pipe = subprocess.PIPE
        workers = [
            subprocess.Popen([*command, *worker], stdin=pipe, stdout=pipe, text=True)
            for _ in range(processes)
        ]
        timers = [threading.Timer(LONGEST_S, each.kill) for each in workers]
        try:
            for each in workers:
                _said(each)
            for timer in timers:
                timer.start()
            began = time.perf_counter()
            for each in workers:
                _tell(each)
            ends = Counter[str]()
            for each in workers:
                ends.update(json.loads(_said(each) or "{}"))
            took_s = time.perf_counter() - began
        finally:
            for each, timer in zip(workers, timers, strict=True):
                timer.cancel()
                each.kill()
                each.communicate()
        spent_usd = server.account.billed.output_tokens * USD_PER_TOKEN
    return {
        "processes": processes,
        "spent": spent_usd,
        "of the limit": spent_usd / limit_usd,
        "answered": ends["answered"],
        "refused": ends["refused"],
        "failed": processes * calls - ends["answered"] - ends["refused"],
        "took: s": took_s,
    }


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
    shared = {} if redis == "alone" else {"redis_url": redis}
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


if __name__ == "__main__":
    work(*sys.argv[1:])
