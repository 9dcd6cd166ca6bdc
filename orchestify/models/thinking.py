"""Agents that ask for thinking where the model is known to have none."""

from __future__ import annotations

from collections.abc import Iterator

from orchestify.core.agents import AgentConfig, ThinkingBudget
from orchestify.core.chains import chain_of
from orchestify.core.config import Config
from orchestify.core.providers import ProviderConfig
from orchestify.models.model_map import ModelMap, has_thinking
from orchestify.values import ThinkingConfig


def thinking_notes(config: Config) -> tuple[str, ...]:
    """Return one line for each agent and target that cannot think as the agent configures."""
    agents = config.agents.agents.items()
    return tuple(
        line
        for name, agent in agents
        if agent.enabled and thinking_of_agent(agent)
        for line in _notes(config, name, agent)
    )


def thinking_of_agent(agent: AgentConfig) -> ThinkingConfig | None:
    """Return how much an agent is configured to think; None where it is not, or says nothing."""
    given = agent.thinking
    if isinstance(given, ThinkingBudget):
        return ThinkingConfig(budget_tokens=given.budget_tokens)
    if isinstance(given, str) and given != "none":
        return ThinkingConfig(given)
    return ThinkingConfig() if given is True else None


def _notes(config: Config, name: str, agent: AgentConfig) -> Iterator[str]:
    for link in chain_of(config, name, agent):
        provider = config.providers.providers.get(link.provider)
        if provider is None or not provider.is_enabled or _thinks(provider, link.model):
            continue
        yield (
            f"{config.origin(('agents', name, 'thinking'))}: agents.{name}.thinking: "
            f"{link.provider}/{link.model} has no extended thinking and is never asked"
        )


def _thinks(provider: ProviderConfig, model: str) -> bool:
    models = ModelMap.load()
    endpoint = models.provider_of(provider.type, model, provider.base_url)
    return has_thinking(model, models.entry(model, endpoint))
