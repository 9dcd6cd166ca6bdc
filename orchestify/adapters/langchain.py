"""An agent as the chat model of LangChain (extra `langchain`)."""

from __future__ import annotations

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from orchestify.adapters.transport import URL, AgentTransport
from orchestify.providers.base import LLMProvider


def model(agent: LLMProvider) -> BaseChatModel:
    """Return a chat model for chains, agents and graphs, synchronous and not.

        registry = ProviderRegistry.from_config(load_config("config"))
        planner = langchain.agents.create_agent(model(registry.get_for_agent("planner")), tools)

    Tools, structured output and streams are LangChain's own; each of its requests is one call of
    the agent. What a call raises reaches it as the status that the gateway gives it.
    """
    transport = AgentTransport(agent)
    return ChatOpenAI(
        model=agent.provider_id,
        api_key=SecretStr("none"),
        base_url=URL,
        max_retries=0,
        timeout=None,
        stream_usage=True,
        http_client=httpx.Client(transport=transport),
        http_async_client=httpx.AsyncClient(transport=transport),
    )
