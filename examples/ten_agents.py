"""A host with ten agents at once, and a budget for the run: `ten_agents.py [LIMIT_USD]`.

The budget holds for all calls in the run's scope, beside those of the configuration.
"""

import asyncio
import sys
from pathlib import Path

import orchestify
from orchestify import (
    BudgetExceededError,
    BudgetThreshold,
    Config,
    ProviderRegistry,
    RunBudget,
    load_config,
)

CONFIG = Path(__file__).with_name("config")
ROLES = ["planner", "researcher", "architect", "coder", "tester"]
ROLES += ["reviewer", "writer", "translator", "critic", "editor"]


def configured() -> Config:
    """Return the configuration with ten agents."""
    config = load_config(CONFIG)
    agents = dict.fromkeys(ROLES, config.agents.agents["assistant"])
    return config.model_copy(update={"agents": config.agents.model_copy(update={"agents": agents})})


async def work(registry: ProviderRegistry, role: str) -> str:
    """Let an agent work until it is done, or the run's money is."""
    agent = registry.get_for_agent(role)
    done = 0
    try:
        for step in range(3):
            await agent.complete(f"Step {step} of what a {role} does.")
            done += 1
    except BudgetExceededError as error:
        return f"{role}: {done} steps, then no money left in the {error.budget}"
    return f"{role}: {done} steps"


async def main(limit_usd: float) -> None:
    """Run ten agents at once."""
    async with ProviderRegistry.from_config(configured()) as registry:
        registry.on(print, BudgetThreshold)
        budget = RunBudget(usd=limit_usd, alert_at=(0.5,))
        with orchestify.scope(run="run-1", budget=budget):
            for line in await asyncio.gather(*(work(registry, role) for role in ROLES)):
                print(line)
            print(registry.budgets()[-1])
        for name, row in registry.get_usage_summary()["by_agent"].items():
            print(f"{name:<12} {row['calls']} calls {row['cost_usd']:.6f} USD")


asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.5))
