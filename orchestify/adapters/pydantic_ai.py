"""An agent as the model of Pydantic AI (extra `pydantic-ai`)."""

from __future__ import annotations

from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from orchestify.adapters.transport import openai_client
from orchestify.providers.base import LLMProvider


def model(agent: LLMProvider) -> Model:
    """Return what a `pydantic_ai.Agent` takes as its model.

        registry = ProviderRegistry.from_config(load_config("config"))
        planner = pydantic_ai.Agent(model(registry.get_for_agent("planner")))

    Tools, structured output and streams are Pydantic AI's own; each of its requests is one call
    of the agent. What a call raises reaches it as the status that the gateway gives it.
    """
    provider = OpenAIProvider(openai_client=openai_client(agent))
    return OpenAIChatModel(agent.provider_id, provider=provider)
