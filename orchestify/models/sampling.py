"""Sampling parameters that are configured and left out, because the model refuses them."""

from __future__ import annotations

from collections.abc import Iterator

from orchestify.core.agents import AgentConfig
from orchestify.core.chains import chain_of
from orchestify.core.config import Config
from orchestify.core.providers import ProviderConfig
from orchestify.lanes.anthropic.claude_models import refused_by_claude
from orchestify.lanes.litellm.request import is_claude
from orchestify.lanes.openai.dialects import refused_by_openai

SAMPLING = ("temperature", "top_p", "stop")


def left_out(config: ProviderConfig, model: str, agent: AgentConfig) -> tuple[str, ...]:
    """Return which of the agent's sampling parameters are not sent to a provider's model.

    A temperature of 1 is every model's default and always goes.
    """
    refused = _refused(config, model, thinking=bool(agent.thinking))
    written = {name: getattr(agent, name) for name in SAMPLING if name in refused}
    return tuple(
        name
        for name, value in written.items()
        if value not in (None, ()) and (name, value) != ("temperature", 1)
    )


def sampling_notes(config: Config) -> tuple[str, ...]:
    """Return one line for each agent and target that does not get what the agent configures."""
    agents = config.agents.agents.items()
    return tuple(line for name, agent in agents for line in _notes(config, name, agent))


def _notes(config: Config, name: str, agent: AgentConfig) -> Iterator[str]:
    for link in chain_of(config, name, agent) if agent.enabled else ():
        provider = config.providers.providers.get(link.provider)
        if provider is None or not provider.is_enabled:
            continue
        for key in left_out(provider, link.model, agent):
            why = "while it thinks" if agent.thinking else "always"
            yield (
                f"{config.origin(('agents', name, key))}: agents.{name}.{key}: "
                f"not sent to {link.provider}/{link.model}, which refuses it {why}"
            )


def _refused(config: ProviderConfig, model: str, *, thinking: bool) -> frozenset[str]:
    if config.engine == "mock" or config.type in {"mock", "external"}:
        return frozenset()
    claude = refused_by_claude(model, thinking=thinking)
    if config.type == "anthropic":
        return claude
    openai = refused_by_openai(model, thinking=thinking)
    return openai | claude if config.type == "litellm" and is_claude(model) else openai
