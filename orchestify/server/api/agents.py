"""`/api/v1/agent-llm-configs`: a tenant's agents."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from orchestify.server.api.fields import (
    Moment,
    NameOrNumber,
    RequestBody,
    ResponseBody,
    Secret,
    Settings,
    Text,
    unwritten,
)
from orchestify.server.api.rows import RowResource, TestAgentRequest, row_router
from orchestify.server.api.usage import UsageResponse
from orchestify.server.rows.stored_rows import NewAgent
from orchestify.server.storage.row_kinds import AGENTS

Rate: TypeAlias = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Temperature: TypeAlias = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=100_000_000)]

_CONFIG = "What else the YAML's agent holds: thinking, stop, cache, strategy, the policies..."


_COST = "In USD: the model's price at its provider, for all calls of the tenant; both or neither"


class _AgentRequest(RequestBody):
    """What adding and changing an agent have in common; null is not configured."""

    provider: Text | None = unwritten(
        description="A provider's name; null: the default one", examples=["anthropic"]
    )
    model_name: Text | None = unwritten(description="null: the provider's default")
    temperature: Temperature | None = unwritten()
    max_tokens: Tokens | None = unwritten()
    top_p: Share | None = unwritten()
    api_key: Secret | None = unwritten(description="Its own, instead of the provider's")
    fallback_provider: Text | None = unwritten()
    fallback_model: Text | None = unwritten()
    cost_per_1k_input_tokens: Rate | None = unwritten(description=_COST, examples=[0.003])
    cost_per_1k_output_tokens: Rate | None = unwritten(description=_COST, examples=[0.015])
    config: Settings = unwritten(description=_CONFIG, examples=[{"thinking": "low"}])
    enabled: bool = unwritten()


class AddAgentRequest(_AgentRequest):
    """An agent to add; costs are given both or not at all."""

    agent_id: NameOrNumber = Field(examples=["planner"])


class UpdateAgentRequest(_AgentRequest):
    """What is to change; what is not written stays. `config` is replaced as a whole."""

    agent_id: NameOrNumber = unwritten(examples=["planner"])


class AgentResponse(ResponseBody):
    """An agent, without its key."""

    id: str = Field(examples=["8f14e45f-ceea-467f-a0e6-5f0f4d6c7b21"])
    agent_id: str = Field(examples=["planner"])
    provider: str | None
    model_name: str | None
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    has_key: bool
    key_fingerprint: str | None
    fallback_provider: str | None
    fallback_model: str | None
    cost_per_1k_input_tokens: float | None
    cost_per_1k_output_tokens: float | None
    config: dict[str, Any]
    enabled: bool
    created_at: Moment
    updated_at: Moment
    removed_at: Moment | None = Field(description="Since when it is removed, and its key gone")


class AgentPage(ResponseBody):
    """Agents in the order they were added; `next` is the `after` of the following page."""

    items: list[AgentResponse]
    next: str | None


class AgentUsageResponse(UsageResponse):
    """The usage of one agent, by day and model where nothing else is asked for."""


_AGENTS = RowResource(
    kind=AGENTS,
    path="/api/v1/agent-llm-configs",
    descriptions={
        "add": "Add an agent; a key of its own is stored encrypted and never shown again.",
        "list": "List the agents in the order they were added.",
        "get": "Return one agent.",
        "update": "Change what is written in the request, and leave the rest.",
        "remove": (
            "Switch an agent off for good and destroy its key; what it used stays in the reports."
        ),
        "test": "Ask the agent's provider for its models, or make one short call as the agent.",
        "usage": "Return what one agent used; by day and model where nothing else is asked for.",
    },
    add_body=AddAgentRequest,
    update_body=UpdateAgentRequest,
    test_body=TestAgentRequest,
    response=AgentResponse,
    page=AgentPage,
    usage=AgentUsageResponse,
    rows=lambda store: store.agents,
    new_row=NewAgent,
    provider_of=lambda registry, row, _: registry.get_for_agent(row.agent_id),
)
router = row_router(_AGENTS)
