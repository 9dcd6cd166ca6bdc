"""What of an agent's configuration is left out or changed, because a model refuses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from orchestify.core.agents import AgentConfig
from orchestify.core.chains import ChainEntry, chain_of
from orchestify.core.config import Config
from orchestify.core.providers import ProviderConfig
from orchestify.lanes.anthropic.fitting import fitted as fitted_claude
from orchestify.lanes.fitting import Fitting
from orchestify.lanes.litellm.access import litellm_model
from orchestify.lanes.litellm.request import fitted as fitted_litellm
from orchestify.lanes.openai.dialects import OPENAI, dialect_of
from orchestify.lanes.openai.request import fitted as fitted_chat
from orchestify.models.thinking import thinking_of_agent
from orchestify.values import CompletionRequest, LLMMessage

SAMPLING = ("temperature", "top_p", "stop")

# By the warning that a response carries: the key that causes it, and what is done.
_CHANGES: Mapping[str, tuple[str, str]] = {
    "temperature_reduced": ("temperature", "lowered to the highest that the model takes"),
    "max_tokens_reduced": ("max_tokens", "lowered to the most that the model can write"),
    "thinking_budget_reduced": ("thinking", "its budget is lowered to what the model can write"),
    "thinking_effort_changed": ("thinking", "changed to the nearest effort that the model takes"),
    "thinking_not_off": ("thinking", "cannot be switched off; the model is asked for the least"),
}


def left_out(config: ProviderConfig, model: str, agent: AgentConfig) -> tuple[str, ...]:
    """Return which of the agent's sampling parameters are not sent to a provider's model.

    A temperature of 1 is every model's default and goes, but for models that fix it.
    """
    warnings = _warnings(config, model, agent)
    return tuple(name for name in SAMPLING if f"{name}_dropped" in warnings)


def changed(config: ProviderConfig, model: str, agent: AgentConfig) -> Mapping[str, str]:
    """Return what is sent otherwise than the agent configures: by key, what is done."""
    warnings = _warnings(config, model, agent)
    return dict(_CHANGES[word] for word in warnings if word in _CHANGES)


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
            why = _reason(key, provider, link, agent)
            yield (
                f"{config.origin(('agents', name, key))}: agents.{name}.{key}: "
                f"not sent to {link.provider}/{link.model}, which refuses it {why}"
            )
        for key, what in changed(provider, link.model, agent).items():
            own = getattr(agent, key) is not None
            path = ("agents", name, key) if own else ("providers", link.provider, key)
            where = ".".join(path)
            yield f"{config.origin(path)}: {where}: {what} ({link.provider}/{link.model})"


def _reason(key: str, provider: ProviderConfig, link: ChainEntry, agent: AgentConfig) -> str:
    """Say when a parameter is refused: while it thinks, beside the temperature, or always."""
    if thinking_of_agent(agent) is not None:
        return "while it thinks"
    alone = agent.model_copy(update={"temperature": None})
    beside = key == "top_p" and key not in left_out(provider, link.model, alone)
    return "beside temperature" if beside else "always"


def _warnings(config: ProviderConfig, model: str, agent: AgentConfig) -> tuple[str, ...]:
    """Return the warnings that a call of the agent without tools would carry."""
    if config.engine == "mock" or config.type in {"mock", "external"}:
        return ()
    request = CompletionRequest(
        messages=(LLMMessage("user", "hi"),),
        model=model,
        temperature=agent.temperature,
        max_tokens=agent.max_tokens or config.max_tokens,
        top_p=agent.top_p,
        stop=agent.stop,
        thinking=thinking_of_agent(agent),
        thinking_off=agent.thinking in (False, "none"),
        thinking_configured=True,
    )
    return _fitted(config, request).warnings


def _fitted(config: ProviderConfig, request: CompletionRequest) -> Fitting:
    if config.type == "anthropic":
        return fitted_claude(request)
    if config.type == "openai" and config.engine != "litellm":
        return fitted_chat(request, dialect_of(config.base_url) if config.base_url else OPENAI)
    return fitted_litellm(replace(request, model=litellm_model(request.model, config)))
