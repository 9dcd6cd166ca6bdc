"""What a reload costs: the configuration read, put in force, and its agents asked for.

1,000 providers and 10,000 agents; each agent was asked for before. One configuration is the same as
before, one has a tenth of the providers with another key, one has all. No request is sent.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.results import Cell, Table
from benchmarks.settings import Settings
from orchestify import ProviderRegistry
from orchestify.core.config import load_config


def measure(settings: Settings) -> Iterator[Table]:
    """Measure a reload for each share of providers that changes, in seconds."""
    providers, agents = settings.sized(1_000, 50), settings.sized(10_000, 500)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for changed in (0, providers // 10, providers):
            row = asyncio.run(reloaded(Path(folder), providers, agents, changed))
            rows[f"{changed:,} changed"] = row
    yield Table(f"Reload of {providers:,} providers and {agents:,} agents", "s", rows)


def write(folder: Path, providers: int, agents: int, changed: int) -> None:
    """Write a configuration whose first `changed` providers have another key."""
    written = {
        f"provider_{number}": {
            "type": "openai",
            "api_key": "sk-changed" if number < changed else "sk-first",
            "default_model": "gpt-4.1-mini",
            "rate_limit": {"requests_per_minute": 1000},
        }
        for number in range(providers)
    }
    bound = {
        f"agent_{number}": {
            "provider": f"provider_{number % providers}",
            "fallback": [f"provider_{(number + 1) % providers}"],
        }
        for number in range(agents)
    }
    (folder / "providers.yaml").write_text(json.dumps({"providers": written}, indent=1))
    (folder / "agents.yaml").write_text(json.dumps({"agents": bound}, indent=1))


async def longest_stall_s(stalls: list[float]) -> None:
    """Note for how long the event loop did nothing else, every millisecond."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        stalls.append(time.perf_counter() - began - 0.001)


async def reloaded(folder: Path, providers: int, agents: int, changed: int) -> dict[str, Cell]:
    """Return seconds: reading, putting in force, the loop's longest stall, asking for all."""
    write(folder, providers, agents, 0)
    async with ProviderRegistry.from_config(load_config(folder)) as registry:
        before = {name: registry.get_for_agent(name) for name in registry.list_agents()}
        write(folder, providers, agents, changed)
        began = time.perf_counter()
        config = await asyncio.to_thread(load_config, folder)
        read_s = time.perf_counter() - began
        stalls: list[float] = []
        watching = asyncio.create_task(longest_stall_s(stalls))
        began = time.perf_counter()
        await registry.reload(config)
        in_force_s = time.perf_counter() - began
        await asyncio.sleep(0.01)
        watching.cancel()
        began = time.perf_counter()
        kept = sum(registry.get_for_agent(name) is each for name, each in before.items())
        asked_s = time.perf_counter() - began
    return {
        "read": read_s,
        "in force": in_force_s,
        "longest stall": max(stalls),
        "all agents": asked_s,
        "agents kept": kept,
    }
