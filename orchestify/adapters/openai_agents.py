"""An agent as the model of the OpenAI Agents SDK (extra `openai-agents`)."""

from __future__ import annotations

from agents import Model, OpenAIChatCompletionsModel

from orchestify.adapters.transport import openai_client
from orchestify.providers.base import LLMProvider


def model(agent: LLMProvider) -> Model:
    """Return what an `agents.Agent` takes as its `model`.

        registry = ProviderRegistry.from_config(load_config("config"))
        planner = agents.Agent(name="planner", model=model(registry.get_for_agent("planner")))

    Tools, handoffs, structured output and streams are the SDK's own; each of its turns is one
    call of the agent. What a call raises reaches the SDK as the status that the gateway gives it.
    """
    client = openai_client(agent)
    return OpenAIChatCompletionsModel(agent.provider_id, client)
