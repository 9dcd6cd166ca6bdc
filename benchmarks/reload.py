"""What a reload costs: the configuration read, put in force, and its agents asked for; a table.

    python benchmarks/reload.py [PROVIDERS [AGENTS]]

1,000 providers and 10,000 agents where nothing is said; each agent was asked for before. One
configuration is the same as before, one has a tenth of the providers with another key, one has
all. No request is sent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestify import ProviderRegistry
from orchestify.core.config import load_config


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


async def measure(folder: Path, providers: int, agents: int, changed: int) -> list[str]:
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
    figures = [f"{each:.2f}" for each in (read_s, in_force_s, max(stalls), asked_s)]
    return [f"{changed:,}", *figures, f"{kept:,}"]


async def main(providers: int, agents: int) -> None:
    """Print a row for each share of providers that changes."""
    table = Table(title=f"Reload of {providers:,} providers and {agents:,} agents, in seconds")
    for name in ("changed", "read", "in force", "longest stall", "all agents", "agents kept"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for changed in (0, providers // 10, providers):
            table.add_row(*await measure(Path(folder), providers, agents, changed))
    Console().print(table)


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    asyncio.run(main(*(given + [1_000, 10_000][len(given) :])))
