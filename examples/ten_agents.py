"""A host with ten agents at once, and a budget for the run: `ten_agents.py [LIMIT_USD]`.

A budget counts the calls of one label's value, so the host adds one for each run before it begins.
"""

import asyncio
import sys
from pathlib import Path

import orchestify
from orchestify import BudgetExceededError, BudgetThreshold, Config, ProviderRegistry, load_config
from orchestify.core.policies import BudgetConfig

CONFIG = Path(__file__).with_name("config")
ROLES = ["planner", "researcher", "architect", "coder", "tester"]
ROLES += ["reviewer", "writer", "translator", "critic", "editor"]


def configured(run: str, limit_usd: float) -> Config:
    """Return the configuration with ten agents, and a budget of this run."""
    config = load_config(CONFIG)
    assistant = config.agents.agents["assistant"]
    match = {"label": {"run": run}}
    budget = BudgetConfig(name=run, match=match, limit_usd=limit_usd, period="ever", alert_at=[0.5])
    settings = config.providers.settings.model_copy(update={"budgets": (*config.budgets, budget)})
    return config.model_copy(
        update={
            "budgets": settings.budgets,
            "providers": config.providers.model_copy(update={"settings": settings}),
            "agents": config.agents.model_copy(update={"agents": dict.fromkeys(ROLES, assistant)}),
        }
    )


async def work(registry: ProviderRegistry, role: str) -> str:
    """Let an agent work until it is done, or the run's money is."""
    agent = registry.get_for_agent(role)
    done = 0
    try:
        for step in range(3):
            await agent.complete(f"Step {step} of what a {role} does.")
            done += 1
    except BudgetExceededError as error:
        return f"{role}: {done} steps, then no money left in {error.budget}"
    return f"{role}: {done} steps"


async def main(limit_usd: float) -> None:
    """Run ten agents at once."""
    async with ProviderRegistry.from_config(configured("run-1", limit_usd)) as registry:
        registry.on(print, BudgetThreshold)
        with orchestify.scope(run="run-1"):
            for line in await asyncio.gather(*(work(registry, role) for role in ROLES)):
                print(line)
        for name, row in registry.get_usage_summary()["by_agent"].items():
            print(f"{name:<12} {row['calls']} calls {row['cost_usd']:.6f} USD")
        print(registry.budgets()[-1])


asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.5))
